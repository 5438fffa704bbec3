"""Users who are one person: where a source says so, each has what all of them did.

As far as it was known at the cutoff.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from clickprint.core.errors import ConfigError
from clickprint.core.events import COLUMNS
from clickprint.core.histories import Histories
from clickprint.core.ids import each_once
from clickprint.core.items import Catalogue
from clickprint.core.lookup import positions
from clickprint.core.ragged import within_rows
from clickprint.core.time import Time
from clickprint.data.engine import name, select_sql
from clickprint.data.log import EventLog
from clickprint.data.split import LogPast

MOST = 20  # users of one person; more of them share an account of the shop's own, or a fault


@dataclass(frozen=True, slots=True)
class Linked:
    """A past in which the users of one person have one history, that of them all.

    Its log has each of their events once a user. What is learned from everybody should be learned
    from `past` itself: here an event counts as often as its person has users.
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
    log, u = past.log, name("user")
    groups = people(log)
    pairs = log.engine.keep(pa.table({"user": groups[:, 0], "other": groups[:, 1]}))
    picks = {c: f"e.{name(c)}" for c in COLUMNS if c in log.manifest.tie_order}
    picks["user"] = f"COALESCE(p.{u}, e.{u})"
    source = f"{log.events} AS e LEFT JOIN {pairs} AS p ON e.{u} = p.other"
    events = log.engine.view(select_sql(picks, source))
    return Linked(past, LogPast(replace(log, events=events, links=None), past.cutoff, past.users))


def people(log: EventLog) -> Int64[np.ndarray, "P 2"]:
    """Every pair of users of one person, in order, for persons of two users to MOST.

    A pair is (user, user of the same person), a user with themselves too. Links are passed on: a
    user who shares a person with another has all persons of that user. Raises ConfigError where
    the log has no links.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if log.links is None:
        said = "does not say which users are one person; leave `linked` out"
        raise ConfigError(f"{log.manifest.name} {said}")
    links = log.engine.arrays(f"SELECT DISTINCT {name('user')}, person FROM {log.links}")
    given, person = (links[c].astype(np.int64) for c in ("user", "person"))
    users, persons = each_once(given), each_once(person)
    size = len(users) + len(persons)
    if not size:
        return np.zeros((0, 2), np.int64)
    ends = positions(users, given), len(users) + positions(persons, person)
    graph = coo_matrix((np.ones(len(given), np.int8), ends), (size, size))
    group = connected_components(graph, directed=False)[1][: len(users)]
    order = np.argsort(group, kind="stable")  # a group's users stand together, by their ids
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.diff(np.append(first, len(order)))
    some = (sizes >= 2) & (sizes <= MOST)
    first, sizes = first[some], sizes[some]
    # Each member beside each: n² pairs of a group of n.
    n, start = np.repeat(sizes, sizes**2), np.repeat(first, sizes**2)
    one, other = np.divmod(within_rows(sizes**2), n)
    pairs = np.stack([users[order[start + one]], users[order[start + other]]], axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
