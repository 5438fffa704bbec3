"""What clickprint raises. A message says what was found, what was expected and what to do."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from sysconfig import get_paths
from traceback import walk_tb

INSTALLED = (f"{Path(__file__).parents[1]}{os.sep}", get_paths()["stdlib"])


class ClickprintError(Exception):
    """The parent of every error that a user can cause; the CLI prints it without a traceback."""


class ConfigError(ClickprintError):
    """An option, a recipe or a request that cannot be honoured."""


class DataError(ClickprintError):
    """A file or table is not what it must be. Collects every fault and raises once.

    `where` names the file or folder; `problems` is one sentence, or a list with one a fault.
    """

    def __init__(self, where: Path | str, problems: str | Sequence[str]) -> None:
        assert problems, "a DataError without a problem"
        self.where = str(where)
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__(self.where, self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"{self.where}: {self.problems[0]}"
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        return f"{self.where}: {len(self.problems)} problems{lines}"


class Diverged(ClickprintError, FloatingPointError):
    """A training whose loss, weights or metric are no numbers any more."""


@contextmanager
def own_code(where: str, called: object = None) -> Iterator[None]:
    """Tells a fault of code that a user wrote with its file and line, as a ConfigError.

    `called` is what is called of it: its place is told where the call itself is the fault. A fault
    of our own code passes as it is.
    """
    try:
        yield
    except (ClickprintError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as fault:
        if not (place := _own_place(fault) or _defined(called)):
            raise
        said = f"{type(fault).__name__}: {first_line(fault)}"
        raise ConfigError(f"{where}: {place}: {said}") from fault


def _own_place(fault: BaseException) -> str:
    """The last line in a traceback that is neither ours nor of an installed package."""
    if isinstance(fault, SyntaxError) and fault.filename:
        return f"{fault.filename}, line {fault.lineno}"
    frames = [(f.f_code.co_filename, n) for f, n in walk_tb(fault.__traceback__)]
    own = [(file, line) for file, line in frames if not _installed(file)]
    return "{}, line {}".format(*own[-1]) if own else ""


def _defined(called: object) -> str:
    code = getattr(getattr(called, "__func__", called), "__code__", None)
    if code is None or _installed(code.co_filename):
        return ""
    return f"{code.co_filename}, line {code.co_firstlineno}"


def _installed(file: str) -> bool:
    return "site-packages" in file or file.startswith((*INSTALLED, "<"))


def message(fault: BaseException) -> str:
    """What a refusal says: of a full disk, or a missing permission, the system's own words."""
    if isinstance(fault, OSError):
        where = f": {fault.filename}" if fault.filename else ""
        return f"{fault.strerror or fault}{where}"
    if isinstance(fault, MemoryError):
        return "out of memory; lower --threads or --memory, or take a smaller log"
    return str(fault)


def first_line(fault: BaseException) -> str:
    """The first line of what another library says is wrong, or else the name of its error."""
    lines = str(fault).strip().splitlines()
    return lines[0] if lines else type(fault).__name__
