from pathlib import Path

import pytest

from clickprint.core.checkpoints import checkpoints, place


def fail_inside(folder: Path) -> None:
    with checkpoints(folder):
        raise ValueError(str(place("a")))


def test_a_place_a_training_inside_only(tmp_path: Path) -> None:
    assert place("a") is None
    with checkpoints(tmp_path / "one"):
        first = place("a")
        assert first == place("a") != place("b")
        assert first is not None
        assert first.parent == tmp_path / "one"
        assert place("") is None  # what has no name could be taken for another
        with pytest.raises(ValueError, match=f"two/{first.name}"):
            fail_inside(tmp_path / "two")
        assert place("a") == first
    assert place("a") is None
