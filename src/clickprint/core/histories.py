"""Histories: what each user did, in order, as flat arrays that share the cuts between users.

FOLDER/users.npy        int64 [U], sorted, each once
FOLDER/starts.npy       int64 [U+1]: user r's events are starts[r] … starts[r+1] − 1 of every field
FOLDER/<field>.npy      [L], a value an event ([L, C] for a code vector), user after user, in the
                        order (time, kind, item, rest) within a user
FOLDER/histories.json   format, fields, cutoff, fingerprint of the log, events
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Int64, Shaped

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import write_array, write_text
from clickprint.core.forms import read_json, read_npy, reading
from clickprint.core.ids import NONE
from clickprint.core.lookup import positions_in_any_order
from clickprint.core.options import AtLeast, Distinct, read
from clickprint.core.ragged import Ragged, spans, starts_of
from clickprint.core.time import Time

FORMAT = 1
USERS_FILE, STARTS_FILE, ABOUT_FILE = "users.npy", "starts.npy", "histories.json"
AGAIN = "make the histories again"


@dataclass(frozen=True, slots=True)
class Histories:
    """The events of each user, oldest first.

    Fields of a folder are memory-mapped: nothing is read until it is used.

    - ids, categories and buckets: int64, `ids.NONE` where there is none; numbers: float64 with
      NaN; kind: int16; time: int64 (µs); a code vector: a row of int32 (data.codes).
    - `cutoff`: None where the log was not cut.
    - `fingerprint`: the dataset's.
    """

    users: Int64[np.ndarray, "U"]
    starts: Int64[np.ndarray, "U+1"]
    fields: Mapping[str, Shaped[np.ndarray, "L ..."]]
    cutoff: Time | None = None
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if faults := _problems(self.users, self.starts, self.fields):
            raise DataError("histories", faults)

    def __len__(self) -> int:
        return len(self.users)

    @property
    def lengths(self) -> Int64[np.ndarray, "U"]:
        """How many events each user has."""
        return np.diff(self.starts)

    @property
    def events(self) -> int:
        return int(self.starts[-1] - self.starts[0])

    def digest(self) -> str:
        """A digest of the log, the cutoff, the users and all events. Reads everything."""
        digest = sha256(f"{self.fingerprint} {self.cutoff}".encode())
        for name, values in {"": self.users, "starts": self.starts, **self.fields}.items():
            digest.update(f"{name} {values.dtype} {len(values)}".encode())
            digest.update(np.ascontiguousarray(values).data.cast("B") if len(values) else b"")
        return digest.hexdigest()

    def ragged(self, field: str) -> Ragged:
        """One field. Raises ConfigError for one that is not here."""
        if field not in self.fields:
            have = ", ".join(self.fields)
            raise ConfigError(f"these histories have no field {field!r}; they have {have}")
        return Ragged(self.starts, self.fields[field])

    def rows(self, users: Int64[np.ndarray, "B"]) -> Int64[np.ndarray, "B"]:
        """The row of each of `users`, −1 for a user who is not here."""
        return positions_in_any_order(self.users, users)

    def of(self, users: Int64[np.ndarray, "B"]) -> "Histories":
        """The histories of `users`, in their order; an empty one for a user who is not here.

        Needs memory for their events, unless they follow one another as they do here.
        """
        rows = self.rows(users)
        known = rows >= 0
        lengths = np.zeros(len(rows), np.int64)
        lengths[known] = self.lengths[rows[known]]
        return self._spans(users, self.starts[rows], lengths)

    def take(self, rows: Int64[np.ndarray, "B"]) -> "Histories":
        """These rows, in this order.

        Needs memory for their events, unless they follow one another.
        """
        return self._spans(self.users[rows], self.starts[:-1][rows], self.lengths[rows])

    def last(self, n: int) -> "Histories":
        """Each user's last `n` events."""
        keep = np.minimum(self.lengths, n)
        return self._spans(self.users, self.starts[1:] - keep, keep)

    def but_last(self, n: int) -> "Histories":
        """Each user's events but the last `n`; none of a shorter history."""
        return self._spans(self.users, self.starts[:-1], np.maximum(self.lengths - n, 0))

    def where(self, keep: Bool[np.ndarray, "L"]) -> "Histories":
        """The events that `keep` marks; users who keep none have an empty history."""
        if keep.all():
            return self
        row = np.repeat(np.arange(len(self)), self.lengths)[keep]
        starts = starts_of(np.bincount(row, minlength=len(self)))
        return replace(self, starts=starts, fields={f: v[keep] for f, v in self.fields.items()})

    def only(self, *fields: str) -> "Histories":
        """The same with these fields alone. Raises ConfigError."""
        return replace(self, fields={f: self.ragged(f).values for f in fields})

    def _spans(
        self,
        users: Int64[np.ndarray, "B"],
        first: Int64[np.ndarray, "B"],
        lengths: Int64[np.ndarray, "B"],
    ) -> "Histories":
        starts, chosen = spans(first, lengths)
        fields = {f: v[chosen] for f, v in self.fields.items()}
        return replace(self, users=users, starts=starts, fields=fields)

    def save(self, folder: Path) -> None:
        """Writes the files to a folder that exists; the caller makes it whole (core.files)."""
        for field, values in self.fields.items():
            write_array(folder / f"{field}.npy", np.ascontiguousarray(values))
        write_about(
            folder, self.users, self.starts, list(self.fields), self.cutoff, self.fingerprint
        )

    @staticmethod
    def open(folder: Path | str) -> "Histories":
        """The histories in `folder`, memory-mapped. Raises DataError with every fault."""
        folder = Path(folder)
        about = _about(folder)
        faults: list[str] = []
        users, starts = (_load(folder / file, faults) for file in (USERS_FILE, STARTS_FILE))
        fields = {field: _load(folder / f"{field}.npy", faults) for field in about.fields}
        faults = faults or _problems(users, starts, fields, sorted_users=True)
        if not faults and starts[-1] != about.events:
            promised = f"{ABOUT_FILE} promises {about.events} events"
            faults = [f"{promised}, {STARTS_FILE} ends at {starts[-1]}"]
        if faults:
            raise DataError(folder, [f"{fault}; {AGAIN}" for fault in faults])
        return Histories(users, starts, fields, about.cutoff, about.fingerprint)


