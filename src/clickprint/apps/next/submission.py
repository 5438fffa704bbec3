"""Anybody's submission: whether it is in the form of the task sheet, and what it scores."""

from pathlib import Path

import pyarrow as pa

from clickprint.apps.next.run import Run
from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.time import DAY, Window, parse, show
from clickprint.data.names import shop_ids
from clickprint.recommenders import submission
from clickprint.recommenders.submission import Limits
from clickprint.recommenders.windows import bought


def limits(run: Run) -> Limits:
    """How many users and items the parameters allow."""
    return Limits(run.recipe.next.max_users, run.recipe.next.list_length)


def check(run: Run, file: Path) -> str:
    """What the file loses. Raises DataError with every rule that it breaks.

    Users and items are compared with those of the log, where it was read.
    """
    table, asked = submission.read(file), limits(run)
    if (run.folder("read") / "manifest.json").is_file():
        data = Dataset.open(run.folder("read"))
        with run.log() as log:
            users, items = shop_ids(log, "user", data.users), shop_ids(log, "item", data.items)
        found = submission.check(
            table,
            asked,
            users=pa.array(users.values()),
            products=pa.array(items.values()),
            known=len(users),
        )
        against = f"users and products are those of {run.folder('read')}"
    else:
        found = submission.check(table, asked)
        against = "users and products are not compared with a log: none was read"
    if found.faults:
        raise DataError(str(file), found.faults)
    most = f"at most {asked.max_users:,}, at most {asked.list_length} products each"
    form = f"{file}: in the form of the task sheet, {len(table):,} users of {most}; {against}"
    return "\n".join([form, *(f"- {loss}" for loss in found.losses)])


def score(run: Run, file: Path, data: Path | None = None, start: str = "") -> str:
    """Mean recall over the buyers of a window; 0 where a rule is broken.

    The window is the one for validation, or `days` days from `start`; the log is the one that was
    read, or that in `data`. Raises ConfigError, DataError.
    """
    table = submission.read(file)
    if not start and data is not None:
        raise ConfigError(
            "--start: not given, expected the window's first day in that log, such as 2024-05-01"
        )
    window = _window(start, run.recipe.next.days) if start else run.windows().valid
    dataset = Dataset.open(data or run.folder("read"))
    with run.log(data) as log:
        purchases = submission.purchases(log, bought(log, window))
    found = submission.score(table, purchases, limits(run), known=len(dataset.users))
    faults = found.finding.faults
    lines = [
        f"{found.value:.4f}: mean recall of {found.buyers:,} buyers, {window}; {found.named:,} of"
        f" them are in {file}",
        *_too_good(run, file, window),
        *(["0, since a rule is broken:"] if faults else []),
        *(f"- {line}" for line in (*faults, *found.finding.losses)),
    ]
    return "\n".join(lines)


def _too_good(run: Run, file: Path, window: Window) -> list[str]:
    """Of our own submission we know which log it was made from."""
    ours = file.resolve().is_relative_to(run.folder("predict").resolve())
    if not ours or window.start >= (cutoff := run.windows().cutoff):
        return []
    return [
        f"- it was predicted from {show(cutoff)} on, by a log that holds this window: the score is"
        " too good"
    ]


def _window(start: str, days: int) -> Window:
    try:
        first = parse(start)
    except ConfigError as fault:
        raise ConfigError(f"--start: {fault}") from None
    return Window(first, first + days * DAY)
