"""The recipe of a scaling study, and its dial: one number for size.

Size s makes of a recipe's model one with

    heads(s)  = heads · s^a_heads, rounded, at least 1
    width(s)  = width · s^a_width, rounded to a multiple of 2 · heads(s), at least that
    layers(s) = layers · s^a_layers, rounded, at least 1

with the exponents (a_width, a_layers, a_heads) = (1, 0, 0) where [scaling] says nothing else: twice the size is twice the width. Widths
inside a layer that the recipe names (inner, hidden, query_width, value_width) grow as the width does.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from clickprint.apps.recipe import DataPart, _data, _name, _section
from clickprint.apps.source import place
from clickprint.apps.typed import part, show, unknown, unknown_name
from clickprint.core.errors import ConfigError
from clickprint.encoders import ENCODERS, of_options
from clickprint.encoders.sequence import Recipe as Model
from clickprint.nn.next_item import ITEM, NextItem, NextItemLoss

INSIDE = ("inner", "hidden", "query_width", "value_width")  # widths inside a layer; 0 stands for the form's own


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPart:
    """The ladder: sizes, shares of the users, seeds, and the exponents of the dial."""

    sizes: tuple[float, ...]
    fractions: tuple[float, ...] = (1.0,)
    seeds: tuple[int, ...] = (0,)
    width: float = 1.0
    layers: float = 0.0
    heads: float = 0.0

    def problems(self) -> list[str]:
        """Every fault of the values."""
        faults = []
        for key, most in (("sizes", 1e6), ("fractions", 1.0), ("seeds", 2.0**63 - 1)):
            values = getattr(self, key)
            least = "0 or more" if key == "seeds" else "above 0"
            faults += [] if values else [f"scaling.{key}: none"]
            faults += [f"scaling.{key}: found {list(values)}, expected each once"] if len(set(values)) < len(values) else []
            wrong = [v for v in values if not (0 <= v <= most and (v > 0 or key == "seeds"))]
            faults += [f"scaling.{key}: found {v}, expected {least} and at most {most:.10g}" for v in wrong]
        powers = [(key, getattr(self, key)) for key in ("width", "layers", "heads")]
        faults += [f"scaling.{key}: found {v}, expected an exponent from 0 to 4" for key, v in powers if not 0 <= v <= 4]
        if not any(v for _, v in powers):
            faults.append("scaling: width, layers and heads are all 0, so all sizes are one model")
        return faults


def sized(model: Model, size: float, scaling: ScalingPart) -> Model:
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
    made: Model = replace(before, **found)
    return made


def shape(model: Model) -> dict[str, int]:
    """width, layers and heads, as far as the encoder has them."""
    return {name: getattr(model, name) for name in ("width", "layers", "heads") if hasattr(model, name)}


# -- the recipe -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingPart:
    """How lists are judged: recall, ndcg and mrr at each of `ks`; `measure` is the one that is plotted, and that stops training."""

    ks: tuple[int, ...] = (10,)
    measure: str = "ndcg@10"
    seen: bool = False  # whether items of the history may be given again

    def problems(self) -> list[str]:
        """Every fault of the values."""
        faults = [f"ranking.ks: found {list(self.ks)}, expected at least one, each once, 1 or more"]
        faults = faults if not self.ks or len(set(self.ks)) < len(self.ks) or min(self.ks) < 1 else []
        known = [f"{m}@{k}" for m in ("recall", "ndcg", "mrr") for k in self.ks]
        return faults + ([] if self.measure in known else [f"ranking.measure: {unknown_name(self.measure, known)}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRecipe:
    """What a study does, checked."""

    name: str
    data: DataPart
    ranking: RankingPart
    encoder: str
    model: Model
    scaling: ScalingPart
    text: str = field(repr=False, compare=False, default="")


def load(path: Path | str) -> ScalingRecipe:
    """The recipe in a TOML file. Raises ConfigError with every fault."""
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as fault:
        raise ConfigError(
            f"{path}: cannot be read ({fault.strerror}); the ladders that come with clickprint are in recipes/scaling/"
        ) from None
    except UnicodeDecodeError as fault:
        raise ConfigError(f"{path}: not UTF-8 (byte {fault.start}); a recipe is a TOML file in UTF-8") from None
    return parse(text, where=str(path))


def parse(text: str, *, where: str = "recipe") -> ScalingRecipe:
    """The recipe in a TOML text. Raises ConfigError with every fault; `where` names the file in it."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError(f"{where}: not TOML: {fault}") from None
    faults: list[str] = []
    unknown(raw, ("name", "data", "ranking", "models", "scaling"), "", faults)
    scaling = part(ScalingPart, _section(raw, "scaling", faults), "scaling", faults)
    ranking = part(RankingPart, _section(raw, "ranking", faults), "ranking", faults)
    for each in (scaling, ranking):
        faults += each.problems() if each is not None else []
    name, data = _name(raw.get("name"), "name", faults), _data(_section(raw, "data", faults), faults)
    encoder, model = _model(_section(raw, "models", faults), faults)
    if model is not None and scaling is not None and not scaling.problems():
        faults += _ladder_problems(model, scaling)
    if faults:
        head = f"{where}: " if len(faults) == 1 else f"{where}: {len(faults)} faults\n  - "
        raise ConfigError(head + "\n  - ".join(faults))
    assert model is not None
    return ScalingRecipe(name=name, data=data, ranking=ranking, encoder=encoder, model=model, scaling=scaling, text=text)


def _model(raw: Mapping[str, Any], faults: list[str]) -> tuple[str, Model | None]:
    """The one model of the ladder."""
    if len(raw) != 1:
        faults.append(f"models: found {', '.join(raw) or 'none'}, expected one model, which the ladder makes in all sizes")
        return "", None
    name, table = next(iter(raw.items()))
    path = f"models.{name}"
    if not isinstance(table, dict):
        faults.append(f"{path}: found {show(table)}, expected a table [{path}]")
        return "", None
    encoder = table.get("encoder", name)
    if not isinstance(encoder, str) or encoder not in ENCODERS:
        faults.append(f"{path}.encoder: {unknown_name(encoder, ENCODERS)}")
        return "", None
    kind = place(ENCODERS[encoder])
    try:
        made = of_options(kind, {k: v for k, v in table.items() if k != "encoder"})
    except ConfigError as fault:
        faults += [f"{path}: {each}" for each in str(fault).split("; ")]
        return encoder, None
    if not isinstance(made, Model) or not isinstance(made.loss, NextItemLoss) or not hasattr(made, "width"):
        faults.append(f"{path}: {encoder} is no sequence model of a width that learns the next item, so it has no ladder")
        return encoder, None
    if made.history.everything:
        faults.append(f"{path}.history.everything: found true, expected false: items are held out from histories of events about items")
    return encoder, made


def _ladder_problems(model: Model, scaling: ScalingPart) -> list[str]:
    """Sizes that cannot be made, and sizes that are one model."""
    faults: list[str] = []
    made: dict[str, float] = {}
    for size in scaling.sizes:
        try:
            rung = sized(model, size, scaling)
            with torch.device("meta"):  # no memory, no random numbers: only whether its widths fit together
                network = rung.model({ITEM: 1, **dict.fromkeys(rung.history.fields, 1)})
        except (ConfigError, ValueError) as fault:
            faults.append(f"scaling.sizes: {size:g} cannot be made: {fault}")
            continue
        assert isinstance(network, NextItem)  # what a NextItemLoss trains
        if (same := made.setdefault(str(rung), size)) != size:
            faults.append(f"scaling.sizes: {same:g} and {size:g} are one model, {shape(rung)}")
    return faults
