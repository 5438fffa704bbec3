"""The recipe of a scaling study, and its dial: one number for size.

Size s makes of a recipe's model one with

    heads(s)  = heads · s^a_heads, rounded, at least 1
    width(s)  = width · s^a_width, rounded to a multiple of 2 · heads(s), at least that
    layers(s) = layers · s^a_layers, rounded, at least 1

with the exponents (a_width, a_layers, a_heads) = (1, 0, 0) where [scaling] says nothing else: twice the size is twice the width. Widths
inside a layer that the recipe names (inner, hidden, query_width, value_width) grow as the width does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from clickprint.apps.rank.recipe import (
    WINDOW_ONLY,
    Model,
    RankingPart,
    RankingRecipe,
    _models,
    _seeds,
)
from clickprint.apps.run.recipe import _data, _name, _section
from clickprint.core.errors import ConfigError
from clickprint.core.options import part, read_text, refuse, toml, unknown
from clickprint.encoders.sequence import Recipe as Sequence
from clickprint.nn.next_item import ITEM, NextItem

INSIDE = (
    "inner",
    "hidden",
    "query_width",
    "value_width",
)  # widths inside a layer; 0 stands for the form's own


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPart:
    """The ladder: sizes, shares of the users, and the exponents of the dial."""

    sizes: tuple[float, ...]
    fractions: tuple[float, ...] = (1.0,)
    width: float = 1.0
    layers: float = 0.0
    heads: float = 0.0

    def problems(self) -> list[str]:
        """Every fault of the values."""
        faults = []
        for key, most in (("sizes", 1e6), ("fractions", 1.0)):
            values = getattr(self, key)
            faults += [] if values else [f"scaling.{key}: none"]
            faults += (
                [f"scaling.{key}: found {list(values)}, expected each once"]
                if len(set(values)) < len(values)
                else []
            )
            faults += [
                f"scaling.{key}: found {v}, expected a number above 0, at most {most:g}"
                for v in values
                if not 0 < v <= most
            ]
        powers = [(key, getattr(self, key)) for key in ("width", "layers", "heads")]
        faults += [
            f"scaling.{key}: found {v}, expected an exponent from 0 to 4"
            for key, v in powers
            if not 0 <= v <= 4
        ]
        if not any(v for _, v in powers):
            faults.append("scaling: width, layers and heads are all 0, so all sizes are one model")
        return faults


def sized(model: Sequence, size: float, scaling: ScalingPart) -> Sequence:
    """The model of this size, by the rule above; it has a width. Raises ConfigError where the encoder refuses what comes out."""
    options = {f.name for f in fields(model)}  # type: ignore[arg-type]
    before: Any = model
    found: dict[str, int] = {}
    if "heads" in options:
        found["heads"] = max(1, round(before.heads * size**scaling.heads))
    step = 2 * found.get("heads", 1)
    found["width"] = step * max(1, round(before.width * size**scaling.width / step))
    if "layers" in options:
        found["layers"] = max(1, round(before.layers * size**scaling.layers))
    for name in INSIDE:
        if name in options and getattr(before, name):
            found[name] = max(1, round(getattr(before, name) * found["width"] / before.width))
    made: Sequence = replace(before, **found)
    return made


def shape(model: Sequence) -> dict[str, int]:
    """width, layers and heads, as far as the encoder has them."""
    return {
        name: getattr(model, name) for name in ("width", "layers", "heads") if hasattr(model, name)
    }


# -- the recipe -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRecipe:
    """What a study does, checked: a ranking table's recipe of one model, and the sizes of that model."""

    table: RankingRecipe
    scaling: ScalingPart
    text: str = field(repr=False, compare=False, default="")

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def encoder(self) -> str:
        """Its name in the registry."""
        return next(iter(self.table.models.values())).of

    @property
    def model(self) -> Sequence:
        """The model of size 1."""
        made: Sequence = next(iter(self.table.models.values())).made
        return made


def load(path: Path | str) -> ScalingRecipe:
    """The recipe in a TOML file. Raises ConfigError with every fault."""
    return parse(
        read_text(path, "the ladders that come with clickprint are in recipes/scaling/"),
        where=str(path),
    )


def parse(text: str, *, where: str = "recipe") -> ScalingRecipe:
    """The recipe in a TOML text. Raises ConfigError with every fault; `where` names the file in it."""
    raw = toml(text, where)
    faults: list[str] = []
    unknown(raw, ("name", "seeds", "data", "ranking", "models", "scaling"), "", faults)
    name, seeds = _name(raw.get("name"), "name", faults), _seeds(raw.get("seeds", [0]), faults)
    data = _data(_section(raw, "data", faults), faults)
    asked = _section(raw, "ranking", faults)
    ranking = part(RankingPart, asked, "ranking", faults)
    if ranking is not None:
        faults += ranking.problems()
        faults += [
            f"ranking.{key}: for the protocol 'window' only"
            for key in WINDOW_ONLY
            if key in asked and ranking.protocol != "window"
        ]
    models = _models(_section(raw, "models", faults), ranking, faults)
    scaling = part(ScalingPart, _section(raw, "scaling", faults), "scaling", faults)
    if scaling is not None:
        faults += _ladder_problems(models, scaling, faults)
    refuse(where, faults)
    table = RankingRecipe(
        name=name, seeds=seeds, data=data, ranking=ranking, models=models, text=text
    )
    return ScalingRecipe(table=table, scaling=scaling, text=text)


def _ladder_problems(
    models: Mapping[str, Model], scaling: ScalingPart, before: list[str]
) -> list[str]:
    """What is wrong with the values; where nothing is, also sizes that cannot be made, and sizes that are one model."""
    faults = scaling.problems()
    if len(models) > 1:
        faults.append(
            f"models: found {', '.join(models)}, expected one model, which the ladder makes in all sizes"
        )
    for m in models.values():
        if m.kind == "bar" or not hasattr(m.made, "width"):
            faults.append(f"models.{m.name}: {m.of} is no network of a width, so it has no sizes")
    return faults or ([] if before else _size_problems(next(iter(models.values())).made, scaling))


def _size_problems(model: Sequence, scaling: ScalingPart) -> list[str]:
    faults: list[str] = []
    made: dict[str, float] = {}
    for size in scaling.sizes:
        try:
            rung = sized(model, size, scaling)
            with torch.device(
                "meta"
            ):  # no memory, no random numbers: only whether its widths fit together
                network = rung.model({ITEM: 1, **dict.fromkeys(rung.history.fields, 1)})
        except (ConfigError, ValueError) as fault:
            faults.append(f"scaling.sizes: {size:g} cannot be made: {fault}")
            continue
        assert isinstance(network, NextItem)  # what a NextItemLoss trains
        if (same := made.setdefault(str(rung), size)) != size:
            faults.append(f"scaling.sizes: {same:g} and {size:g} are one model, {shape(rung)}")
    return faults
