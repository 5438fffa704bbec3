"""What every test shares: one torch thread, and where the real data is.

On a busy machine two threads are several times slower than one.
"""

import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

from forks import WHERE, Forks

settings.register_profile("no clock", deadline=None)  # a busy machine is no fault
settings.load_profile("no clock")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where an environment forbids the caches of compiled modules, each of the suite's processes would
# compile all of them: a quarter of its time.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Tests score tests, which the ledger of whoever runs them need not know.
os.environ["CLICKPRINT_LEDGER"] = os.path.join(tempfile.mkdtemp(), "tests.jsonl")

LONG = {
    "test_documents.py",
    "test_kill.py",
    "test_memory.py",
    "test_places.py",
    "test_next_gate.py",
}
ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("CLICKPRINT_SHARED", ROOT.parent / "shared"))


def pytest_configure(config: pytest.Config) -> None:
    """One process that forks for the first process of pytest and all of its workers."""
    if WHERE not in os.environ:
        forks = Forks().__enter__()
        config.add_cleanup(lambda: forks.__exit__(None, None, None))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: no worker waits at the end for another's half a minute."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(scope="module")
def load_benchmark() -> Iterator[Callable[[str], ModuleType]]:
    """Import a script of benchmarks/, which is no package.

    Torch's threads are as before when the tests of a file are done.
    """
    import torch  # not before the threads are set above

    threads, names = torch.get_num_threads(), []

    def load(script: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(
            f"bench_{script}", ROOT / "benchmarks" / f"{script}.py"
        )
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        names.append(spec.name)
        spec.loader.exec_module(module)
        return module

    yield load
    torch.set_num_threads(threads)
    for name in names:
        del sys.modules[name]


@pytest.fixture(scope="session")
def golden() -> Path:
    """The organisers' reference case; skips where it is absent."""
    folder = SHARED / "golden"
    if not folder.is_dir():
        pytest.skip(
            f"the reference case is not here ({folder}); set CLICKPRINT_SHARED to the folder that "
            "holds golden/"
        )
    return folder
