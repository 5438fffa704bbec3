"""Commands on profiles: run, board, encoders, tasks, doctor."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from clickprint.apps.cli.shared import PRODUCTS, PROFILES, Devices, Flag, OnMachine, Overwrite, app
from clickprint.core.text import say
from clickprint.work.progress import progress_bars
from clickprint.work.resources import Resources


@app.command(group=PROFILES)
def run(
    recipe: Path,
    /,
    *,
    out: Path | None = None,
    fresh: Flag = False,
    machine: OnMachine = Resources(),
    devices: Devices = ("auto",),
    skip_official: Flag = False,
) -> None:
    """Do what a recipe says: data, split, profiles, probes, board, report, in a run folder.

    Called again it goes on where it stopped: what is there and still valid is not made again.

    Args:
        recipe: A TOML file; docs/recipes.md explains the keys.
        out: The run folder [default: runs/<the recipe's name>].
        fresh: Empty the run folder first.
        skip_official: Leave out the official probe: minutes less.
    """
    from clickprint.apps.run.recipe import load
    from clickprint.apps.run.stages import FIRST
    from clickprint.apps.run.stages import run as run_recipe
    from clickprint.report.board import show

    loaded = load(recipe)
    folder = out or Path("runs") / loaded.name
    with progress_bars() as progress:
        run_recipe(
            loaded,
            folder,
            fresh=fresh,
            resources=machine,
            devices=",".join(devices),
            skip_official=skip_official,
            progress=progress,
            show=lambda board, notes: show(board, notes=notes, words=notes[0] != FIRST),
        )
    say(f"board: {folder / 'board.csv'}\nreport: {folder / 'report.html'}")


@app.command(group=PROFILES)
def board(
    runs: Annotated[tuple[Path, ...], Parameter(name="RUN", consume_multiple=True, negative=())],
    /,
    *,
    probe: Literal["quick", "official"] = "quick",
    csv: Path | None = None,
    json: Path | None = None,
    html: Path | None = None,
    overwrite: Overwrite = False,
) -> None:
    """Put one or several runs that were asked the same questions on one board.

    Args:
        runs: Run folders; with several, a profile is called run/profile.
        probe: Which probe's scores; the two are never mixed on one board.
        csv: Write the board here too, as CSV.
        json: Write the board here too, as JSON.
        html: Write a report here too: one HTML file that opens without a network.
    """
    from clickprint.apps.run.stages import board_of

    board_of(runs, probe, {"csv": csv, "json": json, "html": html}, overwrite=overwrite)


@app.command(group=PROFILES)
def encoders() -> None:
    """List the encoders, with their options and defaults."""
    from clickprint.work import listing

    say(listing.encoders())


@app.command(group=PROFILES)
def tasks() -> None:
    """List the sets of tasks and what each task asks."""
    from clickprint.work import listing

    say(listing.tasks())


@app.command(group=PRODUCTS)
def doctor() -> int:
    """Check the installation: versions, extras, memory, and a small shop from log to board.

    The exit status is 1 if something is wrong.
    """
    from clickprint.apps.doctor.checks import doctor as examine

    return examine()
