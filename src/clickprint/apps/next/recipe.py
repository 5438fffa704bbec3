"""The parameters of next purchase: one TOML file, whose `log` says which of its logs is taken. Every fault is told at once."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from clickprint.apps.run.recipe import NAME, DataPart, _data, _section, _seed
from clickprint.core.errors import ConfigError
from clickprint.core.options import fit, part, read_text, refuse, show, toml, unknown, unknown_name
from clickprint.recommenders.features import FeatureSpec
from clickprint.recommenders.funnel import DEFAULT, NextPurchase
from clickprint.recommenders.propensity import Propensity
from clickprint.recommenders.ranker import Ranker

WHERE = "the ones that come with clickprint are in recipes/next/"


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowsPart:
    """How many windows before the one that is validated are learned from, and how many days lie between their starts (0: as many as a
    window has). A log too short for all of them gives fewer: before the oldest there must be `history` days.
    """

    learn: int = 6
    apart: int = 0
    history: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """A number from `low` to `high` (tried evenly over its logarithm with `log`; whole where both are), or one of `choices`."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TunePart:
    """A search over options of the ranker: `trials` in all (0: none, the options stand), each learned from the older windows and judged by
    recall on the newest `windows` that are learned from. The first trial is what the parameters say.
    """

    trials: int = 0
    windows: int = 1
    space: Mapping[str, Dial] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePart:
    """What a model must keep to take the champion's place, beside being better: the least share of the known items that its lists show, the
    most that chances may be off (the mean over ten equal bins), the most seconds for the lists of 1,000 users.
    """

    resamples: int = 1_000
    coverage: float = 0.01
    calibration: float = 0.05
    seconds: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackPart:
    """Whether runs and models go to MLflow (OUT/mlflow.db, or the server of MLFLOW_TRACKING_URI), and the model's name there (empty:
    next-purchase-LOG) and alias.
    """

    on: bool = True
    model: str = ""
    alias: str = "champion"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatePart:
    """The rolling evaluation: how many windows, and the shares of known users to whom lists are limited beside `next.users`."""

    windows: int = 8
    limits: tuple[float, ...] = (0.1, 0.3)


PARTS: Mapping[str, type] = {
    "windows": WindowsPart,
    "tune": TunePart,
    "gate": GatePart,
    "track": TrackPart,
    "evaluate": EvaluatePart,
}
ASKED = {"days": int, "products": int, "users": int, "linked": bool}
MADE: Mapping[str, type] = {"features": FeatureSpec, "ranker": Ranker, "propensity": Propensity}


@dataclass(frozen=True, slots=True, kw_only=True)
class NextRecipe:
    """What the stages do, checked."""

    log: str
    data: DataPart
    next: NextPurchase
    windows: WindowsPart
    tune: TunePart
    gate: GatePart
    track: TrackPart
    evaluate: EvaluatePart
    text: str = field(repr=False, compare=False, default="")

    @property
    def seed(self) -> int:
        return self.next.seed

    @property
    def model(self) -> str:
        """The registered model's name."""
        return self.track.model or f"next-purchase-{self.log}"


