"""Where a recipe's data lie: environment variables in paths, and a missing one is told."""

from pathlib import Path

import pytest

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.work.source import dataset, expanded


def test_variables_in_paths_are_the_environments(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WHERE_DATA_IS", str(tmp_path))
    assert expanded(Path("$WHERE_DATA_IS/log.parquet")) == tmp_path / "log.parquet"
    assert expanded(Path("${WHERE_DATA_IS}/log.parquet")) == tmp_path / "log.parquet"
    assert expanded(Path("plain/log.parquet")) == Path("plain/log.parquet")
    assert expanded(Path("~/log.parquet")) == Path.home() / "log.parquet"


@pytest.mark.parametrize("path", ["$NOT_SET_HERE/log.parquet", "a/${NOT_SET_HERE}/log.parquet"])
def test_a_variable_that_is_not_set_is_named(path: str) -> None:
    with pytest.raises(ConfigError, match=r"NOT_SET_HERE.* is not set"):
        dataset("uci_online_retail", Path(path))


def test_a_damaged_dataset_in_the_cache_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKPRINT_CACHE", str(tmp_path))
    shop = {"users": 20, "items": 10, "categories": 2, "days": 10}
    made = dataset("synthetic", None, shop)
    (made.folder / "users.npy").unlink()
    with pytest.raises(DataError, match=r"users\.npy"):
        Dataset.open(made.folder)
    again = dataset("synthetic", None, shop)
    assert (again.folder, again.manifest) == (made.folder, made.manifest)
    again.check()
