"""How much of the machine a product may use. Light to import: the command line reads it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from clickprint.core.options import Between, check

if TYPE_CHECKING:
    from clickprint.data.engine import DuckDB, Engine


@dataclass(frozen=True, kw_only=True, slots=True)
class Tables:
    """What a product that reads tables may use.

    Parameters
    ----------
    memory
        How much memory the tables' engine may hold, such as 2GB (or CLICKPRINT_MEMORY).
    threads
        How many cores are used [default: all] (or CLICKPRINT_THREADS).
    """

    memory: str | None = None
    threads: Annotated[int, Between(1, 1_024)] | None = None

    def __post_init__(self) -> None:
        check(self)

    def engine(self, spill: Path | None = None) -> "DuckDB":
        """The engine of this machine, for a `with`; what does not fit goes to `spill`."""
        from clickprint.data.engine import DuckDB

        return DuckDB(memory=self.memory, threads=self.threads, spill=spill)

    def engine_called(self, name: str, spill: Path | None = None) -> "Engine":
        """The engine of this name; only DuckDB spills to `spill`. Raises ConfigError."""
        from clickprint.data.engine import open_engine

        spill = spill if name == "duckdb" else None
        return open_engine(name, memory=self.memory, threads=self.threads, spill=spill)


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources(Tables):
    """What a product that trains may use.

    Parameters
    ----------
    memory
        How much memory the tables' engine may hold, such as 2GB (or CLICKPRINT_MEMORY).
    threads
        How many cores are used [default: all] (or CLICKPRINT_THREADS).
    accelerator
        Where networks train; auto takes a GPU when there is one.
    """

    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"

    @contextmanager
    def torch_threads(self) -> Iterator[None]:
        """Lets torch use `threads` cores in the block; without `threads` it keeps its own."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)
