"""Progress for people: bars on a terminal, plain lines in a file.

Always on stderr, so that what a command answers can be piped.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Protocol, cast, runtime_checkable

from clickprint.core.progress import Progress
from clickprint.core.text import printable

QUIET_SECONDS = 10.0  # between two plain lines of one stage


@runtime_checkable
class Stream(Protocol):
    """What of a file is needed here."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...

    def isatty(self) -> bool: ...


@contextmanager
def progress_bars(stream: Stream | None = None) -> Iterator[Progress]:
    """A Progress that draws while the block runs; stages of one name move one bar."""
    stream = sys.stderr if stream is None else stream
    if stream.isatty():
        with _bars(stream) as progress:
            yield progress
    else:
        yield Lines(stream)


@contextmanager
def _bars(stream: Stream) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    stages: dict[str, TaskID] = {}
    # redirect_stdout: what a command prints meanwhile (the first board) goes above the bars.
    with Progress(
        *columns,
        console=Console(file=cast(Any, stream)),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    ) as bars:

        def progress(stage: str, done: int, total: int) -> None:
            stage = printable(stage)
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=total or None)
            bars.update(stages[stage], completed=done, total=total or None)
            if total and done >= total:
                bars.remove_task(stages.pop(stage))

        yield progress


class Lines:
    """Writes a line when a stage starts and ends, and at most one in ten seconds between."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._said: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        stage = printable(stage)
        now, finished = monotonic(), bool(total) and done >= total
        if finished:
            # A stage that only ever reports its end (a skipped one, a quick one) is one line.
            self._said.pop(stage, None)
        elif now - self._said.get(stage, -QUIET_SECONDS - now) < QUIET_SECONDS:
            return
        else:
            self._said[stage] = now
        count = f" {done:,}/{total:,}" if total > 1 else f" {done:,}" if done and not total else ""
        self._stream.write(f"{stage}{count}{' done' if finished else ''}\n")
        self._stream.flush()
