"""Recipes: one TOML file says what a run does. Every fault is collected, each with the path of its key, and raised as one ConfigError.

There is no inheritance between recipes and there are no hidden defaults: what a key means when it is left out stands in these dataclasses.
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clickprint.core.options import (
    Faults,
    fit,
    part,
    read_text,
    refuse,
    show,
    toml,
    unknown,
    unknown_name,
)
from clickprint.core.past import Encoder, Fitted
from clickprint.core.typed import options as typed_options
from clickprint.encoders import ENCODERS, encoder
from clickprint.work.recipe import DataPart
from clickprint.work.source import place
from clickprint.work.tasksets import OPEN

PROBES = ("quick", "official")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPart:
    """The length of the train and of the validation window, in days.

    `back`: how often the log is cut at the start of its train window first. What a profile is made of is chosen with 1 and 2, so that
    the windows that count are not looked at.
    """

    horizon_days: int = 14
    back: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilePart:
    """An encoder's name and its options."""

    encoder: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksPart:
    """Named sets of tasks (`ubm25`, `examples`, or `module:NAME` of your own), and how many generated hidden ones."""

    sets: tuple[str, ...] = ("ubm25",)
    hidden: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbesPart:
    """Which profiles each probe scores. `quick` empty means all of them, `official` empty means none. `ablation` names a joined profile."""

    quick: tuple[str, ...] = ()
    official: tuple[str, ...] = ()
    official_sets: tuple[
        str, ...
    ] = ()  # which of tasks.sets the official probe is asked; empty: all
    ablation: str = ""
    resamples: int = 200
    reference: str = (
        ""  # what verdicts compare with; empty: the first profile of the encoder `counts`
    )
    control: str = ""  # empty: the first profile of the encoder `random`


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a run does, checked."""

    name: str
    seed: int
    data: DataPart
    split: SplitPart
    profiles: Mapping[str, ProfilePart]
    tasks: TasksPart
    probes: ProbesPart
    text: str = field(repr=False, compare=False, default="")

    def encoder(self, name: str, fitted: Mapping[str, Fitted] | None = None) -> Encoder:
        """The encoder of a profile; the blocks of a joined one are profiles of this recipe, or else encoders with their defaults.

        `fitted`: profiles that are blocks as they are and not fitted again.
        """
        from clickprint.encoders.joined import Prefitted

        part = self.profiles[name]
        options = dict(part.options)
        if "blocks" in options and part.encoder == "joined":
            options["blocks"] = {
                b: Prefitted(fitted[b])
                if fitted and b in fitted
                else self.encoder(b)
                if b in self.profiles
                else encoder(b)
                for b in options["blocks"]
            }
        return encoder(part.encoder, **options)


def load(path: Path | str) -> Recipe:
    """The recipe in a TOML file. Raises ConfigError with every fault."""
    return parse(
        read_text(path, "the recipes that come with clickprint are in recipes/"), where=str(path)
    )


def parse(text: str, *, where: str = "recipe") -> Recipe:
    """The recipe in a TOML text. Raises ConfigError with every fault; `where` names the file in it."""
    raw = toml(text, where)
    faults: list[str] = []
    known = {"name", "seed", "data", "split", "profiles", "tasks", "probes"}
    unknown(raw, known, "", faults)
    recipe = Recipe(
        name=_name(raw.get("name"), "name", faults),
        seed=_seed(raw.get("seed", 0), faults),
        data=_data(_section(raw, "data", faults), faults),
        split=part(SplitPart, _section(raw, "split", faults), "split", faults) or SplitPart(),
        profiles=_profiles(_section(raw, "profiles", faults), faults),
        tasks=part(TasksPart, _section(raw, "tasks", faults), "tasks", faults) or TasksPart(),
        probes=part(ProbesPart, _section(raw, "probes", faults), "probes", faults) or ProbesPart(),
        text=text,
    )
    _agree(recipe, faults)
    refuse(where, faults)
    return recipe


def _section(raw: Mapping[str, Any], key: str, faults: list[str]) -> dict[str, Any]:
    found = raw.get(key, {})
    if isinstance(found, dict):
        return found
    faults.append(f"{key}: found {show(found)}, expected a table [{key}]")
    return {}


def _name(found: object, path: str, faults: list[str]) -> str:
    if isinstance(found, str) and NAME.fullmatch(found):
        return found
    what = "nothing" if found is None else show(found)
    faults.append(
        f"{path}: found {what}, expected a name of letters, digits and _.+- (64 at most), because it becomes a file name"
    )
    return "?"


def _seed(found: object, faults: list[str]) -> int:
    if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 2**63:
        return found
    faults.append(f"seed: found {show(found)}, expected a whole number from 0 to 2**63 - 1")
    return 0


def _data(raw: dict[str, Any], faults: list[str]) -> DataPart:
    found = Faults()
    part = DataPart.read_options(raw, "data", found)
    faults += map(str, found)
    return part or DataPart()


def _profiles(raw: dict[str, Any], faults: list[str]) -> dict[str, ProfilePart]:
    found: dict[str, ProfilePart] = {}
    if not raw:
        faults.append(
            'profiles: none; write at least one, such as [profiles.counts] with encoder = "counts"'
        )
    for name, table in raw.items():
        path = f"profiles.{name}"
        _name(name, path, faults)
        if not isinstance(table, dict):
            faults.append(f"{path}: found {show(table)}, expected a table [{path}]")
            continue
        encoder = table.get("encoder", name)
        if not isinstance(encoder, str) or encoder not in ENCODERS:
            faults.append(f"{path}.encoder: {unknown_name(encoder, ENCODERS)}")
            continue
        options = {k: v for k, v in table.items() if k != "encoder"}
        kind = place(ENCODERS[encoder])
        blocks = {}
        if encoder == "joined" and "blocks" in options:
            blocks = {
                "blocks": _blocks(
                    options.pop("blocks"), path, [n for n in raw if n != name], faults
                )
            }
        known = [p for p in inspect.signature(kind).parameters if p not in blocks]
        found[name] = ProfilePart(
            encoder=encoder,
            options={**blocks, **typed_options(kind, known, options, path, faults, check=True)},
        )
    return found


def _blocks(found: object, path: str, others: Sequence[str], faults: list[str]) -> tuple[str, ...]:
    before = len(faults)
    names = fit(found, tuple[str, ...], f"{path}.blocks", faults)
    if len(faults) > before:
        return ()
    for name in names:
        if name not in others and name not in ENCODERS:
            faults.append(f"{path}.blocks: {unknown_name(name, sorted({*others, *ENCODERS}))}")
    if not names or len(set(names)) < len(names):
        faults.append(f"{path}.blocks: found {list(names)}, expected at least one name, each once")
    return tuple(names)


def _agree(recipe: Recipe, faults: list[str]) -> None:
    """What the parts promise each other."""
    probes = recipe.probes
    if recipe.split.horizon_days < 1:
        faults.append(
            f"split.horizon_days: found {recipe.split.horizon_days}, expected at least 1"
        )
    if not 0 <= recipe.split.back <= 100:
        faults.append(f"split.back: found {recipe.split.back}, expected 0 to 100")
    if recipe.tasks.hidden < 0:
        faults.append(f"tasks.hidden: found {recipe.tasks.hidden}, expected 0 or more")
    if not recipe.tasks.sets and not recipe.tasks.hidden:
        faults.append("tasks: no set and no hidden task, so there is nothing to score")
    for name in recipe.tasks.sets:
        if name not in OPEN and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
            faults.append(
                f"tasks.sets: {unknown_name(name, OPEN)}, or module:NAME of your own tasks"
            )
    if len(set(recipe.tasks.sets)) < len(recipe.tasks.sets):
        faults.append(f"tasks.sets: found {list(recipe.tasks.sets)}, expected each once")
    if not 0 <= probes.resamples <= 10_000:
        faults.append(f"probes.resamples: found {probes.resamples}, expected 0 to 10000")
    for key in PROBES:
        names = getattr(probes, key)
        faults += [
            f"probes.{key}: {unknown_name(n, recipe.profiles)}"
            for n in names
            if n not in recipe.profiles
        ]
        if len(set(names)) < len(names):
            faults.append(f"probes.{key}: found {list(names)}, expected each once")
    faults += [
        f"probes.official_sets: {unknown_name(n, recipe.tasks.sets)}"
        for n in probes.official_sets
        if n not in recipe.tasks.sets
    ]
    for key in ("ablation", "reference", "control"):
        name = getattr(probes, key)
        if name and name not in recipe.profiles:
            faults.append(f"probes.{key}: {unknown_name(name, recipe.profiles)}")
    if probes.ablation in recipe.profiles and recipe.profiles[probes.ablation].encoder != "joined":
        faults.append(
            f"probes.ablation: {probes.ablation} is not a joined profile, so it has no blocks to leave out"
        )
    for start in recipe.profiles:
        if _cycle(recipe, start, ()):
            faults.append(f"profiles.{start}.blocks: it is, through its blocks, a block of itself")


def _cycle(recipe: Recipe, name: str, above: tuple[str, ...]) -> bool:
    if name in above:
        return name == above[0]
    part = recipe.profiles.get(name)
    return part is not None and any(
        _cycle(recipe, b, (*above, name))
        for b in part.options.get("blocks", ())
        if isinstance(b, str)
    )
