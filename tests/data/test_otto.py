"""OTTO's sessions: files of exactly their form, and every way in which JSON lines can be wrong."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from malformed import Case, add, everywhere, half_packed, judge, replace

from clickprint.core.errors import DataError
from clickprint.core.events import Kind, Role
from clickprint.core.time import parse
from clickprint.data.adapters import jsonlines, otto
from clickprint.data.engine import Engine

T0 = 1659304800025  # the first time of the public file
FIRST = (
    '{"session":0,"events":[{"aid":1517085,"ts":1659304800025,"type":"clicks"},{"aid":1563459,"ts":1659304904511,"type":"carts"},'
    '{"aid":1563459,"ts":1659304904511,"type":"clicks"}]}\n'
)
SECOND = '{"session":1,"events":[{"aid":424964,"ts":1659304800026,"type":"orders"}]}\n'
TEST = '{"session":12899779,"events":[{"aid":59625,"ts":1661724000278,"type":"clicks"}]}\n'


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    path = tmp_path / "raw" / "otto-recsys-train.jsonl"
    path.write_text(FIRST + SECOND)
    path.with_name("otto-recsys-test.jsonl").write_text(TEST)
    return path


def rows(folder: Path, engine: Engine) -> list[tuple]:
    return [
        tuple(r.values())
        for r in engine.table(
            f"SELECT * FROM {engine.scan(sorted(folder.glob('events/*')))} ORDER BY ALL"
        ).to_pylist()
    ]


def test_every_event_arrives(small: Path, tmp_path: Path, engine: Engine) -> None:
    made = otto.read(small, tmp_path / "out", engine=engine)
    first = parse("2022-07-31T22:00:00.025Z")
    assert rows(made.folder, engine) == [  # time, user, kind, item
        (first, 0, 0, 1517085),
        (first + 1_000, 1, 2, 424964),
        (
            first + 104_486_000,
            0,
            0,
            1563459,
        ),  # the click comes before the basket, whatever the file says
        (first + 104_486_000, 0, 1, 1563459),
    ]
    m = made.manifest
    assert m.kinds == (
        Kind("clicks", Role.CLICK),
        Kind("carts", Role.CART),
        Kind("orders", Role.BUY),
    )
    assert (m.name, m.users, m.items, m.rejected) == ("otto", 2, 3, {})
    assert m.source == {"reader": "otto", "events": "4 rows"}


def test_the_test_file_a_folder_a_zip_and_packed_files(
    small: Path, tmp_path: Path, engine: Engine
) -> None:
    one = otto.read(small, tmp_path / "one", engine=engine).manifest
    assert (
        otto.read(small.parent, tmp_path / "folder", engine=engine).manifest.fingerprint
        == one.fingerprint
    )
    both = otto.read(small.parent, tmp_path / "both", test=True, engine=engine).manifest
    assert (both.events, both.users) == (5, 3)
    packed = small.with_name("train.jsonl.gz")
    packed.write_bytes(gzip.compress(FIRST.encode()) + gzip.compress(SECOND.encode()))
    small.unlink()
    assert (
        otto.read(small.parent, tmp_path / "packed", engine=engine).manifest.fingerprint
        == one.fingerprint
    )
    small.with_name("otto-recsys-test.jsonl").unlink()
    with pytest.raises(DataError, match=r" train\.jsonl\.gz.*otto-recsys-test\.jsonl"):
        otto.read(small.parent, tmp_path / "none", test=True, engine=engine)


@pytest.mark.parametrize("form", ["names, milliseconds", "numbers, seconds"])
def test_the_parquet_forms(form: str, small: Path, tmp_path: Path, engine: Engine) -> None:
    records = [
        (s["session"], e["aid"], e["ts"], e["type"])
        for s in map(json.loads, (FIRST, SECOND))
        for e in s["events"]
    ]
    session, aid, ts, kind = (list(c) for c in zip(*records, strict=True))
    table = pa.table(
        {
            "session": pa.array(session, pa.int32()),
            "aid": pa.array(aid, pa.int32()),
            "ts": ts,
            "type": kind,
        }
    )
    if form == "numbers, seconds":
        codes = [["clicks", "carts", "orders"].index(k) for k in kind]
        table = table.set_column(
            2, "ts", pa.array([t // 1000 for t in ts], pa.int32())
        ).set_column(3, "type", pa.array(codes, pa.int8()))
    (tmp_path / "kaggle").mkdir()
    pq.write_table(table, tmp_path / "kaggle" / "train.parquet")
    made = otto.read(tmp_path / "kaggle", tmp_path / "out", engine=engine)
    exact = otto.read(small, tmp_path / "lines", engine=engine)
    cut = (
        (lambda t: t // 1_000_000 * 1_000_000) if form.split()[-1] == "seconds" else (lambda t: t)
    )
    assert sorted(rows(made.folder, engine)) == sorted(
        (cut(t), *rest) for t, *rest in rows(exact.folder, engine)
    )
    assert made.manifest.rejected == {}


LINES = "sessions: a line that is no JSON"
NO_WHOLE, NO_TIME = "events: item is no whole number within int64", "events: no readable time"
CASES: dict[str, Case] = {
    "missing": (lambda raw: None, "not found"),
    "empty": (lambda raw: b"", "the file is empty"),
    "UTF-16": (
        lambda raw: raw.decode().encode("utf-16"),
        "(?s)no event could be read.*a line that is no",
    ),
    "null bytes": (lambda raw: b"\x00" * 5_000, "no event could be read"),
    "no usable event": (
        everywhere('"aid"', '"id"'),
        "(?s)no event could be read.*4 rows rejected: events: no item",
    ),
    "a truncated line": (lambda raw: raw + SECOND.encode()[:30], {LINES: 1}),
    "not JSON": (add("session,aid,ts,type"), {LINES: 1}),
    "no object": (
        lambda raw: raw + b'[1, 2]\n"text"\n7\nnull\n',
        {"sessions: a line that is no JSON object": 4},
    ),
    "empty lines": (lambda raw: b"\n \r\n" + raw + b"\n\n", {}),
    "a byte order mark and CRLF": (lambda raw: b"\xef\xbb\xbf" + raw.replace(b"\n", b"\r\n"), {}),
    "not UTF-8": (
        lambda raw: raw + b'{"session":2,"events":[],"x":"\xff\xfe"}\n',
        {"sessions: a line that is not UTF-8": 1},
    ),
    "a surrogate alone": (add(r'{"session":2,"events":[],"x":"\ud800"}'), {LINES: 1}),
    "a huge line": (
        lambda raw: raw + b" " * (jsonlines.LONGEST + 1) + b"{}\n" + TEST.encode()[:0],
        {"sessions: a line of more than 16 MiB": 1},
    ),
    "deep lists": (add("[" * 300_000), {LINES: 1}),
    "no list of events": (
        lambda raw: (
            raw + b'{"session":3,"events":{"aid":1}}\n{"session":3}\n'
            b'{"session":3,"events":[]}\n{"session":3,"events":null}\n'
        ),
        {"sessions: no list of events, or an empty one": 4},
    ),
    "no session": (
        lambda raw: (
            raw
            + b"".join(
                b'{"session":%s,"events":[{"aid":1,"ts":%d,"type":"clicks"}]}\n' % (v, T0)
                for v in (b"null", b"[1]", b"NaN")
            )
        ),
        {"events: no user": 3},
    ),
    "entries that are none": (
        replace('"type":"orders"}', '"type":"orders"},7,null,[],"x",{}'),
        {NO_TIME: 5},
    ),
    "lists and objects for items": (
        replace(
            '"type":"orders"}',
            f'"type":"orders"}},{{"aid":[1],"ts":{T0},"type":"carts"}},{{"aid":{{}},"ts":{T0},"type":"carts"}}',
        ),
        {NO_WHOLE: 2},
    ),
    "items beyond int64, NaN, fractions": (
        replace(
            '"type":"orders"}',
            '"type":"orders"}'
            + "".join(
                f',{{"aid":{v},"ts":{T0},"type":"carts"}}'
                for v in ("9223372036854775808", "NaN", "1.5", '"007"')
            ),
        ),
        {NO_WHOLE: 4},
    ),
    "times out of range": (
        replace(
            '"type":"orders"}',
            '"type":"orders"}'
            + "".join(
                f',{{"aid":1,"ts":{v},"type":"carts"}}'
                for v in ("1e30", "NaN", "-9e15", "null", '"soon"', "1659304800025000")
            ),
        ),
        {NO_TIME: 6},
    ),
    "an unknown type": (
        replace('"type":"orders"}', f'"type":"orders"}},{{"aid":1,"ts":{T0},"type":"looks"}}'),
        {"events: no kind that the mapping knows": 1},
    ),
    "a key twice": (replace('"aid":424964', '"aid":424964,"aid":5'), {}),  # the first counts
}


@pytest.mark.parametrize("case", CASES)
def test_broken_lines(case: str, small: Path, engine: Engine) -> None:
    judge(otto.read, small, small, CASES[case], 4, engine)


def test_a_truncated_archive(small: Path, tmp_path: Path, engine: Engine) -> None:
    packed = small.with_name("train.jsonl.gz")
    packed.write_bytes((FIRST * 2_000).encode())
    judge(
        otto.read,
        packed,
        packed,
        (half_packed, r"train\.jsonl\.gz: cannot be unpacked to its end"),
        0,
        engine,
    )
    packed.write_bytes(b"no archive at all\n")
    judge(
        otto.read,
        packed,
        packed,
        (lambda raw: raw, r"train\.jsonl\.gz: cannot be unpacked"),
        0,
        engine,
    )


def test_a_broken_parquet_file(tmp_path: Path, engine: Engine) -> None:
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"session": [1], "aid": [[1]], "ts": [T0]}), path)
    with pytest.raises(DataError) as fault:
        otto.read(path, tmp_path / "out", engine=engine)
    assert len(fault.value.problems) == 2
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match="not a whole Parquet file"):
        otto.read(path, tmp_path / "out", engine=engine)


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"x")), max_size=12),
    block=st.integers(1, 40),
    longest=st.integers(1, 20),
    end=st.booleans(),
)
def test_lines_are_cut_as_they_stand(
    lines: list[bytes],
    block: int,
    longest: int,
    end: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Whatever the size of a block, a line is a line; too long ones are counted, wherever they
    stand.
    """
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n" * end)
    bad = {jsonlines.TOO_LONG: 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonlines, "BLOCK", block)
        patch.setattr(jsonlines, "LONGEST", longest)
        found = [line for piece in jsonlines._lines(path, bad) for line in piece]
    plain = path.read_bytes().removeprefix(jsonlines.MARK if block >= 3 else b"").split(b"\n")
    assert found == [line for line in plain if len(line) <= longest and line.strip()]
    assert bad[jsonlines.TOO_LONG] == sum(len(line) > longest for line in plain)
