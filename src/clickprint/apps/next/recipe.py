"""The parameters of next purchase: one TOML file, whose `log` chooses one of its logs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from clickprint.core.forms import toml_of
from clickprint.core.options import Between, Faults, OptionsError, check, read_text
from clickprint.recommenders.features import FeatureSpec
from clickprint.recommenders.funnel import DEFAULT, NextPurchase
from clickprint.recommenders.gate import Gate
from clickprint.recommenders.propensity import Propensity
from clickprint.recommenders.ranker import LambdaMART
from clickprint.recommenders.search import Search
from clickprint.work.recipe import DataPart, Name, Seed, TrackPart

Named = Mapping[str, Mapping[str, Any]]
WINDOWS = Between(1, 1_000)
HINT = "the ones that come with clickprint are in recipes/next/"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedPart:
    """What is predicted.

    - `days`: the length of a window.
    - `list_length`: items of a list.
    - `max_users`: how many users the submission has.
    - `linked`: whether users who are one person share their history, where the log says so.
    """

    days: Annotated[int, Between(1, 36_500)] = 3
    list_length: Annotated[int, Between(1, 10_000)] = 25
    max_users: Annotated[int, Between(1, 1_000_000_000)] = 3_000
    linked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowsPart:
    """Which windows before the one for validation are trained on.

    - `train_windows`: how many; a short log has fewer.
    - `stride_days`: days between the starts of two; 0: as many as a window has.
    - `history_days`: days of the log that must lie before the oldest.
    """

    train_windows: Annotated[int, Between(1, 1_000)] = 6
    stride_days: Annotated[int, Between(0, 36_500)] = 0
    history_days: Annotated[int, Between(1, 36_500)] = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatePart:
    """The rolling evaluation.

    - `windows`: how many are validated on.
    - `shares`: of the known users, to whom lists are limited beside `next.max_users`.
    """

    windows: Annotated[int, WINDOWS] = 8
    shares: tuple[Annotated[float, Between(0, 1, low_open=True)], ...] = (0.1, 0.3)


@dataclass(frozen=True, slots=True, kw_only=True)
class NextRecipe:
    """The parameters, checked; each field is a key or a table of the file."""

    log: str
    seed: Seed = 0
    logs: Mapping[Name, DataPart]
    next: AskedPart = AskedPart()
    windows: WindowsPart = WindowsPart()
    retrievers: Named = field(default_factory=lambda: DEFAULT)
    features: FeatureSpec = field(default_factory=FeatureSpec)
    profiles: Named = field(default_factory=dict)
    ranker: LambdaMART = field(default_factory=LambdaMART)
    propensity: Propensity = field(default_factory=Propensity)
    tune: Search = field(default_factory=Search)
    gate: Gate = field(default_factory=Gate)
    track: TrackPart = field(default_factory=TrackPart)
    evaluate: EvaluatePart = EvaluatePart()
    text: str = field(repr=False, compare=False, default="")

    def __post_init__(self) -> None:
        check(self, self.problems())

    def problems(self) -> Iterator[tuple[str, str]]:
        faults = Faults()
        faults.known(self.log, self.logs, "log", ", each a table [logs.NAME]")
        yield from faults
        try:
            self.purchase  # noqa: B018  names of retrievers and encoders, and their options
        except OptionsError as fault:
            yield from fault.faults
        if self.tune.trials > 0 and self.windows.train_windows <= self.tune.windows:
            yield (
                "tune.windows",
                f"found {self.tune.windows}, expected fewer than windows.train_windows"
                f" ({self.windows.train_windows}): trials train on the others",
            )

    @property
    def data(self) -> DataPart:
        """The log that is chosen."""
        return self.logs[self.log]

    @property
    def purchase(self) -> NextPurchase:
        """The recipe of the models."""
        return NextPurchase(
            days=self.next.days,
            list_length=self.next.list_length,
            max_users=self.next.max_users,
            linked=self.next.linked,
            retrievers=self.retrievers,
            features=self.features,
            profiles=self.profiles,
            ranker=self.ranker,
            propensity=self.propensity,
            train_windows=self.windows.train_windows,
            stride_days=self.windows.stride_days,
            seed=self.seed,
        )

    @property
    def model(self) -> str:
        """The registered model's name."""
        return self.track.model or f"next-purchase-{self.log}"


def load(path: Path | str, *, log: str = "") -> NextRecipe:
    """The parameters in a TOML file; `log` is taken instead of the file's. Raises OptionsError."""
    return parse(read_text(path, HINT), where=str(path), log=log)


def parse(text: str, *, where: str = "parameters", log: str = "") -> NextRecipe:
    """The parameters in a TOML text. Raises OptionsError with every fault."""
    faults = Faults()
    raw = toml_of(text, where)
    found = faults.read(NextRecipe, raw | ({"log": log} if log else {}), "", text=text)
    faults.refuse(where)
    assert found is not None
    return found
