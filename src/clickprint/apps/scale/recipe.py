"""The recipe of a scaling study, and its dial: one number for the size of a model.

A recipe's model has, at size s,

    heads(s)  = heads · s^a_heads, rounded, at least 1
    width(s)  = width · s^a_width, rounded to a multiple of 2 · heads(s), at least that
    layers(s) = layers · s^a_layers, rounded, at least 1

with the exponents (a_width, a_layers, a_heads) = (1, 0, 0) where [scaling] says nothing else:
twice the size is twice the width. Widths inside a layer that the recipe names (inner, hidden,
query_width, value_width) grow as the width does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

import torch

from clickprint.core.errors import ConfigError
from clickprint.core.options import Between, Distinct, NotEmpty, check
from clickprint.encoders.sequence import SequenceRecipe
from clickprint.nn.next_item import ITEM
from clickprint.recommenders.table import Model, RankingRecipe
from clickprint.work import recipe

INSIDE = ("inner", "hidden", "query_width", "value_width")  # 0 stands for the form's own

Size = Annotated[float, Between(0, 1e6, low_open=True)]
Fraction = Annotated[float, Between(0, 1, low_open=True)]
Exponent = Annotated[float, Between(0, 4)]


@runtime_checkable
class Sizable(SequenceRecipe, Protocol):
    """A recipe of a network that has a width, and predicts the next item or something else."""

    @property
    def width(self) -> int: ...
    @property
    def predicts_next(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPart:
    """The ladder: sizes, shares of the users, and the exponents of the dial."""

    sizes: Annotated[tuple[Size, ...], NotEmpty(), Distinct()]
    fractions: Annotated[tuple[Fraction, ...], NotEmpty(), Distinct()] = (1.0,)
    width: Exponent = 1.0
    layers: Exponent = 0.0
    heads: Exponent = 0.0

    def __post_init__(self) -> None:
        check(self, self.problems())

    def problems(self) -> Iterator[tuple[str, str]]:
        if not (self.width or self.layers or self.heads):
            yield "width", "found 0, as layers and heads are: all sizes would be one model"


def sized(model: Sizable, size: float, scaling: ScalingPart) -> Sizable:
    """The model of this size. Raises ConfigError where the encoder refuses what comes out."""
    before: Any = model
    options = {f.name for f in fields(before)}
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
    made: Sizable = replace(before, **found)
    return made


def shape(model: Any) -> dict[str, int]:
    """width, layers and heads, as far as the model has them."""
    options = {f.name for f in fields(model)}
    return {n: getattr(model, n) for n in ("width", "layers", "heads") if n in options}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRecipe(RankingRecipe):
    """What a study does: a ranking table's recipe of one model, and the sizes of that model."""

    scaling: ScalingPart

    @property
    def model(self) -> Model:
        """The one model; its recipe is that of size 1."""
        return next(iter(self.models.values()))

    def problems(self) -> Iterator[tuple[str, str]]:
        yield from RankingRecipe.problems(self)
        if len(self.models) > 1:
            yield "models", f"found {', '.join(self.models)}, expected one, made in all sizes"
        elif isinstance(config := self.model.config, Sizable) and config.predicts_next:
            yield from _sizes(config, self.scaling)
        else:
            why = "is no network of next items with a width to scale"
            yield f"models.{self.model.name}", f"{self.model.recommender} {why}"


def _sizes(model: Sizable, scaling: ScalingPart) -> Iterator[tuple[str, str]]:
    """Sizes that cannot be made, and sizes that are one model."""
    made: dict[str, float] = {}
    for size in scaling.sizes:
        try:
            rung = sized(model, size, scaling)
            with torch.device("meta"):  # no memory, no random numbers: whether its widths fit
                rung.model({ITEM: 1, **dict.fromkeys(rung.history.fields, 1)})
        except (ConfigError, ValueError) as fault:
            yield "scaling.sizes", f"{size:g} cannot be made: {fault}"
            continue
        if (same := made.setdefault(str(rung), size)) != size:
            yield "scaling.sizes", f"{same:g} and {size:g} are one model, {shape(rung)}"


def load(path: Path | str) -> ScalingRecipe:
    """The recipe in a TOML file. Raises ConfigError with every fault."""
    hint = "the ladders that come with clickprint are in recipes/scaling/"
    return recipe.load(ScalingRecipe, path, hint=hint)


def parse(text: str, *, where: str = "recipe") -> ScalingRecipe:
    """The recipe in a TOML text. Raises ConfigError with every fault; `where` names the file."""
    return recipe.parse(ScalingRecipe, text, where=where)
