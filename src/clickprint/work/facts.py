"""What a number rests on: versions, commit, machine, and what each stage cost.

None of it names the machine or its user.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any

from clickprint.core.errors import DataError
from clickprint.core.files import write_text
from clickprint.core.forms import read_json
from clickprint.core.options import Faults
from clickprint.core.version import VERSION

PACKAGES = ("numpy", "pyarrow", "duckdb", "torch", "lightgbm")


def versions() -> dict[str, str]:
    """The versions of clickprint, Python and the libraries that compute, as far as installed."""
    found = {"clickprint": VERSION, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str | int | float]:
    """The system, the processor's family, the cores that this process may use, memory in GiB."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cores(),
        "memory_gib": round(memory() / 2**30, 1),
    }


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> int:
    """Bytes of memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def commit() -> str:
    """The commit of the source that runs, with `+` where it was changed since.

    Empty where the source is no checkout, or where there is no git.
    """
    here = Path(__file__).parent.parent
    try:
        # The package must be tracked: in somebody else's checkout it has no commit of its own.
        _git(here, "ls-files", "--error-unmatch", "__init__.py")
        mark = "+" if _git(here, "status", "--porcelain", "--", ".") else ""
        return _git(here, "rev-parse", "HEAD") + mark
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout.strip()


@contextmanager
def measured(into: dict[str, float]) -> Iterator[None]:
    """Writes `seconds` and `peak_mib` of the block into a dict.

    The peak is of this process's resident memory. Where the system is not Linux it is the
    highest since the process began.
    """
    _forget_peak()
    start = perf_counter()
    try:
        yield
    finally:
        into["seconds"] = round(perf_counter() - start, 3)
        into["peak_mib"] = round(_peak() / 2**20, 1)


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or not allowed: the peak is then of the whole process
        return


def _peak() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used if sys.platform == "darwin" else used * 1024


@dataclass(slots=True)
class Facts:
    """The facts.json of a run, written anew after every stage.

    What an earlier call of the same run spent is added up.
    """

    file: Path
    told: dict[str, Any]

    @staticmethod
    def of(file: Path, **told: Any) -> "Facts":
        """What is known at the start, and what `file` tells of earlier stages."""
        about = {"commit": commit(), "versions": versions(), "machine": machine()}
        stages = Facts.read(file).get("stages", {})
        facts = Facts(file, {**told, **about, "stages": stages})
        facts.write()
        return facts

    @staticmethod
    def read(file: Path) -> dict[str, Any]:
        """What a facts.json tells; nothing where it is lost, because no output depends on it."""
        try:
            found = read_json(file)
        except DataError:
            return {}
        faults = Faults()
        if isinstance(found, dict):
            faults.value(found.get("stages", {}), dict[str, dict[str, float]], "stages")
        return found if isinstance(found, dict) and not faults else {}

    def tell(self, **told: Any) -> None:
        self.told.update(told)
        self.write()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measures the block, and adds it to what the stage took before."""
        cost: dict[str, float] = {}
        try:
            with measured(cost):
                yield
        finally:
            # Popped, so that stages stand in the order of their last turn.
            before = self.told["stages"].pop(name, {})
            seconds = round(before.get("seconds", 0.0) + cost["seconds"], 3)
            self.told["stages"][name] = {
                "seconds": seconds,
                "peak_mib": max(before.get("peak_mib", 0.0), cost["peak_mib"]),
            }
            self.write()

    def write(self) -> None:
        stages = self.told.pop("stages")
        self.told["stages"] = stages  # last: it is the longest
        write_text(self.file, json.dumps(self.told, indent=1, ensure_ascii=False) + "\n")
