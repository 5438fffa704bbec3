"""The doctor: well here, well with the core alone, and not well when something is broken."""

import subprocess
import sys

import pytest

from clickprint.apps.cli.main import main
from clickprint.apps.doctor import checks as doctor
from clickprint.work import facts

CORE_ONLY = """
import sys
ABSENT = set("torch mlflow pyspark transformers peft scipy implicit lightgbm pandas pptx".split())
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import importlib.util
found = importlib.util.find_spec
def find_spec(name, package=None):
    return None if name in ABSENT else found(name, package)
importlib.util.find_spec = find_spec
from clickprint.apps.cli.main import main
sys.exit(main(["doctor"]))
"""


def test_well_with_the_core_alone() -> None:
    """As in an environment without any extra."""
    done = subprocess.run([sys.executable, "-c", CORE_ONLY], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "clickprint is well" in done.stdout
    assert "pip install 'clickprint[probe]'" in done.stdout
    assert "BAD" not in done.stdout
    assert "self check: " in done.stdout


def test_not_well(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CLICKPRINT_MEMORY", "lots")
    assert main(["doctor"]) == 1
    told = capsys.readouterr().out
    assert "memory: found 'lots'" in told
    assert "BAD self check" in told
    assert "2 things are wrong" in told


def test_an_old_python_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PYTHON", (9, 9))
    assert [well for well, _ in doctor._python()] == [False, True]


def test_little_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "memory", lambda: 2**29)
    assert [well for well, _ in doctor._memory()] == [False]
    monkeypatch.setattr(facts, "memory", lambda: 0)  # a system that does not say is no fault
    assert [well for well, _ in doctor._memory()] == [True]
