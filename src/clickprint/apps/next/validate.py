"""The validation of next purchase: a model on the window after those that it learned from, beside bars, sources and the champion.

OUT/validate/results.json   everything that the report shows
OUT/validate/metrics.json   the few numbers that runs are compared by
OUT/validate/table.csv      mean recall of each line with its interval
OUT/validate/gate.json      whether the model takes the champion's place, and why not
OUT/validate/examples.json  some lists with titles
OUT/validate/tracked.json   the run and the version in MLflow
"""

import csv
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Float64

from clickprint.apps.next.examples import examples, telling
from clickprint.apps.next.figures import Line, Pair
from clickprint.apps.next.gate import Rail, Verdict, bins, coverage, off, verdict
from clickprint.apps.next.model import frame
from clickprint.apps.next.recipe import plain
from clickprint.apps.next.stages import Run, Windows, _ends, pairs_of, read_json
from clickprint.apps.next.stages import examples as learned
from clickprint.apps.next.track import Tracker, tracker
from clickprint.apps.rank.table import _finite
from clickprint.core.errors import DataError
from clickprint.core.files import write_text
from clickprint.core.progress import Progress
from clickprint.core.time import Time, parse
from clickprint.data.log import EventLog
from clickprint.data.split import LogPast, past_of
from clickprint.recommenders import evaluate
from clickprint.recommenders.evaluate import Scores
from clickprint.recommenders.features import Facts
from clickprint.recommenders.funnel import Plan, FittedNext, NextPurchase, candidates
from clickprint.recommenders.pairs import Bought, Pairs
from clickprint.recommenders.retrievers.popular import Popular
from clickprint.recommenders.windows import bought
from clickprint.tasks.board import Estimate, Gap
from clickprint.work.facts import commit, versions

NEXT_BASKET = ("TIFU-KNN", "UP-CF")
SAMPLE = 5  # users of the example that tells MLflow the columns
RANKER = "ranker"


def validate(run: Run) -> str:
    """How good the model is, beside everything that it must beat; and whether it takes the champion's place."""
    done = run.make("validate", lambda part: _validate(run, part))
    results, gate = (read_json(run.folder("validate") / f"{n}.json") for n in ("results", "gate"))
    return "\n".join([done, *words(results), *said(gate)])


def _validate(run: Run, part: Path) -> None:
    windows, fitted = run.windows(), FittedNext.load(run.folder("train") / "fitted")
    start = windows.valid.start
    progress = run.said(start)
    with run.log() as log:
        past, truth = past_of(log, start), bought(log, windows.valid)
        if not len(truth.users):
            raise DataError(
                log.manifest.name,
                [f"nobody bought in {windows.valid}, so there is nothing to validate on"],
            )
        pairs = pairs_of(run, start)
        begun = perf_counter()
        plan = fitted.plan(past, pairs, progress=progress)
        seconds = (perf_counter() - begun) * 1_000 / max(len(past.users), 1)
        scores = scored(past, start, truth, pairs, plan, fitted.recipe, run, progress)
        known = Facts.of(past, fitted.recipe.features).items
        facts = Measured(scores, pairs, plan, truth, len(known), seconds)
        results = facts.results(run, windows)
        write_text(part / "results.json", _json(results))
        write_text(part / "table.csv", table_csv([scores]))
        found = examples(
            log,
            plan,
            telling(
                plan,
                dict(zip(truth.users.tolist(), scores.values[RANKER].tolist(), strict=True)),
            ),
            truth,
        )
        write_text(part / "examples.json", _json(found))
        on = run.recipe.track.on
        with tracker(run.out) if on else nullcontext() as store:
            gate = _gate(run, store, log, past, windows, fitted, facts, results)
            write_text(
                part / "gate.json",
                _json({**_plain(gate), "model": run.recipe.model if on else ""}),
            )
            metrics = _metrics(results, gate)
            write_text(part / "metrics.json", _json(metrics))
            if store is not None:
                write_text(part / "tracked.json", _json(_track(run, store, part, metrics, gate)))


def scored(
    past: LogPast,
    start: Time,
    truth: Bought,
    pairs: Pairs,
    plan: Plan,
    recipe: NextPurchase,
    run: Run,
    progress: Progress,
) -> Scores:
    """Recall of each buyer by every line; limits that are shares of the known users are called so, since their number changes."""
    buyers = np.intersect1d(truth.users, past.users)
    lists = evaluate.shown(past, buyers, recipe.products, rng=run.rng("bars"), progress=progress)
    shares = run.recipe.evaluate.limits
    popular = Popular().best(past)
    found = evaluate.score(
        start, truth, pairs, popular, recipe, lists=lists, plan=plan, shares=shares
    )
    values = {n: v for n, v in found.values.items() if "@" not in n or n.startswith("ceiling/")}
    for limit, name in limits(recipe.users, shares, len(past.users)):
        values |= {
            f"{by}@{name}": found.values[f"{by}@{limit}"] for by in ("product", "propensity")
        }
    return Scores(start, found.users, values)


