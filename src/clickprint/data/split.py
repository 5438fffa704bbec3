"""Cutting a log by time: what encoders may see, and the two windows that tasks ask about."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.histories import Histories, items_only
from clickprint.core.ids import each_once
from clickprint.core.items import Catalogue
from clickprint.core.options import HORIZON
from clickprint.core.time import DAY, Time, Window, midnight, show
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.histories import build
from clickprint.data.log import EventLog

SILENT = 90  # days without any event before the last one


@dataclass(frozen=True, slots=True)
class LogPast:
    """The Past that reads an EventLog; `log` is already cut."""

    log: EventLog
    cutoff: Time
    users: Int64[np.ndarray, "U"] = field(repr=False)
    _histories: dict[tuple[str, ...], Histories] = field(
        default_factory=dict, repr=False, compare=False
    )
    _catalogue: list[Catalogue] = field(default_factory=list, repr=False, compare=False)

    @property
    def catalogue(self) -> Catalogue:
        """As known at the cutoff. Read once."""
        if not self._catalogue:
            self._catalogue.append(self.log.catalogue)
        return self._catalogue[0]

    def histories(self, fields: Collection[str]) -> Histories:
        """See core.past.Past.

        Built beside the engine's spilled data, once for equal fields; gone with the engine.

        Raises ConfigError for a field that the log does not have, and for an engine that keeps
        nothing on this machine: there data.parts.histories writes them.
        """
        engine, wanted = self.log.engine, tuple(dict.fromkeys(fields))
        if wanted not in self._histories:
            if not isinstance(engine, DuckDB):
                raise ConfigError(
                    "histories on this machine need the engine duckdb; elsewhere"
                    " data.parts.histories writes them by shard"
                )
            self._histories[wanted] = build(
                self.log, engine.scratch() / "histories", wanted, users=self.users
            )
        return self._histories[wanted]

    def at(self, earlier: Time) -> "LogPast":
        """The same users, an earlier cutoff."""
        if earlier > self.cutoff:
            raise ConfigError(
                f"this past ends at {show(self.cutoff)}; it cannot be cut at {show(earlier)}"
            )
        return LogPast(self.log.before(earlier), earlier, self.users)


@dataclass(frozen=True, slots=True)
class HistoriesPast:
    """A Past of histories that are there already; it has no log."""

    given: Histories
    known: Catalogue | None = None

    @property
    def cutoff(self) -> Time:
        """Of the histories. Raises ConfigError where they were not cut."""
        if self.given.cutoff is None:
            raise ConfigError("these histories were not cut by time, so they have no cutoff")
        return self.given.cutoff

    @property
    def users(self) -> Int64[np.ndarray, "U"]:
        return self.given.users

    @property
    def log(self) -> EventLog:
        raise ConfigError("this past has histories only, and no log; take what needs none")

    @property
    def catalogue(self) -> Catalogue:
        if self.known is None:
            raise ConfigError("this past has histories only, and no catalogue")
        return self.known

    def histories(self, fields: Collection[str]) -> Histories:
        """The histories with these fields. Raises ConfigError for one that they do not have."""
        return self.given.only(*dict.fromkeys(fields))

    def at(self, earlier: Time) -> "HistoriesPast":
        raise ConfigError(f"this past has histories only; it cannot be cut at {show(earlier)}")


@dataclass(frozen=True, slots=True)
class LeaveOneOutPast:
    """Everybody's events about items but the `last` ones: what leave-one-out learns from.

    Nothing is cut by time, so it has no cutoff, and its log would show the future. The catalogue
    is the whole log's.
    """

    source: EventLog
    last: int
    _whole: dict[tuple[str, ...], Histories] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def cutoff(self) -> Time:
        raise ConfigError("leave-one-out cuts nothing by time, so there is no cutoff")

    @property
    def users(self) -> Int64[np.ndarray, "U"]:
        return self.source.users()

    @property
    def log(self) -> EventLog:
        raise ConfigError(
            "leave-one-out hides each user's last events, which the log would show;"
            " take what learns from histories alone"
        )

    @property
    def catalogue(self) -> Catalogue:
        return self.source.catalogue

    def whole(self, fields: Collection[str]) -> Histories:
        """The events about items with nothing left out. Built once for equal fields."""
        engine, wanted = self.source.engine, tuple(dict.fromkeys(("item", *fields)))
        if wanted not in self._whole:
            assert isinstance(engine, DuckDB), "leave-one-out is asked on one machine"
            built = build(self.source, engine.scratch() / "histories", wanted)
            self._whole[wanted] = items_only(built)
        return self._whole[wanted]

    def histories(self, fields: Collection[str]) -> Histories:
        return drop_last(self.whole(fields), self.last)

    def at(self, earlier: Time) -> "LeaveOneOutPast":
        raise ConfigError(f"leave-one-out cuts nothing by time, so not at {show(earlier)}")


def drop_last(histories: Histories, last: int) -> Histories:
    """Drop each user's last `last` events. Users with so many or fewer keep their first one."""
    lengths = histories.lengths
    keep = lengths - np.minimum(last, np.maximum(lengths - 1, 0))
    place = np.arange(histories.events) - np.repeat(histories.starts[:-1], lengths)
    return histories.where(place < np.repeat(keep, lengths))


