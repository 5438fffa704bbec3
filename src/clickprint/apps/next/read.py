"""Stage `read`: the log in the canonical form, in OUT/data/."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clickprint.work.recipe import DataPart

if TYPE_CHECKING:
    from clickprint.apps.next.run import Run


def read(run: "Run") -> str:
    """The log that the parameters choose."""
    return run.stages.make("read", partial(_read, run, run.recipe.data))


def _read(run: "Run", data: DataPart, folder: Path) -> None:
    with run.stages.work.spill() as spill, run.resources.engine(spill) as engine:
        data.open(engine, out=folder, progress=run.progress)
