"""What the caller of a training lends to it: checkpoints, a device, and a metric to stop by."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """The surroundings of one call of `fit`.

    They decide how a training runs, never what is learned from.

    - `checkpoints`: a folder in which trainings keep a checkpoint each and go on from it after a
      crash. The caller removes it when all is done. None: no checkpoints.
    - `key`: names the training among the checkpoints; empty: made of recipe, seed and events.
    - `accelerator`: "auto", "cpu", "cuda" or "mps".
    - `metric`: called with what is fitted so far, higher is better; decides when patience ends a
      training. None: the recipe holds out users' last items itself.
    """

    checkpoints: Path | None = None
    key: str = ""
    accelerator: str = "auto"
    metric: Callable[[Any], float] | None = None

    def checkpoint(self, key: str) -> Path | None:
        """The folder of the training that `key` names; None where no checkpoints are kept."""
        if self.checkpoints is None:
            return None
        return self.checkpoints / sha256(key.encode()).hexdigest()[:24]

    def inner(self, name: str) -> "Session":
        """For a training inside this one: a key of its own, and no metric."""
        return replace(self, key=self.key and f"{self.key} {name}", metric=None)


ALONE = Session()