def limits(users: int, shares: Sequence[float], known: int) -> list[tuple[int, str]]:
    """Limits of users and their names: `3,000`, `10 %`."""
    return [
        (users, f"{users:,}"),
        *((int(share * known), f"{100 * share:g} %") for share in shares),
    ]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a validation found, before it is written."""

    scores: Scores
    pairs: Pairs
    plan: Plan
    truth: Bought
    items: int
    seconds: float  # for 1,000 users

    def results(self, run: Run, windows: Windows) -> dict[str, Any]:
        lines, gaps = compared([self.scores], run.recipe.next.users)
        best = best_baseline(lines)
        calibrated = self.calibrated()
        lists = self.plan.chosen(run.recipe.next.users)
        return {
            "log": run.recipe.log,
            "window": _ends(windows.valid),
            "buyers": len(self.truth.users),
            "users": len(self.pairs.users),
            "items": self.items,
            "chosen": len(lists.users),
            "ranker": RANKER,
            "best_bar": best,
            "lines": [{"name": x.name, "kind": x.kind, **x.found._asdict()} for x in lines],
            "pairs": [{"one": p.one, "other": p.other, **p.gap._asdict()} for p in gaps],
            "ceilings": ceilings(self.pairs, self.truth),
            "bins": [b._asdict() for b in calibrated],
            "off": off(calibrated),
            "coverage": coverage(lists, self.items),
            "seconds": self.seconds,
        }

    def calibrated(self) -> list[Any]:
        return bins(self.plan.propensity, np.isin(self.plan.lists.users, self.truth.users))


# -- tables -----------------------------------------------------------------------------------------------------------------------


def kind_of(name: str) -> tuple[str, str]:
    """A score's kind in tables and pictures, and what it is called there."""
    above, _, rest = name.partition("/")
    if above == "bar":
        return ("next-basket" if rest in NEXT_BASKET else "bar"), rest
    if above in ("source", "ceiling"):
        return above, f"{above} {rest}"
    return ("ranker", name) if name == RANKER else ("choice", _choice(name))


def _choice(name: str) -> str:
    by, _, limit = name.partition("@")
    return f"{limit} users by {'chance × recall' if by == 'product' else 'chance alone'}"


def compared(scores: Sequence[Scores], users: int) -> tuple[list[Line], list[Pair]]:
    """All lines with intervals, and the differences that are hypotheses: the ranker and the joint choice of `users` over each bar and
    next-basket method, the ranker over each source, choosing by the product over choosing by the chance at each limit."""
    found = evaluate.table(scores, against=RANKER)
    lines = [
        Line(kind_of(x.name)[1], kind_of(x.name)[0], Estimate(x.mean, x.low, x.high))
        for x in found
    ]
    gaps = []
    for one, against in (
        (RANKER, found),
        (f"product@{users:,}", evaluate.table(scores, against=f"product@{users:,}")),
    ):
        over = ("bar", "next-basket", "source") if one == RANKER else ("bar", "next-basket")
        gaps += [_turned(one, x) for x in against if kind_of(x.name)[0] in over]
    for name in [x.name for x in found if x.name.startswith("product@")]:
        other = name.replace("product@", "propensity@")
        two = [Scores(s.start, s.users, {n: s.values[n] for n in (name, other)}) for s in scores]
        gaps.append(_turned(name, evaluate.table(two, against=name)[1]))
    return lines, gaps


def _turned(one: str, line: evaluate.Line) -> Pair:
    """`line` is told as more than `one`; here `one` is told as more than it."""
    return Pair(
        kind_of(one)[1],
        kind_of(line.name)[1],
        Gap(-line.more, -line.more_high, -line.more_low, 1 - line.share),
    )


def best_baseline(lines: Sequence[Line]) -> str:
    """The naive bar with the highest recall, the first of equal ones."""
    return max((x for x in lines if x.kind == "bar"), key=lambda x: x.found.value).name


