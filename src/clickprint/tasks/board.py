"""The board: several profiles over the same tasks, what is shown and what is not, in numbers and in words. See docs/board.md."""

import csv
import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from clickprint.core.errors import ConfigError, DataError
from clickprint.metrics.compare import borda, difference, intervals, rank_intervals
from clickprint.tasks.task import TaskScore

FORMAT = 1
LEFT_OUT = " without "  # an ablation row is named "<joined profile> without <block>"
MANY_DEAD = (
    0.2  # from this share of degenerate labels on, the words say that a score mostly counts zeros
)


class Estimate(NamedTuple):
    """A number and its 95 % interval; NaN bounds where there were no resamples."""

    value: float
    low: float
    high: float


class Gap(NamedTuple):
    """A paired difference a − b, its 95 % interval, and the share of resamples in which a is above b."""

    value: float
    low: float
    high: float
    share: float

    @property
    def shown(self) -> int:
        """1: a is above b, −1: below, 0: neither is shown (the interval holds 0, or there is none)."""
        return int(self.low > 0) - int(self.high < 0)


class Standing(NamedTuple):
    """A profile's Borda points over the counted tasks and its place; ties share the average place."""

    profile: str
    points: float
    place: float
    low: float
    high: float


class Spread(NamedTuple):
    """How one profile does over the hidden tasks: the mean with its interval over users; deviation and quartiles over tasks."""

    tasks: int
    mean: Estimate
    deviation: float
    lower: float
    median: float
    upper: float


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """Scores of several profiles under one probe. Make it with `Board.of`, which checks that they may be compared.

    `scores`: profile → task → score, every profile with the same tasks in the same order. `counted` tasks are summed and ranked; the other
    open ones are only shown, and the hidden ones have their own column. `ablation`: "<joined> without <block>" → task → score.
    """

    probe: Literal["official", "quick"]
    scores: Mapping[str, Mapping[str, TaskScore]]
    counted: tuple[str, ...]
    reference: str
    control: str
    ablation: Mapping[str, Mapping[str, TaskScore]]

    @staticmethod
    def of(
        entries: Mapping[str, Sequence[TaskScore]],
        *,
        reference: str = "counts",
        control: str = "random",
        ablation: Mapping[str, Sequence[TaskScore]] | None = None,
        counted: Collection[str] | None = None,
        common: bool = False,
    ) -> "Board":
        """A board of `entries` (profile → its scores).

        `counted` are the tasks of the sum and the Borda count, all that are not hidden by default. Profiles need the same tasks, unless
        `common` keeps those that all have. Keys of `ablation` are "<profile of entries> without <block>"; its rows need every counted
        task. A `reference` or `control` that is not among the entries is said in `verdicts`, not refused.
        Raises ConfigError with every fault: nothing to show, another probe, question or number of resamples, a task missing or twice.
        """
        faults: list[str] = []
        rows = {name: _by_task(name, scores, faults) for name, scores in entries.items()}
        left_out = {
            name: _by_task(name, scores, faults) for name, scores in (ablation or {}).items()
        }
        if not any(rows.values()):
            raise ConfigError(
                "\n  - ".join(
                    ["there is nothing to put on a board: no profile has a score", *faults]
                )
            )
        tasks = _shared_tasks(rows, common, faults)
        _one_value("probe", [*rows.items(), *left_out.items()], lambda s: s.probe, faults)
        _one_value(
            "number of resamples",
            [*rows.items(), *left_out.items()],
            lambda s: len(s.replicates),
            faults,
        )
        for task in dict.fromkeys(t for row in rows.values() for t in row):
            _one_question(task, {**rows, **left_out}, faults)
        first = next(row for row in rows.values() if row)
        shown = tuple(t for t in tasks if not first[t].hidden) if not faults else ()
        ranked = shown if counted is None else tuple(t for t in shown if t in counted)
        if counted is not None and not faults:
            faults += [
                f"the task {t} is to be counted, but it is not among {', '.join(shown)}"
                for t in counted
                if t not in shown
            ]
        for name, row in left_out.items():
            whole = name.split(LEFT_OUT)[0]
            if LEFT_OUT not in name or whole not in rows:
                faults.append(
                    f'the ablation {name!r}: expected "<profile>{LEFT_OUT}<block>" with one of {", ".join(rows)}'
                )
            if not faults and (lacks := [t for t in ranked if t not in row]):
                faults.append(f"the ablation {name!r} has no score on {', '.join(lacks)}")
        if faults:
            raise ConfigError(
                "these scores cannot stand on one board:\n  - " + "\n  - ".join(faults)
            )
        return Board(
            probe=first[tasks[0]].probe,
            scores={name: {t: row[t] for t in tasks} for name, row in rows.items()},
            counted=ranked,
            reference=reference,
            control=control,
            ablation={
                name: {t: row[t] for t in tasks if t in row} for name, row in left_out.items()
            },
        )

    # -- what is on it ----------------------------------------------------------------------------------------------------------

    @property
    def profiles(self) -> tuple[str, ...]:
        """In the order they were given."""
        return tuple(self.scores)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that are not hidden."""
        return tuple(t for t, s in self._first.items() if not s.hidden)

    @property
    def hidden(self) -> tuple[str, ...]:
        return tuple(t for t, s in self._first.items() if s.hidden)

    @property
    def resamples(self) -> int:
        return len(next(iter(self._first.values())).replicates)

    def about(self, task: str) -> TaskScore:
        """One profile's score of the task, for what all profiles share: users, labels, degenerate, about."""
        return self._first[task]

    @property
    def _first(self) -> Mapping[str, TaskScore]:
        return next(iter(self.scores.values()))

    # -- numbers ----------------------------------------------------------------------------------------------------------------

    def score(self, profile: str, task: str) -> Estimate:
        found = self._row(profile)[task]
        return _estimate(found.score, found.replicates)

    def live(self, profile: str, task: str) -> Estimate:
        """Over live labels only; NaN where there is none."""
        found = self._row(profile)[task]
        return _estimate(found.live, found.live_replicates)

    def total(self, profile: str) -> Estimate:
        """The sum over the counted tasks."""
        return _estimate(*self._sum(profile))

    def standings(self) -> list[Standing]:
        """Best first: Borda points over the counted tasks; the intervals of the places remake the whole count in every resample."""
        if not self.counted:
            return []
        values = np.array([[row[t].score for t in self.counted] for row in self.scores.values()])
        points, place = borda(values)
        bounds = np.full((2, len(place)), np.nan)
        if self.resamples:
            bounds = np.stack(
                rank_intervals(
                    np.array(
                        [[row[t].replicates for t in self.counted] for row in self.scores.values()]
                    )
                )
            )
        found = [
            Standing(*r)
            for r in zip(
                self.profiles, *(a.tolist() for a in (points, place, *bounds)), strict=True
            )
        ]
        return sorted(found, key=lambda s: (s.place, self.profiles.index(s.profile)))

    def gap(self, profile: str, other: str, task: str | None = None) -> Gap:
        """How much `profile` is above `other` on a task, or in the sum over the counted tasks; pairs of the same resample."""
        (a, a_replicates), (b, b_replicates) = (self._pair(p, task) for p in (profile, other))
        return _gap(a, b, a_replicates, b_replicates)

    def spread(self, profile: str) -> Spread | None:
        """Over the hidden tasks; None where there are none (or this ablation row was not asked them)."""
        found = [s for s in self._row(profile).values() if s.hidden]
        if not found:
            return None
        values = np.array([s.score for s in found])
        lower, median, upper = (float(v) for v in np.percentile(values, [25, 50, 75]))
        return Spread(
            len(found),
            _estimate(*self._hidden(profile)),
            float(values.std()),
            lower,
            median,
            upper,
        )

    def hidden_gap(self, profile: str, other: str) -> Gap:
        """How much `profile` is above `other` in the mean over the hidden tasks."""
        (a, a_replicates), (b, b_replicates) = self._hidden(profile), self._hidden(other)
        return _gap(a, b, a_replicates, b_replicates)

    def costs(self) -> list[tuple[str, str, Gap, dict[str, Gap]]]:
        """The ablation: (joined profile, block left out, difference in the sum, difference on each counted task), dearest block first.

        A difference is that of the row without the block to the whole profile: below 0 means that the block helps.
        """
        found = []
        for name in self.ablation:
            whole, block = name.split(LEFT_OUT, 1)
            found.append(
                (
                    whole,
                    block,
                    self.gap(name, whole),
                    {t: self.gap(name, whole, t) for t in self.counted},
                )
            )
        return sorted(found, key=lambda c: (c[0], c[2].value, c[1]))

    def _row(self, name: str) -> Mapping[str, TaskScore]:
        row = self.scores.get(name, self.ablation.get(name))
        if row is None:
            raise ConfigError(
                f"no profile {name!r} on this board; it has {', '.join([*self.scores, *self.ablation])}"
            )
        return row

    def _pair(self, name: str, task: str | None) -> tuple[float, Float[np.ndarray, "R"]]:
        if task is None:
            return self._sum(name)
        return self._row(name)[task].score, self._row(name)[task].replicates

    def _sum(self, name: str) -> tuple[float, Float[np.ndarray, "R"]]:
        found = [self._row(name)[t] for t in self.counted]
        return float(sum(s.score for s in found)), np.sum(
            [s.replicates for s in found] or np.zeros((1, self.resamples)), axis=0
        )

    def _hidden(self, name: str) -> tuple[float, Float[np.ndarray, "R"]]:
        found = [s for s in self._row(name).values() if s.hidden]
        return float(np.mean([s.score for s in found])), np.mean(
            [s.replicates for s in found], axis=0
        )

    def __str__(self) -> str:
        """The board as plain text, best profile first: each task's score, the sum, the hidden tasks' mean; then the words."""
        order = [s.profile for s in self.standings()] or list(self.profiles)
        lines = [["", *order]]
        lines += [[t, *(figure(self.scores[p][t].score) for p in order)] for t in self.tasks]
        if self.counted:
            lines.append(["sum", *(figure(self.total(p).value) for p in order)])
        if self.hidden:
            lines.append(
                [
                    f"mean of {len(self.hidden)} hidden",
                    *(figure(self._hidden(p)[0]) for p in order),
                ]
            )
        widths = [max(len(line[i]) for line in lines) for i in range(len(order) + 1)]
        table = [
            "  ".join(
                [
                    line[0].ljust(widths[0]),
                    *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)),
                ]
            )
            for line in lines
        ]
        return "\n".join([f"{self.probe} probe", *table, *(f"- {v}" for v in self.verdicts())])

    # -- words ------------------------------------------------------------------------------------------------------------------

    def verdicts(self) -> list[str]:
        """What the numbers show and what they do not, one sentence or two each: baseline, control, dead labels, hidden tasks, blocks."""
        words = self._leader()
        for role, other in (("reference", self.reference), ("control", self.control)):
            if other not in self.scores:
                words.append(
                    f"There is no profile called {other} on this board, so nothing is compared with the {role}."
                )
                continue
            # The control is no contender: that the baseline is above it says the same.
            against = [p for p in self.profiles if p != other and p != self.control]
            words += self._against(against, other, brief=role == "control") if self.counted else []
        words += [w for t in self.tasks if (w := self._dead(t))]
        words += self._twice()
        words += self._hidden_words() + self._ablation_words()
        if self.resamples:
            words.append(
                f"Each interval is for one comparison ({self.resamples} resamples); of twenty differences that do not exist, one is shown."
            )
        else:
            words.append("No resamples were made, so no difference is shown to be more than luck.")
        return words

    def _leader(self) -> list[str]:
        if len(self.scores) < 2 or not self.counted:
            return []
        order = self.standings()
        best = [s for s in order if s.place == order[0].place]
        names = _and([s.profile for s in best])
        most = (len(self.scores) - 1) * len(self.counted)
        said = f"{names} {'have' if len(best) > 1 else 'has'} the most Borda points: {best[0].points:g} of {most}"
        if len(best) == 1 and np.isfinite(best[0].low):
            said += f", place {_place(best[0].low, best[0].high)}"
        return [said + "."]

    def _against(self, profiles: Sequence[str], other: str, brief: bool) -> list[str]:
        """A sentence a profile; with `brief`, those that are above `other` everywhere share one."""
        clear = [
            p
            for p in profiles
            if brief and all(self.gap(p, other, t).shown > 0 for t in (*self.counted, None))
        ]
        words = [self._versus(p, other) for p in profiles if len(clear) < 2 or p not in clear]
        on = f"all {len(self.counted)} tasks" if len(self.counted) > 1 else self.counted[0]
        return (
            [f"{_and(clear)} beat {other} on {on} and in the sum.", *words]
            if len(clear) > 1
            else words
        )

    def _versus(self, profile: str, other: str) -> str:
        gaps = {t: self.gap(profile, other, t) for t in self.counted}
        whole = self.gap(profile, other)
        many = len(gaps)
        if not self.resamples:
            above = sum(g.value > 0 for g in gaps.values())
            return f"{profile} is above {other} on {above} of {many} tasks; in the sum by {figure(whole.value, 3, sign=True)}."
        won = [t for t, g in gaps.items() if g.shown > 0]
        lost = [t for t, g in gaps.items() if g.shown < 0]
        still = [t for t, g in gaps.items() if g.shown == 0]
        if won:
            on = f"all {many} tasks" if len(won) == many > 1 else f"{len(won)} of {many} tasks"
            in_sum = {
                1: "and in the sum",
                0: "but not in the sum",
                -1: "but is below it in the sum",
            }[whole.shown]
            said = f"{profile} beats {other} on {on} {in_sum}"
        elif whole.shown > 0:
            said = f"{profile} beats {other} in the sum, but on no single task"
        elif len(lost) == many and whole.shown < 0:
            on = f"all {many} tasks and in the sum" if many > 1 else self.counted[0]
            return f"{profile} is below {other} on {on} ({gap_text(whole)})."
        else:
            said = f"{profile} does not beat {other} on any task {'nor' if whole.shown == 0 else 'and is below it'} in the sum"
        said += f" ({gap_text(whole)})."
        if lost:
            said += f" Worse on {_where(lost, gaps)}."
        if still and (
            len(still) < many or many == 1
        ):  # where nothing at all is shown, the sum's interval says it
            said += f" Not shown on {_where(still, gaps)}."
        return said

    def _dead(self, task: str) -> str:
        score = self._first[task]
        if score.labels and score.degenerate < MANY_DEAD * score.labels:
            return ""
        alive = score.labels - score.degenerate
        if not alive:
            return f"{task}: no label has both answers in the validation window, so its score says nothing."
        dead = f"each of the other {score.degenerate} counts 0, so read the live score."
        return f"{task}: only {alive} of {score.labels} labels are live; {dead}"

    def _twice(self) -> list[str]:
        """Counted tasks that are one question under two names, as churn and conversion are where everyone has bought before."""
        same: dict[str, list[str]] = {}
        for task in self.counted:
            same.setdefault(self._first[task].question, []).append(task)
        shared = [tasks for tasks in same.values() if len(tasks) > 1]
        return [
            f"{_and(t)} are one question here, asked of the same users: it counts {len(t)} times."
            for t in shared
        ]

    def _hidden_words(self) -> list[str]:
        """One sentence each for the profiles above, not shown above and below the baseline on the mean over the hidden tasks."""
        if not self.hidden:
            return []
        means = {p: figure(_estimate(*self._hidden(p)).value, 3) for p in self.profiles}
        over = f"Over {len(self.hidden)} hidden tasks"
        if self.reference not in self.scores:
            return [
                f"{over} the means are " + _and([f"{m} ({p})" for p, m in means.items()]) + "."
            ]
        others = {
            p: self.hidden_gap(p, self.reference)
            for p in self.profiles
            if p not in (self.reference, self.control)
        }
        words = (
            []
            if others
            else [f"{over} the means are " + _and([f"{m} ({p})" for p, m in means.items()]) + "."]
        )
        for shown, said in ((1, "above"), (0, "not shown to be above"), (-1, "below")):
            named = [
                f"{p} ({means[p]}, {gap_text(g)})" for p, g in others.items() if g.shown == shown
            ]
            if named:
                verb = "are" if len(named) > 1 else "is"
                words.append(
                    f"{over} {_and(named)} {verb} {said} {self.reference} ({means[self.reference]})."
                )
        return words

    def _ablation_words(self) -> list[str]:
        words = []
        for whole, block, gap, _ in self.costs():
            lost = Gap(-gap.value, -gap.high, -gap.low, 1 - gap.share)
            if lost.shown > 0:
                words.append(
                    f"{whole} without {block} loses {gap_text(lost, sign=False)} in the sum: {block} helps."
                )
            elif lost.shown < 0:
                words.append(
                    f"{whole} without {block} gains {gap_text(gap, sign=False)} in the sum: {block} does harm."
                )
            else:
                words.append(
                    f"That {block} helps {whole} is not shown: without it the sum changes by {gap_text(gap)}."
                )
        return words

    # -- files ------------------------------------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """The whole table, long: one row a profile (or ablation row) and task, and its `sum` and `hidden mean`. NaN is None.

        `row` is task, hidden, sum or hidden mean; `above` and its bounds are the paired difference to the baseline, or to the whole profile
        for an ablation row.
        """
        places = {s.profile: s for s in self.standings()}
        out = []
        for name, row in [*self.scores.items(), *self.ablation.items()]:
            other = name.split(LEFT_OUT)[0] if name in self.ablation else self.reference
            for task, s in row.items():
                gap = self.gap(name, other, task) if other in self.scores else None
                head = _record(
                    name, "hidden" if s.hidden else "task", task, self.score(name, task), gap
                )
                live = self.live(name, task)
                out.append(
                    {
                        **head,
                        "users": s.users,
                        "labels": s.labels,
                        "degenerate": s.degenerate,
                        **_triple("live", live),
                    }
                )
            if self.counted:
                gap = self.gap(name, other) if other in self.scores else None
                place = places.get(name)
                extra = place and {
                    "points": place.points,
                    **_triple("place", Estimate(place.place, place.low, place.high)),
                }
                out.append({**_record(name, "sum", "", self.total(name), gap), **(extra or {})})
            if (spread := self.spread(name)) is not None:
                gap = self.hidden_gap(name, other) if other in self.scores else None
                quartiles = {
                    "deviation": spread.deviation,
                    "lower": spread.lower,
                    "median": spread.median,
                    "upper": spread.upper,
                }
                out.append({**_record(name, "hidden mean", "", spread.mean, gap), **quartiles})
        return [{c: _number(r.get(c)) for c in COLUMNS} for r in out]

    def to_csv(self) -> str:
        """`rows` as CSV, numbers in full, empty where there is none."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        return text.getvalue()

    def to_json(self) -> str:
        """Everything, resamples included, so that `from_json` loses nothing; `table` and `verdicts` are there for other readers."""
        raw = {
            "format": FORMAT,
            "probe": self.probe,
            "reference": self.reference,
            "control": self.control,
            "counted": list(self.counted),
            "verdicts": self.verdicts(),
            "table": self.rows(),
            "scores": {
                name: [_to_dict(s) for s in row.values()] for name, row in self.scores.items()
            },
            "ablation": {
                name: [_to_dict(s) for s in row.values()] for name, row in self.ablation.items()
            },
        }
        return json.dumps(raw, ensure_ascii=False, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str, where: str = "board.json") -> "Board":
        """Raises DataError when the text is not a board of this format, ConfigError when its scores may not stand together."""
        try:
            raw = json.loads(text)
            if raw["format"] != FORMAT:
                raise DataError(
                    where,
                    [
                        f"found format {raw['format']!r}, expected {FORMAT}; make the board again with `clickprint board`"
                    ],
                )
            scores, ablation = (
                {n: [_from_dict(s) for s in row] for n, row in raw[part].items()}
                for part in ("scores", "ablation")
            )
            reference, control, counted = (
                str(raw["reference"]),
                str(raw["control"]),
                [str(t) for t in raw["counted"]],
            )
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            raise DataError(
                where,
                [f"not a clickprint board ({fault!r}); make it again with `clickprint board`"],
            ) from None
        return Board.of(
            scores, reference=reference, control=control, ablation=ablation, counted=counted
        )


