"""Cutting a log by time: what encoders may see, and the two windows that tasks ask about."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.histories import Histories
from clickprint.core.ids import each_once
from clickprint.core.items import Catalogue
from clickprint.core.time import DAY, Time, Window, midnight, show
from clickprint.data.engine import DuckDB
from clickprint.data.histories import build
from clickprint.data.log import EventLog


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
    past = past_of(log, train.start, users)
    if not len(past.users):
        raise DataError(
            log.manifest.name,
            f"nothing happened before {show(train.start)}; the log is too short for windows of"
            f" {horizon_days} days",
        )
    return Split(past, train, valid)


def anchored(
    log: EventLog, horizon_days: int = 14, anchor: Role = Role.BUY
) -> tuple[Window, Window]:
    """The two windows of `split`; no user is looked at. Raises as `split` does."""
    if horizon_days < 1:
        raise ConfigError(f"horizon_days: found {horizon_days}, expected at least 1")
    log.manifest.need_clock("a split by time")
    span = log.span(roles=(anchor,))
    if span is None:
        raise DataError(
            log.manifest.name,
            f"no event has the role {anchor.value}, so there is nothing to anchor the split on",
        )
    return windows(span[1], horizon_days)


def windows(end: Time, horizon_days: int) -> tuple[Window, Window]:
    """The train and the validation window that end with the event at `end`."""
    start = midnight(end - (2 * horizon_days - 1) * DAY)
    middle = start + horizon_days * DAY
    return Window(start, middle), Window(middle, end + 1)
