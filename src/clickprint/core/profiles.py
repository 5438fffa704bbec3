"""Profiles: one float16 vector a user, in the challenge's two files.

Anything that writes these two files can be scored.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Float16, Float64, Int64, UInt64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import write_array, write_text
from clickprint.core.forms import read_json, read_npy, reading
from clickprint.core.lookup import positions_in_any_order
from clickprint.core.options import AtLeast, Faults
from clickprint.core.rng import GOLDEN, mix

MAX_WIDTH = 2048
LARGEST = float(np.finfo(np.float16).max)  # 65504
ROWS = 65_536  # looked at together: a million users by 2,048 columns are 4 GB
Blocks = tuple[tuple[str, Annotated[int, AtLeast(0)]], ...]  # name, columns
USERS_FILE, VECTORS_FILE, BLOCKS_FILE = "client_ids.npy", "embeddings.npy", "blocks.json"


def to_float16(values: np.ndarray) -> Float16[np.ndarray, "..."]:
    """Casts to float16 and saturates at ±65504, so that no value becomes infinite.

    Whole numbers above 2048 lose their last digits. NaN stays.
    """
    return np.clip(values, -LARGEST, LARGEST).astype(np.float16)


@dataclass(frozen=True, slots=True)
class Profiles:
    """A vector a user, row by row.

    `blocks` names runs of columns (name, width) that together are all columns, for ablation.
    """

    users: Int64[np.ndarray, "U"]
    vectors: Float16[np.ndarray, "U D"]
    blocks: Blocks = ()

    def __post_init__(self) -> None:
        faults = _users_problems(self.users, None) + _vectors_problems(self.vectors)
        faults = faults or _lengths(self.users, self.vectors)
        if not faults and self.blocks and sum(w for _, w in self.blocks) != self.vectors.shape[1]:
            faults.append(
                f"the blocks {list(self.blocks)} do not add up to {self.vectors.shape[1]} columns"
            )
        if faults:
            raise DataError("profiles", faults)

    def save(self, folder: Path | str) -> None:
        """Writes client_ids.npy, embeddings.npy and, where there are blocks, blocks.json.

        Each file is written whole or not at all.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_array(folder / USERS_FILE, self.users)
        write_array(folder / VECTORS_FILE, self.vectors)
        if self.blocks:
            write_text(folder / BLOCKS_FILE, json.dumps([list(b) for b in self.blocks]))
        else:
            (folder / BLOCKS_FILE).unlink(missing_ok=True)

    @staticmethod
    def load(folder: Path | str) -> "Profiles":
        """The profiles in `folder`, validated. Raises DataError with every fault."""
        folder = Path(folder)
        if faults := problems(folder, None):
            raise DataError(folder, faults)
        users, vectors = (read_npy(folder / file) for file in (USERS_FILE, VECTORS_FILE))
        return Profiles(users, vectors, read_blocks(folder))

    def of(self, users: Int64[np.ndarray, "B"]) -> Float16[np.ndarray, "B D"]:
        """The vectors of `users`, in their order. Raises DataError naming how many have none."""
        rows = positions_in_any_order(self.users, users)
        strangers = users[rows < 0]
        if len(strangers):
            lost = f"{len(strangers)} of {len(users)} users have no profile"
            raise DataError("profiles", f"{lost}, the first is user {strangers[0]}")
        return self.vectors[rows]

    def without(self, block: str) -> "Profiles":
        """The profiles without one block's columns. Raises ConfigError for an unknown block."""
        names = [name for name, _ in self.blocks]
        if block not in names:
            known = ", ".join(names) or "none: these profiles have no blocks"
            raise ConfigError(f"found no block {block!r}, expected one of {known}")
        keep = np.repeat([n != block for n in names], [width for _, width in self.blocks])
        blocks = tuple(b for b in self.blocks if b[0] != block)
        return Profiles(self.users, np.ascontiguousarray(self.vectors[:, keep]), blocks)


CELLS = 1 << 22  # random numbers that are made at a time


