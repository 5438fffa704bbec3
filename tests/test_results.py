"""The command that says whether two folders hold the same numbers."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    file = ROOT / "docs" / "results" / "compare.py"
    spec = importlib.util.spec_from_file_location("compare_results", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder: Path, **files: object) -> Path:
    for name, content in files.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, np.ndarray):
            np.save(file.with_suffix(".npy"), content)
        else:
            file.with_suffix(".json").write_text(json.dumps(content))
    return folder


OLD = {
    "board": {"marks": {"auroc": 0.5}, "words": "old", "seconds": 1, "rows": [{"a": 1}, {"a": 2}]},
    "scores__seen": np.arange(3.0),
    "facts": {"seconds": 3},
}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 0),
        ({"facts": {"seconds": 9}}, 0),  # what it cost
        ({"board": {**OLD["board"], "words": "new", "seconds": 5}}, 0),  # type: ignore[dict-item]
        ({"board": {**OLD["board"], "rows": [{"a": 1}, {"a": 2.5}]}}, 1),  # type: ignore[dict-item]
        ({"board": {**OLD["board"], "rows": [{"a": 1}]}}, 1),  # type: ignore[dict-item]
        ({"scores__seen": np.array([0, 1, 2.5])}, 1),
        ({"scores__seen": np.arange(3)}, 1),  # another type
    ],
)
def test_numbers_count_and_words_do_not(
    change: dict[str, object], status: int, tmp_path: Path, compare: ModuleType
) -> None:
    old, new = write(tmp_path / "old", **OLD), write(tmp_path / "new", **{**OLD, **change})
    assert compare.main(old, new, {}) == status


def test_names_may_change(tmp_path: Path, compare: ModuleType, capsys) -> None:
    old = write(tmp_path / "old", **OLD)
    board = {"metrics": {"auroc": 0.5}, "words": "old", "rows": [{"b": 1}, {"b": 2}]}
    new = write(tmp_path / "new", board=board, scores__include_seen=np.arange(3.0))
    assert compare.main(old, new, {"seen": "include_seen"}) == 0
    told = capsys.readouterr().out
    assert "marks is called metrics" in told
    assert "2 files are equal" in told
    board["metrics"] = {"auroc": 0.6}
    write(new, board=board)
    assert compare.main(old, new, {"seen": "include_seen"}) == 1


def test_a_folder_without_numbers_is_not_equal(tmp_path: Path, compare: ModuleType) -> None:
    assert compare.main(write(tmp_path / "a", **OLD), tmp_path / "b", {}) == 1
