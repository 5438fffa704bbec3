"""The board: scores of several profiles on the same tasks, in numbers and in words.

What a difference shows, and what it does not, is said by paired intervals. See docs/board.md.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.forms import json_of
from clickprint.core.text import csv_text, figure, finite, json_text, listed, number
from clickprint.metrics.compare import Estimate, Gap, borda, by_chance, place_intervals
from clickprint.tasks.task import Controls, TaskScore

FORMAT = 3
MANY_DEAD = 0.2  # from this share of degenerate labels on, the words warn about a score


class Without(NamedTuple):
    """A row of the ablation: a joined profile without one of its blocks."""

    profile: str
    block: str

    def __str__(self) -> str:
        return f"{self.profile} without {self.block}"


class Floor(NamedTuple):
    """The control of a profile: random vectors of its width, under the same probe."""

    profile: str

    def __str__(self) -> str:
        return f"random vectors of the width of {self.profile}"


class HeldOut(NamedTuple):
    """A profile on one half of the users, by a probe that learned from the other half.

    Its scores are over live labels: half of the users leave more labels without a positive.
    """

    profile: str

    def __str__(self) -> str:
        return f"{self.profile} on other users"


Row = str | Without | Floor | HeldOut  # what has a score on each task


class Cost(NamedTuple):
    """What leaving a block out changes: in the sum, and on each counted task.

    Below 0 the block helps: the differences are of the row without it to the whole profile.
    """

    row: Without
    total: Gap
    tasks: dict[str, Gap]


class Standing(NamedTuple):
    """A profile's Borda points over the counted tasks, and its place with the 95 % interval.

    Places are whole numbers; the bounds are NaN without resamples.
    """

    profile: str
    points: float
    place: int
    low: float
    high: float

    @property
    def estimate(self) -> Estimate:
        """The place; profiles with equal points share the better one."""
        return Estimate(self.place, self.low, self.high)


class Spread(NamedTuple):
    """How one profile does over the hidden tasks.

    The mean has an interval over users; deviation and quartiles are over tasks.
    """

    tasks: int
    mean: Estimate
    deviation: float
    lower: float
    median: float
    upper: float


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """Scores of several profiles under one probe; `Board.of` makes it and checks them.

    - `scores`: profile → task → score; every profile has the same tasks in the same order.
    - `counted`: the tasks that are summed and ranked; other tasks are only shown.
    - `reference`, `control`: the profiles that the words compare with.
    - `ablation`: a joined profile without a block → task → score.
    """

    probe: Literal["official", "quick"]
    scores: Mapping[str, Mapping[str, TaskScore]]
    counted: tuple[str, ...]
    reference: str
    control: str
    ablation: Mapping[Without, Mapping[str, TaskScore]]

    @staticmethod
    def of(
        entries: Mapping[str, Sequence[TaskScore]],
        *,
        reference: str = "counts",
        control: str = "random",
        ablation: Mapping[Without, Sequence[TaskScore]] | None = None,
        counted: Collection[str] | None = None,
        common: bool = False,
    ) -> "Board":
        """A board of `entries`: profile → its scores.

        - `counted`: the tasks of the sum and the Borda count; all that are not hidden by default.
        - `common`: keep the tasks that all profiles have, instead of refusing other sets.
        - `ablation`: rows of profiles among the entries; they need every counted task.
        - `reference`, `control`: where one is not among the entries, `verdicts` says so.

        Raises ConfigError with every fault: nothing to show, another probe, question or number of
        resamples, a task missing or twice.
        """
        faults: list[str] = []
        rows = {name: _by_task(name, scores, faults) for name, scores in entries.items()}
        left_out = {n: _by_task(n, scores, faults) for n, scores in (ablation or {}).items()}
        if not any(rows.values()):
            said = "there is nothing to put on a board: no profile has a score"
            raise ConfigError("\n  - ".join([said, *faults]))
        every: list[_Named] = [*rows.items(), *left_out.items()]
        tasks = _shared_tasks(rows, common, faults)
        _one_value("probe", every, lambda s: s.probe, faults)
        _one_value("number of resamples", every, lambda s: len(s.replicates), faults)
        for task in dict.fromkeys(t for row in rows.values() for t in row):
            _one_question(task, every, faults)
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
            if name.profile not in rows:
                known = ", ".join(rows)
                faults.append(f"the ablation {name}: expected one of the profiles {known}")
            if not faults and (lacks := [t for t in ranked if t not in row]):
                faults.append(f"the ablation {name} has no score on {', '.join(lacks)}")
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
            ablation={n: {t: row[t] for t in tasks if t in row} for n, row in left_out.items()},
        )

    # -- what is on it -----------------------------------------------------------------------

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
        """What all profiles share of a task: its users, labels, degenerate labels, question."""
        return self._first[task]

    @property
    def controlled(self) -> bool:
        """Whether each profile has its `Floor` and its `HeldOut`: the quick probe makes them."""
        return all(s.controls is not None for row in self.scores.values() for s in row.values())

    @property
    def _first(self) -> Mapping[str, TaskScore]:
        return next(iter(self.scores.values()))

    @property
    def order(self) -> list[str]:
        """The profiles, the best first; as they were given where no task is counted."""
        return [s.profile for s in self.standings()] or list(self.profiles)

    # -- numbers -----------------------------------------------------------------------------

    def score(self, profile: Row, task: str) -> Estimate:
        """A profile's score on a task, or that of its control."""
        found = self._row(profile)[task]
        return Estimate.of(found.score, found.replicates)

    def live(self, profile: str | Without, task: str) -> Estimate:
        """A profile's score over live labels only; NaN where there is none."""
        found = self._row(profile)[task]
        return Estimate.of(found.live, found.live_replicates)

    def total(self, profile: Row) -> Estimate:
        """The sum over the counted tasks."""
        return Estimate.of(*self._sum(profile))

    def standings(self) -> list[Standing]:
        """Borda points over the counted tasks, best first.

        The intervals of the places remake the whole count in every resample.
        """
        if not self.counted:
            return []
        rows = [[row[t] for t in self.counted] for row in self.scores.values()]
        points, place = borda(np.array([[s.score for s in row] for row in rows]))
        bounds = np.full((2, len(place)), np.nan)
        if self.resamples:
            replicates = np.array([[s.replicates for s in row] for row in rows])
            bounds = np.stack(place_intervals(place, replicates))
        columns = (a.tolist() for a in (points, place, *bounds))
        found = [Standing(*r) for r in zip(self.profiles, *columns, strict=True)]
        return sorted(found, key=lambda s: (s.place, self.profiles.index(s.profile)))

    def gap(self, profile: Row, other: Row, task: str | None = None) -> Gap:
        """How much `profile` is above `other` on a task; in the sum where none is named."""
        (a, a_replicates), (b, b_replicates) = (self._pair(p, task) for p in (profile, other))
        return Gap.of(a, b, a_replicates, b_replicates)

    def spread(self, profile: str | Without) -> Spread | None:
        """Over the hidden tasks; None where the row was not asked any."""
        found = [s for s in self._row(profile).values() if s.hidden]
        if not found:
            return None
        values = np.array([s.score for s in found])
        quartiles = (float(v) for v in np.percentile(values, [25, 50, 75]))
        mean = Estimate.of(*self._hidden(profile))
        return Spread(len(found), mean, float(values.std()), *quartiles)

    def hidden_gap(self, profile: Row, other: Row) -> Gap:
        """How much `profile` is above `other` in the mean over the hidden tasks."""
        (a, a_replicates), (b, b_replicates) = self._hidden(profile), self._hidden(other)
        return Gap.of(a, b, a_replicates, b_replicates)

    def costs(self) -> list[Cost]:
        """The ablation, the dearest block of a profile first."""
        found = [
            Cost(
                row,
                self.gap(row, row.profile),
                {t: self.gap(row, row.profile, t) for t in self.counted},
            )
            for row in self.ablation
        ]
        return sorted(found, key=lambda c: (c.row.profile, c.total.value, c.row.block))

    def _row(self, name: Row) -> Mapping[str, TaskScore]:
        if isinstance(name, Floor | HeldOut):
            return {t: _control(name, s) for t, s in self._row(name.profile).items()}
        row = self.ablation.get(name) if isinstance(name, Without) else self.scores.get(name)
        if row is None:
            known = ", ".join(map(str, [*self.scores, *self.ablation]))
            raise ConfigError(f"no profile {str(name)!r} on this board; it has {known}")
        return row

    def _pair(self, name: Row, task: str | None) -> tuple[float, Float[np.ndarray, "R"]]:
        if task is None:
            return self._sum(name)
        return self._row(name)[task].score, self._row(name)[task].replicates

    def _sum(self, name: Row) -> tuple[float, Float[np.ndarray, "R"]]:
        found = [self._row(name)[t] for t in self.counted]
        replicates = [s.replicates for s in found] or np.zeros((1, self.resamples))
        return float(sum(s.score for s in found)), np.sum(replicates, axis=0)

    def _hidden(self, name: Row) -> tuple[float, Float[np.ndarray, "R"]]:
        found = [s for s in self._row(name).values() if s.hidden]
        mean = float(np.mean([s.score for s in found]))
        return mean, np.mean([s.replicates for s in found], axis=0)

    def __str__(self) -> str:
        """The board as plain text, best profile first: scores ± half an interval, and words."""

        def cell(found: Estimate) -> str:
            half = f" ±{figure(found.half)}" if np.isfinite(found.half) else ""
            return figure(found.value) + half

        order = self.order
        lines = [["", *order]]
        lines += [[t, *(cell(self.score(p, t)) for p in order)] for t in self.tasks]
        if self.counted:
            lines.append(["sum", *(cell(self.total(p)) for p in order)])
        if self.hidden:
            means = (cell(Estimate.of(*self._hidden(p))) for p in order)
            lines.append([f"mean of {len(self.hidden)} hidden", *means])
        widths = [max(len(line[i]) for line in lines) for i in range(len(order) + 1)]
        table = []
        for name, *cells in lines:
            texts = (c.rjust(w) for c, w in zip(cells, widths[1:], strict=True))
            table.append("  ".join([name.ljust(widths[0]), *texts]))
        return "\n".join([f"{self.probe} probe", *table, *(f"- {v}" for v in self.verdicts())])

    # -- words -------------------------------------------------------------------------------

    def verdicts(self) -> list[str]:
        """What the numbers show and what they do not, one or two sentences each."""
        words = self._leader()
        roles = {"reference": self.reference, "control": self.control}
        if self.controlled:
            del roles["control"]
        for role, other in roles.items():
            if other not in self.scores:
                words.append(
                    f"There is no profile called {other} on this board, so nothing is compared"
                    f" with the {role}."
                )
                continue
            # The control is no contender: that the reference is above it says the same.
            against = [p for p in self.profiles if p not in (other, self.control)]
            words += self._against(against, other, brief=role == "control") if self.counted else []
        words += self._control_words()
        words += [w for t in self.tasks if (w := self._dead(t))]
        words += self._twice()
        words += self._hidden_words() + self._ablation_words()
        if self.resamples:
            words += [f"{said}." for said in [by_chance(self._differences())] if said]
        else:
            words.append("No resamples were made, so no difference is shown to be more than luck.")
        return words

    def _leader(self) -> list[str]:
        if len(self.scores) < 2 or not self.counted:
            return []
        order = self.standings()
        best = [s for s in order if s.place == order[0].place]
        names = listed([s.profile for s in best])
        most = (len(self.scores) - 1) * len(self.counted)
        verb = "have" if len(best) > 1 else "has"
        said = f"{names} {verb} the most Borda points: {best[0].points:g} of {most}"
        if len(best) == 1 and np.isfinite(best[0].low):
            said += f", place {_place(best[0].low, best[0].high)}"
        return [said + "."]

    def _against(self, profiles: Sequence[str], other: str | None, brief: bool) -> list[str]:
        """A sentence a profile; with `brief`, those above `other` everywhere share one.

        Without `other` each profile is compared with its own `Floor`.
        """
        rivals: dict[str, Row] = {p: Floor(p) if other is None else other for p in profiles}
        clear = [
            p
            for p, rival in rivals.items()
            if brief and all(self.gap(p, rival, t).shown > 0 for t in (*self.counted, None))
        ]
        words = [
            self._versus(p, rival)
            for p, rival in rivals.items()
            if len(clear) < 2 or p not in clear
        ]
        on = f"all {len(self.counted)} tasks" if len(self.counted) > 1 else self.counted[0]
        said = "random vectors of their widths" if other is None else other
        return (
            [f"{listed(clear)} beat {said} on {on} and in the sum.", *words]
            if len(clear) > 1
            else words
        )

    def _control_words(self) -> list[str]:
        """Each profile beside random vectors of its width, and on users not learned from."""
        if not (self.controlled and self.counted):
            return []
        own = [p for p in self.profiles if p != self.control]
        words = self._against(own, None, brief=True)
        against = [p for p in own if p != self.reference]
        if self.reference not in self.scores or not against:
            return words
        gaps = {p: self.gap(HeldOut(p), HeldOut(self.reference)) for p in against}
        for shown, said in ((1, "above"), (0, "not shown to be above"), (-1, "below")):
            named = [f"{p} ({g.text()})" for p, g in gaps.items() if g.shown == shown]
            if named:
                verb = "are" if len(named) > 1 else "is"
                words.append(
                    f"On users that the probe did not learn from, {listed(named)} {verb} {said}"
                    f" {self.reference} in the sum."
                )
        return words

    def _differences(self) -> int:
        """How many differences the words rest on."""
        contenders = [p for p in self.profiles if p not in (self.reference, self.control)]
        tasks = len(self.counted) + bool(self.counted)
        if self.reference in self.scores:
            count = len(contenders) * (tasks + bool(self.hidden))
            count += len(contenders) * (self.controlled and tasks > 0)
        else:
            count = 0
        if self.controlled or self.control in self.scores:
            count += tasks * sum(p != self.control for p in self.profiles)
        return int(count) + len(self.ablation)

    def _versus(self, profile: str, other: Row) -> str:
        gaps = {t: self.gap(profile, other, t) for t in self.counted}
        whole = self.gap(profile, other)
        many = len(gaps)
        if not self.resamples:
            above = sum(g.value > 0 for g in gaps.values())
            total = figure(whole.value, 3, sign=True)
            return f"{profile} is above {other} on {above} of {many} tasks; in the sum by {total}."
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
            return f"{profile} is below {other} on {on} ({whole.text()})."
        else:
            also = "nor" if whole.shown == 0 else "and is below it"
            said = f"{profile} does not beat {other} on any task {also} in the sum"
        said += f" ({whole.text()})."
        if lost:
            said += f" Worse on {_where(lost, gaps)}."
        # Where nothing at all is shown, the sum's interval says it.
        if still and (len(still) < many or many == 1):
            said += f" Not shown on {_where(still, gaps)}."
        return said

    def _dead(self, task: str) -> str:
        score = self._first[task]
        if score.labels and score.degenerate < MANY_DEAD * score.labels:
            return ""
        alive = score.labels - score.degenerate
        if not alive:
            return (
                f"{task}: no label has both answers in the validation window, so its score says"
                " nothing."
            )
        dead = f"each of the other {score.degenerate} counts 0, so read the live score."
        return f"{task}: only {alive} of {score.labels} labels are live; {dead}"

    def _twice(self) -> list[str]:
        """Counted tasks that are one question under two names.

        Churn and conversion are, where everyone has bought before.
        """
        same: dict[str, list[str]] = {}
        for task in self.counted:
            same.setdefault(self._first[task].question, []).append(task)
        shared = [tasks for tasks in same.values() if len(tasks) > 1]
        return [
            f"{listed(t)} are one question here, asked of the same users: it counts {len(t)}"
            " times."
            for t in shared
        ]

    def _hidden_words(self) -> list[str]:
        """One sentence each for profiles above, not shown above and below the reference."""
        if not self.hidden:
            return []
        means = {p: figure(self._hidden(p)[0], 3) for p in self.profiles}
        over = f"Over {len(self.hidden)} hidden tasks"
        against = [p for p in self.profiles if p not in (self.reference, self.control)]
        if self.reference not in self.scores or not against:
            return [f"{over} the means are {listed([f'{m} ({p})' for p, m in means.items()])}."]
        gaps = {p: self.hidden_gap(p, self.reference) for p in against}
        words = []
        for shown, said in ((1, "above"), (0, "not shown to be above"), (-1, "below")):
            named = [f"{p} ({means[p]}, {g.text()})" for p, g in gaps.items() if g.shown == shown]
            if named:
                verb = "are" if len(named) > 1 else "is"
                reference = f"{self.reference} ({means[self.reference]})"
                words.append(f"{over} {listed(named)} {verb} {said} {reference}.")
        return words

    def _ablation_words(self) -> list[str]:
        words = []
        for (profile, block), gap, _ in self.costs():
            lost = gap.reversed()
            if gap.shown < 0:
                by = lost.text(sign=False)
                words.append(f"{profile} without {block} loses {by} in the sum: {block} helps.")
            elif gap.shown > 0:
                by = gap.text(sign=False)
                words.append(
                    f"{profile} without {block} gains {by} in the sum: {block} does harm."
                )
            else:
                words.append(
                    f"That {block} helps {profile} is not shown: without it the sum changes by"
                    f" {gap.text()}."
                )
        return words

    # -- files -------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """The whole table, long: a row a profile and task, and its `sum` and `hidden mean`.

        `block` is what an ablation row leaves out; `row` is task, hidden, sum or hidden mean.
        `above` and its bounds are the paired difference to the reference, or to the whole profile
        for an ablation row. NaN is None.
        """
        places = {s.profile: s for s in self.standings()}
        out = []
        every: list[_Named] = [*self.scores.items(), *self.ablation.items()]
        for name, row in every:
            left_out = name if isinstance(name, Without) else None
            other = left_out.profile if left_out else self.reference
            against = other in self.scores
            who = left_out._asdict() if left_out else {"profile": name}
            for task, s in row.items():
                out.append(
                    {
                        **who,
                        "row": "hidden" if s.hidden else "task",
                        "task": task,
                        "users": s.users,
                        "labels": s.labels,
                        "degenerate": s.degenerate,
                        **_bounds("score", self.score(name, task)),
                        **_bounds("live", self.live(name, task)),
                        **(self._beside(name, task) if s.controls else {}),
                        **(_above(self.gap(name, other, task)) if against else {}),
                    }
                )
            if self.counted:
                gap = _above(self.gap(name, other)) if against else {}
                total = {"row": "sum", "task": "", **_bounds("score", self.total(name)), **gap}
                total |= {} if left_out or not self.controlled else self._beside(str(name), None)
                if place := None if left_out else places.get(str(name)):
                    total |= {"points": place.points, **_bounds("place", place.estimate)}
                out.append({**who, **total})
            if (spread := self.spread(name)) is not None:
                gap = _above(self.hidden_gap(name, other)) if against else {}
                mean = {"row": "hidden mean", "task": "", **_bounds("score", spread.mean), **gap}
                shape = {k: getattr(spread, k) for k in COLUMNS[-4:]}
                out.append({**who, **mean, **shape})
        return [finite({c: r.get(c) for c in COLUMNS}) for r in out]

    def _beside(self, name: str | Without, task: str | None) -> dict[str, float | int]:
        """The bounds of a profile's controls; of the sum where no task is named."""
        found: dict[str, float | int] = {}
        for key, row in (("held_out", HeldOut(str(name))), ("floor", Floor(str(name)))):
            found |= _bounds(key, self.total(row) if task is None else self.score(row, task))
        return found

    def to_csv(self) -> str:
        """`rows` as CSV, numbers in full, empty where there is none."""
        return csv_text(self.rows(), COLUMNS)

    def to_json(self) -> str:
        """Everything, resamples included, so that `from_json` loses nothing.

        `table` and `verdicts` are there for other readers.
        """

        def scores(row: Mapping[str, TaskScore]) -> list[dict[str, Any]]:
            return [asdict(s) for s in row.values()]

        raw = {
            "format": FORMAT,
            "probe": self.probe,
            "reference": self.reference,
            "control": self.control,
            "counted": list(self.counted),
            "verdicts": self.verdicts(),
            "table": self.rows(),
            "scores": {name: scores(row) for name, row in self.scores.items()},
            "ablation": [
                {**name._asdict(), "scores": scores(row)} for name, row in self.ablation.items()
            ],
        }
        return json_text(raw, indent=None)

    @staticmethod
    def from_json(text: str, where: str = "board.json") -> "Board":
        """The board that `to_json` wrote.

        Raises DataError where the text is no board of this format, and ConfigError where its
        scores may not stand together.
        """
        again = "make it again with `clickprint run`, or `clickprint board --json`"
        try:
            raw = json_of(text, where, again=again)
            if raw["format"] != FORMAT:
                raise DataError(
                    where, [f"found format {raw['format']!r}, expected {FORMAT}; {again}"]
                )
            scores = {n: [_from_dict(s) for s in row] for n, row in raw["scores"].items()}
            ablation = {
                Without(str(row["profile"]), str(row["block"])): [
                    _from_dict(s) for s in row["scores"]
                ]
                for row in raw["ablation"]
            }
            reference, control = str(raw["reference"]), str(raw["control"])
            counted = [str(t) for t in raw["counted"]]
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            raise DataError(where, [f"not a clickprint board ({fault!r}); {again}"]) from None
        return Board.of(
            scores, reference=reference, control=control, ablation=ablation, counted=counted
        )


