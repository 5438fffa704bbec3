"""A log on disk in the one canonical form, and its manifest.

DATASET/manifest.json            what is inside (Manifest)
DATASET/events/part-<day>.parquet  events in the order of core.events.COLUMNS, cut at midnights
DATASET/catalogue.parquet        item, known_from, attributes
DATASET/ids/<name>.parquet       id, text: the map of every column or attribute whose values were
                                 not whole numbers
DATASET/users.npy, items.npy     who, and what, has an event: sorted, so that days can be appended
                                 without reading the old ones
DATASET/population.npy           whose profiles are wanted, where the source says so
DATASET/<other>.parquet, .npy    what else the source says (Manifest.beside): links, questions,
                                 item vectors
"""

import json
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Kind, Role
from clickprint.core.items import AttributeKind, Catalogue

FORMAT = 2  # 2: users.npy and items.npy


@dataclass(frozen=True, slots=True)
class Day:
    """One UTC day of a log: its number of events and the digest of their multiset (order-free;
    hexadecimal).
    """

    events: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a dataset holds. `rejected` counts rows that could not be read, by reason."""

    name: str
    kinds: tuple[Kind, ...]
    columns: tuple[str, ...] = ()
    attributes: dict[str, AttributeKind] = field(default_factory=dict)
    time: Literal["clock", "order"] = "clock"
    query: Literal["codes", "text"] = "text"
    users: int = 0
    items: int = 0
    events: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    days: dict[str, Day] = field(default_factory=dict)
    catalogue: str = ""
    source: dict[str, str] = field(default_factory=dict)
    beside: dict[str, str] = field(
        default_factory=dict
    )  # a file's name → the digest of its content

    def codes(self, *roles: Role) -> tuple[int, ...]:
        """The kind codes that have one of these roles."""
        return tuple(code for code, kind in enumerate(self.kinds) if kind.role in roles)

    @property
    def fingerprint(self) -> str:
        """One text for the whole content: the schema, each day's digest, the catalogue's, those of
        what lies beside it.

        Independent of file order.
        """
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
        ]
        lines += [f"{file} {found}" for file, found in sorted(self.beside.items())]
        return sha256("\n".join(lines).encode()).hexdigest()[:32]

    def need_clock(self, what: str) -> None:
        """Raises ConfigError where the log stores an order instead of times."""
        if self.time == "order":
            raise ConfigError(
                f"{what} needs a clock, but {self.name} stores only the order of its events"
                " (manifest `time: order`); use a log with times, or leave-one-out evaluation"
            )

    def to_json(self) -> str:
        return json.dumps(
            {"format": FORMAT, "fingerprint": self.fingerprint, **asdict(self)},
            indent=1,
            ensure_ascii=False,
        )

    @staticmethod
    def from_json(text: str, where: str) -> "Manifest":
        """Raises DataError when the text is not a manifest of this format."""
        try:
            raw: dict[str, Any] = json.loads(text)
            found = raw.pop("format")
            if found != FORMAT:
                raise DataError(
                    where,
                    f"found format {found}, expected {FORMAT}; read the source again with this"
                    " version",
                )
            print_ = raw.pop("fingerprint")
            raw["kinds"] = tuple(Kind(k["name"], Role(k["role"])) for k in raw["kinds"])
            raw["columns"] = tuple(raw["columns"])
            raw["attributes"] = {n: AttributeKind(k) for n, k in raw["attributes"].items()}
            raw["days"] = {n: Day(**d) for n, d in raw["days"].items()}
            manifest = Manifest(**raw)
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            raise DataError(
                where, f"not a clickprint manifest ({fault!r}); read the source again"
            ) from None
        if manifest.fingerprint != print_:
            raise DataError(
                where,
                f"the fingerprint says {print_} but its days give {manifest.fingerprint}: the"
                " manifest was edited",
            )
        return manifest


@dataclass(frozen=True, slots=True)
class Dataset:
    """A folder in the canonical form. Cheap to hold: nothing is read until asked for."""

    folder: Path
    manifest: Manifest

    @staticmethod
    def open(folder: Path | str) -> "Dataset":
        """The dataset in `folder`.

        Raises DataError when it is absent, unfinished or of another format.
        """
        folder = Path(folder)
        path = folder / "manifest.json"
        if not path.is_file():
            raise DataError(
                folder,
                "no manifest.json here, so this is no clickprint dataset; make one with"
                " `clickprint read`",
            )
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            raise DataError(path, f"cannot be read ({fault}); read the source again") from None
        dataset = Dataset(folder, Manifest.from_json(text, str(path)))
        if dataset.manifest.events and not dataset.event_files:
            raise DataError(
                folder,
                f"the manifest promises {dataset.manifest.events} events but events/ is empty;"
                " read the source again",
            )
        return dataset

    @property
    def event_files(self) -> tuple[Path, ...]:
        return tuple(sorted((self.folder / "events").glob("part-*.parquet")))

    @property
    def population(self) -> Int64[np.ndarray, "U"] | None:
        """Whose profiles are wanted, where the source says so;

        None means everyone seen before the cutoff. Raises DataError.
        """
        path = self.folder / "population.npy"
        return _ids(path) if path.is_file() else None

    @property
    def users(self) -> Int64[np.ndarray, "U"]:
        """Who has an event: sorted, each once.

        Raises DataError when the file is missing or damaged.
        """
        return _ids(self.folder / "users.npy")

    @property
    def items(self) -> Int64[np.ndarray, "V"]:
        """What some event is about: sorted, each once (the catalogue may hold others).

        Raises DataError.
        """
        return _ids(self.folder / "items.npy")

    @property
    def item_vectors(self) -> tuple[Int64[np.ndarray, "V"], Float32[np.ndarray, "V D"]] | None:
        """Items, ascending, and the vector that the source gives each (a map of the file);

        None where it gives none.

        A vector has no time: use those of items that the catalogue knows. Raises DataError.
        """
        path = self.folder / "vectors.npy"
        if path.name not in self.manifest.beside:
            return None
        items = _ids(self.folder / "vector_items.npy")
        try:
            vectors = np.load(path, mmap_mode="r" if len(items) else None, allow_pickle=False)
        except (OSError, ValueError, EOFError) as fault:
            raise DataError(path, f"cannot be read ({fault}); read the source again") from None
        if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != len(items):
            raise DataError(
                path,
                f"not one float32 vector for each of {len(items)} items; read the source again",
            )
        return items, vectors

    def beside(self, name: str) -> pa.Table | None:
        """A table that the source gives beside its log, `links` or `questions`;

        None where it gives none. Raises DataError.
        """
        path = self.folder / f"{name}.parquet"
        if path.name not in self.manifest.beside:
            return None
        try:
            return pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as fault:
            raise DataError(path, f"cannot be read ({fault}); read the source again") from None

    @property
    def catalogue(self) -> Catalogue:
        """The whole catalogue, all times. Raises DataError when its file is missing or damaged."""
        path = self.folder / "catalogue.parquet"
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as fault:
            raise DataError(path, f"cannot be read ({fault}); read the source again") from None
        return Catalogue(table, self.manifest.attributes)


def _ids(path: Path) -> Int64[np.ndarray, "N"]:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as fault:
        raise DataError(path, f"cannot be read ({fault}); read the source again") from None
    if not isinstance(found, np.ndarray) or found.dtype != np.int64 or found.ndim != 1:
        raise DataError(path, "not a list of int64 ids; read the source again")
    return found