def plain(made: Any) -> dict[str, Any]:
    """A recipe as JSON and digests hold it: tuples are lists, mappings dicts."""
    return {k: _plain(v) for k, v in asdict(made).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def load(path: Path | str, *, log: str = "") -> NextRecipe:
    """The parameters in a TOML file; `log` is taken instead of the file's. Raises ConfigError with every fault."""
    return parse(read_text(path, WHERE), where=str(path), log=log)


def parse(text: str, *, where: str = "parameters", log: str = "") -> NextRecipe:
    """The parameters in a TOML text. Raises ConfigError with every fault; `where` names the file in it."""
    raw = toml(text, where)
    faults: list[str] = []
    unknown(raw, ("log", "seed", "logs", "next", "sources", "profiles", *MADE, *PARTS), "", faults)
    chosen, data = _log(log or raw.get("log"), _section(raw, "logs", faults), faults)
    seed = _seed(raw.get("seed", 0), faults)
    tables = {name: _section(raw, name, faults) for name in PARTS}
    dials = _section(tables["tune"], "space", faults)
    parts = {
        n: _made(k, {**tables[n], "space": {}} if n == "tune" else tables[n], n, faults)
        for n, k in PARTS.items()
    }
    asked = _next(raw, parts["windows"], seed, faults)
    space = _space(dials, asked, faults)
    if parts["tune"]:
        parts["tune"] = replace(parts["tune"], space=space)
    _agree(parts, faults)
    refuse(where, faults)
    assert asked is not None
    return NextRecipe(log=chosen, data=data, next=asked, text=text, **parts)


def _log(chosen: object, logs: Mapping[str, Any], faults: list[str]) -> tuple[str, DataPart]:
    """Every log's table is checked, not the chosen one's alone."""
    found: dict[str, DataPart] = {}
    for name, table in logs.items():
        if not NAME.fullmatch(name) or not isinstance(table, dict):
            faults.append(
                f"logs.{name}: found {show(table)}, expected a table [logs.{name}], its name of letters, digits and _.+-"
            )
            continue
        here: list[str] = []
        found[name] = _data(table, here)
        faults += [f"logs.{name}{fault.removeprefix('data')}" for fault in here]
    if not isinstance(chosen, str) or chosen not in logs:
        faults.append(
            f"log: {unknown_name(chosen, logs)}, each a table [logs.NAME]"
            if chosen is not None
            else "log: missing"
        )
        return "?", DataPart()
    return chosen, found.get(chosen, DataPart())


def _made(kind: type, raw: dict[str, Any], path: str, faults: list[str]) -> Any:
    """A dataclass from a table, and its own faults too; None where there is one."""
    try:
        return part(kind, raw, path, faults)
    except ConfigError as fault:
        faults += [f"{path}.{each}" for each in str(fault).split("; ")]
    return None


def _next(
    raw: Mapping[str, Any], windows: WindowsPart | None, seed: int, faults: list[str]
) -> NextPurchase | None:
    asked, sources = _section(raw, "next", faults), _section(raw, "sources", faults)
    unknown(asked, ASKED, "next.", faults)
    hints = {
        n: fit(asked[n], type_, f"next.{n}", faults) for n, type_ in ASKED.items() if n in asked
    }
    made = {
        name: _made(kind, _section(raw, name, faults), name, faults) for name, kind in MADE.items()
    }
    profiles = _tables(_section(raw, "profiles", faults), "profiles", faults)
    kept = _tables(sources, "sources", faults) or DEFAULT
    try:
        # What has a fault of its own takes its default here, so that the faults of the whole are found too.
        found = NextPurchase(
            **{k: v for k, v in {**hints, **made}.items() if v is not None},
            sources=kept,
            profiles=profiles,
            seed=seed,
        )
    except ConfigError as fault:
        faults += [
            each if each.startswith(("sources", "profiles")) else f"next.{each}"
            for each in str(fault).split("; ")
        ]
        return None
    return (
        replace(found, windows=windows.learn, apart=windows.apart)
        if windows and windows.learn > 0 <= windows.apart
        else found
    )


def _tables(raw: Mapping[str, Any], path: str, faults: list[str]) -> dict[str, dict[str, Any]]:
    faults += [
        f"{path}.{n}: found {show(o)}, expected a table [{path}.{n}]"
        for n, o in raw.items()
        if not isinstance(o, dict)
    ]
    return {n: o for n, o in raw.items() if isinstance(o, dict)}


def _space(
    dials: Mapping[str, Any], asked: NextPurchase | None, faults: list[str]
) -> dict[str, Dial]:
    known = {f.name for f in fields(Ranker)} - {"threads"}
    found: dict[str, Dial] = {}
    for name, raw in dials.items():
        path = f"tune.space.{name}"
        if name not in known or not isinstance(raw, dict):
            faults.append(
                f"{path}: {unknown_name(name, known)}"
                if name not in known
                else f"{path}: found {show(raw)}, expected a table"
            )
            continue
        dial = _made(Dial, raw, path, faults)
        if dial is None:
            continue
        low, high = dial.low, dial.high
        span = low is not None and high is not None and low < high and (low > 0 or not dial.log)
        if span == bool(dial.choices) or (
            dial.choices and (dial.log or low is not None or high is not None)
        ):
            faults.append(
                f"{path}: expected low below high (above 0 with log = true), or choices alone"
            )
            continue
        found[name] = dial
        for value in dial.choices or (low, high):
            fit(value, get_type_hints(Ranker)[name], path, faults)
            try:
                replace(asked.ranker if asked else Ranker(), **{name: value})
            except (ConfigError, TypeError) as fault:
                faults.append(f"{path}: {fault}")
    return found


def _agree(parts: Mapping[str, Any], faults: list[str]) -> None:
    least = {
        "windows": {"learn": 1, "apart": 0, "history": 1},
        "tune": {"trials": 0, "windows": 1},
        "gate": {"resamples": 1, "coverage": 0, "calibration": 0, "seconds": 0},
        "evaluate": {"windows": 1},
    }
    for name, bounds in least.items():
        made = parts[name]
        if made is not None:
            faults += [
                f"{name}.{k}: found {getattr(made, k)}, expected at least {n}"
                for k, n in bounds.items()
                if getattr(made, k) < n
            ]
    windows, tune, evaluate, track = (parts[n] for n in ("windows", "tune", "evaluate", "track"))
    if tune and tune.trials > 0 and not tune.space:
        faults.append(
            "tune.space: empty, so there is nothing to search; write [tune.space.leaves] and others, or trials = 0"
        )
    if tune and windows and tune.trials > 0 and tune.windows >= windows.learn:
        faults.append(
            f"tune.windows: found {tune.windows}, expected fewer than windows.learn ({windows.learn}): trials learn from the others"
        )
    if evaluate and not all(0 < s <= 1 for s in evaluate.limits):
        faults.append(
            f"evaluate.limits: found {list(evaluate.limits)}, expected shares of the users, above 0 and at most 1"
        )
    if track:
        faults += [
            f"track.{k}: found {getattr(track, k)!r}, expected a name of letters, digits and _.+-"
            for k in ("model", "alias")
            if not NAME.fullmatch(getattr(track, k)) and (getattr(track, k) or k == "alias")
        ]