COLUMNS = (
    *("profile", "block", "row", "task", "users", "labels", "degenerate"),
    *("score", "score_low", "score_high", "live", "live_low", "live_high"),
    *("held_out", "held_out_low", "held_out_high", "floor", "floor_low", "floor_high"),
    *("above", "above_low", "above_high", "above_share"),
    *("points", "place", "place_low", "place_high"),
    *("deviation", "lower", "median", "upper"),
)


def _where(tasks: Sequence[str], gaps: Mapping[str, Gap], most: int = 3) -> str:
    """The tasks, with their differences where they are few."""
    return listed([f"{t} ({gaps[t].text()})" if len(tasks) <= most else t for t in tasks])


def _place(low: float | int, high: float | int) -> str:
    return f"{low:g}" + (f" to {high:g}" if low != high else "") + " in 95 % of the resamples"


def _control(of: Floor | HeldOut, score: TaskScore) -> TaskScore:
    """The score of a control in the form of a score. Raises ConfigError where there is none."""
    found = score.controls
    if found is None:
        raise ConfigError(f"{of} was not scored on {score.task}; the quick probe does it")
    if isinstance(of, Floor):
        return replace(score, score=found.floor, replicates=found.floor_replicates)
    return replace(score, score=found.held_out, replicates=found.held_out_replicates)


