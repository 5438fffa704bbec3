"""Ranked lists: what is refused, and the table there and back."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickprint.core.errors import DataError
from clickprint.core.ids import NONE
from clickprint.core.recommendations import SCHEMA, Recommendations


def some() -> Recommendations:
    items = np.array([[5, 3], [9, NONE], [NONE, NONE]])
    return Recommendations(
        np.array([4, 1, 7]),
        items,
        np.array([[2, 2], [0.5, -np.inf], [-np.inf, -np.inf]], np.float32),
    )


def test_table_there_and_back(tmp_path: Path) -> None:
    table = some().table()
    assert table.schema == SCHEMA
    assert table.to_pylist()[1] == {"user": 4, "item": 3, "rank": 2, "score": 2.0}
    assert some().lengths.tolist() == [2, 1, 0]
    some().save(tmp_path / "r.parquet")
    back = Recommendations.load(tmp_path / "r.parquet")
    assert back.users.tolist() == [1, 4]
    assert back.items.tolist() == [[9, NONE], [5, 3]]
    assert back.scores.tolist() == [[0.5, -np.inf], [2, 2]]


def test_no_lists(tmp_path: Path) -> None:
    empty = Recommendations(
        np.array([], np.int64), np.zeros((0, 3), np.int64), np.zeros((0, 3), np.float32)
    )
    empty.save(tmp_path / "r.parquet")
    assert len(Recommendations.load(tmp_path / "r.parquet").users) == 0


@pytest.mark.parametrize(
    ("users", "items", "scores", "said"),
    [
        ([1, 1], [[1], [2]], [[1], [1]], "1 users are there twice"),
        ([1, 2], [[1, 1], [2, 3]], [[1, 1], [1, 1]], "1 lists hold an item twice"),
        ([1], [[NONE, 3]], [[-np.inf, 1]], "1 lists have a gap"),
        ([1], [[2, 3]], [[1, 2]], "1 lists are not in the order of their scores"),
        ([1], [[2, 3]], [[1, np.nan]], "1 scores are no number"),
        ([1, 2], [[2, 3]], [[1, 0]], "must be of one size"),
        ([1], [[2, 3]], [[1]], "must be of one size"),
    ],
)
def test_lists_that_are_refused(users: list, items: list, scores: list, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Recommendations(np.array(users), np.array(items), np.array(scores, np.float32))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(1, 2, 0, 1.0)], "found ranks from 0 to 0"),
        ([(1, 2, 7, 1.0)], "found ranks from 7 to 7"),
        ([(1, 2, 1, 1.0), (1, 3, 1, 1.0)], "two items of one rank"),
        ([(1, 2, 2, 1.0), (1, 3, 2, 1.0)], "two items of one rank"),
        ([(1, None, 1, 1.0)], "have no user"),
        ([(1, 2, 2, 1.0), (3, 3, 1, 1.0)], "1 lists have a gap"),
        (
            [(u, 2, 1 if u else 20_000, 1.0) for u in range(20_000)],
            "found a list of 20,000 items among 20,000 users with 1 each",
        ),
    ],
)
def test_files_that_are_refused(rows: list, said: str, tmp_path: Path) -> None:
    columns = [pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), SCHEMA, strict=True)]
    pq.write_table(pa.table(columns, names=SCHEMA.names), tmp_path / "r.parquet")
    with pytest.raises(DataError, match=said):
        Recommendations.load(tmp_path / "r.parquet")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"junk")
    for path in (tmp_path / "junk", tmp_path / "nowhere"):
        with pytest.raises(DataError, match=rf"/{path.name}: "):
            Recommendations.load(path)
