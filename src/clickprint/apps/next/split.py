"""Stage `split`: OUT/split/windows.json, and overview.json, what the log looks like."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clickprint.core.errors import DataError
from clickprint.core.files import write_text
from clickprint.core.time import Time
from clickprint.data.log import EventLog
from clickprint.data.overview import overview
from clickprint.recommenders.windows import Windows, rolling

if TYPE_CHECKING:
    from clickprint.apps.next.run import Run


def split(run: "Run") -> str:
    """Which windows are trained on, validated, and predicted."""
    return run.stages.make("split", partial(_split, run))


def _split(run: "Run", folder: Path) -> None:
    run.progress("split", 0, 0)
    with run.log() as log:
        (windows,) = windows_of(run, log, 1)
        write_text(folder / "overview.json", overview(log).to_json())
    write_text(folder / "windows.json", windows.to_json())


def windows_of(run: "Run", log: EventLog, count: int) -> list[Windows]:
    """The last `count` windows for validation, oldest first, each with what is trained on.

    Raises DataError where the log is too short or has no clock.
    """
    log.manifest.need_clock("windows of days")
    first, last = _span(log)
    part = run.recipe.windows
    return [
        Windows.before(
            valid,
            first,
            count=part.train_windows,
            stride_days=part.stride_days,
            history_days=part.history_days,
        )
        for valid in rolling(first, last, days=run.recipe.next.days, count=count)
    ]


def _span(log: EventLog) -> tuple[Time, Time]:
    span = log.span()
    if span is None:
        raise DataError(log.manifest.name, ["the log has no event"])
    return span