def ceilings(pairs: Pairs, truth: Bought) -> dict[str, list[tuple[int, float, float]]]:
    """Source, and the union, → (k, candidates a user in the mean, recall of the candidates) at several k of each source."""
    ranks = {n.removesuffix("_rank"): c for n, c in pairs.columns.items() if n.endswith("_rank")}
    users = max(len(pairs.users), 1)
    found: dict[str, list[tuple[int, float, float]]] = {}
    for name, some in {**{n: {n: r} for n, r in ranks.items()}, "union": ranks}.items():
        most = max(
            (float(np.nanmax(r)) for r in some.values() if not np.isnan(r).all()), default=0
        )
        for k in sorted(
            {k for k in evaluate.DEPTHS if k < most} | ({int(most)} if most else set())
        ):
            kept = pairs.where(evaluate.within(some, k, len(pairs)))
            found.setdefault(name, []).append(
                (k, len(kept) / users, float(kept_recall(truth, kept)))
            )
    return found


def kept_recall(truth: Bought, pairs: Pairs) -> float:
    return float(truth.found(pairs).mean())


def table_csv(scores: Sequence[Scores]) -> str:
    """Every line: mean, interval, how much more than the ranker, the mean of each window."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "name",
            "kind",
            "mean",
            "low",
            "high",
            "more_than_ranker",
            "more_low",
            "more_high",
            *(f"window {n}" for n in range(1, len(scores) + 1)),
        ]
    )
    for x in evaluate.table(scores, against=RANKER):
        writer.writerow(
            [
                x.name,
                kind_of(x.name)[0],
                x.mean,
                x.low,
                x.high,
                x.more,
                x.more_low,
                x.more_high,
                *x.windows,
            ]
        )
    return text.getvalue()


def words(results: Mapping[str, Any]) -> list[str]:
    """What a person is told first."""
    from clickprint.apps.next.figures import lines_of, pairs_of
    from clickprint.tasks.board import gap_text

    lines = {x.name: x for x in lines_of(results["lines"])}
    gap = next(
        p.gap
        for p in pairs_of(results["pairs"])
        if p.one == RANKER and p.other == results["best_bar"]
    )
    return [
        f"recall of {results['buyers']:,} buyers: {gap_text(lines[RANKER].found, 4, sign=False)}; best bar, {results['best_bar']}, "
        f"{gap_text(lines[results['best_bar']].found, 4, sign=False)}; difference {gap_text(gap, 4)}"
    ]


def said(gate: Mapping[str, Any]) -> list[str]:
    return [
        f"gate: {'promoted' if gate['promoted'] else 'not promoted'}",
        *(f"  - {r}" for r in gate["reasons"]),
    ]


# -- the gate ---------------------------------------------------------------------------------------------------------------------


def _gate(
    run: Run,
    store: Tracker | None,
    log: EventLog,
    past: LogPast,
    windows: Windows,
    fitted: FittedNext,
    facts: Measured,
    results: Mapping[str, Any],
) -> Verdict:
    part = run.recipe.gate
    rails = (
        Rail(
            "coverage",
            results["coverage"],
            part.coverage,
            True,
            "the share of the known items that lists show",
        ),
        Rail("calibration", results["off"], part.calibration, False, "the error of the chances"),
        Rail(
            "seconds",
            results["seconds"],
            part.seconds,
            False,
            "the time for the lists of 1,000 users, in seconds,",
        ),
    )
    users, new = (
        facts.scores.users,
        facts.truth.recall(facts.plan.chosen(run.recipe.next.users), run.recipe.next.products),
    )
    if store is None:
        return verdict(part, rails, users, new, None)
    with tempfile.TemporaryDirectory(dir=run.out, prefix=".champion-") as folder:
        found = store.registered(run.recipe.model, run.recipe.track.alias, Path(folder))
        if found is None:
            return verdict(part, rails, users, new, None)
        champion = FittedNext.load(found.folder / "fitted")
        about = read_json(found.folder / "about.json")
        if unfair := _unfair(champion, about, run, windows):
            return verdict(
                part, rails, users, new, None, unfair=f"champion {found.version}: {unfair}"
            )
        old = _recall_of(champion, fitted, run, past, facts)
    return verdict(part, rails, users, new, old)


def _unfair(champion: FittedNext, about: Mapping[str, Any], run: Run, windows: Windows) -> str:
    """Why the champion cannot be compared on this window; empty where it can."""
    one, other = champion.recipe, run.recipe.next
    if about["log"] != run.recipe.log:
        return (
            f"it is of another log, {about['log']}; give this one another name with [track] model"
        )
    if (one.days, one.products) != (other.days, other.products):
        return f"it was asked for {one.products} products in {one.days} days, this one for {other.products} in {other.days}"
    if parse(about["until"]) > windows.valid.start:
        return f"it learned until {about['until']}, so it knows the window that is validated; validate on a later one"
    return ""


def _recall_of(
    champion: FittedNext, fitted: FittedNext, run: Run, past: LogPast, facts: Measured
) -> Float64[np.ndarray, "B"]:
    """What the champion's lists, of its own candidates, find for each buyer."""
    pairs, recipe = facts.pairs, champion.recipe
    if (
        plain(replace(recipe, ranker=fitted.recipe.ranker))["sources"]
        != plain(fitted.recipe)["sources"]
        or recipe.seed != fitted.recipe.seed
    ):
        pairs = candidates(
            past,
            recipe,
            rng=replace(run.rng("candidates"), seed=recipe.seed),
            progress=run.said(past.cutoff),
        )
    plan = champion.plan(past, pairs, progress=run.said(past.cutoff))
    return facts.truth.recall(plan.chosen(run.recipe.next.users), run.recipe.next.products)


