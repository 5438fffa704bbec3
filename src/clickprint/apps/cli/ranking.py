"""Commands that rank items: rank compares recommenders, scale compares sizes of one."""

from pathlib import Path

from clickprint.apps.cli.shared import RANKING, Flag, Numbers, OnMachine, Words, app
from clickprint.core.text import say
from clickprint.work.progress import progress_bars
from clickprint.work.resources import Resources


@app.command(group=RANKING)
def rank(
    recipe: Path,
    /,
    *,
    out: Path | None = None,
    test: Flag = False,
    only: Words = (),
    seeds: Numbers = (),
    data: Path | None = None,
    fresh: Flag = False,
    machine: OnMachine = Resources(),
) -> None:
    """Compare all recommenders of a recipe on validation; with --test, once, on the test.

    Called again it goes on where it stopped: what is there and of the same options is kept.

    Args:
        recipe: A TOML file with [ranking] and [models]; docs/ranking.md explains the keys.
        out: The folder of the table [default: runs/ranking/<the recipe's name>].
        test: Score the test, once: needs all validations and freezes the recipe.
        only: Make these models only; the table shows all that are there.
        seeds: Make these seeds only, of those in the recipe.
        data: Where the recipe's data are, instead of the path in it.
        fresh: Empty that folder first.
    """
    from clickprint.apps.rank.recipe import load
    from clickprint.apps.rank.stages import rank as rank_models
    from clickprint.report.ranking import show

    loaded = load(recipe)
    folder = out or Path("runs/ranking") / loaded.name
    with progress_bars() as progress:
        table = rank_models(
            loaded,
            folder,
            test=test,
            only=only,
            seeds=seeds,
            data=data,
            fresh=fresh,
            resources=machine,
            progress=progress,
        )
    show(table)
    say(f"table: {folder / table.stage}.md\npicture: {folder / table.stage}.svg")


@app.command(group=RANKING)
def scale(
    recipe: Path,
    /,
    *,
    out: Path | None = None,
    fresh: Flag = False,
    machine: OnMachine = Resources(),
) -> None:
    """Train a ladder of sizes of one model on equal data: quality against parameters and compute.

    Called again it goes on where it stopped: a size that was trained is not trained again.

    Args:
        recipe: A TOML file with a model and [scaling]; docs/scaling.md explains the keys.
        out: The folder of the study [default: runs/<the recipe's name>].
        fresh: Empty that folder first.
    """
    from clickprint.apps.scale.recipe import load
    from clickprint.apps.scale.stages import study
    from clickprint.report.ladder import show

    loaded = load(recipe)
    folder = out or Path("runs") / loaded.name
    with progress_bars() as progress:
        ladder = study(loaded, folder, fresh=fresh, resources=machine, progress=progress)
    show(ladder)
    say(f"table: {folder / 'scaling.csv'}\npicture: {folder / 'scaling.svg'}")
