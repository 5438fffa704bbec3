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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import COLUMNS, REQUIRED, Kind, Role
from clickprint.core.items import AttributeType, Catalogue

FORMAT = 2  # 2: users.npy and items.npy
AGAIN = "read the source again"


@dataclass(frozen=True, slots=True)
class Day:
    """One UTC day of a log: its number of events, and a digest of them that ignores order."""

    events: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a dataset holds.

    - `kinds`: the kinds of event; a kind's code is its position.
    - `columns`: the optional columns of events, in the order of core.events.COLUMNS.
    - `time`: "order" where the log stores positions instead of times.
    - `query`: "codes" where searches are code vectors.
    - `rejected`: rows of the source that could not be used, by reason.
    - `beside`: the other files, each with the digest of its content.
    """

    name: str
    kinds: tuple[Kind, ...]
    columns: tuple[str, ...] = ()
    attributes: dict[str, AttributeType] = field(default_factory=dict)
    time: Literal["clock", "order"] = "clock"
    query: Literal["codes", "text"] = "text"
    users: int = 0
    items: int = 0
    events: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    days: dict[str, Day] = field(default_factory=dict)
    catalogue: str = ""
    source: dict[str, str] = field(default_factory=dict)
    beside: dict[str, str] = field(default_factory=dict)

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
        return json.dumps(raw, indent=1, ensure_ascii=False)

    @staticmethod
    def from_json(text: str, where: str) -> "Manifest":
        """Raises DataError when the text is not a manifest of this format."""
        try:
            raw: dict[str, Any] = json.loads(text)
            if (format_ := raw.pop("format")) != FORMAT:
                said = f"found format {format_}, expected {FORMAT}; {AGAIN} with this version"
                raise DataError(where, said)
            fingerprint = raw.pop("fingerprint")
            raw["kinds"] = tuple(Kind(k["name"], Role(k["role"])) for k in raw["kinds"])
            raw["columns"] = tuple(raw["columns"])
            raw["attributes"] = {n: AttributeType(t) for n, t in raw["attributes"].items()}
            raw["days"] = {n: Day(**d) for n, d in raw["days"].items()}
            manifest = Manifest(**raw)
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            raise DataError(where, f"not a clickprint manifest ({fault!r}); {AGAIN}") from None
        if manifest.fingerprint != fingerprint:
            raise DataError(
                where,
                f"the fingerprint says {fingerprint} but its days give {manifest.fingerprint}:"
                " the manifest was edited",
            )
        return manifest


@dataclass(frozen=True, slots=True)
class Dataset:
    """A folder in the canonical form. Nothing is read until asked for.

    Every property raises DataError where its file is missing or damaged.
    """

    folder: Path
    manifest: Manifest

    @staticmethod
    def open(folder: Path | str) -> "Dataset":
        """The dataset in `folder`. Raises DataError: absent, unfinished or of another format."""
        folder = Path(folder)
        path = folder / "manifest.json"
        if not path.is_file():
            raise DataError(
                folder,
                "no manifest.json here, so this is no clickprint dataset; make one with"
                " `clickprint read`",
            )
        with _reading(path):
            text = path.read_text("utf-8")
        dataset = Dataset(folder, Manifest.from_json(text, str(path)))
        if dataset.manifest.events and not dataset.event_files:
            promised = f"the manifest promises {dataset.manifest.events} events"
            raise DataError(folder, f"{promised} but events/ is empty; {AGAIN}")
        return dataset

    @property
    def event_files(self) -> tuple[Path, ...]:
        return tuple(sorted((self.folder / "events").glob("part-*.parquet")))

    @property
    def population(self) -> Int64[np.ndarray, "U"] | None:
        """Whose profiles are wanted; None where the source does not say (everyone seen)."""
        path = self.folder / "population.npy"
        return _ids(path) if path.is_file() else None

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
        with _reading(path):
            vectors = np.load(path, mmap_mode="r" if len(items) else None, allow_pickle=False)
        if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != len(items):
            raise DataError(
                path, f"not one float32 vector for each of {len(items)} items; {AGAIN}"
            )
        return items, vectors

    def beside(self, name: str) -> pa.Table | None:
        """A table that the source gives beside its log (`links`, `questions`), or None."""
        path = self.folder / f"{name}.parquet"
        if path.name not in self.manifest.beside:
            return None
        with _reading(path):
            return pq.read_table(path)

    @property
    def catalogue(self) -> Catalogue:
        """The whole catalogue, all times."""
        path = self.folder / "catalogue.parquet"
        with _reading(path):
            return Catalogue(pq.read_table(path), self.manifest.attributes)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What goes wrong inside is raised as a DataError about the file."""
    try:
        yield
    except (OSError, ValueError, EOFError, pa.ArrowInvalid) as fault:
        raise DataError(path, f"cannot be read ({fault}); {AGAIN}") from None


def _ids(path: Path) -> Int64[np.ndarray, "N"]:
    with _reading(path):
        ids = np.load(path, allow_pickle=False)
    if not isinstance(ids, np.ndarray) or ids.dtype != np.int64 or ids.ndim != 1:
        raise DataError(path, f"not a list of int64 ids; {AGAIN}")
    return ids
