"""A table that remembers: the targets of many tasks read a window's rows once."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

from clickprint.core.dataset import Manifest
from clickprint.core.events import Role
from clickprint.core.items import NUMERIC
from clickprint.core.past import Table
from clickprint.core.time import Window

NARROW = frozenset({"user", "time"})
_Key = tuple[frozenset[Role] | None, Window | None, bool]


@dataclass(frozen=True, slots=True)
class Rows:
    """Reads through to `table`, and keeps every answer in memory, read-only.

    Answers are the table's own. What is asked for purchases, or for more than (user, time), is
    read at once with everything that a target may want of such rows (item, price, quantity, the
    catalogue's categories, buckets and numbers), because the next target will. Rows of other roles
    can be many: (user, time) of them is read alone.
    """

    table: Table
    _rows: dict[_Key, dict[str, np.ndarray]] = field(default_factory=dict, repr=False)
    _users: dict[_Key, Int64[np.ndarray, "U"]] = field(default_factory=dict, repr=False)

    @property
    def manifest(self) -> Manifest:
        return self.table.manifest

    def rows(
        self,
        columns: Collection[str],
        *,
        roles: Collection[Role] | None = None,
        window: Window | None = None,
        ordered: bool = True,
    ) -> Mapping[str, np.ndarray]:
        """See core.past.Table."""
        key = (None if roles is None else frozenset(roles), window, ordered)
        known = self._rows.get(key, {})
        if not set(columns) <= set(known):
            wanted = dict.fromkeys([*known, *columns, *NARROW])
            if set(wanted) != NARROW or key[0] == frozenset({Role.BUY}):
                wanted = dict.fromkeys([*wanted, *_wide(self.manifest)])
            # In no order, columns of two readings need not be of the same rows: all of them are
            # read anew, together.
            known = dict(
                self.table.rows(list(wanted), roles=roles, window=window, ordered=ordered)
            )
            # By user then: users are looked up in sorted arrays, and a sorted search is many times
            # a random one.
            if not ordered:
                order = np.argsort(known["user"], kind="stable")
                known = {c: v[order] for c, v in known.items()}
            for values in known.values():
                values.flags.writeable = False
            self._rows[key] = known
        return {c: known[c] for c in columns}

    def users(
        self, *, roles: Collection[Role] | None = None, window: Window | None = None
    ) -> Int64[np.ndarray, "U"]:
        """See core.past.Table."""
        key = (None if roles is None else frozenset(roles), window, True)
        if key not in self._users:
            found = self.table.users(roles=roles, window=window)
            found.flags.writeable = False
            self._users[key] = found
        return self._users[key]


def _wide(manifest: Manifest) -> list[str]:
    own = ("item", "price", "quantity")
    return [*(c for c in manifest.tie_order if c in own), *manifest.of_type(*NUMERIC)]
