"""The search over options of the ranker: Optuna's TPE in a study on disk, judged on windows before the one that is validated."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clickprint.apps.next.recipe import Dial
from clickprint.core.errors import ConfigError
from clickprint.core.files import write_text
from clickprint.core.rng import RNG
from clickprint.recommenders.funnel import Example
from clickprint.recommenders.ranker import Ranker

if TYPE_CHECKING:
    from clickprint.apps.next.stages import Run

STUDY, TRIALS, BEST = "study.db", "trials.csv", "best.json"


def search(run: "Run", folder: Path, inputs: str) -> None:
    """Writes trials.csv and best.json; study.db holds every trial, also those of a search that was killed, from which it goes on.

    The same parameters and data give the same trials, however often the search was killed: each draws from a stream of its own number.
    """
    from clickprint.apps.next.stages import examples

    part, base = run.recipe.tune, run.recipe.next.ranker
    best: dict[str, Any] = {
        "options": {},
        "value": None,
        "first": None,
        "trials": 0,
        "importance": {},
    }
    rows: list[dict[str, Any]] = []
    if part.trials:
        found = examples(run)
        if len(found) <= part.windows:
            raise ConfigError(
                f"tune.windows: found {part.windows}, but the log has room for {len(found)} windows to learn from; trials need one more"
            )
        study = _study(folder / STUDY, inputs)
        _zombies(study)
        done = _complete(study)
        while len(done) < part.trials:
            run.progress("trials", len(done), part.trials)
            _trial(study, len(done), found, base, run)
            done = _complete(study)
        run.progress("trials", len(done), part.trials)
        top = max(done, key=lambda t: (t.value, -t.number))
        best = {
            "options": _options(top.params, base, part.space),
            "value": top.value,
            "first": done[0].value,
            "trials": len(done),
        }
        best["importance"] = _importance(study)
        rows = [
            {"trial": n, "value": t.value, **_options(t.params, base, part.space)}
            for n, t in enumerate(done)
        ]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["trial", "value", *part.space], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / TRIALS, text.getvalue())
    write_text(folder / BEST, json.dumps(best, indent=1) + "\n")


def recall(ranker: Ranker, found: list[Example], windows: int, products: int, rng: RNG) -> float:
    """The mean recall over all who bought in the newest `windows`, by a ranker that learned from the older ones."""
    labelled = [(pairs, truth.of(pairs)) for pairs, _, truth in found]
    fitted = ranker.fit(labelled[:-windows], rng=rng)
    parts = [
        truth.recall(pairs.top(fitted.score(pairs, threads=ranker.threads), products), products)
        for pairs, _, truth in found[-windows:]
    ]
    return float(np.mean(np.concatenate(parts)))


def _trial(study: Any, number: int, found: list[Example], base: Ranker, run: "Run") -> None:
    """One more trial; the first one is what the parameters say, as near as the space allows."""
    import optuna

    part = run.recipe.tune
    rng = run.rng("tune").child(str(number))
    study.sampler = optuna.samplers.TPESampler(seed=rng.integer() % 2**32)
    if number == 0:
        study.enqueue_trial(
            {n: v for n, d in part.space.items() if (v := _near(getattr(base, n), d)) is not None},
            skip_if_exists=True,
        )

    def objective(trial: Any) -> float:
        options = {n: _suggest(trial, n, d) for n, d in part.space.items()}
        ranker = replace(base, **_options(options, base, part.space))
        return recall(
            ranker, found, part.windows, run.recipe.next.products, run.rng("fit").child("ranker")
        )

    study.optimize(objective, n_trials=1)


def _suggest(trial: Any, name: str, dial: Dial) -> Any:
    if dial.choices:
        return trial.suggest_categorical(name, list(dial.choices))
    whole = isinstance(dial.low, int) and isinstance(dial.high, int)
    return (trial.suggest_int if whole else trial.suggest_float)(
        name, dial.low, dial.high, log=dial.log
    )


def _near(value: Any, dial: Dial) -> Any:
    """The value of the space that is nearest to `value`; None for a choice that is not offered."""
    if dial.choices:
        return value if value in dial.choices else None
    assert dial.low is not None
    assert dial.high is not None
    return min(max(value, dial.low), dial.high)


def _options(found: Mapping[str, Any], base: Ranker, space: Mapping[str, Dial]) -> dict[str, Any]:
    """As the ranker holds them: a number that is whole there stays whole."""
    kinds = asdict(base)
    return {
        n: int(found[n]) if type(kinds[n]) is int else type(kinds[n])(found[n])
        for n in space
        if n in found
    }


def _study(file: Path, inputs: str) -> Any:
    """The study of these inputs in the file; those of others may stand beside it. Raises ConfigError where it cannot be opened."""
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            "a search needs Optuna; pip install 'clickprint[recommend]', or tune.trials = 0"
        ) from None
    import sqlalchemy

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        return optuna.create_study(
            storage=f"sqlite:///{file.resolve()}",
            study_name=inputs,
            direction="maximize",
            load_if_exists=True,
        )
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as fault:
        raise ConfigError(
            f"{file}: not a study of Optuna ({str(fault).splitlines()[0]}); remove it, and the search starts anew"
        ) from None


def _complete(study: Any) -> list[Any]:
    import optuna

    return [
        t for t in study.get_trials(deepcopy=False) if t.state == optuna.trial.TrialState.COMPLETE
    ]


def _zombies(study: Any) -> None:
    """Trials that a killed process left running count as failed."""
    import optuna

    for trial in study.get_trials(deepcopy=False):
        if trial.state == optuna.trial.TrialState.RUNNING:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def _importance(study: Any) -> dict[str, float]:
    """Each option's share of what the best trials have in common (Watanabe et al. 2023, PED-ANOVA); empty for too few trials."""
    import optuna

    values = [t.value for t in _complete(study)]
    if len(values) < 4 or len(set(values)) < 2:
        return {}
    found = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
    )
    return {n: float(v) for n, v in found.items()}
