"""Datasets for other tools: what the export commands do and print."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError
from clickprint.core.events import Role
from clickprint.core.ids import text_ids
from clickprint.core.progress import Progress, silent
from clickprint.data.engine import DuckDB
from clickprint.data.export.anonymise import Anonymise
from clickprint.data.export.challenge import export_challenge
from clickprint.data.export.recbole import Split, export_recbole
from clickprint.data.log import EventLog


def challenge(
    folder: Path,
    out: Path,
    *,
    horizon: int = 14,
    key: Path | None = None,
    deny: Path | None = None,
    memory: str | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> None:
    """Writes a dataset as the challenge's directory; anonymised where a key is given."""
    if horizon < 1:
        raise ConfigError(f"--horizon-days: found {horizon}, expected at least 1 day")
    if deny is not None and key is None:
        raise ConfigError("--deny: leaves items out of an anonymised export; give a --key too")
    dataset = Dataset.open(folder)
    anonymise = (
        None if key is None else Anonymise(_bytes(key, "--key").strip(), _items(dataset, deny))
    )
    with DuckDB(memory=memory, threads=threads) as engine:
        log = EventLog.open(dataset, engine)
        made = export_challenge(
            log,
            out,
            relevant=dataset.population,
            horizon_days=horizon,
            anonymise=anonymise,
            progress=progress,
        )
    _say(out, made.rows, made.left_out, made.filled)
    print(f"training window {made.train}, validation window {made.valid}")


def recbole(
    folder: Path,
    out: Path,
    *,
    name: str | None = None,
    split: Split = "none",
    roles: Sequence[str] = (),
    horizon: int = 14,
    anchor: str = Role.BUY.value,
    memory: str | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> None:
    """Writes a dataset as RecBole's atomic files."""
    if horizon < 1:
        raise ConfigError(f"--horizon-days: found {horizon}, expected at least 1 day")
    wanted = tuple(_role(r, "--roles") for r in roles) or None
    with DuckDB(memory=memory, threads=threads) as engine:
        log = EventLog.open(Dataset.open(folder), engine)
        options = {
            "split": split,
            "roles": wanted,
            "horizon_days": horizon,
            "anchor": _role(anchor, "--anchor"),
        }
        made = export_recbole(log, out, name, **options, progress=progress)  # type: ignore[arg-type]
    _say(out, made.rows, made.left_out)


def _role(text: str, option: str) -> Role:
    if text not in tuple(r.value for r in Role):
        raise ConfigError(
            f"{option}: found {text!r}, expected one of {', '.join(r.value for r in Role)}"
        )
    return Role(text)


def _items(dataset: Dataset, file: Path | None) -> Int64[np.ndarray, "V"]:
    """The items in a file, one a line: as the source calls them."""
    lines = (
        []
        if file is None
        else [
            line.strip() for line in _bytes(file, "--deny").decode("utf-8", "replace").splitlines()
        ]
    )
    lines = [line for line in lines if line]
    if (dataset.folder / "ids" / "item.parquet").is_file():
        return text_ids(lines)
    try:
        return np.array([int(line) for line in lines], np.int64)
    except (ValueError, OverflowError) as fault:
        raise ConfigError(f"--deny: {fault}; this dataset's items are whole numbers") from None


def _bytes(file: Path, option: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as fault:
        raise ConfigError(f"{option}: {file} cannot be read ({fault.strerror})") from None


def _say(out: Path, rows: Mapping[str, int], *notes: Mapping[str, int]) -> None:
    for file, n in rows.items():
        print(f"{n:>12,} rows  {file}")
    for said in notes:
        for why, n in said.items():
            print(f"{n:>12,} {why}")
    print(out)
