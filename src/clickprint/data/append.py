"""New days for a dataset: only the new source is read.

The result is what a reading of all files would have given.
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

from clickprint.core.dataset import Dataset, Day, Manifest
from clickprint.core.events import ID_COLUMNS
from clickprint.core.files import beside, new_folder, remove, restore, whole
from clickprint.core.items import CATEGORICAL
from clickprint.core.progress import Progress, silent
from clickprint.core.seal import Part
from clickprint.data.adapters import mapping, reader, table
from clickprint.data.check import refuse
from clickprint.data.engine import Engine, name
from clickprint.data.store import DATASET, Batches, canonical, finish, repeats

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
    """Adds what the reader `source` finds at `path` to the dataset in `folder`.

    Gives the dataset back opened. The events must be of days after the dataset's last one. Old
    events are not read: their files are linked into the new folder, which then takes the old one's
    place, whole or not at all. Fingerprint, counts, catalogue, ids and histories are those of one
    reading of all the files together:

    - a timeless catalogue row gives way to the new source's;
    - rows with known_from come after those that are there;
    - users of either population are in the new one.

    Memory holds the catalogue, users, items and one id map. Raises what the reader raises,
    ConfigError where the dataset stores an order instead of times, and DataError, with every
    fault, where

    - days overlap, or kinds, columns or attributes differ;
    - ids would change (numbers here, texts there), or two texts share an id;
    - only one of the two says whose profiles are wanted;
    - the new catalogue tells an item's past otherwise.
    """
    folder = Path(folder).resolve()
    restore(folder)
    old = Dataset.open(folder)
    old.manifest.need_clock("appending days")
    new_folder(folder, DATASET, overwrite=True)
    with _room(folder) as room:
        maps = _maps(old)
        told = {"engine": engine, "progress": progress, "texts": frozenset(maps)}
        new = _read(source, path, room / "new", dict(options or {}), told)
        progress("join", 0, 0)
        refuse(
            folder,
            _differences(old.manifest, new.manifest)
            or [*_overlap(old.manifest, new.manifest), *_ids(old, new, engine)],
        )
        catalogue, faults = _catalogues(old.catalogue.table, new.catalogue.table, old.manifest)
        population, more = _population(old, new)
        refuse(folder, faults + more)
        with whole(folder, DATASET) as part:
            (part / "events").mkdir(parents=True)
            parts = _staying(new.manifest) | _staying(old.manifest)
            for file in parts:
                owner = old if file in old.manifest.parts else new
                _link(owner.folder / file, part / file)
            added = _maps(new)
            finish(
                part,
                _manifest(old.manifest, new.manifest, parts),
                {**old.manifest.days, **new.manifest.days},
                catalogue,
                {
                    column: _texts([*maps.get(column, ()), *added.get(column, ())], engine)
                    for column in added | maps
                },
                np.union1d(old.users, new.users),
                np.union1d(old.items, new.items),
                population,
            )
    return Dataset.open(folder)


@contextmanager
def _room(folder: Path) -> Iterator[Path]:
    """A folder beside the dataset for the new source's own; what a killed process left goes."""
    room = beside(folder, "append")
    remove(room)
    room.mkdir()
    try:
        yield room
    finally:
        remove(room)


def _read(
    source: str,
    path: Path | None,
    out: Path,
    options: dict[str, Any],
    told: dict[str, Any],
) -> Dataset:
    """The new source as a dataset of its own.

    Columns that were texts stay texts, where the reader can be told so.
    """
    read: Callable[..., Dataset] = reader(source)
    arguments: list[Any] = [] if path is None else [Path(path)]
    if source == "table" and path is not None:
        read, arguments = table.read_mapping, [mapping.load(Path(path))]
        options = {"max_rejected": table.MAX_REJECTED, **options}
    told = {k: v for k, v in told.items() if k in signature(read).parameters}
    return read(*arguments, out, **told, **options)


def _differences(old: Manifest, new: Manifest) -> list[str]:
    """What makes the two logs of different form."""
    faults = []
    here, there = ([f"{k.name} ({k.role.value})" for k in m.kinds] for m in (old, new))
    again = "read everything again"
    if fresh := [k for k in there if k not in here]:
        said = f"the new source has kinds of event that the dataset has not: {', '.join(fresh)}"
        faults.append(f"{said}; {again}")
    elif here != there:
        said = f"the kinds of event are {', '.join(here)}, in the new source {', '.join(there)}"
        faults.append(f"{said}; read it with the same options")
    for what, of in (("columns", lambda m: sorted(m.columns)), ("attributes", _types)):
        a, b = (", ".join(of(m)) or "none" for m in (old, new))
        if a != b:
            faults.append(f"the {what} are {a}, in the new source {b}; they must be equal")
    both = sorted({**old.beside, **new.beside})
    if other := [n for n in both if old.beside.get(n) != new.beside.get(n)]:
        said = "the new source says otherwise than the dataset"
        faults.append(f"{', '.join(other)}: {said}; {again}")
    for what, ours, theirs in (("time", old.time, new.time), ("query", old.query, new.query)):
        if ours != theirs:
            said = f"{what} is {ours!r} in the dataset and {theirs!r} in the new source"
            faults.append(f"{said}; they must be equal")
    return faults


def _types(manifest: Manifest) -> list[str]:
    return [f"{n} ({type_.value})" for n, type_ in sorted(manifest.attributes.items())]