COLUMNS = (
    *(
        "profile",
        "row",
        "task",
        "users",
        "labels",
        "degenerate",
        "score",
        "score_low",
        "score_high",
        "live",
        "live_low",
        "live_high",
    ),
    *(
        "above",
        "above_low",
        "above_high",
        "above_share",
        "points",
        "place",
        "place_low",
        "place_high",
    ),
    *("deviation", "lower", "median", "upper"),
)


def figure(value: float, digits: int = 4, *, sign: bool = False) -> str:
    """`.7123`, `1.2000`, `−.0041`, `+.0123` with `sign`; – for NaN. A zero in front of the point is left out, the minus is a minus."""
    if not np.isfinite(value):
        return "–"
    text = f"{abs(value):.{digits}f}"
    negative = value < 0 and float(text) != 0
    return ("−" if negative else "+" if sign else "") + text.removeprefix("0")


def gap_text(gap: Gap | Estimate, digits: int = 3, *, sign: bool = True) -> str:
    """`+.083 [.061, .104]`"""
    bounds = (
        f" [{figure(gap.low, digits)}, {figure(gap.high, digits)}]" if np.isfinite(gap.low) else ""
    )
    return figure(gap.value, digits, sign=sign) + bounds


def _where(tasks: Sequence[str], gaps: Mapping[str, Gap], most: int = 3) -> str:
    """The tasks, with their differences where they are few."""
    return _and([f"{t} ({gap_text(gaps[t])})" if len(tasks) <= most else t for t in tasks])


