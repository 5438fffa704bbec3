"""Appending days: a full read and any number of appends give the same dataset, and the old events
are not looked at.
"""

import itertools
import json
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clickprint.apps.cli.main import main
from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.ids import NONE
from clickprint.core.rng import RNG
from clickprint.core.seal import parts_of
from clickprint.core.time import DAY
from clickprint.data import append as module
from clickprint.data.adapters import reader
from clickprint.data.append import append
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.histories import build
from clickprint.data.log import EventLog
from clickprint.data.split import past_of
from clickprint.encoders import encoder
from clickprint.testing.worlds import START, random_arrays
from clickprint.work.folder import locked
from forks import python

MAPPING = """
name = "shop"
query = "codes"
[events]
files = "events.parquet"
user = "user"
item = { column = "item", ids = "text" }
session = "session"
query = "query"
url = "url"
price = "price"
time = { column = "time", format = "microseconds" }
[events.kind]
column = "kind"
values = { view = "view", search = "search", cart = "cart", remove = "remove", buy = "buy" }
[catalogue.attributes]
colour = "category"
size = "number"
"""


@pytest.fixture(scope="module")
def engine():
    with DuckDB(memory="500MB", threads=1) as found:
        yield found


def shop(seed: int, days: int, *, items: int = 8, events: int = 120) -> pa.Table:
    """Events whose items are texts, some spelled as numbers, and whose attributes change, and tie,
    now and then.
    """
    rng = np.random.default_rng(seed)
    arrays = random_arrays(rng, users=9, events=events, days=days, items=items)
    item, n = arrays["item"], len(arrays["time"])
    queries = [arrays["texts"]["query"].get(int(q)) for q in arrays["query"]]
    return pa.table(
        {
            "time": pa.array(arrays["time"]),
            "user": pa.array(arrays["user"]),
            "kind": pa.array([arrays["kinds"][k].name for k in arrays["kind"]]),
            "item": pa.array(
                [None if i == NONE else f"A{i}" if i % 2 else f"{i}" for i in item.tolist()],
                pa.string(),
            ),
            "session": pa.array(arrays["session"]),
            "query": pa.array(queries, pa.string()),
            "url": pa.array(arrays["url"], mask=arrays["url"] == NONE),
            "price": pa.array(arrays["price"], mask=np.isnan(arrays["price"])),
            "colour": pa.array(
                [None if c == 3 else f"c{c}" for c in rng.integers(0, 4, n).tolist()], pa.string()
            ),
            "size": pa.array((item % 3).astype(float)),
        }
    )


def lay(folder: Path, events: pa.Table, mapping: str = MAPPING) -> Path:
    folder.mkdir(parents=True)
    pq.write_table(events, folder / "events.parquet")
    (folder / "shop.toml").write_text(mapping)
    return folder / "shop.toml"


def parts(events: pa.Table, cuts: list[int]) -> list[pa.Table]:
    """The events cut at these days after START; pieces without events left out."""
    day = (events.column("time").to_numpy() - START) // DAY
    bounds = [-1, *sorted(set(cuts)), 10_000]
    pieces = [
        events.filter(pa.array((day >= a) & (day < b))) for a, b in itertools.pairwise(bounds)
    ]
    return [p for p in pieces if len(p)]


def contents(dataset: Dataset) -> dict[str, object]:
    """All that a dataset says, but how it was split into files and where it came from."""
    manifest = json.loads(dataset.manifest.to_json())
    manifest["rejected"] = dict(sorted(manifest["rejected"].items()))
    population = dataset.population
    return {
        "manifest": {k: v for k, v in manifest.items() if k not in ("source", "parts", "digest")},
        "events": (
            pa.concat_tables([pq.read_table(f) for f in dataset.event_files]).combine_chunks()
        ),
        "catalogue": dataset.catalogue.table.combine_chunks(),
        "ids": {
            f.stem: pq.read_table(f).combine_chunks()
            for f in sorted((dataset.folder / "ids").glob("*"))
        },
        "users": dataset.users.tolist(),
        "items": dataset.items.tolist(),
        "population": population if population is None else population.tolist(),
    }


