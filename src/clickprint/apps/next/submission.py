"""Anybody's submission: is it in the form, and what would it score."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from clickprint.apps.next.examples import outside
from clickprint.apps.next.stages import Run
from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.time import DAY, Window, parse, show
from clickprint.data.log import EventLog
from clickprint.recommenders import submission
from clickprint.recommenders.submission import PRODUCT, USER, Finding, Limits
from clickprint.recommenders.windows import bought


def limits(run: Run) -> Limits:
    return Limits(run.recipe.next.users, run.recipe.next.products)


def check(run: Run, file: Path) -> str:
    """What the file breaks and loses; users and products are compared with those of the log, where it was read. Raises DataError."""
    table = submission.read(file)
    if (run.folder("read") / "manifest.json").is_file():
        data = Dataset.open(run.folder("read"))
        with run.log() as log:
            users, products = outside(log, "user", data.users), outside(log, "item", data.items)
        found = submission.check(
            table,
            limits(run),
            users=pa.array(users.values()),
            products=pa.array(products.values()),
            known=len(users),
        )
        against = f"users and products are those of {run.folder('read')}"
    else:
        found, against = (
            submission.check(table, limits(run)),
            "users and products are not compared with a log: none was read",
        )
    if found.faults:
        raise DataError(str(file), found.faults)
    sizes = f"{len(table):,} users of at most {run.recipe.next.users:,}, at most {run.recipe.next.products} products each"
    return "\n".join(
        [f"{file}: in the form of the task sheet, {sizes}; {against}", *_losses(found)]
    )


def score(run: Run, file: Path, data: Path | None = None, start: str = "") -> str:
    """Its mean recall over the buyers of a window: of the one that was validated, or of `days` days from `start`, in the log that was
    read, or in another one. Raises ConfigError, DataError.
    """
    table = submission.read(file)
    if not start and data is not None:
        raise ConfigError(
            "--start: not given, expected the first day of the window in that log, such as 2024-05-01"
        )
    window = _window(start, run.recipe.next.days) if start else run.windows().valid
    with run.engine() as engine:
        dataset = Dataset.open(data or run.folder("read"))
        log = EventLog.open(dataset, engine)
        truth = bought(log, window)
        users, items = (
            outside(log, "user", truth.users),
            outside(log, "item", np.unique(truth.items.values)),
        )
    who = np.repeat(truth.users, truth.items.lengths)
    named = ([users[u] for u in who.tolist()], [items[i] for i in truth.items.values.tolist()])
    pairs = pa.table([pa.array(n, pa.string()) for n in named], [USER, PRODUCT])
    found = submission.score(table, pairs, limits(run), known=len(dataset.users))
    late = _knew(run, file, window)
    why = (
        ["0, since a rule is broken:", *(f"- {f}" for f in found.finding.faults)]
        if found.finding.faults
        else []
    )
    return "\n".join([
        f"{found.value:.4f}: mean recall of {found.buyers:,} buyers, {window}; {found.named:,} of them are in {file}",
        *late,
        *why,
        *_losses(found.finding),
    ])  # fmt: skip


def _knew(run: Run, file: Path, window: Window) -> list[str]:
    """Of our own submission we know when it was made."""
    if (
        not file.resolve().is_relative_to(run.folder("predict").resolve())
        or window.start >= run.windows().cutoff
    ):
        return []
    return [
        f"- it was predicted from {show(run.windows().cutoff)} on, by a log that holds this window: the score is too good"
    ]


def _losses(found: Finding) -> list[str]:
    return [f"- {loss}" for loss in found.losses]


def _window(start: str, days: int) -> Window:
    try:
        first = parse(start)
    except ConfigError as fault:
        raise ConfigError(f"--start: {fault}") from None
    return Window(first, first + days * DAY)