def _place(low: float, high: float) -> str:
    return f"{low:g}" + (f" to {high:g}" if low != high else "") + " in 95 % of the resamples"


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _estimate(value: float, replicates: Float[np.ndarray, "R"]) -> Estimate:
    low, high = intervals(replicates) if len(replicates) else (np.nan, np.nan)
    return Estimate(float(value), float(low), float(high))


def _gap(
    a: float, b: float, a_replicates: Float[np.ndarray, "R"], b_replicates: Float[np.ndarray, "R"]
) -> Gap:
    return Gap(float(a - b), *difference(a_replicates, b_replicates))


# -- may they stand together? -----------------------------------------------------------------------------------------------------


def _by_task(name: str, scores: Sequence[TaskScore], faults: list[str]) -> dict[str, TaskScore]:
    row = {s.task: s for s in scores}
    if not row:
        faults.append(f"the profile {name} has no score")
    if len(row) < len(scores):
        twice = sorted({s.task for s in scores if sum(o.task == s.task for o in scores) > 1})
        faults.append(
            f"the profile {name} has more than one score on {', '.join(twice)}; keep one"
        )
    return row


def _shared_tasks(
    rows: Mapping[str, Mapping[str, TaskScore]], common: bool, faults: list[str]
) -> list[str]:
    """The tasks that every profile has, in the first profile's order."""
    everything = list(dict.fromkeys(t for row in rows.values() for t in row))
    shared = [t for t in everything if all(t in row for row in rows.values())]
    if not common:
        for name, row in rows.items():
            lacks = [t for t in everything if t not in row]
            if lacks and row:
                faults.append(
                    f"the profile {name} has no score on {_few(lacks)}; score it there, or keep only the tasks that all profiles share"
                )
    elif not shared:
        faults.append("the profiles share no task")
    return shared