def features(dataset: Dataset, engine: Engine, cutoff: int) -> np.ndarray:
    past = past_of(EventLog.open(dataset, engine), cutoff)
    return encoder("counts", days=(1, 7), top=3).fit(past, rng=RNG(0)).encode(past).vectors


def histories(dataset: Dataset, folder: Path, engine: Engine) -> dict[str, bytes]:
    """Every file of the histories of all fields, byte by byte."""
    fields = ("time", "kind", "item", "session", "query", "url", "price", "colour", "size")
    build(EventLog.open(dataset, engine), folder, fields)
    return {f.name: f.read_bytes() for f in sorted(folder.iterdir())}


def grown(
    folder: Path, pieces: list[Path], engine: Engine, name: str = "table", **options: object
) -> Dataset:
    reader(name)(pieces[0], folder, engine=engine, **options)
    for piece in pieces[1:]:
        append(folder, name, piece, options, engine=engine)
    return Dataset.open(folder)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(1, 9), max_size=3))
def test_a_full_read_is_an_append(
    tmp_path_factory: pytest.TempPathFactory, engine: Engine, seed: int, cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("append")
    events = shop(seed, days=10)
    full = reader("table")(lay(folder / "all", events), folder / "full", engine=engine)
    pieces = [lay(folder / f"p{n}", piece) for n, piece in enumerate(parts(events, cuts))]
    found = grown(folder / "grown", pieces, engine)
    assert found.manifest.fingerprint == full.manifest.fingerprint
    assert contents(found) == contents(full)
    cutoff = START + 8 * DAY
    assert np.array_equal(features(found, engine, cutoff), features(full, engine, cutoff))
    assert histories(found, folder / "one", engine) == histories(full, folder / "two", engine)
    assert sorted(p.name for p in folder.iterdir() if p.name.startswith(".")) == []


# --- what is refused -----------------------------------------------------------------------------


DAY_1 = "visitor,sku,when\n7,A1,2024-01-01 10:00:00\n8,B2,2024-01-01 11:00:00\n"
SHOP = "[events]\nfiles = '{file}'\nuser = 'visitor'\nitem = 'sku'\ntime = 'when'\nkind = 'buy'\n"


def csv(folder: Path, text: str, mapping: str = SHOP, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob("*.toml")))
    for name, content in {f"events{number}": text, **files}.items():
        (folder / f"{name}.csv").write_text(content)
    (folder / f"shop{number}.toml").write_text(mapping.replace("{file}", f"events{number}.csv"))
    return folder / f"shop{number}.toml"


def test_counts_are_summed_and_the_source_is_told(tmp_path: Path, engine: Engine) -> None:
    one = csv(tmp_path, DAY_1 + "9,,2024-01-01 11:00:00\n")
    two = csv(
        tmp_path,
        "visitor,sku,when\n7,A1,2024-01-03 10:00:00\n7,,2024-01-03"
        " 11:00:00\n7,C,never\n6,C3,2024-01-03 10:00:00\n",
    )
    found = grown(tmp_path / "d", [one, two], engine, max_rejected=1).manifest
    assert (found.events, found.users, found.items, list(found.days)) == (
        4,
        3,
        3,
        ["2024-01-01", "2024-01-03"],
    )
    assert found.rejected == {"events: no item": 2, "events: no readable time": 1}
    assert found.source["events"] == "3 rows"
    assert found.source["append 1: events"] == "4 rows"
    assert found.source["append 1: mapping"] == "shop1.toml"
    three = append(
        tmp_path / "d",
        "table",
        csv(tmp_path, "visitor,sku,when\n7,A1,2024-01-04\n"),
        engine=engine,
    ).manifest
    assert (three.source["appends"], three.source["append 2: events"]) == ("2", "1 rows")


