"""Recipes of runs: one TOML file says what a run does. There is no inheritance between recipes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from clickprint.core.options import HORIZON, Between, Distinct, NotEmpty, check
from clickprint.work import profiles
from clickprint.work import recipe as files
from clickprint.work.profiles import ProfilePart, unknown
from clickprint.work.recipe import DataPart, Name, Seed
from clickprint.work.tasksets import unknown_sets

Names = Annotated[tuple[str, ...], Distinct()]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPart:
    """How the log is cut in time.

    - `horizon_days`: the length of the train and of the validation window.
    - `shift`: how often the log is first cut at the start of its train window. What a profile is
      made of is chosen with 1 and 2, so that the windows that count are not looked at.
    """

    horizon_days: Annotated[int, HORIZON] = 14
    shift: Annotated[int, Between(0, 100)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksPart:
    """What profiles are asked.

    - `sets`: named sets of tasks (`ubm25`, `examples`), or `module:NAME` of your own.
    - `hidden`: how many more tasks are generated from the log.
    """

    sets: Names = ("ubm25",)
    hidden: Annotated[int, Between(0, 10_000)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbesPart:
    """Which profiles are scored, and how.

    - `quick`: the profiles of the quick probe; empty: all.
    - `official`: the profiles of the official probe.
    - `official_controls`: also ask the official probe with random vectors of each width and with
      users that it did not learn from, as the quick one always is; two and a half times as long.
    - `official_sets`: which of tasks.sets the official probe is asked; empty: all.
    - `ablation`: a joined profile that is also scored without each of its blocks.
    - `resamples`: of the users, for the intervals.
    - `reference`: what verdicts compare with; empty: the first profile of the encoder `counts`.
    - `control`: empty: the first profile of the encoder `random`.
    """

    quick: Names = ()
    official: Names = ()
    official_sets: Names = ()
    official_controls: bool = False
    ablation: str = ""
    resamples: Annotated[int, Between(0, 10_000)] = 200
    reference: str = ""
    control: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a run does, checked."""

    name: Name
    seed: Seed = 0
    data: DataPart
    split: SplitPart = SplitPart()
    profiles: Annotated[Mapping[Name, ProfilePart], NotEmpty()]
    tasks: TasksPart = TasksPart()
    probes: ProbesPart = ProbesPart()
    text: str = field(repr=False, compare=False, default="")

    def __post_init__(self) -> None:
        check(self, self.problems())

    def problems(self) -> Iterator[tuple[str, str]]:
        """What the parts promise each other."""
        if not self.tasks.sets and not self.tasks.hidden:
            yield "tasks", "no set and no hidden task, so there is nothing to score"
        yield from (("tasks.sets", said) for said in unknown_sets(self.tasks.sets))
        probes = self.probes
        single = {k: (name,) for k in SINGLE if (name := getattr(probes, k))}
        many = {"quick": probes.quick, "official": probes.official, **single}
        yield from unknown("probes.official_sets", probes.official_sets, self.tasks.sets)
        for key, names in many.items():
            yield from unknown(f"probes.{key}", names, self.profiles)
        if probes.ablation in self.profiles and not self.profiles[probes.ablation].blocks:
            yield "probes.ablation", f"{probes.ablation} joins no profiles, so it has no blocks"
        yield from profiles.problems(self.profiles)

    def first(self, encoder: str) -> str:
        """The first profile of an encoder; the encoder's own name where there is none."""
        found = (n for n, p in self.profiles.items() if p.encoder == encoder)
        return next(found, encoder)


SINGLE = ("ablation", "reference", "control")  # keys of probes that name one profile


def load(path: Path | str) -> Recipe:
    """The recipe in a TOML file. Raises ConfigError with every fault."""
    return files.load(Recipe, path, hint="the recipes that come with clickprint are in recipes/")


def parse(text: str, *, where: str = "recipe") -> Recipe:
    """The recipe in a TOML text; `where` names the file. Raises ConfigError with every fault."""
    return files.parse(Recipe, text, where=where)
