"""The presentation of next purchase: eight parts, as slides (PPTX, PDF) and as a page, made from what the stages wrote.

OUT/report/index.html, slides.pptx, slides.pdf, plots/*.png. No number in it is written by hand.
"""

import csv
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clickprint.apps.next import figures
from clickprint.apps.next.slides import Part, pdf, pptx, slides
from clickprint.apps.next.stages import READS, Run, Windows, read_json
from clickprint.apps.next.track import flattened
from clickprint.apps.next.tune import BEST, TRIALS
from clickprint.apps.rank.table import Grid
from clickprint.core.dataset import Dataset, Manifest
from clickprint.core.files import write_text
from clickprint.core.time import DAY, show
from clickprint.data.overview import Overview, funnel
from clickprint.recommenders.funnel import FittedNext, retrievers
from clickprint.recommenders.propensity import Propensity
from clickprint.recommenders.ranker import Ranker
from clickprint.report.figure import LOG_PICTURES, Drawn, draw
from clickprint.tasks.board import figure, gap_text
from clickprint.work.facts import Facts, commit, machine, versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What each library is for; those that are not installed are left out.
STACK: Mapping[str, str] = {
    "clickprint": "the stages, the sources of candidates, features, choice, report",
    "duckdb": "tables: reading, splitting, histories",
    "pyarrow": "Parquet files",
    "numpy": "arrays: candidates, features, metrics",
    "lightgbm": "the ranker, and the chance that a user buys",
    "scipy": "calibration",
    "optuna": "search over hyper-parameters",
    "mlflow-skinny": "tracking, registry of models",
    "dvc": "the stages as one DAG with a lock",
    "matplotlib": "pictures, slides as PDF",
    "python-pptx": "slides",
    "jinja2": "the page",
}
PICTURES = {
    "days": "events over time",
    "kinds": "the funnel by kind of event",
    "activity": "how uneven users and items are",
}


def report(run: Run) -> str:
    """Slides and page; what is new goes to the run of MLflow that the validation began."""
    done = run.make("report", lambda part: write(run, part))
    from clickprint.apps.next.validate import tracked_files

    tracked_files(run)
    return f"{done}\npage: {run.folder('report') / 'index.html'}\nslides: {run.folder('report') / 'slides.pptx'}, slides.pdf"


def write(run: Run, folder: Path) -> None:
    run.progress("report", 0, 3)
    title = f"Next purchase: {run.recipe.log}"
    parts, said = _parts(run), _said(run)
    (folder / "plots").mkdir()
    for part in parts:
        for n, (_, drawn) in enumerate(part.pictures, 1):
            (folder / "plots" / f"{part.id}-{n}.png").write_bytes(drawn.png)
    write_text(folder / "index.html", page(title, said, parts))
    run.progress("report", 1, 3)
    pages = list(slides(title, said, parts))
    pptx(pages, folder / "slides.pptx")
    run.progress("report", 2, 3)
    pdf(pages, folder / "slides.pdf")
    run.progress("report", 3, 3)


