"""Users who are one person: where a source says so, each has what all of them did, as far as it
was known at the cutoff.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from clickprint.core.errors import ConfigError
from clickprint.core.events import COLUMNS, REQUIRED
from clickprint.core.histories import Histories
from clickprint.core.ids import each_once
from clickprint.core.items import Catalogue
from clickprint.core.time import Time
from clickprint.data.engine import name
from clickprint.data.log import EventLog
from clickprint.data.split import LogPast

MOST = 20  # users of one person; more of them share an account of the shop's own, or a fault


@dataclass(frozen=True, slots=True)
class Linked:
    """A past in which the users of one person have one history, that of them all; its log has each
    of their events once a user.

    What is learned from everybody should be learned from `past` itself: here an event counts as
    often as its person has users.
    """

    past: LogPast
    together: LogPast

    @property
    def cutoff(self) -> Time:
        return self.past.cutoff

    @property
    def users(self) -> Int64[np.ndarray, "U"]:
        return self.past.users

    @property
    def log(self) -> EventLog:
        return self.together.log

    @property
    def catalogue(self) -> Catalogue:
        return self.past.catalogue

    def histories(self, fields: Collection[str]) -> Histories:
        return self.together.histories(fields)

    def at(self, earlier: Time) -> "Linked":
        """By the links that were known earlier."""
        return linked(self.past.at(earlier))


def linked(past: LogPast) -> Linked:
    """The past with its log's links. Raises ConfigError where the log has none."""
    log = past.log
    groups = people(log)
    pairs = log.engine.keep(pa.table({"user": groups[:, 0], "other": groups[:, 1]}))
    columns = [c for c in COLUMNS if c in REQUIRED or c in log.manifest.columns]
    picks = ", ".join(
        (
            f"COALESCE(p.{name('user')}, e.{name('user')}) AS {name('user')}"
            if c == "user"
            else f"e.{name(c)}"
        )
        for c in columns
    )
    events = log.engine.view(
        f"SELECT {picks} FROM {log.events} AS e LEFT JOIN {pairs} AS p ON e.{name('user')} ="
        " p.other"
    )
    return Linked(past, LogPast(replace(log, events=events, links=None), past.cutoff, past.users))


def people(log: EventLog) -> Int64[np.ndarray, "P 2"]:
    """Every (user, user of the same person), a user with himself too, of persons of two users to
    MOST; in order.

    Links are passed on: who shares a person with a user has all persons of that user. Raises
    ConfigError where the log has no links.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if log.links is None:
        raise ConfigError(
            f"{log.manifest.name} does not say which users are one person; leave `linked` out"
        )
    found = log.engine.arrays(f"SELECT DISTINCT {name('user')}, person FROM {log.links}")
    given, person = (found[c].astype(np.int64) for c in ("user", "person"))
    users, persons = each_once(given), each_once(person)
    size = len(users) + len(persons)
    if not size:
        return np.zeros((0, 2), np.int64)
    ends = np.searchsorted(users, given), len(users) + np.searchsorted(persons, person)
    graph = coo_matrix((np.ones(len(given), np.int8), ends), (size, size))
    group = connected_components(graph, directed=False)[1][: len(users)]
    order = np.argsort(group, kind="stable")  # a group's users stand together, by their ids
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.diff(np.append(first, len(order)))
    keep = (sizes >= 2) & (sizes <= MOST)
    first, sizes = first[keep], sizes[keep]
    # Each member beside each: n² pairs of a group of n.
    n, start = np.repeat(sizes, sizes**2), np.repeat(first, sizes**2)
    place = np.arange(len(n)) - np.repeat(np.cumsum(sizes**2) - sizes**2, sizes**2)
    pairs = np.stack([users[order[start + place // n]], users[order[start + place % n]]], axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
