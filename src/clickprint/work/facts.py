"""What a number rests on: versions, commit, machine, and what each stage cost. None of it names the machine or its user."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any

from clickprint.core.files import write_text
from clickprint.core.version import VERSION

PACKAGES = ("numpy", "pyarrow", "duckdb", "torch", "lightgbm")
# Imports only go down, so what a stage computes can depend on these folders and on no other.
FLOORS = {
    "data": ("core", "data"),
    "profiles": ("core", "data", "metrics", "nn", "encoders"),
    "scores": ("core", "data", "metrics", "tasks"),
    "next": ("core", "data", "metrics", "nn", "encoders", "recommenders"),
    "report": ("core", "data", "metrics", "tasks", "report", "work", "apps"),
}


def versions() -> dict[str, str]:
    """clickprint, Python, and the libraries that compute; those that are not installed are left out."""
    found = {"clickprint": VERSION, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str | int | float]:
    """The system, the processor's family, how many cores this process may use, and the memory in GiB."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cores(),
        "memory_gib": round(memory() / 2**30, 1),
    }


def cores() -> int:
    return (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )


def memory() -> int:
    """Bytes of memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def commit() -> str:
    """The commit of the source that runs, with `+` where it was changed since; empty where it is not a checkout or there is no git."""
    here = Path(__file__).parent.parent
    try:
        # The package must be tracked there: installed inside somebody else's checkout it has no commit of its own.
        _git(here, "ls-files", "--error-unmatch", "__init__.py")
        return _git(here, "rev-parse", "HEAD") + (
            "+" if _git(here, "status", "--porcelain", "--", ".") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout.strip()


def code(part: str) -> str:
    """A digest of the source that a part of a run (a key of FLOORS) can depend on: a changed line makes its outputs stale."""
    root = Path(__file__).parent.parent
    digest = sha256()
    for floor in FLOORS[part]:
        for file in sorted((root / floor).rglob("*.py")):
            digest.update(
                f"{file.relative_to(root).as_posix()}\0".encode() + file.read_bytes() + b"\0"
            )
    return digest.hexdigest()[:16]


@contextmanager
def measured(into: dict[str, float]) -> Iterator[None]:
    """Writes `seconds` and `peak_mib` of the block into a dict.

    The peak is of the resident memory of this process, read from Linux; elsewhere it is the process's highest so far.
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
    """facts.json of a run: what its numbers rest on, written anew after every stage; what an earlier call spent is added up."""

    file: Path
    told: dict[str, Any]

    @staticmethod
    def of(file: Path, **told: Any) -> "Facts":
        """The facts in `file`, if there are any, with what is known at the start."""
        stages = Facts.read(file).get("stages", {})
        facts = Facts(
            file,
            {
                **told,
                "commit": commit(),
                "versions": versions(),
                "machine": machine(),
                "stages": stages,
            },
        )
        facts.write()
        return facts

    @staticmethod
    def read(file: Path) -> dict[str, Any]:
        """What a facts.json tells; nothing where it is lost or damaged, because no output depends on it."""
        try:
            found = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

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
            before = self.told["stages"].pop(
                name, {}
            )  # popped, so that stages stand in the order of their last turn
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
