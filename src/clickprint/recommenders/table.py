"""The recipe of a ranking table: data, the question, and models of the one registry.

`[models.NAME]` names a recommender (`recommender = "…"`; NAME itself where it is left out), says
whether it is fitted again for the test (`refit`), and has the recommender's own options.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol, runtime_checkable

from clickprint.core.errors import ConfigError
from clickprint.core.options import Faults, NotEmpty, check
from clickprint.core.recommender import Recommends
from clickprint.core.registry import lookup
from clickprint.data.log import EventLog
from clickprint.encoders.derived import columns
from clickprint.encoders.sequence import SequenceRecipe
from clickprint.recommenders import RECOMMENDERS
from clickprint.tasks.protocols import RankingPart
from clickprint.work.recipe import DataPart, Name, Seeds


@runtime_checkable
class NeedsLog(Protocol):
    """A recipe that says whether its fit reads the log: a leave-one-out past has none."""

    @property
    def needs_log(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A line of the table: a recommender of the registry, and its recipe.

    - `recommender`: its name in RECOMMENDERS.
    - `refit`: for the test it is fitted anew on everything before the test, a network for the
      epochs that validation chose. Otherwise validation's own is asked.
    """

    name: Name
    recommender: str
    config: Any
    refit: bool = True

    @property
    def stochastic(self) -> bool:
        """Whether seeds differ."""
        return bool(self.config.stochastic)

    @classmethod
    def read_options(cls, raw: Any, path: str, faults: Faults) -> "Model | None":
        """The model of a table [models.NAME]; None where there was a fault."""
        before, name = len(faults), path.removeprefix("models.")
        table = faults.value(raw, dict[str, Any], path)
        if table is None:
            return None
        options = {k: v for k, v in table.items() if k not in ("recommender", "refit")}
        recommender = table.get("recommender", name)
        refit = faults.value(table.get("refit", True), bool, f"{path}.refit")
        if not faults.known(recommender, RECOMMENDERS, f"{path}.recommender"):
            return None
        try:
            form = lookup(RECOMMENDERS, recommender, "recommender")
        except ConfigError as fault:  # a library that is not installed
            faults.add(f"{path}.recommender", str(fault))
            return None
        config = faults.read(form, options, path)
        if config is not None and not (isinstance(config, Recommends) and config.recommends):
            faults.add(f"{path}.recommender", f"{recommender}, with these options, ranks no items")
        if len(faults) > before:
            return None
        return cls(name=name, recommender=recommender, config=config, refit=refit)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingRecipe:
    """What a table shows, checked."""

    name: Name
    seeds: Seeds = (0,)
    data: DataPart
    ranking: RankingPart
    models: Annotated[Mapping[Name, Model], NotEmpty()]
    text: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        check(self, self.problems())

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.ranking.protocol != "leave-one-out":
            return
        for name, model in self.models.items():
            config = model.config
            if isinstance(config, SequenceRecipe) and config.history.all_events:
                why = "found true, expected false: leave-one-out asks for events about items"
                yield f"models.{name}.history.all_events", why
            if isinstance(config, NeedsLog) and config.needs_log:
                why = "reads the log, which leave-one-out cannot cut; use the protocol 'window'"
                yield f"models.{name}", f"{model.recommender} {why}"

    def check_clock(self, log: EventLog) -> None:
        """Raises ConfigError where a model reads fields made of times that the log lacks."""
        for model in self.models.values():
            if isinstance(model.config, SequenceRecipe):
                for name in model.config.history.fields:
                    if "time" in columns((name,)):
                        log.manifest.need_clock(f"the field {name} of histories")
