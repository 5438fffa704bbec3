"""The recipe of a ranking table: data, a protocol, and models of the registries of encoders and bars. Every fault is told at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from clickprint.apps.run.recipe import DataPart, _data, _name, _section
from clickprint.core.errors import ConfigError
from clickprint.core.events import Role
from clickprint.core.options import fit, part, read_text, refuse, show, toml, unknown, unknown_name
from clickprint.encoders import ENCODERS, of_options
from clickprint.encoders.sequence import Recipe as Sequence
from clickprint.nn.next_item import NextItemLoss
from clickprint.recommenders.baselines import BASELINES, baseline_class, drawn
from clickprint.work.source import place

WINDOW_ONLY = ("horizon_days", "roles")


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingPart:
    """What is asked, and how lists are judged: recall, ndcg and mrr at each of `ks`, with and without items of the history.

    `measure`, with items of the history or (`seen` = false) without them, is what stops training and what models are compared by.
    `horizon_days` and `roles` (which events are right; the windows end with the last event of the first of them) are for "window".
    """

    protocol: Literal["leave-one-out", "window"]
    horizon_days: int = 14
    roles: tuple[Role, ...] = (Role.BUY,)
    ks: tuple[int, ...] = (5, 10, 20)
    seen: bool = False
    measure: str = "ndcg@10"

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(f"{m}@{k}" for m in ("recall", "ndcg", "mrr") for k in self.ks)

    def problems(self) -> list[str]:
        """Every fault of the values."""
        faults = []
        for key, least in (("ks", 1), ("roles", None)):
            values = getattr(self, key)
            if not values or len(set(values)) < len(values) or (least and min(values) < least):
                shown = [str(v) for v in values]
                faults.append(
                    f"ranking.{key}: found {shown}, expected at least one, each once{', 1 or more' if least else ''}"
                )
        if self.horizon_days < 1:
            faults.append(f"ranking.horizon_days: found {self.horizon_days}, expected at least 1")
        return faults + (
            []
            if self.measure in self.metrics
            else [f"ranking.measure: {unknown_name(self.measure, self.metrics)}"]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A line of the table: an encoder that was trained to say the next item, or a bar; `of` is its name in its registry.

    `refit`: for the test it is fitted anew on everything before the test, an encoder for the epochs that validation chose.
    """

    name: str
    kind: Literal["encoder", "bar"]
    of: str
    made: Any
    refit: bool = True

    @property
    def drawn(self) -> bool:
        """Whether seeds differ."""
        return self.kind == "encoder" or drawn(self.made)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingRecipe:
    """What a table shows, checked."""

    name: str
    seeds: tuple[int, ...]
    data: DataPart
    ranking: RankingPart
    models: Mapping[str, Model]
    text: str = field(repr=False, compare=False, default="")

    def at(self, path: Path) -> "RankingRecipe":
        """The same with its data elsewhere."""
        moved = (
            replace(self.data, folder=str(path))
            if self.data.folder
            else replace(self.data, path=str(path))
        )
        return replace(self, data=moved)


def load(path: Path | str) -> RankingRecipe:
    """The recipe in a TOML file. Raises ConfigError with every fault."""
    return parse(
        read_text(path, "the tables that come with clickprint are in recipes/ranking/"),
        where=str(path),
    )


def parse(text: str, *, where: str = "recipe") -> RankingRecipe:
    """The recipe in a TOML text. Raises ConfigError with every fault; `where` names the file in it."""
    raw = toml(text, where)
    faults: list[str] = []
    unknown(raw, ("name", "seeds", "data", "ranking", "models"), "", faults)
    name, seeds = _name(raw.get("name"), "name", faults), _seeds(raw.get("seeds", [0]), faults)
    data = _data(_section(raw, "data", faults), faults)
    asked = _section(raw, "ranking", faults)
    ranking = part(RankingPart, asked, "ranking", faults)
    if ranking is not None:
        faults += ranking.problems()
        if ranking.protocol == "leave-one-out":
            faults += [
                f"ranking.{key}: for the protocol 'window' only, leave it out"
                for key in WINDOW_ONLY
                if key in asked
            ]
    models = _models(_section(raw, "models", faults), ranking, faults)
    refuse(where, faults)
    return RankingRecipe(
        name=name, seeds=seeds, data=data, ranking=ranking, models=models, text=text
    )


def _seeds(found: object, faults: list[str]) -> tuple[int, ...]:
    before = len(faults)
    seeds = fit(found, tuple[int, ...], "seeds", faults)
    if len(faults) > before:
        return ()
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) >= 2**63:
        faults.append(
            f"seeds: found {show(list(seeds))}, expected at least one, each once, from 0 to 2**63 - 1"
        )
    return tuple(seeds)


def _models(
    raw: Mapping[str, Any], ranking: RankingPart | None, faults: list[str]
) -> dict[str, Model]:
    found: dict[str, Model] = {}
    if not raw:
        faults.append(
            'models: none; write at least one, such as [models.popularity] with bar = "popularity"'
        )
    for name, table in raw.items():
        path = f"models.{name}"
        _name(name, path, faults)
        if not isinstance(table, dict):
            faults.append(f"{path}: found {show(table)}, expected a table [{path}]")
            continue
        refit = fit(table.get("refit", True), bool, f"{path}.refit", faults)
        options = {k: v for k, v in table.items() if k not in ("encoder", "bar", "refit")}
        kind, of = _registry(name, table, path, faults)
        if not of:
            continue
        try:
            made = of_options(
                place(ENCODERS[of]) if kind == "encoder" else baseline_class(of), options
            )
        except ConfigError as fault:
            faults += [f"{path}: {each}" for each in str(fault).split("; ")]
            continue
        if wrong := _unfit(kind, of, made, ranking):
            faults.append(f"{path}{wrong}")
        found[name] = Model(name=name, kind=kind, of=of, made=made, refit=refit)
    return found


def _registry(
    name: str, table: Mapping[str, Any], path: str, faults: list[str]
) -> tuple[Literal["encoder", "bar"], str]:
    """Which registry a model is of, and its name there; no name where that is a fault."""
    if "encoder" in table and "bar" in table:
        faults.append(f"{path}: found encoder and bar, expected one of them")
        return "bar", ""
    kind: Literal["encoder", "bar"] = (
        "encoder"
        if "encoder" in table or ("bar" not in table and name not in BASELINES)
        else "bar"
    )
    known = ENCODERS if kind == "encoder" else BASELINES
    of = table.get(kind, name)
    if not isinstance(of, str) or of not in known:
        more = (
            ""
            if kind in table
            else f'; say encoder = "…", or bar = "…" ({", ".join(sorted(BASELINES))})'
        )
        faults.append(f"{path}.{kind}: {unknown_name(of, known)}{more}")
        return kind, ""
    return kind, of


def _unfit(kind: str, of: str, made: Any, ranking: RankingPart | None) -> str:
    """Why a model has no place in the table; empty where it has one."""
    if kind == "bar":
        column = getattr(made, "column", "item")
        return (
            ""
            if column == "item"
            else f".column: found {column!r}, expected 'item': items are ranked"
        )
    if not isinstance(made, Sequence) or not isinstance(made.loss, NextItemLoss):
        more = f'; as a bar it does: bar = "{of}"' if of in BASELINES else ""
        return f".encoder: {of} is not trained to say the next item, so it ranks none{more}"
    if made.history.everything and ranking is not None and ranking.protocol == "leave-one-out":
        return ".history.everything: found true, expected false: the last item is held out from histories of events about items"
    return ""
