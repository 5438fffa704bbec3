"""EventLog: a log that can be asked by column, role and time.

Dataset is where it lies, EventLog is how it is read.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float32, Int64

from clickprint.core.dataset import Dataset, Manifest
from clickprint.core.errors import ConfigError
from clickprint.core.events import COLUMNS, REQUIRED, Role
from clickprint.core.items import AttributeType, Catalogue
from clickprint.core.time import Time, Window
from clickprint.data.engine import Engine, name

NUMERIC = (AttributeType.CATEGORY, AttributeType.PRICE_BUCKET, AttributeType.NUMBER)


@dataclass(frozen=True, slots=True)
class EventLog:
    """Relations in an engine:

    `events` (columns of core.events), `items` (item, known_from, attributes), `texts` (id, text a
    column), `links` (user, person, known_from) where the source says which users are one person.

    `end` is the time before which everything in it happened, None where nothing was cut.
    """

    engine: Engine
    manifest: Manifest
    events: str
    items: str
    texts: Mapping[str, str] = field(default_factory=dict)
    end: Time | None = None
    item_vectors: tuple[Int64[np.ndarray, "V"], Float32[np.ndarray, "V D"]] | None = field(
        default=None, repr=False, compare=False
    )
    links: str | None = None

    @staticmethod
    def open(dataset: Dataset, engine: Engine) -> "EventLog":
        """The log of a dataset, read where it lies."""
        texts = {
            file.stem: engine.view(f"SELECT * FROM {engine.scan([file])}")
            for file in sorted((dataset.folder / "ids").glob("*.parquet"))
        }
        events = engine.view(
            f"SELECT * FROM {engine.scan(dataset.event_files)}"
            if dataset.event_files
            else empty_events(dataset.manifest)
        )
        items = engine.view(f"SELECT * FROM {engine.scan([dataset.folder / 'catalogue.parquet'])}")
        file = dataset.folder / "links.parquet"
        links = (
            engine.view(f"SELECT * FROM {engine.scan([file])}")
            if file.name in dataset.manifest.beside
            else None
        )
        return EventLog(
            engine,
            dataset.manifest,
            events,
            items,
            texts,
            item_vectors=dataset.item_vectors,
            links=links,
        )

    def before(self, time: Time) -> "EventLog":
        """The log cut at `time`: events with t < time, and the catalogue as it was known then."""
        if self.end is not None and time > self.end:
            raise ConfigError("this log was cut earlier; a later cut would have to invent events")
        events = self.engine.view(f"SELECT * FROM {self.events} WHERE time < {time}")
        items = self.engine.view(
            f"SELECT * FROM {self.items} WHERE known_from IS NULL OR known_from < {time}"
        )  # all, for a cut earlier still
        links = self.links and self.engine.view(
            f"SELECT * FROM {self.links} WHERE known_from < {time}"
        )
        return replace(self, events=events, items=items, end=time, links=links)

    def known(self, time: Time | None) -> str:
        """SQL: one row an item, the latest known before `time` (None: of all that this log knows)."""
        columns = ", ".join(name(c) for c in ("item", "known_from", *self.manifest.attributes))
        known = "" if time is None else f"WHERE known_from IS NULL OR known_from < {time}"
        ranked = (
            "SELECT *, ROW_NUMBER() OVER (PARTITION BY item ORDER BY known_from DESC NULLS LAST)"
            f" AS turn FROM {self.items} {known}"
        )
        return f"SELECT {columns} FROM ({ranked}) AS ranked WHERE turn = 1"

    def where(
        self, roles: Collection[Role] | None, window: Window | None, prefix: str = ""
    ) -> str:
        """A WHERE clause for events of these roles inside the window."""
        parts = []
        if roles is not None:
            codes = self.manifest.codes(*roles)
            parts.append(f"{prefix}kind IN ({', '.join(map(str, codes))})" if codes else "1 = 0")
        if window is not None:
            self.manifest.need_clock("a time window")
            parts.append(f"{prefix}time >= {window.start} AND {prefix}time < {window.end}")
        return " AND ".join(parts) or "1 = 1"

    def select(
        self,
        columns: Collection[str],
        *,
        roles: Collection[Role] | None = None,
        window: Window | None = None,
    ) -> str:
        """SQL: these columns (of events or of the catalogue as known at the window's end) of the
        events asked for, in no order.
        """
        picked, join = [], False
        for column in columns:
            if column in REQUIRED or column in self.manifest.columns:
                picked.append(f"e.{name(column)}")
            elif self.manifest.attributes.get(column) in NUMERIC:
                picked.append(f"c.{name(column)}")
                join = True
            else:
                known = [
                    *REQUIRED,
                    *self.manifest.columns,
                    *(a for a, k in self.manifest.attributes.items() if k in NUMERIC),
                ]
                raise ConfigError(
                    f"{self.manifest.name} has no column {column!r} to read by row; it has"
                    f" {', '.join(known)}"
                )
        catalogue = (
            f" LEFT JOIN ({self.known(window.end if window else None)}) AS c ON e.item = c.item"
            if join
            else ""
        )
        return (
            f"SELECT {', '.join(picked)} FROM {self.events} AS e{catalogue} WHERE"
            f" {self.where(roles, window, 'e.')}"
        )

    def rows(
        self,
        columns: Collection[str],
        *,
        roles: Collection[Role] | None = None,
        window: Window | None = None,
        ordered: bool = True,
    ) -> dict[str, np.ndarray]:
        """See core.past.Table.

        The whole answer is in memory: ask for a window or a role that fits.
        """
        columns = list(dict.fromkeys(columns))
        if not ordered:
            return self.engine.arrays(self.select(columns, roles=roles, window=window))
        ties = [
            "user",
            "time",
            "kind",
            "item",
            *(c for c in COLUMNS if c in self.manifest.columns),
        ]
        wanted = list(dict.fromkeys([*columns, *ties]))
        order = ", ".join(f"{name(t)} NULLS FIRST" for t in ties)
        picked = ", ".join(name(c) for c in columns)
        return self.engine.arrays(
            f"SELECT {picked} FROM ({self.select(wanted, roles=roles, window=window)}) AS r ORDER"
            f" BY {order}"
        )

    def users(
        self, *, roles: Collection[Role] | None = None, window: Window | None = None
    ) -> Int64[np.ndarray, "U"]:
        """See core.past.Table."""
        found = self.engine.arrays(
            f"SELECT DISTINCT {name('user')} FROM {self.events} WHERE {self.where(roles, window)}"
        )["user"]
        return np.sort(found.astype(np.int64))

    def span(self, *, roles: Collection[Role] | None = None) -> tuple[Time, Time] | None:
        """The first and the last time of the events with these roles; None where there is none."""
        first, last = self.engine.one(
            f"SELECT MIN(time), MAX(time) FROM {self.events} WHERE {self.where(roles, None)}"
        )
        return None if first is None else (int(first), int(last))

    @property
    def catalogue(self) -> Catalogue:
        """One row an item, as known at the end of this log."""
        return Catalogue(
            self.engine.table(f"SELECT * FROM ({self.known(self.end)}) AS k ORDER BY item"),
            self.manifest.attributes,
        )


def empty_events(manifest: Manifest) -> str:
    """SQL: an event table without rows."""
    types = {"int64": "BIGINT", "int16": "SMALLINT", "double": "DOUBLE"}
    columns = [c for c in COLUMNS if c in REQUIRED or c in manifest.columns]
    return (
        "SELECT "
        + ", ".join(f"CAST(NULL AS {types[str(COLUMNS[c])]}) AS {name(c)}" for c in columns)
        + " WHERE 1 = 0"
    )
