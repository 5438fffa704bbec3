"""The clicks and purchases of the RecSys Challenge 2015: files of exactly their form, and what
happens to spoilt ones.
"""

import gzip
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clickprint.core.errors import DataError
from clickprint.core.events import Kind, Role
from clickprint.core.ids import text_id
from clickprint.core.time import parse
from clickprint.data.adapters import yoochoose
from clickprint.data.append import append
from clickprint.data.engine import Engine

CLICKS = """1,2014-04-07T10:51:09.277Z,214536502,0
1,2014-04-07T10:54:09.868Z,214536500,S
2,2014-04-07T13:56:37.614Z,214662742,9
2,2014-04-08T13:57:19.373Z,214662742,2089046453
"""
BUYS = """420374,2014-04-06T18:44:58.314Z,214537888,12462,1
2,2014-04-07T14:00:00.000Z,214662742,0,0
"""
TEST = "5,2014-09-30T08:00:00.000Z,214530776,0\n"


def lay(folder: Path, **more: str | bytes) -> Path:
    folder.mkdir()
    for name, text in {"clicks": CLICKS, "buys": BUYS, "test": TEST, **more}.items():
        (folder / f"yoochoose-{name}.dat").write_bytes(
            text.encode() if isinstance(text, str) else text
        )
    return folder


def test_every_row_arrives(tmp_path: Path, engine: Engine) -> None:
    made = yoochoose.read(lay(tmp_path / "raw"), tmp_path / "out", engine=engine)
    rows = [tuple(r.values()) for f in made.event_files for r in pq.read_table(f).to_pylist()]
    assert rows == [  # time, user, kind, item, session, scenario, price, quantity
        (parse("2014-04-06T18:44:58.314Z"), 420374, 1, 214537888, 420374, None, 12462.0, 1.0),
        (parse("2014-04-07T10:51:09.277Z"), 1, 0, 214536502, 1, None, None, None),
        (parse("2014-04-07T10:54:09.868Z"), 1, 0, 214536500, 1, text_id("S"), None, None),
        (parse("2014-04-07T13:56:37.614Z"), 2, 0, 214662742, 2, text_id("9"), None, None),
        (
            parse("2014-04-07T14:00:00Z"),
            2,
            1,
            214662742,
            2,
            None,
            None,
            None,
        ),  # price 0 and quantity 0 are unknown
        (parse("2014-04-08T13:57:19.373Z"), 2, 0, 214662742, 2, text_id("2089046453"), None, None),
    ]
    m = made.manifest
    assert m.kinds == (Kind("click", Role.CLICK), Kind("buy", Role.BUY))
    assert (m.name, m.users, m.items, m.rejected) == ("yoochoose", 3, 4, {})
    assert m.source == {"reader": "yoochoose", "events": "6 rows"}
    assert [tuple(r.values()) for r in made.catalogue.table.to_pylist()] == [
        (214536500, parse("2014-04-07T10:54:09.868Z"), text_id("S")),
        (214662742, parse("2014-04-07T13:56:37.614Z"), text_id("9")),
        (214662742, parse("2014-04-08T13:57:19.373Z"), text_id("2089046453")),
    ]
    assert {p.stem for p in (made.folder / "ids").iterdir()} == {"category", "scenario"}


def test_the_test_set_is_read_when_asked_for(tmp_path: Path, engine: Engine) -> None:
    made = yoochoose.read(lay(tmp_path / "raw"), tmp_path / "out", test=True, engine=engine)
    assert (made.manifest.events, made.manifest.users) == (7, 4)
    (tmp_path / "raw" / "yoochoose-test.dat").unlink()
    assert yoochoose.read(tmp_path / "raw", tmp_path / "out", engine=engine).manifest.events == 6
    with pytest.raises(DataError, match=r"yoochoose-test\.dat: not found"):
        yoochoose.read(tmp_path / "raw", tmp_path / "out", test=True, engine=engine)


def test_packed_files_and_days_that_are_appended(tmp_path: Path, engine: Engine) -> None:
    """Ids are the same whatever a file holds: a day without an S or a brand has texts for
    categories as the others have.
    """
    full = yoochoose.read(lay(tmp_path / "all"), tmp_path / "full", engine=engine)
    lines = CLICKS.splitlines(keepends=True)
    old, new = (
        lay(tmp_path / "old", clicks="".join(lines[:3])),
        lay(tmp_path / "new", clicks=lines[3].replace("2089046453", "7"), buys=""),
    )
    for name, text in {
        "clicks": CLICKS.splitlines(keepends=True)[3],
        "buys": "7,2014-04-09T00:00:00Z,214662742,5,1\n",
    }.items():
        (new / f"yoochoose-{name}.dat").unlink()
        (new / f"yoochoose-{name}.dat.gz").write_bytes(gzip.compress(text.encode()))
    yoochoose.read(old, tmp_path / "out", engine=engine)
    grown = append(tmp_path / "out", "yoochoose", new, engine=engine)
    assert (grown.manifest.events, grown.manifest.users) == (7, 4)
    assert grown.catalogue.table.equals(full.catalogue.table)
    assert all(grown.manifest.days[day] == full.manifest.days[day] for day in full.manifest.days)