def test_the_old_events_are_not_looked_at(tmp_path: Path, engine: Engine) -> None:
    """Their files may hold anything: they are the same files, under the same names, in the new
    folder.
    """
    reader("table")(csv(tmp_path, DAY_1), tmp_path / "d", engine=engine)
    (old,) = Dataset.open(tmp_path / "d").event_files
    kept, number = old.read_bytes(), old.stat().st_ino
    junk = b"PAR1" + b"x" * (len(kept) - 8) + b"PAR1"
    old.write_bytes(junk)
    found = append(
        tmp_path / "d",
        "table",
        csv(tmp_path, "visitor,sku,when\n5,A1,2024-01-02\n"),
        engine=engine,
    )
    assert (found.manifest.events, found.manifest.users) == (3, 3)
    first = found.event_files[0]
    assert (first.read_bytes(), first.stat().st_ino) == (junk, number)
    with pytest.raises(DataError, match=first.name):
        found.check()
    found.event_files[0].write_bytes(kept)
    both = csv(tmp_path, DAY_1 + "5,A1,2024-01-02\n")
    assert contents(found) | {"manifest": 0} == contents(
        reader("table")(both, tmp_path / "all", engine=engine)
    ) | {"manifest": 0}


def test_without_links_files_are_copied(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(module.os, "link", no_links)
    found = grown(
        tmp_path / "d",
        [csv(tmp_path, DAY_1), csv(tmp_path, "visitor,sku,when\n5,A1,2024-01-02\n")],
        engine,
    )
    assert pa.concat_tables([pq.read_table(f) for f in found.event_files]).column(
        "user"
    ).to_pylist() == [7, 8, 5]


KINDS = (
    "[events]\nfiles = '{file}'\nuser = 'visitor'\nitem = 'sku'\ntime ="
    " 'when'\n[events.kind]\ncolumn = 'what'\n"
)
LATER = "visitor,sku,when\n5,A1,2024-02-01\n"
CATALOGUE = (
    "[catalogue]\nfiles = 'items{n}.csv'\nitem = 'sku'\nknown_from = 'since'\nattributes = {"
    " colour = 'category' }\n"
)


@pytest.mark.parametrize(
    ("text", "mapping", "says"),
    [
        (
            DAY_1,
            SHOP,
            (
                r"there already, every one of the new source \(2024-01-01\); there is nothing to"
                r" append"
            ),
        ),
        (
            "visitor,sku,when\n7,A1,2024-01-01\n7,A1,2024-01-02\n",
            SHOP,
            (
                r"events of days up to 2024-01-01, the dataset's last day: 2024-01-01 \(2 events"
                r" here, 1 there\); append only days"
            ),
        ),
        ("visitor,sku,when\n7,A1,2023-12-31\n", SHOP, r"2023-12-31 \(0 events here, 1 there\)"),
        (
            LATER,
            SHOP.replace("'buy'", "'view'"),
            r"kinds of event that the dataset has not: view \(view\); read everything again",
        ),
        (
            LATER.replace("when", "when,price").replace("02-01", "02-01,3"),
            SHOP + "price = 'price'\n",
            r"columns are none, in the new source price",
        ),
        (
            LATER.replace("when\n", "when,colour\n").replace("02-01", "02-01,red"),
            SHOP + "[catalogue]\nattributes = { colour = 'category' }\n",
            r"attributes are none, in the new source colour \(category\)",
        ),
        (
            "visitor,sku,when\n5,A1,1\n",
            SHOP.replace("'when'", "{ column = 'when', format = 'order' }"),
            r"time is 'clock' in the data",
        ),
        (
            LATER,
            "query = 'codes'\n" + SHOP,
            r"query is 'text' in the dataset and 'codes' in the new source",
        ),
        (
            "visitor,sku,when\nx5,A1,2024-02-01\n",
            SHOP,
            r"column user holds whole numbers in the dataset and texts in the new source",
        ),
        (
            LATER,
            SHOP.replace("'sku'", "{ column = 'sku', ids = 'number' }"),
            r"item is no whole number within int64: 1, such as 'A1'",
        ),
    ],
)
def test_what_cannot_be_appended(
    tmp_path: Path, engine: Engine, text: str, mapping: str, says: str
) -> None:
    found = reader("table")(csv(tmp_path, DAY_1), tmp_path / "d", engine=engine)
    before = contents(found)
    with pytest.raises(DataError, match=says):
        append(tmp_path / "d", "table", csv(tmp_path, text, mapping), engine=engine)
    assert contents(Dataset.open(tmp_path / "d")) == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_all_differences_come_at_once(tmp_path: Path, engine: Engine) -> None:
    reader("table")(csv(tmp_path, DAY_1), tmp_path / "d", engine=engine)
    other = csv(
        tmp_path,
        LATER.replace("when", "when,price").replace("02-01", "02-01,3"),
        SHOP.replace("'buy'", "'cart'") + "price = 'price'\n",
    )
    with pytest.raises(DataError) as fault:
        append(tmp_path / "d", "table", other, engine=engine)
    assert len(fault.value.problems) == 2
    numbers = csv(tmp_path, "visitor,sku,when\nx,B3,2024-01-01\n")
    with pytest.raises(DataError, match="2 problems") as fault:
        append(tmp_path / "d", "table", numbers, engine=engine)
    assert [p.split()[0] for p in fault.value.problems] == ["the", "column"]


def test_a_log_in_order_form_and_no_dataset(tmp_path: Path, engine: Engine) -> None:
    order = csv(tmp_path, "visitor,sku\n1,2\n", SHOP.replace("'when'", "'order'"))
    reader("table")(order, tmp_path / "d", engine=engine)
    with pytest.raises(ConfigError, match="appending days needs a clock"):
        append(tmp_path / "d", "table", order, engine=engine)
    with pytest.raises(DataError, match=r"no manifest\.json here"):
        append(tmp_path / "none", "table", order, engine=engine)
    with pytest.raises(ConfigError, match="found no data set 'tabel'"):
        append(
            reader("table")(csv(tmp_path, DAY_1), tmp_path / "e", engine=engine).folder,
            "tabel",
            order,
            engine=engine,
        )


@pytest.mark.parametrize("file", ["users.npy", "ids/item.parquet", "catalogue.parquet"])
def test_nothing_is_appended_to_a_damaged_dataset(
    file: str, tmp_path: Path, engine: Engine
) -> None:
    found = reader("table")(csv(tmp_path, DAY_1), tmp_path / "d", engine=engine)
    path = found.folder / file
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match=file):
        append(tmp_path / "d", "table", csv(tmp_path, LATER), engine=engine)


