"""What an encoder may see, and the promises between the floors."""

from collections.abc import Collection, Mapping
from inspect import getattr_static
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from clickprint.core.dataset import Manifest
from clickprint.core.events import Role
from clickprint.core.histories import Histories
from clickprint.core.items import Catalogue
from clickprint.core.profiles import Profiles
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.session import ALONE, Session
from clickprint.core.time import Time, Window


@runtime_checkable
class Table(Protocol):
    """Rows of a log joined with its catalogue, read by column, role and time.

    `data.log.EventLog` reads files.
    """

    @property
    def manifest(self) -> Manifest: ...

    def rows(
        self,
        columns: Collection[str],
        *,
        roles: Collection[Role] | None = None,
        window: Window | None = None,
        ordered: bool = True,
    ) -> Mapping[str, np.ndarray]:
        """The columns of every event with one of these roles inside the window.

        A column is one of events, or an attribute of the catalogue. Ids, categories and buckets
        are int64 with `ids.NONE` where there is none, numbers float64 with NaN. The rows are in
        the order (user, time, kind, item, rest) unless `ordered` is switched off, which is faster
        and leaves the order open.
        """
        ...

    def users(
        self, *, roles: Collection[Role] | None = None, window: Window | None = None
    ) -> Int64[np.ndarray, "U"]:
        """Who did something with one of these roles inside the window: sorted, each once."""
        ...


class _ByName(type(Protocol)):  # type: ignore[misc]
    """`isinstance` looks for the names and reads no property, as Python does from 3.12 on.

    A past without a log says so when its log is asked for, and is a Past all the same.
    """

    def __instancecheck__(cls, instance: object) -> bool:
        names = ("cutoff", "users", "log", "catalogue", "histories", "at")
        return all(getattr_static(instance, name, None) is not None for name in names)


@runtime_checkable
class Past(Protocol, metaclass=_ByName):
    """All that happened before a cutoff, and nothing else."""

    @property
    def cutoff(self) -> Time: ...

    @property
    def users(self) -> Int64[np.ndarray, "U"]:
        """Whose profiles are wanted: sorted, each once.

        Some may have no event before the cutoff.
        """
        ...

    @property
    def log(self) -> Table:
        """The log, cut: no event at or after the cutoff, the catalogue as it was known then."""
        ...

    @property
    def catalogue(self) -> Catalogue:
        """One row an item, as known at the cutoff."""
        ...

    def histories(self, fields: Collection[str]) -> Histories:
        """What each of `users` did before the cutoff, oldest first, a row a user in their order.

        Ties in time go by kind, item and the rest; users without an event have an empty row.
        `fields` are columns of events, or attributes of the catalogue that are numbers, as known
        at the cutoff. Built once a past.
        """
        ...

    def at(self, earlier: Time) -> "Past":
        """The same past cut earlier. Raises ConfigError when `earlier` is after the cutoff."""
        ...


@runtime_checkable
class Fitted(Protocol):
    """What an encoder learned. Nothing mutates."""

    def encode(self, past: Past) -> Profiles:
        """One vector for each of `past.users`, in their order."""
        ...

    def save(self, folder: Path) -> None: ...


@runtime_checkable
class Encoder(Protocol):
    """A frozen dataclass: the configuration is the estimator."""

    def fit(
        self, past: Past, *, rng: RNG, progress: Progress = silent, session: Session = ALONE
    ) -> Fitted: ...