def _overlap(old: Manifest, new: Manifest) -> list[str]:
    """Days of the new source that are not after the last one of the dataset."""
    last = max(old.days, default="")
    early = [day for day in sorted(new.days) if day <= last]
    if not early:
        return []
    if all(old.days.get(day) == there for day, there in new.days.items()):
        span = early[0] if len(early) == 1 else f"{early[0]} to {early[-1]}"
        said = f"these events are there already, every one of the new source ({span})"
        return [f"{said}; there is nothing to append"]
    none = Day(0, "")
    some = ", ".join(
        f"{day} ({old.days.get(day, none).events} events here, {new.days[day].events} there)"
        for day in early[:SHOWN]
    )
    more = f" and {len(early) - SHOWN} more" if len(early) > SHOWN else ""
    said = f"the new source has events of days up to {last}, the dataset's last day: {some}{more}"
    return [f"{said}; append only days after it"]


def _maps(dataset: Dataset) -> dict[str, list[Path]]:
    return {column: [file] for column, file in dataset.text_files.items()}


def _ids(old: Dataset, new: Dataset, engine: Engine) -> list[str]:
    """Columns that hold texts on one side and numbers on the other.

    Two texts with one id are found when the maps are written.
    """
    here, there = _maps(old), _maps(new)
    categories = old.manifest.of_type(*CATEGORICAL)
    ids = [c for c in ID_COLUMNS if c in old.manifest.tie_order]
    faults = []
    for column in (*ids, *categories):
        if (column in here) == (column in there):
            continue
        # A side without any value agrees with both. The old events are not looked at, but who and
        # what is in them is known.
        known = {"user": old.users, "item": old.items}.get(column)
        if column in categories:
            known = _values(old, column)
            some = len(_values(new, column)) > 0
        else:
            scan = f"{engine.scan(new.event_files)} WHERE {name(column)} IS NOT NULL LIMIT 1"
            some = engine.table(f"SELECT 1 FROM {scan}").num_rows > 0
        if some and (known is None or len(known)):
            a, b = ("texts", "whole numbers") if column in here else ("whole numbers", "texts")
            said = f"column {column} holds {a} in the dataset and {b} in the new source"
            faults.append(f"{said}, so ids would change; read everything again")
    return faults


def _values(dataset: Dataset, attribute: str) -> pa.ChunkedArray:
    return dataset.catalogue.table.column(attribute).drop_null()


def _texts(files: Iterable[Path], engine: Engine) -> Batches:
    scans = " UNION ALL ".join(
        f"SELECT id, text FROM {engine.scan([file])}" for file in dict.fromkeys(files)
    )
    return engine.batches(f"SELECT DISTINCT id, text FROM ({scans}) AS t ORDER BY id, text")


def _catalogues(old: pa.Table, new: pa.Table, manifest: Manifest) -> tuple[pa.Table, list[str]]:
    """Both catalogues in one, and the faults.

    A fault is a row of the new one that changes what was known of an item before.
    """
    timeless = new.filter(pc.is_null(new.column("known_from"))).column("item")
    replaced = pc.is_in(old.column("item"), timeless)
    old = old.filter(pc.invert(pc.and_(replaced, pc.is_null(old.column("known_from")))))
    sides = (
        t.append_column("new", pa.array(np.full(len(t), n))) for n, t in enumerate((old, new))
    )
    rows = pa.concat_tables(list(sides))
    keys = [(c, "ascending", "at_start") for c in ("item", "known_from", "new")]
    rows = rows.take(pc.sort_indices(rows, sort_keys=keys))
    rows = rows.filter(pa.array(~repeats(rows.drop_columns(["new"]))))
    # What is left of the new dated rows must come after the last old row of the item.
    dated = pc.and_(pc.equal(rows.column("new"), 1), pc.is_valid(rows.column("known_from")))
    latest = old.group_by("item").aggregate([("known_from", "max")])
    both = rows.filter(dated).join(latest, "item", join_type="inner")
    early = both.filter(pc.less_equal(both.column("known_from"), both.column("known_from_max")))
    if len(early):
        items = np.unique(early.column("item").to_numpy())
        some = ", ".join(map(str, items[:SHOWN].tolist())) + (", …" if len(items) > SHOWN else "")
        said = f"the new source tells the past of {len(items)} items otherwise ({some})"
        return old, [f"catalogue: {said}; read everything again"]
    return canonical(rows.drop_columns(["new"]), manifest), []


def _population(old: Dataset, new: Dataset) -> tuple[Int64[np.ndarray, "U"] | None, list[str]]:
    """Whose profiles are wanted: users of the dataset in their order, then those of the source."""
    here, there = old.population, new.population
    if here is None and there is not None:
        said = f"the dataset wants the profiles of all users, the new source names {len(there)}"
        return None, [f"{said}; read everything again"]
    if here is None or there is None:
        return here, []
    return np.concatenate([here, there[~np.isin(there, here)]]), []


def _staying(manifest: Manifest) -> dict[str, Part]:
    """The parts that the longer dataset has as they are: events, and what is beside them."""
    return {
        name_: part
        for name_, part in manifest.parts.items()
        if name_.startswith("events/") or name_ in manifest.beside
    }


def _link(file: Path, target: Path) -> None:
    """The same file under a second name; a copy where the file system knows no links."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def _manifest(old: Manifest, new: Manifest, parts: dict[str, Part]) -> Manifest:
    turn = 1 + int(old.source.get("appends", "0"))
    source = {
        **old.source,
        "appends": str(turn),
        **{f"append {turn}: {key}": said for key, said in new.source.items()},
    }
    return replace(
        old,
        rejected=_sums(old.rejected, new.rejected),
        unread=_sums(old.unread, new.unread),
        source=source,
        parts=parts,
    )


def _sums(old: Mapping[str, int], new: Mapping[str, int]) -> dict[str, int]:
    return {reason: old.get(reason, 0) + new.get(reason, 0) for reason in {**old, **new}}