# -- MLflow -----------------------------------------------------------------------------------------------------------------------


def _track(
    run: Run, store: Tracker, part: Path, metrics: Mapping[str, float], gate: Verdict
) -> dict[str, Any]:
    """A run with everything, a version of the model in the registry, and the alias where the gate promotes it."""
    run.progress("tracking", 0, 1)
    name = run.recipe.model
    fingerprint = read_json(run.folder("train") / "about.json")["fingerprint"]
    tags = {
        "log": run.recipe.log,
        "fingerprint": fingerprint,
        "commit": commit(),
        **{f"version.{k}": v for k, v in versions().items()},
    }
    pairs, columns, _ = learned(run)[-1]
    few = pairs.take(np.flatnonzero(pairs.lengths)[:SAMPLE])
    sample = frame(
        few, {n: c[np.searchsorted(pairs.users, few.users)] for n, c in columns.items()}
    )
    params = {
        "log": run.recipe.log,
        "seed": run.recipe.seed,
        "next": plain(run.recipe.next),
        "windows": asdict(run.recipe.windows),
    }
    params |= {
        "best": read_json(run.folder("tune") / "best.json")["options"],
        "gate": asdict(run.recipe.gate),
    }
    with store.run(run.recipe.log) as run_id:
        store.log(
            params,
            {k: v for k, v in metrics.items() if v is not None},
            tags,
            sorted(part.iterdir()),
        )
        version = store.register(
            name,
            run.folder("train"),
            sample,
            {"promoted": str(gate.promoted).lower(), "log": run.recipe.log},
        )
        if gate.promoted:
            store.promote(name, run.recipe.track.alias, version)
    run.progress("tracking", 1, 1)
    return {
        "run": run_id,
        "model": name,
        "version": version,
        "alias": run.recipe.track.alias if gate.promoted else "",
    }


def tracked_files(run: Run) -> None:
    """Puts the report and the predictions to the run that the validation began, where there is one."""
    file = run.folder("validate") / "tracked.json"
    if not run.recipe.track.on or not file.is_file():
        return
    run.progress("tracking", 0, 1)
    with tracker(run.out) as store, store.run("", read_json(file)["run"]):
        store.files([run.folder("report"), run.folder("predict")])
    run.progress("tracking", 1, 1)


# -- JSON -------------------------------------------------------------------------------------------------------------------------


def _metrics(results: Mapping[str, Any], gate: Verdict) -> dict[str, Any]:
    values = {x["name"]: x["value"] for x in results["lines"]}
    found = {
        "recall": values[RANKER],
        "recall_best_bar": values[results["best_bar"]],
        "recall_ceiling": values["ceiling union"],
    }
    found |= {
        f"recall_{x['name'].replace('chance × recall', 'product')}": x["value"]
        for x in results["lines"]
        if x["kind"] == "choice"
    }
    found = {
        "".join(c if c.isalnum() else "_" for c in k.replace(" %", "pct").replace(",", "")): v
        for k, v in found.items()
    }
    more = {
        "calibration": results["off"],
        "coverage": results["coverage"],
        "seconds_1000_users": results["seconds"],
    }
    return {**found, **more, "buyers": results["buyers"], "promoted": int(gate.promoted)}


def _plain(gate: Verdict) -> dict[str, Any]:
    rails = [{**r._asdict(), "kept": r.kept} for r in gate.rails]
    return {
        "promoted": gate.promoted,
        "reasons": list(gate.reasons),
        "rails": rails,
        "gap": gate.gap and gate.gap._asdict(),
    }


def _json(found: Any) -> str:
    return json.dumps(_finite(found), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