def page(title: str, said: Sequence[str], parts: Sequence[Part]) -> str:
    """One HTML file that opens without a network; every text is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("clickprint.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = [
        {
            **{k: getattr(p, k) for k in ("id", "heading", "lines", "tables")},
            "pictures": [(c, Markup(d.svg)) for c, d in p.pictures],
        }
        for p in parts
    ]
    return environment.get_template("next.html.j2").render(title=title, said=said, parts=shown)


# -- the eight parts --------------------------------------------------------------------------------------------------------------


def _parts(run: Run) -> list[Part]:
    windows = run.windows()
    file = run.folder("split") / "overview.json"
    found = Overview.from_json(file.read_text("utf-8"), str(file))
    manifest = Dataset.open(run.folder("read")).manifest
    results, gate = (read_json(run.folder("validate") / f"{n}.json") for n in ("results", "gate"))
    fitted = FittedNext.load(run.folder("train") / "fitted")
    return [
        _data(found, manifest),
        _stack(run),
        _method(run, windows, results),
        _treatment(found, manifest, windows),
        _hypotheses(results),
        _algorithms(fitted, results),
        _parameters(run, fitted),
        _results(run, results, gate),
    ]


def _said(run: Run) -> list[str]:
    """What the first page says."""
    results = read_json(run.folder("validate") / "results.json")
    asked = run.recipe.next
    lines = {line.name: line for line in figures.lines_of(results["lines"])}
    best = results["best_bar"]
    said = [
        f"The {asked.products} products that a shopper will buy in the next {asked.days} days, for at most {asked.users:,} shoppers."
    ]
    said.append(
        f"Validation on {results['window'][0][:10]} to {results['window'][1][:10]}, {results['buyers']:,} buyers: mean recall "
        f"{gap_text(lines[results['ranker']].found, 4, sign=False)}; the best naive bar, {best}, "
        f"{gap_text(lines[best].found, 4, sign=False)}."
    )
    return said


def _data(found: Overview, manifest: Manifest) -> Part:
    span = f", from {min(manifest.days)} to {max(manifest.days)}" if manifest.days else ""
    lines = [
        f"{found.name}: {found.events:,} events of {found.users:,} users and {found.items:,} items{span}.",
        f"The catalogue knows {found.catalogue:,} items; {found.unlisted:,} items have events and no row in it.",
        *(
            f"{k.name} ({k.role}): {k.events:,} events by {k.users:,} users about {k.items:,} items"
            for k in funnel(found)
        ),
    ]
    attributes = Grid(
        "what the catalogue says of items",
        ("attribute", "kind", "items that have it", "values"),
        [
            [
                (a.name, ""),
                (a.kind.replace("_", " "), ""),
                (f"{a.items:,}", ""),
                (f"{a.values:,}", ""),
            ]
            for a in found.attributes
        ],
    )
    pictures = _drawn(
        {said: partial(LOG_PICTURES[name], found) for name, said in PICTURES.items()}
    )
    return Part("data", "The data", lines, [attributes] if found.attributes else [], pictures)


def _stack(run: Run) -> Part:
    rows = []
    for package, what in STACK.items():
        try:
            rows.append(
                [
                    (package, ""),
                    (
                        versions()["clickprint"]
                        if package == "clickprint"
                        else metadata.version(package),
                        "",
                    ),
                    (what, ""),
                ]
            )
        except metadata.PackageNotFoundError:
            continue
    costs = []
    for stage in READS:
        told = Facts.read(run.out / "facts" / f"{stage}.json").get("stages", {}).get(stage)
        if told:
            costs.append(
                [(stage, ""), (f"{told['seconds']:,.1f}", ""), (f"{told['peak_mib']:,.0f}", "")]
            )
    on = machine()
    lines = [
        f"Python {versions()['python']} on {on['system']}, {on['cores']} cores, {on['memory_gib']} GiB of memory."
    ]
    lines += [f"clickprint's commit: {commit()}."] if commit() else []
    tables = [
        Grid("libraries", ("library", "version", "for"), rows),
        Grid("what each stage took", ("stage", "seconds", "peak MiB"), costs),
    ]
    return Part("stack", "The stack", lines, [t for t in tables if t.rows])


def _method(run: Run, windows: Windows, results: Mapping[str, Any]) -> Part:
    asked = run.recipe.next
    rows = [[("learned from", ""), (show(w.start), ""), (show(w.end), "")] for w in windows.learn]
    rows += [[("validated", ""), (show(windows.valid.start), ""), (show(windows.valid.end), "")]]
    rows += [
        [
            ("predicted", ""),
            (show(windows.cutoff), ""),
            (show(windows.cutoff + asked.days * DAY), ""),
        ]
    ]
    lines = [
        "Rolling origin: at each cutoff everything (candidates, features, item facts) is made from the log before it, and judged by what "
        "was bought in the days after it. Nothing that is validated is learned from.",
        f"Score: the mean, over all who bought in the window, of the share of their items that are among their {asked.products}. A buyer "
        f"without a list counts 0. At most {asked.users:,} users get one.",
        f"Intervals are 95 %, by the bootstrap over {results['buyers']:,} buyers; differences are paired, on the same resamples.",
    ]
    if len(windows.learn) < windows.asked:
        lines.append(
            f"{windows.asked} windows to learn from were asked for; the log has room for {len(windows.learn)}."
        )
    return Part(
        "method",
        "The method of experiment",
        lines,
        [Grid("windows (UTC)", ("window", "from", "before"), rows)],
    )


def _treatment(found: Overview, manifest: Manifest, windows: Windows) -> Part:
    lines = [
        "The log is read into one form: one row an event with time (UTC), user, kind, item, and what else the source has; every kind has a "
        "role (view, cart, like, remove, buy, …), so that sources and features speak of roles, not of a shop's names.",
        "Rows that cannot be read are counted by reason, never dropped in silence.",
        "The catalogue is taken as it was known at each cutoff: an item that was not yet listed is no candidate then.",
        "Histories are ordered by time, then kind, item and row, so that ties never change a result.",
        f"Log fingerprint {manifest.fingerprint}.",
    ]
    rows = [[(reason, ""), (f"{n:,}", "")] for reason, n in sorted(found.rejected.items()) if n]
    read = [[(k, ""), (v, "")] for k, v in manifest.source.items()]
    tables = [
        Grid("rows that were not read", ("reason", "rows"), rows),
        Grid("what was read", ("", ""), read),
    ]
    return Part("treatment", "How the data were treated", lines, [t for t in tables if t.rows])


def _hypotheses(results: Mapping[str, Any]) -> Part:
    pairs = figures.pairs_of(results["pairs"])
    verdicts = {1: "shown", 0: "not shown", -1: "the opposite is shown"}
    rows = [
        [
            (f"{p.one} finds more than {p.other}", ""),
            (verdicts[p.gap.shown], ""),
            (gap_text(p.gap, 4), ""),
        ]
        for p in pairs
    ]
    shown = sum(p.gap.shown > 0 for p in pairs)
    lines = [
        "Each hypothesis is a paired difference of recall on the validated window; it is shown where the whole interval is above 0: "
        f"{shown} of {len(pairs)}."
    ]
    pictures = _drawn({"paired differences": lambda: figures.differences(pairs)})
    return Part(
        "hypotheses",
        "The hypotheses tested",
        lines,
        [Grid("hypotheses", ("hypothesis", "verdict", "difference"), rows)],
        pictures,
    )


def _algorithms(fitted: FittedNext, results: Mapping[str, Any]) -> Part:
    recipe = fitted.recipe
    lines = [
        "Two stages: several sources give each user a short list, their union is ranked by one model. A place in the submission goes to "
        "whom it is worth most: the chance that he buys × the recall that his list is expected to have."
    ]
    lines += [
        f"Source {name} (at most {k}): {_doc(source)}"
        for name, (source, k) in retrievers(recipe).items()
    ]
    lines += [f"Ranker: {_doc(Ranker)}", f"Chance of a user: {_doc(Propensity)}"]
    lines.append(
        f"{len(fitted.ranker.names)} features of a candidate, {len(fitted.propensity.names)} of a user."
    )
    alone = {
        x.name: x for x in figures.lines_of(results["lines"]) if x.kind in ("source", "ceiling")
    }
    rows = [
        [(n, ""), (figure(x.found.value), f"[{figure(x.found.low)}, {figure(x.found.high)}]")]
        for n, x in alone.items()
    ]
    tables = (
        [
            Grid(
                "recall of the candidates: what no ranking of them can exceed",
                ("source", "recall"),
                rows,
            )
        ]
        if rows
        else []
    )
    pictures = _drawn(
        {
            "ceilings of the candidates": lambda: figures.ceilings(results["ceilings"]),
            "what the ranker uses": lambda: figures.importance(
                fitted.ranker.importance, "share of the gain in the ranker"
            ),
            "what the chance of a user rests on": lambda: figures.importance(
                fitted.propensity.importance, "share of the gain in the chance"
            ),
        }
    )
    return Part("algorithms", "Algorithms and architectures", lines, tables, pictures)


def _parameters(run: Run, fitted: FittedNext) -> Part:
    best = read_json(run.folder("tune") / BEST)
    values = [
        float(r["value"])
        for r in csv.DictReader((run.folder("tune") / TRIALS).open(encoding="utf-8", newline=""))
    ]
    if best["trials"]:
        gain = best["value"] - best["first"]
        lines = [
            f"{best['trials']} trials of Optuna's TPE on {run.recipe.tune.windows} window(s) before the validated one: recall "
            f"{figure(best['value'])} at best, {figure(best['first'])} with the parameters as given ({figure(gain, sign=True)}).",
            *(
                f"{n}: {v:.4g}" if isinstance(v, float) else f"{n}: {v}"
                for n, v in best["options"].items()
            ),
        ]
    else:
        lines = [
            "No search was asked for ([tune] trials = 0): the parameters are those of the file."
        ]
    kept = {
        **{f"ranker.{k}": v for k, v in asdict(fitted.recipe.ranker).items()},
        **{f"propensity.{k}": v for k, v in asdict(fitted.recipe.propensity).items()},
    }
    kept |= flattened({"sources": fitted.recipe.sources, "windows": asdict(run.recipe.windows)})
    rows = [[(k, ""), (str(v), "")] for k, v in kept.items()]
    pictures = _drawn(
        {
            "the search": lambda: figures.history(values),
            "which options matter": lambda: figures.importance(
                best["importance"], "share of what the best trials have in common (PED-ANOVA)"
            ),
        }
    )
    return Part(
        "parameters",
        "The hyper-parameters",
        lines,
        [Grid("parameters of this run", ("parameter", "value"), rows)],
        pictures,
    )


def _results(run: Run, results: Mapping[str, Any], gate: Mapping[str, Any]) -> Part:
    lines_ = figures.lines_of(results["lines"])
    rows = [
        [
            (x.name, ""),
            (figures.KINDS[x.kind][0], ""),
            (figure(x.found.value), f"[{figure(x.found.low)}, {figure(x.found.high)}]"),
        ]
        for x in sorted(lines_, key=lambda x: -x.found.value)
    ]
    lines = [
        f"{results['buyers']:,} of {results['users']:,} known users bought in the window; {results['chosen']:,} users were given a list.",
        f"Chances of users are off by {results['off']:.4g} in the mean (expected calibration error over ten bins).",
        f"Lists show {100 * results['coverage']:.3g} % of the {results['items']:,} known items.",
        f"The lists of 1,000 users take {results['seconds']:.3g} s, from candidates on.",
        f"Gate: {'promoted' if gate['promoted'] else 'not promoted'}"
        + "".join(f"; {r}" for r in gate["reasons"])
        + ".",
    ]
    tables = [Grid("mean recall over all buyers", ("lists", "kind", "recall"), rows)]
    for one in read_json(run.folder("validate") / "examples.json"):
        tables.append(
            _example(
                one,
                f"user {one['user']}: bought {one['items']}, recall {figure(one['recall'], 2)}",
            )
        )
    for one in read_json(run.folder("predict") / "examples.json"):
        tables.append(
            _example(
                one,
                f"predicted for user {one['user']}: chance to buy {figure(one['propensity'], 3)}, expected recall {figure(one['expected'], 3)}",
            )
        )
    pictures = _drawn(
        {
            "recall against the bars": lambda: figures.against(
                [x for x in lines_ if x.kind not in ("source", "ceiling")], results["best_bar"]
            ),
            "calibration": lambda: figures.calibration(results["bins"]),
        }
    )
    return Part("results", "The validation results", lines, tables, pictures)


def _example(one: Mapping[str, Any], title: str) -> Grid:
    rows = [
        [(str(n), ""), (item["title"], ""), ("bought" if item["bought"] else "", "")]
        for n, item in enumerate(one["list"], 1)
    ]
    missed = [t for t in one.get("bought", ()) if t not in {i["title"] for i in one["list"]}]
    rows += [[("", ""), (t, ""), ("bought, not among these", "")] for t in missed]
    return Grid(title, ("place", "item", ""), rows)


def _doc(made: Any) -> str:
    text = inspect.getdoc(made if isinstance(made, type) else type(made)) or ""
    return " ".join(text.split("\n\n")[0].split())


def _drawn(pictures: Mapping[str, "Callable[[], Figure | None]"]) -> list[tuple[str, Drawn]]:
    found = [(said, draw(make, said)) for said, make in pictures.items()]
    return [(said, drawn) for said, drawn in found if drawn is not None]