def test_two_texts_with_one_id_are_found(tmp_path: Path, engine: Engine) -> None:
    found = reader("table")(csv(tmp_path, DAY_1), tmp_path / "d", engine=engine)
    ids = found.folder / "ids" / "item.parquet"
    table = pq.read_table(ids)
    pq.write_table(
        table.set_column(
            1, "text", pa.array([f"other {t}" for t in table.column("text").to_pylist()])
        ),
        ids,
    )
    sealed = replace(found.manifest, parts=parts_of(found.folder, found.manifest.parts))
    (found.folder / "manifest.json").write_text(sealed.to_json())
    with pytest.raises(DataError, match=r"^column item: .*texts.*\bid -?\d+"):
        append(tmp_path / "d", "table", csv(tmp_path, LATER), engine=engine)
    assert Dataset.open(tmp_path / "d").manifest == sealed


# --- ids, catalogue, population ------------------------------------------------------------------


def test_texts_stay_texts_where_the_new_ones_look_like_numbers(
    tmp_path: Path, engine: Engine
) -> None:
    pieces = [
        csv(tmp_path, DAY_1),
        csv(tmp_path, "visitor,sku,when\n5,17,2024-01-02\n5,18,2024-01-02\n"),
    ]
    found = grown(tmp_path / "d", pieces, engine)
    full = reader("table")(
        csv(tmp_path, DAY_1 + "5,17,2024-01-02\n5,18,2024-01-02\n"),
        tmp_path / "all",
        engine=engine,
    )
    assert found.manifest.fingerprint == full.manifest.fingerprint
    assert sorted(
        pq.read_table(found.folder / "ids" / "item.parquet").column("text").to_pylist()
    ) == ["17", "18", "A1", "B2"]


def items(number: int, rows: str) -> dict[str, str]:
    return {f"items{number}": f"sku,since,colour\n{rows}"}


def listed(folder: Path, engine: Engine, rows: list[str], name: str) -> Dataset:
    """A dataset of one day an entry, and the catalogue rows of that entry."""
    pieces = []
    for n, entry in enumerate(rows):
        n += len(list(folder.glob("*.toml"))) - n if folder.is_dir() else 0
        pieces.append(
            csv(
                folder,
                f"visitor,sku,when\n1,A,2024-01-{n + 1:02}\n",
                SHOP + CATALOGUE.replace("{n}", str(n)),
                **items(n, entry),
            )
        )
    return grown(folder / name, pieces, engine)


