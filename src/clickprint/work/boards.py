"""Boards as files in run folders, and one board of several runs."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from clickprint.core.dataset import Manifest
from clickprint.core.errors import ClickprintError, ConfigError, DataError
from clickprint.core.files import write_text
from clickprint.core.profiles import problems
from clickprint.core.time import show
from clickprint.data.split import Split
from clickprint.tasks.board import Board, Without
from clickprint.tasks.score import load
from clickprint.work.folder import INPUTS

PROBES = ("quick", "official")


def board_file(folder: Path, probe: str) -> Path:
    """board.json is the quick probe's, which every profile has; board-official.json the other."""
    return folder / ("board.json" if probe == "quick" else f"board-{probe}.json")


def write_board(folder: Path, board: Board) -> None:
    """The JSON, and beside it the CSV."""
    file = board_file(folder, board.probe)
    write_text(file, board.to_json())
    write_text(file.with_suffix(".csv"), board.to_csv())


def of_run(folder: Path, probe: str) -> Board:
    """The board of a run.

    Raises ConfigError where there is none, and DataError where it is damaged.
    """
    file = board_file(folder, probe)
    if not file.is_file():
        there = [p for p in PROBES if board_file(folder, p).is_file()]
        hint = "make the run with `clickprint run`"
        if there:
            hint = f"it has that of the {' and the '.join(there)} probe"
        raise ConfigError(f"{folder}: no board of the {probe} probe here; {hint}")
    try:
        return Board.from_json(file.read_text("utf-8"), str(file))
    except UnicodeDecodeError as fault:
        raise DataError(file, f"not UTF-8 (byte {fault.start}); run again") from None


def of_runs(folders: Sequence[Path], probe: str) -> Board:
    """One board of several runs that were asked the same; a profile is called RUN/PROFILE.

    Its tasks are those that all runs have. What the words compare with are the first run's
    reference and control. Raises ConfigError where runs cannot stand together.
    """
    if len(folders) == 1:
        return of_run(folders[0], probe)
    names = [f.resolve().name for f in folders]
    if len(set(names)) < len(names):
        raise ConfigError(f"two runs have one name: {', '.join(names)}; rename a folder")
    found = {name: of_run(folder, probe) for name, folder in zip(names, folders, strict=True)}
    first = found[names[0]]
    counted = [t for t in first.counted if all(t in b.counted for b in found.values())]
    if not counted:
        raise ConfigError(f"{', '.join(names)} share no task, so they cannot stand on one board")
    return Board.of(
        {f"{n}/{p}": list(row.values()) for n, b in found.items() for p, row in b.scores.items()},
        reference=f"{names[0]}/{first.reference}",
        control=f"{names[0]}/{first.control}",
        ablation={
            Without(f"{n}/{left.profile}", left.block): list(row.values())
            for n, b in found.items()
            for left, row in b.ablation.items()
        },
        counted=counted,
        common=True,
    )


def run_faults(folder: Path) -> list[str]:
    """What is wrong with the profiles, scores and boards of a run folder."""
    checks: list[Callable[[], object]] = [
        partial(of_run, folder, probe) for probe in PROBES if board_file(folder, probe).is_file()
    ]
    scores = (f for f in sorted(folder.glob("scores/*/*/*.json")) if f.name != INPUTS)
    checks += [partial(load, file) for file in scores]
    faults: list[str] = []
    for check in checks:
        try:
            check()
        except ClickprintError as fault:
            faults.append(str(fault))
    for profile in sorted(p for p in folder.glob("profiles/[!.]*") if p.is_dir()):
        name = profile.relative_to(folder)
        faults += [f"{name}/{fault}" for fault in problems(profile, None)]
    unfinished = not board_file(folder, "quick").is_file()
    return [*faults, *(["no board yet: the run is not finished"] if unfinished else [])]


def log_facts(data: Manifest, parts: Split) -> dict[str, Any]:
    """What a board rests on: the data and the split, for facts.json."""
    counts = {k: getattr(data, k) for k in ("users", "items", "events", "rejected")}
    return {
        "data": {"name": data.name, "fingerprint": data.fingerprint, **counts},
        "split": {
            "cutoff": show(parts.past.cutoff),
            "train": str(parts.train),
            "valid": str(parts.valid),
            "users": len(parts.past.users),
        },
    }


def log_notes(data: Manifest, parts: Split) -> list[str]:
    """The same as footnotes of a board."""
    return [
        f"{data.name}, fingerprint {data.fingerprint}: {len(parts.past.users):,} users,"
        f" {data.events:,} events",
        f"past before {show(parts.past.cutoff)}; train {parts.train}; validation {parts.valid}",
    ]
