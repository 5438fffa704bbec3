"""Profiles: one float16 vector a user, in the challenge's two files.

Anything that writes these two files can be scored.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float16, Int64

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import write_array, write_text

MAX_WIDTH = 2048
LARGEST = float(np.finfo(np.float16).max)  # 65504
USERS_FILE, VECTORS_FILE, BLOCKS_FILE = "client_ids.npy", "embeddings.npy", "blocks.json"


def to_float16(values: np.ndarray) -> Float16[np.ndarray, "..."]:
    """Casts and saturates at ±65504, so that no value becomes infinite; above 2048 whole numbers
    lose their last digits. NaN stays.
    """
    return np.clip(values, -LARGEST, LARGEST).astype(np.float16)


@dataclass(frozen=True, slots=True)
class Profiles:
    """A vector a user, row by row.

    `blocks` names runs of columns (name, width) that together are all columns, for ablation.
    """

    users: Int64[np.ndarray, "U"]
    vectors: Float16[np.ndarray, "U D"]
    blocks: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        faults = _users_problems(self.users, None) + _vectors_problems(self.vectors)
        if not faults and len(self.users) != len(self.vectors):
            faults.append(_lengths(self.users, self.vectors))
        if not faults and self.blocks and sum(w for _, w in self.blocks) != self.vectors.shape[1]:
            faults.append(
                f"the blocks {list(self.blocks)} do not add up to {self.vectors.shape[1]} columns"
            )
        if faults:
            raise DataError("profiles", faults)

    def save(self, folder: Path | str) -> None:
        """Writes client_ids.npy and embeddings.npy (and blocks.json where there are blocks), each
        whole or not at all.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_array(folder / USERS_FILE, self.users)
        write_array(folder / VECTORS_FILE, self.vectors)
        (
            write_text(folder / BLOCKS_FILE, json.dumps([list(b) for b in self.blocks]))
            if self.blocks
            else (folder / BLOCKS_FILE).unlink(missing_ok=True)
        )

    @staticmethod
    def load(folder: Path | str) -> "Profiles":
        """The profiles in `folder`, validated. Raises DataError with every fault."""
        folder = Path(folder)
        faults = problems(folder, None)
        if faults:
            raise DataError(folder, faults)
        try:
            blocks = tuple(
                (str(n), int(w)) for n, w in json.loads((folder / BLOCKS_FILE).read_text("utf-8"))
            )
        except FileNotFoundError:
            blocks = ()
        except (ValueError, TypeError) as fault:
            raise DataError(
                folder / BLOCKS_FILE, f"not a list of [name, width] ({fault})"
            ) from None
        return Profiles(
            np.load(folder / USERS_FILE, allow_pickle=False),
            np.load(folder / VECTORS_FILE, allow_pickle=False),
            blocks,
        )

    def of(self, users: Int64[np.ndarray, "B"]) -> Float16[np.ndarray, "B D"]:
        """The vectors of `users`, in their order. Raises DataError naming how many have none."""
        order = np.argsort(self.users, kind="stable")
        place = np.minimum(
            np.searchsorted(self.users, users, sorter=order), max(len(order) - 1, 0)
        )
        rows = order[place] if len(order) else np.zeros(len(users), np.int64)
        missing = np.ones(len(users), bool) if not len(order) else self.users[rows] != users
        if missing.any():
            raise DataError(
                "profiles",
                f"{missing.sum()} of {len(users)} users have no profile, the first is user"
                f" {users[missing][0]}",
            )
        return self.vectors[rows]

    def without(self, block: str) -> "Profiles":
        """The same profiles less one block's columns.

        Raises ConfigError for a block that is not here.
        """
        if block not in (names := [b for b, _ in self.blocks]):
            raise ConfigError(
                f"found no block {block!r}, expected one of"
                f" {', '.join(names) or 'none: these profiles have no blocks'}"
            )
        starts = np.cumsum([0] + [w for _, w in self.blocks])
        keep = np.ones(self.vectors.shape[1], bool)
        for (name, width), start in zip(self.blocks, starts, strict=False):
            if name == block:
                keep[start : start + width] = False
        return Profiles(
            self.users,
            np.ascontiguousarray(self.vectors[:, keep]),
            tuple(b for b in self.blocks if b[0] != block),
        )


def problems(folder: Path, relevant: Int64[np.ndarray, "U"] | None) -> list[str]:
    """What the challenge's validator refuses, one message a file; empty when the profiles are
    valid.

    `relevant` are the users that must be there, each once; None switches that check off.
    Source: spec/challenge-protocol.md, "Validator".
    """
    users, user_fault = _load(folder / USERS_FILE)
    vectors, vector_fault = _load(folder / VECTORS_FILE)
    faults = [
        f"{USERS_FILE}: {f}"
        for f in ([user_fault] if user_fault else _users_problems(users, relevant))[:1]
    ]
    faults += [
        f"{VECTORS_FILE}: {f}"
        for f in ([vector_fault] if vector_fault else _vectors_problems(vectors))[:1]
    ]
    if not faults and users is not None and vectors is not None and len(users) != len(vectors):
        faults.append(_lengths(users, vectors))
    return faults


def _load(path: Path) -> tuple[np.ndarray | None, str]:
    if not path.is_file():
        return None, f"not found in {path.parent}"
    if path.stat().st_size == 0:
        return None, "the file is empty"
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as fault:
        return None, f"not a numpy array ({fault})"
    if not isinstance(found, np.ndarray):
        return (
            None,
            f"not one numpy array but {type(found).__name__} (was it saved with np.savez?)",
        )
    return found, ""


def _users_problems(users: np.ndarray | None, relevant: np.ndarray | None) -> list[str]:
    assert users is not None
    if users.ndim != 1:
        return [f"found {users.ndim} dimensions, expected 1"]
    if users.dtype != np.int64:
        return [f"found dtype {users.dtype}, expected int64"]
    unique = np.unique(users)
    if len(unique) != len(users):
        return [f"{len(users) - len(unique)} of {len(users)} ids are there more than once"]
    if relevant is not None and not np.array_equal(unique, np.unique(relevant)):
        extra, lost = np.setdiff1d(unique, relevant), np.setdiff1d(relevant, unique)
        return [
            f"not the relevant clients: {len(lost)} of them are missing and {len(extra)} others"
            " are there"
        ]
    return []


def _vectors_problems(vectors: np.ndarray | None) -> list[str]:
    assert vectors is not None
    if vectors.ndim != 2:
        return [f"found {vectors.ndim} dimensions, expected 2"]
    if vectors.shape[1] > MAX_WIDTH:
        return [f"found {vectors.shape[1]} columns, at most {MAX_WIDTH} are allowed"]
    if vectors.dtype != np.float16:
        return [f"found dtype {vectors.dtype}, expected float16"]
    nan = infinite = 0
    for start in range(
        0, len(vectors), 65_536
    ):  # a view at a time: a million users by 2,048 columns are 4 GB
        chunk = vectors[start : start + 65_536]
        nan += int(np.isnan(chunk).sum())
        infinite += int(np.isinf(chunk).sum())
    if nan or infinite:
        return [f"found {nan} NaN and {infinite} infinite values, expected finite numbers"]
    return []


def _lengths(users: np.ndarray, vectors: np.ndarray) -> str:
    return (
        f"{USERS_FILE} has {len(users)} rows and {VECTORS_FILE} has {len(vectors)}; they must be"
        " equal"
    )
