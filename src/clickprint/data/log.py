"""EventLog: a log that can be asked by column, role and time.

Dataset is where a log lies, EventLog is how it is read.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from clickprint.core.dataset import Dataset, Manifest
from clickprint.core.errors import ConfigError
from clickprint.core.events import COLUMNS, REQUIRED, Role
from clickprint.core.items import NUMERIC, Catalogue
from clickprint.core.time import Time, Window
from clickprint.data.engine import Engine, in_sql, name


@dataclass(frozen=True, slots=True)
class EventLog:
    """Relations in an engine.

    - `events`: the columns of core.events.
    - `items`: item, known_from, attributes.
    - `texts`: a relation (id, text) for each column of texts.
    - `end`: the time before which everything in it happened; None where nothing was cut.
    - `links`: (user, person, known_from), where the source says which users are one person.
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
        folder, manifest = dataset.folder, dataset.manifest

        def view(*files: Path) -> str:
            return engine.view(f"SELECT * FROM {engine.scan(files)}")

        links = folder / "links.parquet"
        files = dataset.event_files
        return EventLog(
            engine,
            manifest,
            view(*files) if files else engine.view(empty_events(manifest)),
            view(folder / "catalogue.parquet"),
            {column: view(file) for column, file in dataset.text_files.items()},
            item_vectors=dataset.item_vectors,
            links=view(links) if links.name in manifest.beside else None,
        )

    def before(self, time: Time) -> "EventLog":
        """The log cut at `time`: events with t < time, and the catalogue as it was known then."""
        if self.end is not None and time > self.end:
            raise ConfigError("this log was cut earlier; a later cut would have to invent events")
        view = self.engine.view
        events = view(f"SELECT * FROM {self.events} WHERE time < {time}")
        known = f"known_from < {time}"
        # All rows that were known, for a cut earlier still.
        items = view(f"SELECT * FROM {self.items} WHERE known_from IS NULL OR {known}")
        links = self.links and view(f"SELECT * FROM {self.links} WHERE {known}")
        return replace(self, events=events, items=items, end=time, links=links)

    def known(self, time: Time | None) -> str:
        """SQL: one row an item, the latest known before `time` (None: of all that it knows)."""
        columns = ", ".join(name(c) for c in ("item", "known_from", *self.manifest.attributes))
        known = "" if time is None else f" WHERE known_from IS NULL OR known_from < {time}"
        latest = "PARTITION BY item ORDER BY known_from DESC NULLS LAST"
        turn = name("#turn")  # no attribute is called so
        ranked = f"SELECT *, ROW_NUMBER() OVER ({latest}) AS {turn} FROM {self.items}{known}"
        return f"SELECT {columns} FROM ({ranked}) AS ranked WHERE {turn} = 1"

    def where(
        self, roles: Collection[Role] | None, window: Window | None, prefix: str = ""
    ) -> str:
        """SQL: a condition for events of these roles inside the window."""
        parts = []
        if roles is not None:
            parts.append(in_sql(f"{prefix}kind", self.manifest.codes(*roles)))
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
        """SQL: these columns of the events asked for, in no order.

        They are of events, or of the catalogue as known at the window's end.
        """
        own, attributes = self.manifest.tie_order, self.manifest.of_type(*NUMERIC)
        if strange := [c for c in columns if c not in own and c not in attributes]:
            known = ", ".join([*REQUIRED, *own[len(REQUIRED) :], *attributes])
            said = f"has no column {strange[0]!r} to read by row; it has {known}"
            raise ConfigError(f"{self.manifest.name} {said}")
        picked = ", ".join(f"{'e' if c in own else 'c'}.{name(c)}" for c in columns)
        rows = f"{self.events} AS e"
        if any(c not in own for c in columns):
            known = self.known(window.end if window else None)
            rows += f" LEFT JOIN ({known}) AS c ON e.item = c.item"
        return f"SELECT {picked} FROM {rows} WHERE {self.where(roles, window, 'e.')}"

    def rows(
        self,
        columns: Collection[str],
        *,
        roles: Collection[Role] | None = None,
        window: Window | None = None,
        ordered: bool = True,
    ) -> dict[str, np.ndarray]:
        """See core.past.Table. The whole answer is in memory: ask for what fits."""
        columns = list(dict.fromkeys(columns))
        if not ordered:
            return self.engine.arrays(self.select(columns, roles=roles, window=window))
        ties = self.manifest.tie_order
        wanted = self.select(dict.fromkeys([*columns, *ties]), roles=roles, window=window)
        order = ", ".join(f"{name(t)} NULLS FIRST" for t in ties)
        picked = ", ".join(name(c) for c in columns)
        return self.engine.arrays(f"SELECT {picked} FROM ({wanted}) AS r ORDER BY {order}")

    def users(
        self, *, roles: Collection[Role] | None = None, window: Window | None = None
    ) -> Int64[np.ndarray, "U"]:
        """See core.past.Table."""
        where = self.where(roles, window)
        sql = f"SELECT DISTINCT {name('user')} FROM {self.events} WHERE {where}"
        return np.sort(self.engine.arrays(sql)["user"].astype(np.int64))

    def span(self, *, roles: Collection[Role] | None = None) -> tuple[Time, Time] | None:
        """The first and the last time of the events with these roles; None where there is none."""
        first, last = self.engine.one(
            f"SELECT MIN(time), MAX(time) FROM {self.events} WHERE {self.where(roles, None)}"
        )
        return None if first is None else (int(first), int(last))

    @property
    def catalogue(self) -> Catalogue:
        """One row an item, as known at the end of this log."""
        known = f"SELECT * FROM ({self.known(self.end)}) AS k ORDER BY item"
        return Catalogue(self.engine.table(known), self.manifest.attributes)


def empty_events(manifest: Manifest) -> str:
    """SQL: an event table without rows."""
    types = {"int64": "BIGINT", "int16": "SMALLINT", "double": "DOUBLE"}
    columns = [c for c in COLUMNS if c in manifest.tie_order]
    nulls = ", ".join(f"CAST(NULL AS {types[str(COLUMNS[c])]}) AS {name(c)}" for c in columns)
    return f"SELECT {nulls} WHERE 1 = 0"
