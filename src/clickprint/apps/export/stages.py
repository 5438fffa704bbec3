"""Datasets for other tools: what the export commands do and print."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError
from clickprint.core.events import Role
from clickprint.core.files import new_folder
from clickprint.core.ids import text_ids
from clickprint.core.options import HORIZON
from clickprint.core.progress import Progress, silent
from clickprint.core.text import say
from clickprint.data.export import CHALLENGE, RECBOLE
from clickprint.data.export.anonymise import Anonymise
from clickprint.data.export.challenge import export_challenge
from clickprint.data.export.recbole import Split, export_recbole
from clickprint.data.log import EventLog
from clickprint.work.folder import digest
from clickprint.work.resources import Tables
from clickprint.work.stages import code_digest


def challenge(
    folder: Path,
    out: Path,
    *,
    horizon_days: int = 14,
    key: Path | None = None,
    deny: Path | None = None,
    overwrite: bool = False,
    resources: Tables = Tables(),
    progress: Progress = silent,
) -> None:
    """Writes a dataset as the challenge's directory.

    - `key`: a file with a secret; the export is then anonymised.
    - `deny`: a file of items that an anonymised export leaves out.
    """
    _check(horizon_days)
    if deny is not None and key is None:
        raise ConfigError("--deny: leaves items out of an anonymised export; give a --key too")
    dataset = Dataset.open(folder)
    anonymise = None
    if key is not None:
        anonymise = Anonymise(_bytes(key, "--key").strip(), _items(dataset, deny))
    # Of a secret not even a digest is kept, so an anonymised export is never known to be the same.
    inputs = "" if anonymise else _inputs(dataset, horizon_days)
    if new_folder(out, CHALLENGE, inputs=inputs, overwrite=overwrite):
        say(f"{out}: up to date")
        return
    with resources.engine() as engine:
        made = export_challenge(
            EventLog.open(dataset, engine),
            out,
            relevant=dataset.population,
            horizon_days=horizon_days,
            anonymise=anonymise,
            overwrite=True,
            inputs=inputs,
            progress=progress,
        )
    _say(out, made.rows, made.left_out, made.filled)
    say(f"training window {made.train}, validation window {made.valid}")


def recbole(
    folder: Path,
    out: Path,
    *,
    name: str | None = None,
    split: Split = "none",
    roles: Sequence[str] = (),
    horizon_days: int = 14,
    anchor: str = Role.BUY.value,
    overwrite: bool = False,
    resources: Tables = Tables(),
    progress: Progress = silent,
) -> None:
    """Writes a dataset as RecBole's atomic files.

    - `roles`: only events with these roles; none: all events.
    - `anchor`: the role whose last event ends a split by time.
    """
    _check(horizon_days)
    wanted = tuple(_role(r, "--roles") for r in roles) or None
    dataset = Dataset.open(folder)
    inputs = _inputs(dataset, name, split, roles, horizon_days, anchor)
    if new_folder(out, RECBOLE, inputs=inputs, overwrite=overwrite):
        say(f"{out}: up to date")
        return
    with resources.engine() as engine:
        made = export_recbole(
            EventLog.open(dataset, engine),
            out,
            name,
            split=split,
            roles=wanted,
            horizon_days=horizon_days,
            anchor=_role(anchor, "--anchor"),
            overwrite=True,
            inputs=inputs,
            progress=progress,
        )
    _say(out, made.rows, made.left_out)


def _inputs(dataset: Dataset, *options: Any) -> str:
    """What an export is made from, as a short text."""
    code = code_digest("clickprint.data.export.challenge", "clickprint.data.export.recbole")
    return digest(dataset.manifest.to_json(), options, code)


def _check(horizon_days: int) -> None:
    if not HORIZON.holds(horizon_days):
        raise ConfigError(f"--horizon-days: found {horizon_days}, expected {HORIZON.expected}")


def _role(text: str, option: str) -> Role:
    if text not in tuple(r.value for r in Role):
        raise ConfigError(
            f"{option}: found {text!r}, expected one of {', '.join(r.value for r in Role)}"
        )
    return Role(text)


def _items(dataset: Dataset, file: Path | None) -> Int64[np.ndarray, "V"]:
    """The items in a file, one a line: as the source calls them."""
    text = "" if file is None else _bytes(file, "--deny").decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
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
        say(f"{n:>12,} rows  {file}")
    for said in notes:
        for why, n in said.items():
            say(f"{n:>12,} {why}")
    say(out)
