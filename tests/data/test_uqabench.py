"""UQABench's Arrow files: small ones of exactly that form, and every way in which they can be
wrong.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.time import DAY, Window
from clickprint.data.adapters import card, reader, uqabench
from clickprint.data.adapters.uqabench import FEATURES, FILES, IDS, ITEM, TEXT, TOKENS, USERS
from clickprint.data.engine import Engine
from clickprint.data.log import EventLog

NESTED = pa.list_(pa.list_(pa.int64()))
ASKED = json.dumps(
    [
        {"role": "user", "content": "该用户第1次浏览的商品的品牌是?"},
        {"role": "assistant", "content": "B"},
    ],
    ensure_ascii=False,
)
Rows = list[list[dict[str, list[int]]]]  # sequences of events


def event(item_: int, **features: list[int]) -> dict[str, list[int]]:
    """An event on an item whose features follow from its number, unless they are given by our
    names.
    """
    usual = {ours: [item_ % 7 + k] for k, ours in enumerate(IDS)} | {
        ours: [item_, k, item_] for k, ours in enumerate(TOKENS)
    }
    named = {"item": ITEM, **IDS, **TOKENS}
    return {named[ours]: ids for ours, ids in ({"item": [item_]} | usual | features).items()}


def table(rows: Rows, texts: list[str | None] | None = None) -> pa.Table:
    columns = {c: pa.array([[e[c] for e in row] for row in rows], NESTED) for c in FEATURES}
    return pa.table(columns if texts is None else {**columns, TEXT: pa.array(texts, pa.string())})


def write(path: Path, data: pa.Table, batch: int = 2) -> None:
    with pa.ipc.new_file(path, data.schema) as writer:
        writer.write_table(data, max_chunksize=batch)


def lay(folder: Path, **files: pa.Table) -> Path:
    """The four files; those not given have one sequence of two events."""
    (folder / "datas").mkdir(parents=True, exist_ok=True)
    for file in FILES:
        texts = [ASKED] if file.startswith("align") else None
        write(
            folder / "datas" / f"{file}.arrow",
            files.get(file, table([[event(1), event(2)]], texts)),
        )
    return folder


def write_uqabench(
    folder: Path, *, users: int = 40, items: int = 60, length: int = 12, seed: int = 0
) -> dict[str, Rows]:
    """Sequences in the four files, of items with features of several, one and no id; gives back
    what stands in each file.
    """
    rng = np.random.default_rng(seed)
    sizes = {file: [[1, 2, 3], [1], []][k % 3] for k, file in enumerate((*IDS, *TOKENS))}
    known = {
        i: event(i, **{ours: [i % (5 + len(n)) + k for k in n] for ours, n in sizes.items()})
        for i in range(items)
    }
    made: dict[str, Rows] = {}
    for place, file in enumerate(FILES):
        lengths = rng.integers(1, length, users // (place + 1))
        made[file] = [
            [known[i] for i in rng.integers(0, items, n).tolist()] for n in lengths.tolist()
        ]
        texts = [ASKED] * len(made[file]) if file.startswith("align") else None
        lay_one = folder / "datas" / f"{file}.arrow"
        lay_one.parent.mkdir(parents=True, exist_ok=True)
        write(lay_one, table(made[file], texts), batch=7)
    return made


def read(raw: Path, engine: Engine) -> Dataset:
    return uqabench.read(raw, raw.parent / "made" / "out", engine=engine)


def events(dataset: Dataset) -> list[tuple[int, ...]]:
    rows = [row for file in dataset.event_files for row in pq.read_table(file).to_pylist()]
    return sorted((r["user"], r["time"], r["item"], r["scenario"]) for r in rows)


def test_every_place_of_every_sequence_is_an_event(tmp_path: Path, engine: Engine) -> None:
    made = write_uqabench(tmp_path / "raw")
    dataset = read(tmp_path / "raw", engine)
    expected = [
        (scenario * USERS + row, place, found[ITEM][0], scenario)
        for scenario, file in enumerate(FILES)
        for row, sequence in enumerate(made[file])
        for place, found in enumerate(sequence)
    ]
    assert events(dataset) == sorted(expected)
    m = dataset.manifest
    assert (m.time, m.columns, m.users, m.rejected) == (
        "order",
        ("scenario",),
        sum(map(len, made.values())),
        {},
    )
    assert [(k.name, k.role) for k in m.kinds] == [("click", Role.CLICK)]
    assert m.source[f"{FILES[0]}.arrow"] == "40 rows"
    assert pq.read_table(dataset.folder / "ids" / "scenario.parquet").to_pydict() == {
        "id": [0, 1, 2, 3],
        "text": list(FILES),
    }


def test_a_slow_twin_of_the_catalogue(tmp_path: Path, engine: Engine) -> None:
    made = write_uqabench(tmp_path / "raw")
    first: dict[int, dict[str, Any]] = {}
    for file in FILES:
        for found in (e for sequence in made[file] for e in sequence):
            ids = {
                ours: found[theirs][0] if found[theirs] else None for ours, theirs in IDS.items()
            }
            tokens = {
                ours: " ".join(map(str, found[theirs])) or None for ours, theirs in TOKENS.items()
            }
            first.setdefault(found[ITEM][0], ids | tokens)
    rows = read(tmp_path / "raw", engine).catalogue.table.to_pylist()
    assert rows == [{"item": item, "known_from": None, **first[item]} for item in sorted(first)]
    assert {v["shop"] for v in first.values()} == {None}  # the generator gave it no id at all
    assert {len((v["seller_tokens"] or "").split()) for v in first.values()} == {0}
    assert max(len(v["title_tokens"].split()) for v in first.values()) == 1


def test_what_is_first_seen_stays_and_conflicts_are_said(tmp_path: Path, engine: Engine) -> None:
    later = table(
        [[event(9), event(5, brand=[77], title_tokens=[5, 0])], [event(6, seller_tokens=[2, 1])]]
    )
    first = table(
        [
            [event(5, brand=[], title_tokens=[0, 5]), event(5, brand=[3], category=[5])],
            [event(8, category=[4, 6])],
            [event(8)],
            [event(6, seller_tokens=[1, 2])],
        ]
    )
    made = read(lay(tmp_path / "raw", pretrain_data_train=first, pretrain_data_eval=later), engine)
    rows = {r["item"]: r for r in made.catalogue.table.to_pylist()}
    assert (rows[5]["brand"], rows[5]["title_tokens"], rows[8]["category"]) == (None, "0 5", 4)
    said = {k: v for k, v in made.manifest.source.items() if "several" in k}
    assert said == {
        "events with several uni_seq_cate_id, of which the first is kept": "1",
        "items with several brand, of which the first seen is kept": "1",
        "items with several category, of which the first seen is kept": "1",
        "items with several title_tokens, of which the first seen is kept": "1",
        "items with several seller_tokens, of which the first seen is kept": "1",
    }


def test_the_first_inner_id_is_the_item(tmp_path: Path, engine: Engine) -> None:
    rows = table(
        [
            [event(1), event(0, item=[4, 2]), event(0, item=[]), event(0, item=[-1]), event(3)],
            [],
            [event(0, item=[])],
        ]
    )
    made = read(lay(tmp_path / "raw", pretrain_data_train=rows), engine)
    assert [e for e in events(made) if e[3] == 0] == [(0, 0, 1, 0), (0, 1, 4, 0), (0, 4, 3, 0)]
    assert made.manifest.rejected == {
        "pretrain_data_train: no event with an item": 2,
        "pretrain_data_train: events without an item": 2,
    }
    assert (
        made.manifest.source["events with several uni_seq_item_id, of which the first is kept"]
        == "1"
    )


def test_sequences_that_are_not_level_are_counted(tmp_path: Path, engine: Engine) -> None:
    rows = table([[event(1), event(2)], [event(3)], [event(4)]])
    brands = pa.array([[[1]], [[2]], None], NESTED)
    rows = rows.set_column(rows.column_names.index("uni_seq_brand_id"), "uni_seq_brand_id", brands)
    made = read(lay(tmp_path / "raw", pretrain_data_train=rows), engine)
    assert [e for e in events(made) if e[3] == 0] == [
        (1, 0, 3, 0)
    ]  # the user is its row, also after one that is left out
    assert made.manifest.rejected == {"pretrain_data_train: columns of different lengths": 2}


def turns(*pairs: tuple[str, object]) -> str:
    return json.dumps(
        [{"role": role, "content": content} for role, content in pairs], ensure_ascii=False
    )


def test_questions_lie_beside(tmp_path: Path, engine: Engine) -> None:
    good = [
        ASKED,
        turns(("system", "You are …"), ("user", "q"), ("assistant", "A")),
        turns(("user", "q"), ("assistant", ["C", "D"])),
        turns(("user", "first"), ("assistant", "E"), ("user", "second"), ("assistant", "F")),
    ]
    bad = [
        None,
        "",
        "[{",
        "\x00",
        "[" * 5_000,
        "{}",
        "[]",
        "[1, null]",
        turns(("assistant", "A"), ("user", "q")),
        turns(("user", "q")),
        turns(("user", ""), ("assistant", "A")),
        turns(("user", "q"), ("assistant", 5)),
        turns(("user", "q"), ("assistant", [])),
        json.dumps([{"role": ["user"], "content": "q"}]),
    ]
    texts = [
        t
        for pair in zip([*good, *[ASKED] * len(bad)], [*bad, *[ASKED] * len(good)], strict=True)
        for t in pair
    ]
    made = read(
        lay(
            tmp_path / "raw",
            align_data_eval=table([[event(1)]] * len(texts) + [[]], [*texts, ASKED]),
        ),
        engine,
    )
    questions = made.beside("questions")
    assert questions is not None
    rows = [r for r in questions.to_pylist() if r["user"] >= 3 * USERS]
    answered = {r["user"] - 3 * USERS: (r["question"], r["answer"]) for r in rows}
    assert answered[2] == ("q", "A")
    assert answered[4] == ("q", "C")
    assert answered[6] == ("first", "E")
    assert answered[0] == ("该用户第1次浏览的商品的品牌是?", "B")
    assert set(answered) == {place for place, text in enumerate(texts) if text in good}
    assert made.manifest.rejected == {
        "align_data_eval: no event with an item": 1,
        "align_data_eval: no text": 2,
        "align_data_eval: a text that is no JSON": 3,
        "align_data_eval: a text without a question and an answer": 9,
        "align_data_eval: a question about a sequence that is left out": 1,
    }
    assert questions.column("user").to_pylist() == sorted(questions.column("user").to_pylist())


def test_the_log_has_an_order_and_no_clock(tmp_path: Path, engine: Engine) -> None:
    log = EventLog.open(read(lay(tmp_path / "raw"), engine), engine)
    assert log.rows(["item"], ordered=True)["item"].tolist() == [1, 2] * 4
    with pytest.raises(ConfigError, match="needs a clock"):
        log.rows(["item"], window=Window(0, DAY))


def test_files_may_lie_in_the_folder_itself(tmp_path: Path, engine: Engine) -> None:
    raw = lay(tmp_path / "raw")
    first = read(raw, engine).manifest.fingerprint
    for file in FILES:
        (raw / "datas" / f"{file}.arrow").rename(raw / f"{file}.arrow")
    (raw / "datas").rmdir()
    assert read(raw, engine).manifest.fingerprint == first


def test_a_file_may_have_no_batch(tmp_path: Path, engine: Engine) -> None:
    raw = lay(tmp_path / "raw")
    path = raw / "datas" / f"{FILES[1]}.arrow"
    with pa.ipc.new_file(path, table([]).schema):
        pass
    assert {e[3] for e in events(read(raw, engine))} == {0, 2, 3}


def test_large_lists_and_small_numbers_are_the_same(tmp_path: Path, engine: Engine) -> None:
    rows = table([[event(1), event(2)], [event(2)]])
    narrow = rows.cast(
        pa.schema([(c, pa.large_list(pa.large_list(pa.int32()))) for c in FEATURES])
    )
    a, b = (
        read(lay(tmp_path / n / "raw", pretrain_data_train=t), engine)
        for n, t in (("a", rows), ("b", narrow))
    )
    assert a.manifest.fingerprint == b.manifest.fingerprint


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sequences=st.lists(
        st.lists(st.lists(st.integers(-1, 9), max_size=3), max_size=5), min_size=1, max_size=9
    ),
    batch=st.integers(1, 4),
    rows=st.integers(1, 4),
)
def test_no_event_depends_on_how_the_file_is_cut(
    sequences: list[list[list[int]]],
    batch: int,
    rows: int,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uqabench, "ROWS", rows)
    raw = lay(tmp_path / "raw")
    write(
        raw / "datas" / f"{FILES[0]}.arrow",
        table([[event(1, item=ids) for ids in s] for s in sequences]),
        batch,
    )
    made = read(raw, engine)
    expected = [
        (u, t, ids[0], 0)
        for u, s in enumerate(sequences)
        for t, ids in enumerate(s)
        if ids and ids[0] >= 0
    ]
    assert [e for e in events(made) if e[3] == 0] == expected


def at(file: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    path = f"datas/{file}.arrow"
    return lambda folder: (folder / path).write_bytes(edit((folder / path).read_bytes()))


def instead(file: str, edit: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "datas" / f"{file}.arrow"
        with pa.ipc.open_file(path) as found:
            data = found.read_all()
        write(path, edit(data))

    return spoil


def with_column(column: str, values: pa.Array) -> Callable[[pa.Table], pa.Table]:
    return lambda t: t.set_column(t.column_names.index(column), column, values)


def stream(folder: Path) -> None:
    """As the datasets library writes its .arrow files."""
    path = folder / "datas" / "align_data_train.arrow"
    with pa.ipc.open_file(path) as found:
        data = found.read_all()
    with pa.ipc.new_stream(path, data.schema) as writer:
        writer.write_table(data)


def lying(data: bytes) -> bytes:
    """An inner list that ends far beyond its values."""
    honest, lie = (np.array([0, 1, end], np.int32).tobytes() for end in (2, 1 << 20))
    assert honest in data
    return data.replace(honest, lie)


def only_empty(folder: Path) -> None:
    for file in FILES:
        write(
            folder / "datas" / f"{file}.arrow",
            table([[], []], [ASKED, "x"] if file.startswith("align") else None),
        )


TRAIN, ALIGN = "pretrain_data_train", "align_data_eval"
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "not found"),
    "a file is missing": (
        lambda f: (f / "datas" / f"{ALIGN}.arrow").unlink(),
        r"align_data_eval\.arrow: not found",
    ),
    "an empty file": (at(TRAIN, lambda b: b""), r"pretrain_data_train\.arrow: the file is empty"),
    "truncated": (
        at(TRAIN, lambda b: b[:-40]),
        r"pretrain_data_train\.arrow: not a whole Arrow file",
    ),
    "half of it": (
        at(TRAIN, lambda b: b[: len(b) // 2]),
        r"pretrain_data_train\.arrow: not a whole Arrow file",
    ),
    "a Parquet file": (at(TRAIN, lambda b: b"PAR1" + b + b"PAR1"), "not a whole Arrow file"),
    "a stream": (
        stream,
        (
            r"align_data_train\.arrow: found Arrow's stream format, expected its file format;"
            r" write the same batches"
        ),
    ),
    "null bytes": (at(ALIGN, lambda b: bytes(len(b))), "not a whole Arrow file"),
    "lying offsets": (at(TRAIN, lying), "not a whole Arrow file .*offset"),
    "a column is missing": (
        instead(TRAIN, lambda t: t.drop_columns(["uni_seq_shop_id"])),
        "no column 'uni_seq_shop_id'; found",
    ),
    "a column twice": (
        instead(TRAIN, lambda t: t.append_column(ITEM, t.column(ITEM))),
        "2 columns 'uni_seq_item_id'",
    ),
    "no text": (
        instead(ALIGN, lambda t: t.drop_columns([TEXT])),
        r"align_data_eval\.arrow: no column 'text'",
    ),
    "texts are numbers": (
        instead(ALIGN, with_column(TEXT, pa.array([1]))),
        "text holds int64, expected texts",
    ),
    "lists of numbers": (
        instead(TRAIN, with_column(ITEM, pa.array([[1, 2]]))),
        r"holds list<.*int64>, expected list<list<int64>>",
    ),
    "lists of lists of floats": (
        instead(TRAIN, with_column(ITEM, pa.array([[[1.5], [2.5]]]))),
        r"holds list<.*double>>, expected list<list<int64>>",
    ),
    "texts of lists": (
        instead(TRAIN, with_column(ITEM, pa.array(["[[1], [2]]"]))),
        "holds string, expected list<list<int64>>",
    ),
    "not UTF-8": (
        instead(ALIGN, with_column(TEXT, pa.array([b"\xff\xfe"], pa.binary()).view(pa.string()))),
        "(?i)utf-?8",
    ),
    "no event at all": (only_empty, "no event could be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_name_their_fault(case: str, tmp_path: Path, engine: Engine) -> None:
    spoil, message = BAD[case]
    raw = lay(tmp_path / "raw")
    spoil(raw)
    with pytest.raises(DataError, match=message):
        read(raw, engine)
    assert not [*tmp_path.glob("made/*"), *tmp_path.glob("made/.*")]


def test_all_faults_in_one_error(tmp_path: Path, engine: Engine) -> None:
    raw = lay(tmp_path / "raw")
    for case in ("a column is missing", "lists of numbers", "a stream", "a file is missing"):
        BAD[case][0](raw)
    with pytest.raises(DataError) as fault:
        read(raw, engine)
    assert len(fault.value.problems) == 4


def test_it_is_listed() -> None:
    assert reader("uqabench") is uqabench.read
    assert "uni_seq_title_bpe_token_ids" in card("uqabench").text()
