"""A search over the ranker's options, judged on windows before the one for validation.

Trials are those of Optuna's TPE, in a study on disk, from which a search that was killed goes on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import numpy as np

from clickprint.core.errors import ConfigError
from clickprint.core.files import note
from clickprint.core.options import Between, Faults, check
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.recommenders.funnel import Example
from clickprint.recommenders.ranker import LambdaMART

ENOUGH = 4  # trials from which on it is told which options matter


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The values of one option that are tried: a number from `low` to `high`, or one of `choices`.

    Numbers are whole where both ends are; `log` tries them evenly over their logarithm.
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        check(self, self.problems())

    def problems(self) -> Iterator[tuple[str, str]]:
        expected = "expected low below high (above 0 with log = true), or choices alone"
        if self.choices:
            if self.log or self.low is not None or self.high is not None:
                yield "", expected
        elif (
            self.low is None
            or self.high is None
            or not self.low < self.high
            or (self.log and self.low <= 0)
        ):
            yield "", expected

    @property
    def values(self) -> tuple[Any, ...]:
        """The ends, or all choices."""
        return self.choices or (self.low, self.high)

    @classmethod
    def read_options(cls, raw: Any, path: str, faults: Faults) -> "Axis | None":
        """An axis is called after its option, whose values it must keep to."""
        before, name = len(faults), path.rpartition(".")[2]
        faults.known(name, [f.name for f in fields(LambdaMART) if f.name != "threads"], path)
        made = faults.read(cls, raw, path) if len(faults) == before else None
        hint = get_type_hints(LambdaMART, include_extras=True).get(name)
        for value in made.values if made else ():
            faults.value(value, hint, path)
        return made if len(faults) == before else None

    def suggest(self, trial: Any, name: str) -> Any:
        """A value, drawn by an Optuna trial."""
        if self.choices:
            return trial.suggest_categorical(name, list(self.choices))
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        draw = trial.suggest_int if whole else trial.suggest_float
        return draw(name, self.low, self.high, log=self.log)

    def nearest(self, value: Any) -> Any:
        """The value of the axis that is nearest to this one; None for a choice that it lacks."""
        if self.choices:
            return value if value in self.choices else None
        return min(max(value, self.low), self.high)


@dataclass(frozen=True, slots=True)
class Trial:
    """Options of the ranker, and the recall that they reached."""

    options: Mapping[str, Any]
    recall: float


@dataclass(frozen=True, slots=True)
class Trials:
    """What a search found; without a trial it changes nothing."""

    trials: Sequence[Trial] = ()
    importance: Mapping[str, float] = field(default_factory=dict)
    """Each option's share of what the best trials have in common."""

    @property
    def best(self) -> Trial | None:
        """The highest recall; of equal ones the first."""
        return max(self.trials, key=lambda t: t.recall, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search over options of the ranker.

    - `trials`: how many in all; 0: the options stand as they are.
    - `windows`: how many of the newest training windows judge a trial; it trains on the others.
    - `space`: an axis for each option that is searched.

    The first trial has the options as they are, as near as the space allows.
    """

    trials: Annotated[int, Between(0, 100_000)] = 0
    windows: Annotated[int, Between(1, 1_000)] = 1
    space: Mapping[str, Axis] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self, self.problems())

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.trials and not self.space:
            yield "space", "empty, so there is nothing to search; expected a table of an option"

    def run(
        self,
        base: LambdaMART,
        examples: Sequence[Example],
        k: int,
        *,
        study: Path,
        name: str,
        rng: RNG,
        fit_rng: RNG,
        progress: Progress = silent,
    ) -> Trials:
        """All trials; those that the study `name` in the file `study` has are not run again.

        Equal inputs give equal trials, however often the search was killed: each trial draws from
        the child of `rng` that its number names. Raises ConfigError for too few windows.
        """
        if not self.trials:
            return Trials()
        if len(examples) <= self.windows:
            raise ConfigError(
                f"tune.windows: found {self.windows}, but the log has room for {len(examples)}"
                " training windows; trials need one more"
            )
        found = _study(study, name)
        _fail_interrupted(found)
        while (done := len(_complete(found))) < self.trials:
            progress("trials", done, self.trials)
            self._trial(found, rng.child(str(done)), base, examples, k, fit_rng)
        progress("trials", self.trials, self.trials)
        done_trials = [Trial(self._options(t.params, base), t.value) for t in _complete(found)]
        return Trials(done_trials, _importance(found))

    def _trial(
        self,
        study: Any,
        rng: RNG,
        base: LambdaMART,
        examples: Sequence[Example],
        k: int,
        fit_rng: RNG,
    ) -> None:
        import optuna

        study.sampler = optuna.samplers.TPESampler(seed=rng.integer() % 2**32)
        if not _complete(study):
            near = {n: axis.nearest(getattr(base, n)) for n, axis in self.space.items()}
            first = {n: value for n, value in near.items() if value is not None}
            study.enqueue_trial(first, skip_if_exists=True)

        def objective(trial: Any) -> float:
            drawn = {n: axis.suggest(trial, n) for n, axis in self.space.items()}
            ranker = replace(base, **self._options(drawn, base))
            return recall(ranker, examples, self.windows, k, fit_rng)

        study.optimize(objective, n_trials=1)

    def _options(self, found: Mapping[str, Any], base: LambdaMART) -> dict[str, Any]:
        """As the ranker holds them: a number that is whole there stays whole."""
        return {n: type(getattr(base, n))(found[n]) for n in self.space if n in found}


def recall(
    ranker: LambdaMART, examples: Sequence[Example], windows: int, k: int, rng: RNG
) -> float:
    """The mean recall over all buyers of the newest `windows`, trained on the older ones."""
    labelled = [(pairs, truth.of(pairs)) for pairs, _, truth in examples]
    fitted = ranker.fit(labelled[:-windows], rng=rng)
    parts = [
        truth.recall(pairs.top(fitted.score(pairs, threads=ranker.threads), k), k)
        for pairs, _, truth in examples[-windows:]
    ]
    return float(np.mean(np.concatenate(parts)))


def _study(file: Path, name: str) -> Any:
    """A study in a file, in which there may be others. Raises ConfigError where it is none."""
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            "a search needs Optuna; pip install 'clickprint[recommend]', or tune.trials = 0"
        ) from None
    import sqlalchemy

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    note(file)
    try:
        return optuna.create_study(
            storage=f"sqlite:///{file.resolve()}",
            study_name=name,
            direction="maximize",
            load_if_exists=True,
        )
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as fault:
        raise ConfigError(
            f"{file}: not a study of Optuna ({str(fault).splitlines()[0]}); remove it, and the"
            " search starts anew"
        ) from None


def _complete(study: Any) -> list[Any]:
    import optuna

    states = (optuna.trial.TrialState.COMPLETE,)
    return list(study.get_trials(deepcopy=False, states=states))


def _fail_interrupted(study: Any) -> None:
    """Trials that a killed process left running count as failed."""
    import optuna

    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def _importance(study: Any) -> dict[str, float]:
    """PED-ANOVA (Watanabe et al. 2023); empty for too few trials."""
    import optuna

    values = [t.value for t in _complete(study)]
    if len(values) < ENOUGH or len(set(values)) < 2:
        return {}
    found = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
    )
    return {n: float(v) for n, v in found.items()}