def _one_value(
    what: str, rows: list[tuple[str, dict[str, TaskScore]]], of: Any, faults: list[str]
) -> None:
    who: dict[Any, list[str]] = {}
    for name, row in rows:
        for value in dict.fromkeys(of(s) for s in row.values()):
            who.setdefault(value, []).append(name)
    if len(who) > 1:
        found = "; ".join(f"{value} for {_few(names)}" for value, names in who.items())
        faults.append(f"found more than one {what} ({found}), expected one; make a board for each")


def _one_question(
    task: str, rows: Mapping[str, Mapping[str, TaskScore]], faults: list[str]
) -> None:
    def asked(s: TaskScore) -> tuple[object, ...]:
        return s.question, s.users, s.labels, s.degenerate, s.hidden

    groups: dict[tuple[object, ...], list[str]] = {}
    for name, row in rows.items():
        if task in row:
            groups.setdefault(asked(row[task]), []).append(name)
    if len(groups) > 1:
        found = " | ".join(_few(names) for names in groups.values())
        faults.append(
            f"{task} is not the same question to all (other users, targets or marks): {found}; score them on one split"
        )


def _few(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (
        f" and {len(names) - most} more" if len(names) > most else ""
    )


# -- to and from files ------------------------------------------------------------------------------------------------------------


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _triple(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _record(profile: str, row: str, task: str, found: Estimate, gap: Gap | None) -> dict[str, Any]:
    above = (
        {
            "above": gap.value,
            "above_low": gap.low,
            "above_high": gap.high,
            "above_share": gap.share,
        }
        if gap
        else {}
    )
    return {"profile": profile, "row": row, "task": task, **_triple("score", found), **above}


def _to_dict(score: TaskScore) -> dict[str, Any]:
    """Plain JSON: null stands for NaN (an infinite number has no place in a score)."""
    raw = {f.name: getattr(score, f.name) for f in fields(score)}
    return {
        n: _plain(v.astype(np.float64).tolist() if isinstance(v, np.ndarray) else v)
        for n, v in raw.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return _number(float(value) if isinstance(value, np.floating) else value)


def _from_dict(raw: Mapping[str, Any]) -> TaskScore:
    def number(value: Any) -> float:
        return float("nan") if value is None else float(value)

    def numbers(values: Mapping[str, Any]) -> dict[str, float]:
        return {k: number(v) for k, v in values.items()}

    probe: str = raw["probe"]
    replicates, live_replicates = (
        np.array([number(v) for v in raw[n]], np.float64)
        for n in ("replicates", "live_replicates")
    )
    if probe not in ("official", "quick"):
        raise ValueError(f"probe {probe!r}")
    if len(replicates) != len(live_replicates):
        raise ValueError(
            f"{len(replicates)} resamples of the score but {len(live_replicates)} of the live score"
        )
    return TaskScore(
        task=str(raw["task"]),
        probe=probe,  # type: ignore[arg-type]
        question=str(raw["question"]),
        users=int(raw["users"]),
        labels=int(raw["labels"]),
        degenerate=int(raw["degenerate"]),
        score=number(raw["score"]),
        live=number(raw["live"]),
        metrics=numbers(raw["metrics"]),
        live_marks=numbers(raw["live_marks"]),
        epochs=tuple(numbers(e) for e in raw["epochs"]),
        best_epoch=int(raw["best_epoch"]),
        hidden=bool(raw["hidden"]),
        about=str(raw["about"]),
        replicates=replicates,
        live_replicates=live_replicates,
    )
