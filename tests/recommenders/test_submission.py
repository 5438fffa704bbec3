"""A submission: the form, every rule, anybody's file, and the task sheet's score."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickprint.core.errors import DataError
from clickprint.recommenders.submission import (
    FORM,
    PRODUCT,
    USER,
    Limits,
    check,
    of,
    read,
    score,
    write,
)

SMALL = Limits(max_users=3, list_length=2)
GOOD = of(["u1", "u2"], [["a", "b"], ["b"]])


def bought(**items: list[str]) -> pa.Table:
    rows = [(u, i) for u, its in items.items() for i in its]
    return pa.table(
        {
            USER: pa.array([u for u, _ in rows], pa.string()),
            PRODUCT: pa.array([i for _, i in rows], pa.string()),
        }
    )


# -- rules ----------------------------------------------------------------------------------------
def test_what_is_right_has_no_fault() -> None:
    found = check(
        of(["u", "v", "w"], [["a", "b"], ["b"], ["c"]]),
        SMALL,
        users=pa.array(["u", "v", "w"]),
        products=pa.array(["a", "b", "c"]),
    )
    assert (found.faults, found.losses) == ([], [])


def test_every_broken_rule_is_told_at_once() -> None:
    lists = [["a", "b", "c"], ["a", ""], [None], None, []]
    table = pa.table(
        [pa.array(["u", "u", "", None, "w"]), pa.array(lists, FORM.field(1).type)], FORM
    )
    found = check(table, SMALL)
    assert found.faults == [
        "5 users, expected at most 3",
        "no user_id: row 2, row 3",
        "repeated user_id: 'u'",
        "no list of products: row 3",
        "more than 2 products: row 0",
        "a product without an id: row 1, row 2",
    ]
    assert found.losses == ["an empty list: row 3, row 4"]


def test_what_only_loses_breaks_no_rule() -> None:
    found = check(
        of(["u", "x"], [["a", "a"], ["z"]]),
        SMALL,
        users=pa.array(["u"]),
        products=pa.array(["a"]),
        known=9,
    )
    assert found.faults == []
    assert found.losses == [
        "2 users, where 3 may be named: fewer only lose",
        "a product twice in a list (it counts once): row 0",
        "a user_id that the log does not know: 'x'",
        "a product that the log does not know: 'z'",
    ]


def test_a_log_of_fewer_users_than_allowed_needs_no_more() -> None:
    assert check(GOOD, SMALL, known=2).losses == []


def test_many_of_one_fault_are_counted_and_three_are_shown() -> None:
    found = check(of([str(n) for n in range(9)], [["a", "b", "c"]] * 9), Limits(9, 2))
    assert found.faults == ["more than 2 products: 9 of them, such as row 0, row 1, row 2"]


def test_an_empty_submission_only_loses() -> None:
    assert check(of([], []), SMALL).faults == []


# -- files ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["submission.csv", "submission.parquet"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    table = of(
        ["7", 'a"b', "=1+1", "x\ny", "ю"], [["1", 'q"u,o'], [], ["=cmd|x"], ["l\nm"], ["ж"]]
    )
    write(table, tmp_path, Limits(9, 9))
    assert read(tmp_path / name).equals(table)


def test_a_broken_rule_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="repeated user_id"):
        write(of(["u", "u"], [["a"], ["b"]]), tmp_path, SMALL)
    assert list(tmp_path.iterdir()) == []


def test_numbers_are_ids_too(tmp_path: Path) -> None:
    pq.write_table(pa.table({USER: [7, 8], "products": [[1, 2], [3]]}), tmp_path / "s.pq")
    (tmp_path / "s.csv").write_text('user_id,products\n7,"[1, 2]"\n8,[3]\n')
    wanted = of(["7", "8"], [["1", "2"], ["3"]])
    assert read(tmp_path / "s.pq").equals(wanted)
    assert read(tmp_path / "s.csv").equals(wanted)


def test_lists_as_pandas_writes_them(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(
        "user_id,products\nu,\"['1', 'it\\'s']\"\nv,\"[2, 3]\"\nw,[]\n"
    )
    assert read(tmp_path / "s.csv").equals(of(["u", "v", "w"], [["1", "it's"], ["2", "3"], []]))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "cannot be read"),
        (b"user_id\n1\n", "no column 'products'"),
        (b"a,b\n1,2\n", "no column 'user_id'"),
        (b"user_id,products,score\n1,[2],3\n", "column 'score', which is not asked for"),
        (b"user_id,products,user_id\n1,[2],3\n", "'user_id' stands there 2 times"),
        (
            b"user_id,products\n1,1 2 3\n2,['a'\n3,{}\n4,[true]\n5,[[1]]\n6,exit()\n"
            b"7,['a' 1.5]\n8,(1)\n",
            "found row 0: '1 2 3'; row 1: \"['a'\"; row 2: '{}' and 5 more",
        ),
        (b"user_id,products\n1," + b"[" * 100_000 + b"\n", "expected lists"),
        (b"user_id,products\n\xff\xfe,[1]\n", "cannot be read|UTF"),
        (b'user_id,products\n1,"[2\n', "cannot be read|expected lists"),
        (b"\x00\x01\x02", "no column 'user_id'|cannot be read"),
    ],
)
def test_a_malformed_csv_is_refused_with_what_is_wrong(
    tmp_path: Path, content: bytes, told: str
) -> None:
    (tmp_path / "s.csv").write_bytes(content)
    with pytest.raises(DataError, match=told.replace("[", r"\[") if "row 0" in told else told):
        read(tmp_path / "s.csv")


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({USER: [1.5], "products": [["a"]]}, "column 'user_id': found double"),
        ({USER: ["u"], "products": [[1.5]]}, "column 'products': found list"),
        ({USER: ["u"], "products": [{"a": 1}]}, "column 'products': found struct"),
        ({USER: ["u"]}, "no column 'products'"),
    ],
)
def test_a_malformed_parquet_is_refused_with_what_is_wrong(
    tmp_path: Path, columns: dict, told: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "s.parquet")
    with pytest.raises(DataError, match=told):
        read(tmp_path / "s.parquet")


def test_a_damaged_parquet_no_file_and_another_suffix(tmp_path: Path) -> None:
    pq.write_table(GOOD, tmp_path / "s.parquet")
    (tmp_path / "s.parquet").write_bytes((tmp_path / "s.parquet").read_bytes()[:-9])
    for name, told in (
        ("s.parquet", "cannot be read"),
        ("gone.csv", "no such file"),
        ("s.xlsx", "expected one of .csv"),
    ):
        with pytest.raises(DataError, match=told):
            read(tmp_path / name)


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clickprint.recommenders.submission.ROWS", 1)
    for name in ("submission.csv", "submission.parquet"):
        write(GOOD, tmp_path, SMALL)
        with pytest.raises(DataError, match=r"\b2 rows: .*\b1$"):
            read(tmp_path / name)
    monkeypatch.setattr("clickprint.recommenders.submission.BYTES", 9)
    with pytest.raises(DataError, match=r"\d bytes: .*\b9$"):
        read(tmp_path / "submission.csv")


# -- score ----------------------------------------------------------------------------------------
def test_the_task_sheets_example() -> None:
    """Three of four bought items are listed: 0.75. A buyer who is not in the file counts 0."""
    found = score(of(["u"], [["a", "b", "c"]]), bought(u=["a", "b", "c", "d"]), Limits())
    assert (found.value, found.buyers, found.named) == (0.75, 1, 1)
    found = score(
        of(["u", "x"], [["a", "b", "c"], ["a"]]), bought(u=["a", "b", "c", "d"], v=["a"]), Limits()
    )
    assert (found.value, found.buyers, found.named) == (0.375, 2, 1)


@given(st.data())
def test_the_score_by_its_definition(data: st.DataObject) -> None:
    ids = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5)
    truth = data.draw(st.dictionaries(st.sampled_from("uvwxyz"), ids, min_size=1))
    lists = data.draw(
        st.dictionaries(st.sampled_from("uvwxyz"), st.lists(st.sampled_from("abcdef"), max_size=5))
    )
    wanted = sum(
        len(set(lists.get(u, ())) & set(its)) / len(set(its)) for u, its in truth.items()
    ) / len(truth)
    found = score(of(list(lists), list(lists.values())), bought(**truth), Limits(6, 5))
    assert found.value == pytest.approx(wanted, abs=1e-12)
    assert found.named == len(set(truth) & set(lists))


def test_a_broken_rule_scores_nothing_and_is_told() -> None:
    found = score(of(["u", "u"], [["a"], ["a"]]), bought(u=["a"]), Limits())
    assert found.value == 0
    assert found.finding.faults == ["repeated user_id: 'u'"]


def test_a_window_without_a_buyer_is_no_score() -> None:
    with pytest.raises(DataError, match="nobody bought"):
        score(GOOD, bought(), Limits())


def test_the_form() -> None:
    assert GOOD.schema.equals(FORM)
    assert json.loads(json.dumps(GOOD.to_pylist())) == [
        {"user_id": "u1", "products": ["a", "b"]},
        {"user_id": "u2", "products": ["b"]},
    ]
