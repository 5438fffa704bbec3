"""The recipe of a ranking table: data, the question, and models of the one registry.

`[models.NAME]` names a recommender (`recommender = "…"`; NAME itself where it is left out), says
whether it is fitted again for the test (`refit`), and has the recommender's own options. Of what
draws nothing at random, `search = { l2 = [50, 500] }` tries the values of options on validation.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import Annotated, Any, Protocol, runtime_checkable

from clickprint.core.errors import ConfigError
from clickprint.core.options import Distinct, Faults, NotEmpty, check, plain
from clickprint.core.progress import Progress, silent
from clickprint.core.recommender import Recommends
from clickprint.core.registry import lookup
from clickprint.core.rng import RNG
from clickprint.data.log import EventLog
from clickprint.encoders.derived import columns
from clickprint.encoders.sequence import SequenceRecipe
from clickprint.recommenders import RECOMMENDERS
from clickprint.tasks.protocols import Question, RankingPart
from clickprint.work.recipe import DataPart, Name, Seeds

MOST = 100  # settings of a search


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
    - `search`: option → the values that are tried on validation, each with each; the best by the
      table's metric is taken, the first of equal ones.
    """

    name: Name
    recommender: str
    config: Any
    refit: bool = True
    search: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def asked(self) -> Any:
        """What its scores depend on, plain."""
        made = plain(self.config)
        return {"options": made, "search": dict(self.search)} if self.search else made

    def chosen(self, options: Mapping[str, Any]) -> Any:
        """Its recipe with options that a search chose."""
        return replace(self.config, **options) if options else self.config

    def tried(
        self, on: Question, *, rng: RNG, progress: Progress = silent
    ) -> list[tuple[dict[str, Any], float]]:
        """Each setting of the search, and the metric that it reaches on a question."""
        found = []
        every = [dict(zip(self.search, v, strict=True)) for v in product(*self.search.values())]
        for done, options in enumerate(every):
            progress("search", done, len(every))
            fitted = self.chosen(options).fit(on.past, rng=rng)
            found.append((options, on.metric(fitted)))
        progress("search", len(every), len(every))
        return found

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
        own = ("recommender", "refit", "search")
        options = {k: v for k, v in table.items() if k not in own}
        taken = Mapping[str, Annotated[tuple[Any, ...], NotEmpty(), Distinct()]]
        search = faults.value(table.get("search", {}), taken, f"{path}.search") or {}
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
        elif config is not None and search:
            if config.stochastic:
                why = f"{recommender} draws at random; a search is for what draws nothing"
                faults.add(f"{path}.search", why)
            for option, values in search.items():  # the words of a fault name option and value
                for value in values:
                    faults.read(form, {**options, option: value}, f"{path}.search")
            if (many := prod(map(len, search.values()))) > MOST:
                faults.add(f"{path}.search", f"found {many} settings, expected at most {MOST}")
        if len(faults) > before:
            return None
        return cls(name=name, recommender=recommender, config=config, refit=refit, search=search)


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
