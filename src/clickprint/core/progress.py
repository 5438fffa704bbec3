"""How long work reports its progress: a callable that the caller passes in.

The library itself never prints.
"""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """Called with a stage's name, how much is done and how much there is (0 = unknown)."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def silent(stage: str, done: int, total: int) -> None:
    """Says nothing."""


def labelled(progress: Progress, label: str) -> Progress:
    """A progress whose stages begin with a label, as in `label: stage`."""
    return lambda stage, done, total: progress(f"{label}: {stage}", done, total)
