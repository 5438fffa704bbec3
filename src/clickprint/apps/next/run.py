"""What the stages of next purchase share: the parameters, the folders, the log."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickprint.apps.next.graph import STAGES
from clickprint.apps.next.recipe import NextRecipe
from clickprint.core.dataset import Dataset
from clickprint.core.errors import DataError
from clickprint.core.options import plain
from clickprint.core.progress import Progress, labelled, silent
from clickprint.core.rng import RNG
from clickprint.core.time import Time
from clickprint.data.log import EventLog
from clickprint.encoders import ENCODERS
from clickprint.recommenders import RECOMMENDERS
from clickprint.recommenders.windows import Windows, day
from clickprint.work.folder import Workspace, digest
from clickprint.work.pipeline import REMAKE, Outside, Pipeline
from clickprint.work.resources import Tables
from clickprint.work.source import place


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One folder of stages.

    `params` and `log_given` are the file of parameters and the log that was asked for instead of
    its own: what an error tells to type.
    """

    recipe: NextRecipe
    out: Path
    params: str = "params.toml"
    log_given: str = ""
    resources: Tables = Tables()
    progress: Progress = silent

    @property
    def stages(self) -> Pipeline:
        """The stages' folders."""
        recipe, log = self.recipe, f" --log {self.log_given}" if self.log_given else ""
        source = digest(recipe.log, plain(recipe.data))
        return Pipeline(
            graph=STAGES,
            work=Workspace(self.out, "next purchase"),
            recipe=recipe,
            command=f"clickprint next {{stage}} --params {self.params} --out {self.out}{log}",
            roots={
                "read": recipe.data.code(),
                "candidates": _named(recipe.retrievers, "retriever", RECOMMENDERS),
                "features": _named(recipe.profiles, "encoder", ENCODERS),
            },
            outside={"read": Outside(named=source, state=recipe.data.stamp)},
            progress=self.progress,
        )

    def empty(self) -> None:
        """Removes the folders of all stages, and what else clickprint wrote beside them."""
        with self.stages.work.lock():
            self.stages.work.empty()

    def perform(self, stage: str) -> str:
        """One stage; what it says."""
        said: str = place(STAGES[stage].run)(self)
        return said

    def folder(self, stage: str) -> Path:
        """A stage's folder."""
        return self.stages.folder(stage)

    def windows(self) -> Windows:
        """The windows that `split` chose. Raises DataError."""
        file = self.folder("split") / "windows.json"
        try:
            return Windows.from_json(file.read_text("utf-8"), str(file))
        except (OSError, UnicodeDecodeError) as fault:
            raise DataError(str(file), f"cannot be read ({fault}); {REMAKE}") from None

    @contextmanager
    def log(self, data: Path | None = None) -> Iterator[EventLog]:
        """The log that was read, or that in another folder."""
        dataset = Dataset.open(data or self.folder("read"))
        with ExitStack() as stack:
            spill = stack.enter_context(self.stages.work.spill())
            engine = stack.enter_context(self.resources.engine(spill))
            yield EventLog.open(dataset, engine)

    def rng(self, name: str) -> RNG:
        """The random numbers of a purpose."""
        return RNG(self.recipe.seed).child("next").child(name)

    def at(self, time: Time) -> Progress:
        """Progress whose stages begin with the day."""
        return labelled(self.progress, day(time))


def _named(
    tables: Mapping[str, Mapping[str, Any]], key: str, registry: Mapping[str, str]
) -> tuple[str, ...]:
    """The classes that tables name, by `key` or by their own name."""
    return tuple(registry[options.get(key, name)] for name, options in tables.items())
