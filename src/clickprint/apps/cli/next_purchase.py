"""Commands of next purchase: each stage by itself, all of them, and the evaluation."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from clickprint.apps.cli.shared import PRODUCTS, Flag, OnTables, group_of
from clickprint.apps.next.graph import STAGES
from clickprint.core.text import say
from clickprint.work.progress import progress_bars
from clickprint.work.resources import Tables

if TYPE_CHECKING:
    from clickprint.apps.next.run import Run

ABOUT = "Next purchase: who will buy in the next days, and what. Its stages, or all of them."
next_app = group_of("next", PRODUCTS, ABOUT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Which parameters, which log, and where everything is written.

    Args:
        params: The file of parameters; docs/next-purchase.md explains the keys.
        out: The folder of all stages, with the log that was read.
        log: Take this log of the file's [logs], instead of the one that it chooses.
    """

    params: Path = Path("recipes/next/params.toml")
    out: Path = Path("runs/next")
    log: str = ""


At = Annotated[Place, Parameter(name="*")]


def _run(place: Place, machine: Tables, work: Callable[["Run"], str]) -> None:
    from clickprint.apps.next.recipe import load
    from clickprint.apps.next.run import Run

    recipe = load(place.params, log=place.log)
    with progress_bars() as progress:
        run = Run(
            recipe=recipe,
            out=place.out,
            params=str(place.params),
            log_given=place.log,
            resources=machine,
            progress=progress,
        )
        say(work(run))


def _add(name: str, about: str, work: Callable[["Run"], str]) -> None:
    """A command that takes the options of every stage."""

    def command(*, place: At = Place(), machine: OnTables = Tables()) -> None:
        _run(place, machine, work)

    next_app.command(command, name=name, help=about)


def _perform(stage: str, run: "Run") -> str:
    return run.perform(stage)


for _stage in STAGES:
    _add(_stage.name, _stage.about, partial(_perform, _stage.name))


@next_app.command(name="all")
def every(*, place: At = Place(), fresh: Flag = False, machine: OnTables = Tables()) -> None:
    """All stages in their order; what is there and of the same parameters, data and code is kept.

    Args:
        fresh: Empty OUT first.
    """
    from clickprint.apps.next.register import WITHOUT
    from clickprint.work.track import installed

    def perform(run: "Run") -> str:
        if run.recipe.track.on:
            installed(WITHOUT)  # now, not after all other stages
        if fresh:
            run.empty()
        return "\n".join(run.perform(stage.name) for stage in STAGES)

    _run(place, machine, perform)


@next_app.command
def dag() -> None:
    """Print dvc.yaml: the same stages for `dvc repro`, as in `clickprint next dag > dvc.yaml`."""
    from clickprint.apps.next.graph import dag as text

    print(text(), end="")


@next_app.command
def evaluate(
    *, place: At = Place(), windows: int | None = None, machine: OnTables = Tables()
) -> None:
    """Evaluate the whole recipe on several windows, each trained on what lies before it.

    Writes OUT/evaluate/. Called again it goes on where it stopped.

    Args:
        windows: How many windows [default: evaluate.windows of the parameters].
    """
    from clickprint.apps.next.evaluate import evaluate as judge

    _run(place, machine, lambda run: judge(run, windows))


@next_app.command
def check(file: Path, /, *, place: At = Place()) -> None:
    """Check that a submission has the form of the task sheet.

    Every broken rule is told at once; the exit status is 1 if there is one. Users and products
    are compared with those of the log in OUT, if it was read.

    Args:
        file: CSV or Parquet, a row a user: user_id, products (best first; in CSV as JSON).
    """
    from clickprint.apps.next.submission import check as checked

    _run(place, Tables(), lambda run: checked(run, file))


@next_app.command
def score(
    file: Path, /, *, place: At = Place(), data: Path | None = None, start: str = ""
) -> None:
    """Score a submission: mean recall over all who bought in a window.

    A broken rule makes it 0, and is told.

    Args:
        file: CSV or Parquet, a row a user: user_id, products (best first; in CSV as JSON).
        data: Another dataset that holds the window's purchases, as `clickprint read` writes it.
        start: The window's first day [default: the window that was validated].
    """
    from clickprint.apps.next.submission import score as scored

    _run(place, Tables(), lambda run: scored(run, file, data, start))
