"""What may be used of the machine reaches the engine and torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from clickprint.core.errors import ConfigError
from clickprint.core.options import read
from clickprint.work.resources import Resources, Tables


def test_the_engine_has_the_memory_and_the_threads(tmp_path: Path) -> None:
    with Tables(memory="300MB", threads=1).engine(tmp_path / "spill") as engine:
        told = engine.one("SELECT current_setting('threads'), current_setting('memory_limit')")
        assert told[0] == 1
        assert "MiB" in told[1] or "MB" in told[1]
        assert (tmp_path / "spill").is_dir()
    with Resources(threads=1).engine_called("duckdb", tmp_path / "spill") as engine:
        assert engine.one("SELECT current_setting('threads')")[0] == 1
    with pytest.raises(ConfigError, match="engine"):
        Tables().engine_called("oracle")


def test_torch_gets_its_threads_back() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    with Resources(threads=1).torch_threads():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    with Resources().torch_threads():
        assert torch.get_num_threads() == before


def test_faults() -> None:
    with pytest.raises(ConfigError, match="threads"):
        Tables(threads=0)
    with pytest.raises(ConfigError, match="accelerator"):
        read(Resources, {"accelerator": "tpu"})


@pytest.mark.parametrize("module", ["resources", "stages"])
def test_light_to_import(module: str) -> None:
    program = f"import sys, clickprint.work.{module}; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"numpy", "pyarrow", "duckdb", "torch"} & set(found)