def change(name: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        path = folder / f"yoochoose-{name}.dat"
        path.write_bytes(edit(path.read_bytes()))

    return apply


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file is missing": (
        lambda f: (f / "yoochoose-buys.dat").unlink(),
        r"yoochoose-buys\.dat: not found",
    ),
    "a folder for a file": (
        lambda f: ((f / "yoochoose-buys.dat").unlink(), (f / "yoochoose-buys.dat").mkdir()),
        r"yoochoose-buys\.dat: this is a folder",
    ),
    "empty": (change("clicks", lambda b: b""), r"yoochoose-clicks\.dat: the file is empty"),
    "broken encoding": (
        change("clicks", lambda b: b.replace(b",S", b",\xff\xfe")),
        r"yoochoose-clicks\.dat: not utf-8",
    ),
    "a truncated archive": (
        lambda f: (
            (f / "yoochoose-clicks.dat.gz").write_bytes(gzip.compress(CLICKS.encode() * 500)[:80]),
            (f / "yoochoose-clicks.dat").unlink(),
        ),
        r"yoochoose-clicks\.dat\.gz: ",
    ),
    "null bytes": (
        lambda f: [
            (f / f"yoochoose-{n}.dat").write_bytes(b"\x00" * 400) for n in ("clicks", "buys")
        ],
        "no event could be read",
    ),
    "no usable row": (
        lambda f: [
            change(n, lambda b: b.replace(b"2014-", b"MMXIV-"))(f) for n in ("clicks", "buys")
        ],
        r"(?s)4 rows rejected: clicks: no readable time.*2 rows rejected: buys: no readable time",
    ),
}
COUNTED: dict[str, tuple[Callable[[Path], object], dict[str, int]]] = {
    "another delimiter": (
        change("clicks", lambda b: b.replace(b",", b";")),
        {"clicks: too many or too few columns": 4},
    ),
    "a header line": (
        change("clicks", lambda b: b"SessionId,Timestamp,ItemId,Category\n" + b),
        {"clicks: user is no whole number within int64": 1},
    ),
    "the files are exchanged": (
        change("clicks", lambda b: BUYS.encode()),
        {"clicks: too many or too few columns": 2},
    ),
    "a truncated line": (
        change("buys", lambda b: b[:-12]),
        {"buys: too many or too few columns": 1},
    ),
    "junk ids": (
        change(
            "clicks",
            lambda b: (
                b
                + b"x,2014-04-07T10:51:09.277Z,214536502,0\n3,2014-04-07T10:51:09.277Z,2145e9,0\n"
            ),
        ),
        {
            "clicks: user is no whole number within int64": 1,
            "clicks: item is no whole number within int64": 1,
        },
    ),
    "0 for ids": (
        change(
            "clicks",
            lambda b: (
                b + b"0,2014-04-07T10:51:09.277Z,214536502,0\n3,2014-04-07T10:51:09.277Z,0,0\n"
            ),
        ),
        {"clicks: no user": 1, "clicks: no item": 1},
    ),
    "ids beyond int64": (
        change("clicks", lambda b: b + b"3,2014-04-07T10:51:09.277Z,9223372036854775808,0\n"),
        {"clicks: item is no whole number within int64": 1},
    ),
    "times out of range": (
        change(
            "buys",
            lambda b: (
                b + b"3,1814-04-07T10:51:09.277Z,1,1,1\n3,2014-02-30T00:00:00Z,1,1,1\n3,,1,1,1\n"
            ),
        ),
        {"buys: no readable time": 3},
    ),
    "prices that are none": (
        change(
            "buys",
            lambda b: b + b"3,2014-04-07T10:51:09Z,1,dear,1\n3,2014-04-07T10:51:09Z,1,1,nan\n",
        ),
        {"buys: price is no finite number": 1, "buys: quantity is no finite number": 1},
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_name_their_fault(case: str, tmp_path: Path, engine: Engine) -> None:
    spoil, message = BAD[case]
    raw = lay(tmp_path / "raw")
    spoil(raw)
    with pytest.raises(DataError, match=message) as fault:
        yoochoose.read(raw, tmp_path / "made" / "out", engine=engine)
    assert str(raw) in fault.value.where or fault.value.where == "yoochoose"
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("case", COUNTED)
def test_bad_rows_are_counted(case: str, tmp_path: Path, engine: Engine) -> None:
    spoil, rejected = COUNTED[case]
    raw = lay(tmp_path / "raw")
    spoil(raw)
    made = yoochoose.read(raw, tmp_path / "out", engine=engine)
    assert made.manifest.rejected | made.manifest.unread == rejected
    assert made.manifest.events == int(made.manifest.source["events"].split()[0]) - sum(
        made.manifest.rejected.values()
    )


def test_all_faults_in_one_error(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(DataError) as fault:
        yoochoose.read(tmp_path / "nowhere", tmp_path / "out", test=True, engine=engine)
    assert len(fault.value.problems) == 3