class Split(NamedTuple):
    """past < train window < validation window; the two windows touch."""

    past: LogPast
    train: Window
    valid: Window


def past_of(log: EventLog, cutoff: Time, users: Int64[np.ndarray, "U"] | None = None) -> LogPast:
    """What happened before `cutoff`; profiles are wanted of `users`, or of everyone with an event
    before it.
    """
    log.manifest.need_clock("a cutoff")
    before = log.before(cutoff)
    return LogPast(
        before, cutoff, before.users() if users is None else each_once(users.astype(np.int64))
    )


def split(
    log: EventLog,
    *,
    horizon_days: int = 14,
    users: Int64[np.ndarray, "U"] | None = None,
    anchor: Role = Role.BUY,
) -> Split:
    """The challenge's rule for any horizon h: the two last windows of h days before the last
    purchase, at midnights.

    end = the last event with the role `anchor`; train starts at midnight(end − (2h − 1) days),
    validation h days later and holds its end, which is the last microsecond that counts. Ties in
    time: an event at a cutoff is after it. Raises ConfigError for a horizon below one day or a log
    in order form, DataError where the log has no such event or nothing before the cutoff. Source:
    spec/challenge-protocol.md, "Split".
    """
    train, valid = anchored(log, horizon_days, anchor)
    return Split(past_of(log, train.start, users), train, valid)


def anchored(
    log: EventLog, horizon_days: int = 14, anchor: Role = Role.BUY
) -> tuple[Window, Window]:
    """The two windows of `split`; no user is looked at.

    Raises as `split` and `last_windows` do; DataError where nothing happened before them.
    """
    if not HORIZON.holds(horizon_days):
        raise ConfigError(f"horizon_days: found {horizon_days}, expected {HORIZON.expected}")
    log.manifest.need_clock("a split by time")
    span = log.span(roles=(anchor,))
    if span is None:
        raise DataError(
            log.manifest.name,
            f"no event has the role {anchor.value}, so there is nothing to anchor the split on",
        )
    name = log.manifest.name
    train, valid = last_windows(log.engine, log.events, name, span[1], horizon_days)
    whole = log.span()
    if whole is None or whole[0] >= train.start:
        said = f"nothing happened before {show(train.start)}"
        raise DataError(name, f"{said}; the log is too short for windows of {horizon_days} days")
    return train, valid


def last_windows(
    engine: Engine, events: str, where: Path | str, end: Time, horizon_days: int
) -> tuple[Window, Window]:
    """The windows of events (SQL with a column time), of which the last that counts is at `end`.

    Raises DataError where they would hold events of one day only, and nothing happened for SILENT
    days before it: such a date is wrong.
    """
    train, valid = windows(end, horizon_days)
    last = midnight(end)
    before, n = engine.one(
        f"SELECT MAX(CASE WHEN time < {last} THEN time END),"
        f" SUM(CASE WHEN time >= {last} THEN 1 ELSE 0 END) FROM {events}"
    )
    if before is not None and before < min(train.start, last - SILENT * DAY):
        said = f"the last day, {show(last)[:10]}, has {n} events, and the event before it is of"
        empty = f"{show(before)}: windows of {horizon_days} days would hold nothing else"
        raise DataError(where, f"{said} {empty}; leave out what has a wrong date")
    return train, valid


def windows(end: Time, horizon_days: int) -> tuple[Window, Window]:
    """The train and the validation window that end with the event at `end`."""
    start = midnight(end - (2 * horizon_days - 1) * DAY)
    middle = start + horizon_days * DAY
    return Window(start, middle), Window(middle, end + 1)