def told(dataset: Dataset) -> list[tuple[str, str | None, str]]:
    texts = {
        c: dict(
            zip(
                *pq.read_table(dataset.folder / "ids" / f"{c}.parquet").to_pydict().values(),
                strict=True,
            )
        )
        for c in ("item", "colour")
    }
    rows = dataset.catalogue.table.to_pylist()
    return sorted(
        (
            texts["item"][r["item"]],
            r["known_from"] and str(np.datetime64(r["known_from"], "us"))[:10],
            texts["colour"][r["colour"]],
        )
        for r in rows
    )


def test_the_newer_catalogue_counts_where_rows_have_no_time(
    tmp_path: Path, engine: Engine
) -> None:
    found = listed(tmp_path / "s", engine, ["A,,red\nB,,blue\n", "A,,green\nC,,red\n"], "d")
    assert told(found) == [("A", None, "green"), ("B", None, "blue"), ("C", None, "red")]


def test_dated_rows_are_united_and_repetitions_left_out(tmp_path: Path, engine: Engine) -> None:
    """A catalogue that is exported whole each time adds what is new in it; what comes back is a
    change like any other.
    """
    first = "A,2024-01-01,red\nB,2024-01-01,blue\n"
    second = first + "A,2024-01-02,green\nB,2024-01-02,blue\n"
    third = "A,2024-01-03,red\n"
    found = listed(tmp_path / "s", engine, [first, second, third], "d")
    assert told(found) == [
        ("A", "2024-01-01", "red"),
        ("A", "2024-01-02", "green"),
        ("A", "2024-01-03", "red"),
        ("B", "2024-01-01", "blue"),
    ]
    # The same rows in one file, read at once, are the same catalogue.
    once = (
        "A,2024-01-03,red\nA,2024-01-02,green\n"
        "B,2024-01-02,blue\nA,2024-01-01,red\nB,2024-01-01,blue\n"
    )
    assert (
        listed(tmp_path / "t", engine, [once], "d").manifest.catalogue == found.manifest.catalogue
    )


@pytest.mark.parametrize(
    "later", ["A,2023-12-31,red\n", "A,2024-01-02,green\n", "A,2024-01-01,green\n"]
)
def test_an_items_past_is_not_told_anew(tmp_path: Path, engine: Engine, later: str) -> None:
    with pytest.raises(DataError, match=r"catalogue: .*past.*\b1 items.*\(-?\d+\)"):
        listed(tmp_path / "s", engine, ["A,2024-01-01,blue\nA,2024-01-03,red\n", later], "d")


def challenge(folder: Path, day: str, relevant: list[int] | None) -> Path:
    folder.mkdir(parents=True)
    stamps = pa.array([f"{day} 10:00:00"] * 2)
    for name, column in (
        ("product_buy", "sku"),
        ("add_to_cart", "sku"),
        ("remove_from_cart", "sku"),
        ("page_visit", "url"),
    ):
        pq.write_table(
            pa.table({"client_id": [1, 2], "timestamp": stamps, column: [7, 8]}),
            folder / f"{name}.parquet",
        )
    query = pa.array([str([n % 256 for n in range(16)]).replace(",", "")] * 2)
    pq.write_table(
        pa.table({"client_id": [1, 2], "timestamp": stamps, "query": query}),
        folder / "search_query.parquet",
    )
    properties = {"sku": [7, 8], "category": [1, 1], "price": [3, 4], "name": query}
    pq.write_table(pa.table(properties), folder / "product_properties.parquet")
    if relevant is not None:
        (folder / "input").mkdir()
        np.save(folder / "input/relevant_clients.npy", np.array(relevant))
    return folder


def test_a_challenge_directory_in_two_parts(tmp_path: Path, engine: Engine) -> None:
    pieces = [challenge(tmp_path / day, f"2022-06-{day}", [2, 1]) for day in ("01", "02")]
    both = challenge(tmp_path / "both", "2022-06-01", [2, 1])
    for file in sorted(both.glob("*.parquet")):
        if file.stem != "product_properties":
            pq.write_table(pa.concat_tables([pq.read_table(p / file.name) for p in pieces]), file)
    full = reader("challenge")(both, tmp_path / "full", engine=engine)
    found = grown(tmp_path / "d", pieces, engine, "challenge")
    assert contents(found) | {"manifest": 0} == contents(full) | {"manifest": 0}
    assert found.manifest.fingerprint == full.manifest.fingerprint


