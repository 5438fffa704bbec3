"""A log on disk in the canonical form, and its manifest.

DATASET/manifest.json                what is inside (Manifest)
DATASET/events/part-<day>.parquet    events in the order of core.events.COLUMNS, cut at midnights
DATASET/catalogue.parquet            item, known_from, attributes
DATASET/ids/<name>.parquet           (id, text) of a column or attribute whose values were texts
DATASET/users.npy, items.npy         users and items that have an event, sorted, so that days can
                                     be appended without reading the old ones
DATASET/population.npy               whose profiles are wanted, where the source says so
DATASET/<other>.parquet, .npy        what else the source gives (Manifest.beside)
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import COLUMNS, REQUIRED, Kind, Role
from clickprint.core.forms import json_of, read_npy, reading
from clickprint.core.items import AttributeType, Catalogue
from clickprint.core.options import AtLeast, read
from clickprint.core.parquet import read_table
from clickprint.core.seal import Part, part_faults

FORMAT = 3  # 3: the parts, each with its size and digest
AGAIN = "read the source again"
MANIFEST = "manifest.json"
Count = Annotated[int, AtLeast(0)]


@dataclass(frozen=True, slots=True)
class Day:
    """One UTC day of a log: its number of events, and a digest of them that ignores order."""

    events: Count
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a dataset holds.

    - `kinds`: the kinds of event; a kind's code is its position.
    - `columns`: the optional columns of events, in the order of core.events.COLUMNS.
    - `time`: "order" where the log stores positions instead of times.
    - `query`: "codes" where searches are code vectors.
    - `rejected`: rows of the source that could not be used, by reason.
    - `unread`: single values that could not be read and are null, by reason.
    - `beside`: the other files, each with the digest of its content.
    - `parts`: every file of the dataset, by its path in the folder.
    """

    name: str
    kinds: tuple[Kind, ...]
    columns: tuple[str, ...] = ()
    attributes: dict[str, AttributeType] = field(default_factory=dict)
    time: Literal["clock", "order"] = "clock"
    query: Literal["codes", "text"] = "text"
    users: Count = 0
    items: Count = 0
    events: Count = 0
    rejected: dict[str, Count] = field(default_factory=dict)
    unread: dict[str, Count] = field(default_factory=dict)
    days: dict[str, Day] = field(default_factory=dict)
    catalogue: str = ""
    source: dict[str, str] = field(default_factory=dict)
    beside: dict[str, str] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)

    def codes(self, *roles: Role) -> tuple[int, ...]:
        """The codes of the kinds that have one of these roles."""
        return tuple(code for code, kind in enumerate(self.kinds) if kind.role in roles)

    def of_type(self, *types: AttributeType) -> tuple[str, ...]:
        """The attributes of these types, in the catalogue's order."""
        return tuple(name for name, type_ in self.attributes.items() if type_ in types)

    @property
    def tie_order(self) -> tuple[str, ...]:
        """The columns of its events, in the order that settles ties of a user."""
        optional = (c for c in COLUMNS if c in self.columns and c not in REQUIRED)
        return ("user", "time", "kind", "item", *optional)

    @property
    def fingerprint(self) -> str:
        """A digest of the whole content: schema, days, catalogue and the files beside them."""
        form = (
            [[k.name, k.role.value] for k in self.kinds],
            sorted(self.columns),
            sorted(self.attributes.items()),
            self.time,
        )
        lines = [
            json.dumps(form),
            *(f"{day} {d.events} {d.digest}" for day, d in sorted(self.days.items())),
            self.catalogue,
            *(f"{file} {digest}" for file, digest in sorted(self.beside.items())),
        ]
        return sha256("\n".join(lines).encode()).hexdigest()[:32]

    def need_clock(self, what: str) -> None:
        """Raises ConfigError where the log stores an order instead of times."""
        if self.time == "order":
            raise ConfigError(
                f"{what} needs a clock, but {self.name} stores only the order of its events"
                " (manifest `time: order`); use a log with times, or leave-one-out evaluation"
            )

    def to_json(self) -> str:
        raw = {"format": FORMAT, "fingerprint": self.fingerprint, **asdict(self)}
        return json.dumps({**raw, "digest": _digest(raw)}, indent=1, ensure_ascii=False)

    @staticmethod
    def from_json(text: str | bytes, where: str) -> "Manifest":
        """Raises DataError when the text is not a manifest of this format, or was edited."""
        raw = json_of(text, where, again=AGAIN)
        if not isinstance(raw, dict) or "format" not in raw:
            raise DataError(where, f"not a clickprint manifest; {AGAIN}")
        if raw["format"] != FORMAT:
            said = f"found format {raw['format']!r}, expected {FORMAT}"
            raise DataError(where, f"{said}; {AGAIN} with this version")
        if raw.pop("digest", "") != _digest(raw):
            raise DataError(where, f"the manifest was edited: its digest is another; {AGAIN}")
        del raw["format"]
        fingerprint = raw.pop("fingerprint", "")
        with reading(where, AGAIN):
            manifest = read(Manifest, raw)
        if manifest.fingerprint != fingerprint:
            said = f"the fingerprint says {fingerprint} but its days give {manifest.fingerprint}"
            raise DataError(where, f"{said}: the manifest was edited; {AGAIN}")
        return manifest