_Named = tuple[str | Without, Mapping[str, TaskScore]]  # a row of the board


# -- may they stand together? ----------------------------------------------------------------


def _by_task(
    name: str | Without, scores: Sequence[TaskScore], faults: list[str]
) -> dict[str, TaskScore]:
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
                    f"the profile {name} has no score on {_few(lacks)}; score it there, or keep"
                    " only the tasks that all profiles share"
                )
    elif not shared:
        faults.append("the profiles share no task")
    return shared


def _one_value(
    what: str,
    rows: Sequence["_Named"],
    of: Callable[[TaskScore], object],
    faults: list[str],
) -> None:
    who: dict[object, list[str]] = {}
    for name, row in rows:
        for value in dict.fromkeys(of(s) for s in row.values()):
            who.setdefault(value, []).append(str(name))
    if len(who) > 1:
        found = "; ".join(f"{value} for {_few(names)}" for value, names in who.items())
        faults.append(f"found more than one {what} ({found}), expected one; make a board for each")


def _one_question(task: str, rows: Sequence["_Named"], faults: list[str]) -> None:
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, row in rows:
        if task in row:
            s = row[task]
            asked = s.question, s.users, s.labels, s.degenerate, s.hidden
            groups.setdefault(asked, []).append(str(name))
    if len(groups) > 1:
        found = " | ".join(_few(names) for names in groups.values())
        faults.append(
            f"{task} is not the same question to all (other users, targets or metrics): {found};"
            " score them on one split"
        )


