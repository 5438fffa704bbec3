"""Parquet files: the file that was named, and one error for what is none."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickprint.core.errors import DataError
from clickprint.core.parquet import need_columns, read_table

TABLE = pa.table({"user": pa.array([1, 2], pa.int64()), "score": [0.5, 1.0]})


@pytest.mark.parametrize("folder", ["user=7", "score=x", "a*b", "shop[1]"])
def test_a_path_is_neither_a_column_nor_a_pattern(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "a.parquet"
    path.parent.mkdir()
    pq.write_table(TABLE, path)
    assert read_table(path).equals(TABLE)


def test_a_schema_selects_and_casts(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet")
    schema = pa.schema({"score": pa.float32()})
    assert read_table(tmp_path / "a.parquet", schema).schema == schema
    for wrong in ({"item": pa.int64()}, {"score": pa.date32()}):
        with pytest.raises(DataError):
            read_table(tmp_path / "a.parquet", pa.schema(wrong))


@pytest.mark.parametrize("keep", [0, 3, 20, -1])
def test_a_file_that_was_cut_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(TABLE, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError) as fault:
        read_table(path, again="make it again")
    assert fault.value.where == str(path)
    assert str(fault.value).endswith("make it again")


def test_columns_of_whole_numbers(tmp_path: Path) -> None:
    need_columns(TABLE, tmp_path, "user")
    holes = pa.table({"user": pa.array([1, None], pa.int64())})
    for table, name in ((TABLE, "score"), (TABLE, "item"), (holes, "user")):
        with pytest.raises(DataError):
            need_columns(table, tmp_path, name)