def _digest(raw: Mapping[str, Any]) -> str:
    """Of all that a manifest says, whatever the order of its keys."""
    return sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A folder in the canonical form. Nothing is read until asked for.

    Every property raises DataError where its file is missing or damaged.
    """

    folder: Path
    manifest: Manifest

    @staticmethod
    def open(folder: Path | str) -> "Dataset":
        """The dataset in `folder`.

        Raises DataError: absent, unfinished, of another format, or with a part that is missing or
        has another size or header than the one that was written.
        """
        folder = Path(folder)
        path = folder / MANIFEST
        if not path.is_file():
            raise DataError(
                folder,
                "no manifest.json here, so this is no clickprint dataset; make one with"
                " `clickprint read`",
            )
        with reading(path, AGAIN):
            text = path.read_bytes()
        dataset = Dataset(folder, Manifest.from_json(text, str(path)))
        dataset.check(whole=False)
        return dataset

    def check(self, *, whole: bool = True) -> None:
        """Raises DataError with every part that is not the one that was written.

        `whole` reads all bytes of all parts; else sizes and headers are compared.
        """
        found = part_faults(self.folder, self.manifest.parts, whole=whole, beside=MANIFEST)
        if found:
            named = [fault.partition(": ")[0] in self.manifest.parts for fault in found]
            helps = (AGAIN if known else "move it away" for known in named)
            raise DataError(self.folder, list(map("{}; {}".format, found, helps)))

    @property
    def event_files(self) -> tuple[Path, ...]:
        return tuple(self._below("events").values())

    @property
    def text_files(self) -> dict[str, Path]:
        """The map (id, text) of each column or attribute whose values were texts."""
        return self._below("ids")

    def _below(self, folder: str) -> dict[str, Path]:
        """The parts in a folder, by their stem, in the order of names."""
        paths = map(PurePosixPath, sorted(self.manifest.parts))
        return {p.stem: self.folder / p for p in paths if p.parent.name == folder}

    @property
    def population(self) -> Int64[np.ndarray, "U"] | None:
        """Whose profiles are wanted; None where the source does not say (everyone seen)."""
        path = self.folder / "population.npy"
        return _ids(path) if path.name in self.manifest.parts else None

    @property
    def users(self) -> Int64[np.ndarray, "U"]:
        """Users who have an event: sorted, each once."""
        return _ids(self.folder / "users.npy")

    @property
    def items(self) -> Int64[np.ndarray, "V"]:
        """Items that have an event: sorted, each once. The catalogue may hold others."""
        return _ids(self.folder / "items.npy")

    @property
    def item_vectors(self) -> tuple[Int64[np.ndarray, "V"], Float32[np.ndarray, "V D"]] | None:
        """The source's vectors: items, ascending, and a map of the file; None where it has none.

        A vector has no time: use those of items that the catalogue knows.
        """
        path = self.folder / "vectors.npy"
        if path.name not in self.manifest.beside:
            return None
        items = _ids(self.folder / "vector_items.npy")
        vectors = read_npy(path, Float32[np.ndarray, "V D"], mapped=len(items) > 0, again=AGAIN)
        if len(vectors) != len(items):
            said = f"found {len(vectors)} vectors, expected one for each of {len(items)} items"
            raise DataError(path, f"{said}; {AGAIN}")
        return items, vectors

    def beside(self, name: str) -> pa.Table | None:
        """A table that the source gives beside its log (`links`, `questions`), or None."""
        path = self.folder / f"{name}.parquet"
        if path.name not in self.manifest.beside:
            return None
        return _table(path)

    @property
    def catalogue(self) -> Catalogue:
        """The whole catalogue, all times."""
        return Catalogue(_table(self.folder / "catalogue.parquet"), self.manifest.attributes)


def _table(path: Path) -> pa.Table:
    return read_table(path, again=AGAIN)


def _ids(path: Path) -> Int64[np.ndarray, "N"]:
    return read_npy(path, Int64[np.ndarray, "N"], again=AGAIN)