def _few(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


# -- to and from files -----------------------------------------------------------------------


def _bounds(name: str, found: Estimate) -> dict[str, float | int]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _above(gap: Gap) -> dict[str, float | int]:
    return {**_bounds("above", Estimate(*gap[:3])), "above_share": gap.share}


def _from_dict(raw: Mapping[str, Any]) -> TaskScore:
    def numbers(values: Mapping[str, Any]) -> dict[str, float]:
        return {k: number(v) for k, v in values.items()}

    probe: str = raw["probe"]
    beside = raw["controls"]
    controls = beside and Controls(
        number(beside["floor"]),
        number(beside["held_out"]),
        *(
            np.array([number(v) for v in beside[f"{n}_replicates"]], np.float64)
            for n in ("floor", "held_out")
        ),
    )
    replicates, live_replicates = (
        np.array([number(v) for v in raw[n]], np.float64)
        for n in ("replicates", "live_replicates")
    )
    if probe not in ("official", "quick"):
        raise ValueError(f"probe {probe!r}")
    if len(replicates) != len(live_replicates):
        raise ValueError(
            f"{len(replicates)} resamples of the score but {len(live_replicates)} of the live"
            " score"
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
        live_metrics=numbers(raw["live_metrics"]),
        epochs=tuple(numbers(e) for e in raw["epochs"]),
        best_epoch=int(raw["best_epoch"]),
        hidden=bool(raw["hidden"]),
        about=str(raw["about"]),
        replicates=replicates,
        live_replicates=live_replicates,
        controls=controls or None,
    )
