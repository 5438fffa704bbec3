"""What clickprint raises. A message says what was found, what was expected and what to do."""

from collections.abc import Sequence


class ClickprintError(Exception):
    """The parent of every error that a user can cause; the command line prints it without a traceback."""


class ConfigError(ClickprintError):
    """An option, a recipe or a request that cannot be honoured."""


class DataError(ClickprintError):
    """A file or table that is not what it must be. Collects every fault and raises once.

    `where` names the file or folder, `problems` holds one sentence a fault.
    """

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        assert problems, "a DataError without a problem"
        self.where = where
        self.problems = tuple(problems)
        super().__init__(where, self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"{self.where}: {self.problems[0]}"
        return f"{self.where}: {len(self.problems)} problems\n" + "\n".join(
            f"  - {p}" for p in self.problems
        )
