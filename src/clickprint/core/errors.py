"""What clickprint raises. A message says what was found, what was expected and what to do."""

from collections.abc import Sequence
from pathlib import Path


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


def first_line(fault: BaseException) -> str:
    """The first line of what another library says is wrong, or else the name of its error."""
    lines = str(fault).strip().splitlines()
    return lines[0] if lines else type(fault).__name__