def items_only(histories: Histories) -> Histories:
    """The events that are about an item."""
    return histories.where(histories.fields["item"] != NONE)


def write_about(
    folder: Path,
    users: Int64[np.ndarray, "U"],
    starts: Int64[np.ndarray, "U+1"],
    fields: list[str],
    cutoff: Time | None,
    fingerprint: str,
) -> None:
    """Writes what stands beside the fields: users, starts and histories.json."""
    write_array(folder / USERS_FILE, users)
    write_array(folder / STARTS_FILE, starts)
    about = {
        "format": FORMAT,
        "fields": fields,
        "cutoff": cutoff,
        "fingerprint": fingerprint,
        "events": int(starts[-1]),
    }
    write_text(folder / ABOUT_FILE, json.dumps(about, indent=1) + "\n")


def unfit(field: object) -> bool:
    """Whether a field's name cannot be the name of a file here."""
    if not isinstance(field, str) or not field or field.startswith("."):
        return True
    return bool(set(field) & set("/\\\0")) or f"{field}.npy" in (USERS_FILE, STARTS_FILE)


@dataclass(frozen=True, slots=True)
class _About:
    """What histories.json says."""

    format: int
    fields: Annotated[tuple[str, ...], Distinct()]
    cutoff: Time | None
    fingerprint: str
    events: Annotated[int, AtLeast(0)]

    def __post_init__(self) -> None:
        if bad := [name for name in self.fields if unfit(name)]:
            raise ConfigError(f"fields: found {bad[0][:60]!r}, which no file here can be called")


def _about(folder: Path) -> _About:
    path = folder / ABOUT_FILE
    if not path.is_file():
        raise DataError(
            folder,
            f"no {ABOUT_FILE} here, so these are no histories; make them with"
            " `clickprint prepare`",
        )
    raw = read_json(path, again=AGAIN)
    with reading(path, AGAIN):
        if raw["format"] != FORMAT:
            raise ValueError(f"found format {str(raw['format'])[:24]}, expected {FORMAT}")
        return read(_About, raw)


def _load(path: Path, faults: list[str]) -> np.ndarray:
    """A mapped array. One without values cannot be mapped."""
    try:
        return read_npy(path, mapped=True)
    except DataError as fault:
        faults += [f"{path.name}: {problem}" for problem in fault.problems]
    return np.zeros(0, np.int64)


def _problems(
    users: np.ndarray,
    starts: np.ndarray,
    fields: Mapping[str, np.ndarray],
    *,
    sorted_users: bool = False,
) -> list[str]:
    if faults := [
        f"{name}: found {v.dtype} with {v.ndim} dimensions, expected a list of int64"
        for name, v in (("users", users), ("starts", starts))
        if v.dtype != np.int64 or v.ndim != 1
    ]:
        return faults
    if len(starts) != len(users) + 1:
        sizes = f"found {len(users)} users and {len(starts)} starts"
        return [f"{sizes}, expected one start more than users"]
    if starts[0] != 0 or (starts[1:] < starts[:-1]).any():
        return ["the starts do not rise from 0"]
    if sorted_users and (users[1:] <= users[:-1]).any():
        faults.append("the users are not sorted, or one stands there twice")
    return faults + [
        f"{name}: found {values.shape}, expected {starts[-1]} events"
        for name, values in fields.items()
        if values.ndim < 1 or len(values) != starts[-1]
    ]
