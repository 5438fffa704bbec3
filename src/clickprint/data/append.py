"""New days for a dataset: only the new source is read, and the result is what a reading of all
would have given.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from clickprint.core.dataset import Dataset, Manifest
from clickprint.core.events import ID_COLUMNS
from clickprint.core.files import restore, whole
from clickprint.core.items import AttributeType
from clickprint.core.progress import Progress, silent
from clickprint.data.adapters import mapping, reader, table
from clickprint.data.check import refuse
from clickprint.data.engine import Engine, name
from clickprint.data.store import Batches, canonical, finish, repeats

SHOWN = 5  # days, items or ids that a message names


def append(
    folder: Path,
    source: str,
    path: Path | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    engine: Engine,
    progress: Progress = silent,
) -> Dataset:
    """Adds what the reader `source` finds at `path` to the dataset in `folder`, and gives the
    dataset back opened.

    The events must be of days after the dataset's last one. Old events are not read: their files
    are linked into the new folder, which then takes the old one's place, whole or not at all.
    Fingerprint, counts, catalogue, ids and histories are those of one reading of all the files
    together: a timeless catalogue row gives way to the new source's, rows with known_from come
    after those that are there. Who is in either population is in the new one. Memory holds the
    catalogue, users, items and one id map.

    Raises ConfigError where the dataset stores an order instead of times, and DataError, with
    every fault, where days overlap, kinds, columns or attributes differ, ids would change (numbers
    here, texts there), two texts share an id, only one of the two says whose profiles are wanted,
    or the new catalogue tells an item's past otherwise; and what the reader raises.
    """
    folder = Path(folder).resolve()
    restore(folder)
    old = Dataset.open(folder)
    old.manifest.need_clock("appending days")
    with _room(folder) as room:
        maps = _maps(old)
        new = _read(
            source, path, room / "new", dict(options or {}), frozenset(maps), engine, progress
        )
        progress("join", 0, 0)
        refuse(
            folder,
            _differences(old.manifest, new.manifest)
            or [*_overlap(old.manifest, new.manifest), *_ids(old, new, engine)],
        )
        catalogue, faults = _catalogues(old.catalogue.table, new.catalogue.table, old.manifest)
        population, more = _population(old, new)
        refuse(folder, faults + more)
        with whole(folder) as part:
            (part / "events").mkdir(parents=True)
            for file in (*old.event_files, *new.event_files):
                _link(file, part / "events" / file.name)
            for beside in old.manifest.beside:
                _link(old.folder / beside, part / beside)
            finish(
                part,
                _manifest(old.manifest, new.manifest),
                {**old.manifest.days, **new.manifest.days},
                catalogue,
                {
                    column: _texts([*files, *_maps(new).get(column, ())], engine)
                    for column, files in (_maps(new) | maps).items()
                },
                np.union1d(old.users, new.users),
                np.union1d(old.items, new.items),
                population,
            )
    return Dataset.open(folder)


@contextmanager
def _room(folder: Path) -> Iterator[Path]:
    """A place beside the dataset for the new source's own; what a killed process left there is
    removed.
    """
    room = folder.with_name(f".{folder.name}.append")
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir()
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _read(
    source: str,
    path: Path | None,
    out: Path,
    options: dict[str, Any],
    texts: frozenset[str],
    engine: Engine,
    progress: Progress,
) -> Dataset:
    """The new source as a dataset of its own.

    Columns that were texts stay texts, where the reader can be told so.
    """
    read: Callable[..., Dataset] = reader(source)
    arguments: list[Any] = [] if path is None else [Path(path)]
    if source == "table" and path is not None:
        read, arguments = table.read_mapping, [mapping.load(Path(path))]
    taken = signature(read).parameters
    given = {"engine": engine, "progress": progress, "texts": texts}
    return read(*arguments, out, **{k: v for k, v in given.items() if k in taken}, **options)


def _differences(old: Manifest, new: Manifest) -> list[str]:
    """What makes the two logs of different form."""
    faults = []
    here, there = ([f"{k.name} ({k.role.value})" for k in m.kinds] for m in (old, new))
    if fresh := [k for k in there if k not in here]:
        faults.append(
            f"the new source has kinds of event that the dataset has not: {', '.join(fresh)}; read"
            " everything again"
        )
    elif here != there:
        faults.append(
            f"the kinds of event are {', '.join(here)}, in the new source {', '.join(there)}; read"
            " it with the same options"
        )
    for what, a, b in (
        ("columns", sorted(old.columns), sorted(new.columns)),
        ("attributes", _kinds(old), _kinds(new)),
    ):
        if a != b:
            faults.append(
                f"the {what} are {', '.join(a) or 'none'}, in the new source"
                f" {', '.join(b) or 'none'}; they must be equal"
            )
    if old.beside != new.beside:
        other = sorted(
            n for n in {**old.beside, **new.beside} if old.beside.get(n) != new.beside.get(n)
        )
        faults.append(
            f"{', '.join(other)}: the new source says otherwise than the dataset; read everything"
            " again"
        )
    for what, ours, theirs in (("time", old.time, new.time), ("query", old.query, new.query)):
        if ours != theirs:
            faults.append(
                f"{what} is {ours!r} in the dataset and {theirs!r} in the new source; they must be"
                " equal"
            )
    return faults


def _kinds(manifest: Manifest) -> list[str]:
    return [f"{n} ({k.value})" for n, k in sorted(manifest.attributes.items())]


def _overlap(old: Manifest, new: Manifest) -> list[str]:
    """Days of the new source that are not after the last one of the dataset."""
    last = max(old.days, default="")
    early = [day for day in sorted(new.days) if day <= last]
    if not early:
        return []
    if all(old.days.get(day) == found for day, found in new.days.items()):
        span = early[0] if len(early) == 1 else f"{early[0]} to {early[-1]}"
        return [
            f"these events are there already, every one of the new source ({span}); there is"
            " nothing to append"
        ]

    def told(day: str) -> str:
        here = old.days[day].events if day in old.days else 0
        return f"{day} ({here} events here, {new.days[day].events} there)"

    some = ", ".join(map(told, early[:SHOWN])) + (
        f" and {len(early) - SHOWN} more" if len(early) > SHOWN else ""
    )
    return [
        f"the new source has events of days up to {last}, the dataset's last day: {some}; append"
        " only days after it"
    ]


def _maps(dataset: Dataset) -> dict[str, list[Path]]:
    return {file.stem: [file] for file in sorted((dataset.folder / "ids").glob("*.parquet"))}


def _ids(old: Dataset, new: Dataset, engine: Engine) -> list[str]:
    """Columns of texts here and of numbers there; two texts with one id are found when the maps
    are written.
    """
    here, there = _maps(old), _maps(new)
    categories = [
        n
        for n, k in old.manifest.attributes.items()
        if k in (AttributeType.CATEGORY, AttributeType.PRICE_BUCKET)
    ]
    faults = []
    for column in (
        *(c for c in ID_COLUMNS if c in ("user", "item", *old.manifest.columns)),
        *categories,
    ):
        if (column in here) == (column in there):
            continue
        # A side without any value agrees with both; the old events are not looked at, but who and
        # what is in them is known.
        known = {"user": old.users, "item": old.items}.get(column)
        if column in categories:
            known = _values(old.catalogue.table, column)
        if (known is None or len(known)) and _any(new, column, engine, column in categories):
            a, b = ("texts", "whole numbers") if column in here else ("whole numbers", "texts")
            faults.append(
                f"column {column} holds {a} in the dataset and {b} in the new source, so ids would"
                " change; read everything again"
            )
    return faults


def _values(table_: pa.Table, column: str) -> pa.ChunkedArray:
    return table_.column(column).drop_null()


def _any(dataset: Dataset, column: str, engine: Engine, attribute: bool) -> bool:
    """Whether a column has a value at all."""
    if attribute:
        return bool(len(_values(dataset.catalogue.table, column)))
    found = engine.table(
        f"SELECT 1 FROM {engine.scan(dataset.event_files)} WHERE {name(column)} IS NOT NULL"
        " LIMIT 1"
    )
    return bool(found.num_rows)


def _texts(files: Iterable[Path], engine: Engine) -> Batches:
    scans = " UNION ALL ".join(
        f"SELECT id, text FROM {engine.scan([file])}" for file in dict.fromkeys(files)
    )
    return engine.batches(f"SELECT DISTINCT id, text FROM ({scans}) AS t ORDER BY id, text")


def _catalogues(old: pa.Table, new: pa.Table, manifest: Manifest) -> tuple[pa.Table, list[str]]:
    """Both catalogues in one, and the faults: rows of the new one that change what was known of an
    item before.
    """
    null = pc.is_null(new.column("known_from"))
    gone = pc.and_(
        pc.is_in(old.column("item"), new.filter(null).column("item")),
        pc.is_null(old.column("known_from")),
    )
    old = old.filter(pc.invert(gone))
    rows = pa.concat_tables(
        [
            t.append_column("new", pa.array(np.full(len(t), side)))
            for side, t in enumerate((old, new))
        ]
    )
    rows = rows.take(
        pc.sort_indices(
            rows, sort_keys=[(c, "ascending", "at_start") for c in ("item", "known_from", "new")]
        )
    )
    rows = rows.filter(pa.array(~repeats(rows.drop_columns(["new"]))))
    # What is left of the new dated rows must come after the last old row of the item.
    fresh = rows.filter(
        pc.and_(pc.equal(rows.column("new"), 1), pc.is_valid(rows.column("known_from")))
    )
    both = fresh.join(
        old.group_by("item").aggregate([("known_from", "max")]), "item", join_type="inner"
    )
    early = both.filter(pc.less_equal(both.column("known_from"), both.column("known_from_max")))
    if len(early):
        items = np.unique(early.column("item").to_numpy())
        some = ", ".join(map(str, items[:SHOWN].tolist())) + (", …" if len(items) > SHOWN else "")
        return old, [
            f"catalogue: the new source tells the past of {len(items)} items otherwise ({some});"
            " read everything again"
        ]
    return canonical(rows.drop_columns(["new"]), manifest), []


def _population(old: Dataset, new: Dataset) -> tuple[Int64[np.ndarray, "U"] | None, list[str]]:
    """Whose profiles are wanted: those of the dataset in their order, then whom only the new
    source names.
    """
    here, there = old.population, new.population
    if here is None and there is not None:
        return None, [
            f"the dataset wants the profiles of all users, the new source names {len(there)}; read"
            " everything again"
        ]
    if here is None or there is None:
        return here, []
    return np.concatenate([here, there[~np.isin(there, here)]]), []


def _link(file: Path, target: Path) -> None:
    """The same file under a second name; a copy where the file system knows no links."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def _manifest(old: Manifest, new: Manifest) -> Manifest:
    rejected = {
        reason: old.rejected.get(reason, 0) + new.rejected.get(reason, 0)
        for reason in {**old.rejected, **new.rejected}
    }
    turn = 1 + int(old.source.get("appends", "0"))
    source = {
        **old.source,
        "appends": str(turn),
        **{f"append {turn}: {key}": said for key, said in new.source.items()},
    }
    return replace(old, rejected=rejected, source=source)