def random_profiles(users: Int64[np.ndarray, "U"], width: int, seed: int) -> Profiles:
    """Vectors of normal numbers, each of the seed, the user's id and the column alone.

    So a user has the same vector among any others. By Box and Muller of two hashes; there is no
    stream, hence no order.
    """
    vectors = np.empty((len(users), width), np.float16)
    column = np.arange(width, dtype=np.uint64)
    for start in range(0, len(users), many := max(CELLS // max(width, 1), 1)):
        some = slice(start, start + many)
        key = mix((users[some].astype(np.uint64) ^ np.uint64(seed)) + GOLDEN)[:, None] + column
        key = mix(key + GOLDEN)
        radius = np.sqrt(-2 * np.log(_uniform(key) + 2.0**-54))
        vectors[some] = to_float16(radius * np.cos(2 * np.pi * _uniform(~key)))
    return Profiles(users, vectors)


def _uniform(key: UInt64[np.ndarray, "B D"]) -> Float64[np.ndarray, "B D"]:
    """The uniform number in [0, 1) that splitmix64 gives in a state."""
    return (mix(key + GOLDEN) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def read_blocks(folder: Path) -> Blocks:
    """What blocks.json says; nothing where there is none.

    Raises DataError for anything but names, each once, with their widths.
    """
    path = folder / BLOCKS_FILE
    if not path.exists():
        return ()
    raw, faults = read_json(path), Faults()
    with reading(path):
        blocks: Blocks = faults.value(raw, Blocks, "blocks")
        faults.refuse("")
        if len({name for name, _ in blocks}) < len(blocks):
            raise ValueError("found a block twice, expected each once")
    return blocks


def problems(folder: Path, relevant: Int64[np.ndarray, "U"] | None) -> list[str]:
    """What the challenge's validator refuses, one message a file; empty for valid profiles.

    `relevant` are the users that must be there, each once; None switches that check off.
    Source: spec/challenge-protocol.md, "Validator".
    """
    users, vectors = (_load(folder / file) for file in (USERS_FILE, VECTORS_FILE))
    of_users = [users] if isinstance(users, str) else _users_problems(users, relevant)
    of_vectors = [vectors] if isinstance(vectors, str) else _vectors_problems(vectors)
    faults = [f"{USERS_FILE}: {f}" for f in of_users[:1]]
    faults += [f"{VECTORS_FILE}: {f}" for f in of_vectors[:1]]
    return faults or _lengths(users, vectors)


def _load(path: Path) -> np.ndarray | str:
    """An array, mapped, or what is wrong with its file."""
    try:
        return read_npy(path, mapped=True)
    except DataError as fault:
        return fault.problems[0]


def _users_problems(users: np.ndarray, relevant: np.ndarray | None) -> list[str]:
    if users.ndim != 1:
        return [f"found {users.ndim} dimensions, expected 1"]
    if users.dtype != np.int64:
        return [f"found dtype {users.dtype}, expected int64"]
    unique = np.unique(users)
    if len(unique) != len(users):
        return [f"{len(users) - len(unique)} of {len(users)} ids are there more than once"]
    if relevant is not None and not np.array_equal(unique, np.unique(relevant)):
        extra, lost = np.setdiff1d(unique, relevant), np.setdiff1d(relevant, unique)
        which = f"{len(lost)} of them are missing and {len(extra)} others are there"
        return [f"not the relevant clients: {which}"]
    return []


def _vectors_problems(vectors: np.ndarray) -> list[str]:
    if vectors.ndim != 2:
        return [f"found {vectors.ndim} dimensions, expected 2"]
    if vectors.shape[1] > MAX_WIDTH:
        return [f"found {vectors.shape[1]} columns, at most {MAX_WIDTH} are allowed"]
    if vectors.dtype != np.float16:
        return [f"found dtype {vectors.dtype}, expected float16"]
    nan = infinite = 0
    for start in range(0, len(vectors), ROWS):
        rows = vectors[start : start + ROWS]
        nan += int(np.isnan(rows).sum())
        infinite += int(np.isinf(rows).sum())
    if nan or infinite:
        return [f"found {nan} NaN and {infinite} infinite values, expected finite numbers"]
    return []


def _lengths(users: np.ndarray | str, vectors: np.ndarray | str) -> list[str]:
    if len(users) == len(vectors):
        return []
    sizes = f"{USERS_FILE} has {len(users)} rows and {VECTORS_FILE} has {len(vectors)}"
    return [f"{sizes}; they must be equal"]