def test_whose_profiles_are_wanted(tmp_path: Path, engine: Engine) -> None:
    pieces = [
        challenge(tmp_path / "a", "2022-06-01", [2, 1]),
        challenge(tmp_path / "b", "2022-06-02", [5, 2]),
    ]
    assert contents(grown(tmp_path / "d", pieces, engine, "challenge"))["population"] == [2, 1, 5]
    append(
        tmp_path / "d", "challenge", challenge(tmp_path / "c", "2022-06-03", None), engine=engine
    )
    assert contents(Dataset.open(tmp_path / "d"))["population"] == [2, 1, 5]
    with pytest.raises(DataError, match=r"profiles.*\ball users.*\b2\b"):
        grown(
            tmp_path / "e",
            [tmp_path / "c", challenge(tmp_path / "f", "2022-06-04", [1, 2])],
            engine,
            "challenge",
        )


# --- the command ---------------------------------------------------------------------------------


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one, two = csv(tmp_path, DAY_1), csv(tmp_path, LATER)
    assert main(["read", "table", str(one), "--out", "d"]) == 0
    assert main(["append", "d", "table", str(two)]) == 0
    assert (
        "1 events of 1 days appended\nshop0: 3 events of 3 users and 2 items, 2 days"
        in capsys.readouterr().out
    )
    assert main(["append", "d", "table", str(two)]) == 1
    assert "these events are there already" in capsys.readouterr().err
    assert main(["append", "d", "table"]) == 1
    assert "table reads files: name their path" in capsys.readouterr().err
    with locked(tmp_path / ".d.clickprint-lock"):
        assert main(["append", "d", "table", str(two)]) == 1
    assert "is writing here" in capsys.readouterr().err


# --- killed --------------------------------------------------------------------------------------


def test_killed_at_any_moment(tmp_path: Path, engine: Engine) -> None:
    """The old dataset or the new one is there, and the same command again ends with the same
    bytes.
    """
    events = shop(1, days=10, events=300)
    pieces = [lay(tmp_path / f"p{n}", piece) for n, piece in enumerate(parts(events, [6]))]
    old = reader("table")(pieces[0], tmp_path / "old", engine=engine)
    shutil.copytree(old.folder, tmp_path / "whole")
    new = append(tmp_path / "whole", "table", pieces[1], engine=engine)
    told, killed = {d.manifest.fingerprint: contents(d) for d in (old, new)}, 0
    for moment in range(6):
        folder = tmp_path / f"d{moment}"
        shutil.copytree(old.folder, folder)
        killed += kill(folder, pieces[1], moment)
        found = Dataset.open(folder)
        assert contents(found) == told[found.manifest.fingerprint]
        if found.manifest.fingerprint == old.manifest.fingerprint:
            found = append(folder, "table", pieces[1], engine=engine)
        else:
            with pytest.raises(DataError, match="there already"):
                append(folder, "table", pieces[1], engine=engine)
        assert contents(found) == contents(new)
        assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    assert killed >= 5


# The stages at which a process kills itself; the last one stands after the exchange of the
# folders.
KILLED = """
import os, signal, sys
from pathlib import Path
from clickprint.core import files
from clickprint.data import append as module
from clickprint.data.engine import DuckDB
folder, source, moment = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
def die(*given):
    os.kill(os.getpid(), signal.SIGKILL)
def dying(call, after):
    def wrapped(*given):
        if after:
            call(*given)
        die()
    return wrapped
stop = {0: "sort", 1: "catalogue", 2: "join"}.get(moment)
progress = lambda stage, done, total: die() if stage == stop else None
if moment == 3:
    module._link = dying(module._link, True)
if moment in (4, 5):
    files._exchange = dying(files._exchange, moment == 5)
with DuckDB(memory="500MB", threads=1) as engine:
    module.append(folder, "table", source, engine=engine, progress=progress)
"""


def kill(folder: Path, source: Path, moment: int) -> bool:
    done = subprocess.run(
        [python(), "-c", KILLED, str(folder), str(source), str(moment)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0
