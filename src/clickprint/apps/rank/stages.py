"""`clickprint rank`: one table of recommenders; validation as often as wanted, the test once.

A model and a seed is one unit of work: fitted, asked, scored and kept. It is not made again while
its part of the recipe and the data are the same. A training that was killed goes on from its
checkpoint, to the same bytes. A change of clickprint's own code makes nothing anew; the notes say
which units other code made.

FOLDER/recipe.toml                    what was asked
FOLDER/{validation,test}/MODEL/SEED/  unit.json, users.npy, exclude_seen.npy and include_seen.npy
                                      (metric × user), fitted/ of a network, inputs.json
FOLDER/test/frozen.json               what the test was first scored with
FOLDER/training/INPUTS/               the checkpoint of a unit that is being trained
FOLDER/facts/…                        what each unit cost, and with which versions
FOLDER/{validation,test}.{md,csv,json,svg}  the table
"""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clickprint.apps.rank.recipe import load
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import write_array, write_text
from clickprint.core.forms import read_json, read_npy
from clickprint.core.options import plain
from clickprint.core.progress import Progress, labelled, silent
from clickprint.core.recommender import Recommender
from clickprint.core.rng import RNG
from clickprint.core.session import Session
from clickprint.core.text import finite
from clickprint.data.log import EventLog
from clickprint.encoders import load as load_fitted
from clickprint.encoders.sequence import Trained
from clickprint.nn.costs import parameters
from clickprint.nn.train import Trains
from clickprint.recommenders.table import Model, RankingRecipe
from clickprint.report.ranking import write
from clickprint.tasks.protocols import STAGES, Question, Stage, question
from clickprint.tasks.ranking_table import FORMS, ModelScores, RankingTable, SeedScore
from clickprint.work import frozen, ledger
from clickprint.work.facts import Facts
from clickprint.work.folder import RECIPE, Workspace, digest, locked
from clickprint.work.resources import Resources
from clickprint.work.stages import changed, code_digest

UNIT, FITTED = "unit.json", "fitted"
ONCE = "once"  # instead of a seed: a model that draws nothing at random


def rank(
    recipe: RankingRecipe | Path | str,
    folder: Path | str,
    *,
    test: bool = False,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    data: Path | None = None,
    fresh: bool = False,
    resources: Resources = Resources(),
    progress: Progress = silent,
) -> RankingTable:
    """The table of validation or test; what it rests on is made in `folder` as far as it lacks.

    - `test`: needs all of the recipe's validations and freezes them. From then on another recipe
      is refused in this folder, and what was scored is only shown.
    - `only`, `seeds`: what is made now; the table shows all that stands in the folder.
    - `data`: where the recipe's data are instead.
    - `fresh`: empty the folder first, of a frozen table too.

    Raises DataError, ConfigError.
    """
    recipe = recipe if isinstance(recipe, RankingRecipe) else load(recipe)
    work = Workspace(Path(folder), "ranking")
    recipe = recipe if data is None else replace(recipe, data=recipe.data.at(data))
    units, stage = _units(recipe, only, seeds), STAGES[test]
    _write_recipe(work, recipe, fresh)
    if test and frozen.check_recipe(work.folder, recipe.text):
        frozen.check_validations(work.folder, recipe.text, [u.name for u in _units(recipe)])
        if all(work.path(f"test/{u.name}").is_dir() for u in units):
            return _table(work, recipe, "test", None)
    with ExitStack() as stack:
        engine = stack.enter_context(resources.engine(stack.enter_context(work.spill())))
        stack.enter_context(resources.torch_threads())
        log = EventLog.open(recipe.data.open(engine, progress=progress), engine)
        recipe.check_clock(log)
        bench = _Bench(recipe, work, log, resources.accelerator, progress)
        if test:
            bench.freeze()
            todo = [u.name for u in units if not work.path(f"test/{u.name}").is_dir()]
            part = recipe.ranking.items
            ledger.record(bench.fingerprint, part, recipe.name, recipe.text, todo)
        for done, unit in enumerate(units):
            progress("models", done, len(units))
            bench.make(stage, unit)
        progress("models", len(units), len(units))
        table = _table(work, recipe, stage, None if test else bench)
        with work.lock(wait=True):
            write(table, work.folder / stage)
    return table


class _Unit(NamedTuple):
    """A model and a seed; None for the one of a model that draws nothing."""

    model: Model
    seed: int | None

    @property
    def name(self) -> str:
        return f"{self.model.name}/{ONCE if self.seed is None else f'seed-{self.seed}'}"

    @property
    def label(self) -> str:
        return self.model.name + ("" if self.seed is None else f" seed {self.seed}")

    @property
    def code(self) -> tuple[str, ...]:
        """The modules that decide what comes out of it."""
        return type(self.model.config).__module__, "clickprint.tasks.protocols"


def _units(
    recipe: RankingRecipe, only: Sequence[str] = (), seeds: Sequence[int] = ()
) -> list[_Unit]:
    known, names = list(recipe.seeds), list(recipe.models)
    faults = [f"--only: {n!r} is no model of {names}" for n in only if n not in names]
    faults += [f"--seeds: {s} is no seed of {known}" for s in seeds if s not in known]
    if faults:
        raise ConfigError("; ".join(faults))
    models = [m for m in recipe.models.values() if not only or m.name in only]
    each = [s for s in recipe.seeds if not seeds or s in seeds]
    return [_Unit(m, s) for m in models for s in (each if m.stochastic else (None,))]


def _write_recipe(work: Workspace, recipe: RankingRecipe, fresh: bool) -> None:
    """Write the recipe; refuse a folder of something else, and another recipe after the test."""
    with work.lock(wait=True):
        if fresh:
            work.empty()
        work.can_write(*(f"{s}.{form}" for s in STAGES for form in ("md", "csv", "json", "svg")))
        frozen.check_recipe(work.folder, recipe.text)
        write_text(work.path(RECIPE), recipe.text)


# -- what is made ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Bench:
    """What the units of one call share."""

    recipe: RankingRecipe
    work: Workspace
    log: EventLog
    accelerator: str
    progress: Progress
    _questions: dict[Stage, Question] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        return self.log.manifest.fingerprint

    def question(self, stage: Stage) -> Question:
        if stage not in self._questions:
            self._questions[stage] = question(self.log, self.recipe.ranking, stage)
        return self._questions[stage]

    def inputs(self, stage: Stage, unit: _Unit) -> str:
        """What a unit is made from; of a test also how it was chosen."""
        model, part = unit.model, plain(self.recipe.ranking)
        same = [model.recommender, model.asked, self.fingerprint, part, unit.seed]
        more = [] if stage == "validation" else [model.refit, stage, self.epochs(unit)]
        more += [self.searched(unit)] if model.search and stage == "test" else []
        return digest(*same, *more)

    def searched(self, unit: _Unit) -> dict[str, Any]:
        """What the search of a validation found."""
        found: dict[str, Any] = _read(self.work.path(f"validation/{unit.name}")).about["search"]
        return found

    def epochs(self, unit: _Unit) -> int | None:
        """How many epochs validation chose; None for what has no epochs."""
        found: int | None = _read(self.work.path(f"validation/{unit.name}")).about.get(
            "best_epoch"
        )
        return found

    def freeze(self) -> None:
        """Say, once, which recipe and validations the test is scored with.

        Raises ConfigError where a validation is missing or of other options or data, and where
        the test was begun on other data.
        """
        folder, units = self.work.folder, _units(self.recipe)
        if frozen.check_recipe(folder, self.recipe.text):
            return frozen.check_data(folder, self.recipe.text, self.fingerprint)
        missing = [
            u.label
            for u in units
            if self.work.made(f"validation/{u.name}") != self.inputs("validation", u)
        ]
        if missing:
            raise ConfigError(
                f"{folder}: the test is scored once, from a recipe whose validation is complete;"
                f" missing, or of other options or data: {', '.join(missing)}. Call the command"
                " without --test first, or take them out of the recipe"
            )
        with self.work.lock(wait=True):
            frozen.freeze(folder, self.recipe.text, self.fingerprint, [u.name for u in units])

    def make(self, stage: Stage, unit: _Unit) -> None:
        """Make this unit unless it stands there, of the same inputs; one of the test just once."""
        name = f"{stage}/{unit.name}"
        if stage == "test" and self.work.path(name).is_dir():
            return
        inputs = self.inputs(stage, unit)
        if self.work.made(name) != inputs:
            with locked(self.work.training(inputs) / ".lock"):
                self.work.make(name, inputs, partial(self._make, stage, unit, inputs))

    def _make(self, stage: Stage, unit: _Unit, inputs: str, folder: Path) -> None:
        asked, part = self.question(stage), self.recipe.ranking
        costs = self.work.path(f"facts/{stage}/{unit.name}.json")
        if not any(p.is_dir() for p in self.work.training(inputs).iterdir()):
            costs.unlink(missing_ok=True)  # only what goes on from a checkpoint is added up
        facts = Facts.of(
            costs, inputs=inputs, recipe=self.recipe.name, command="clickprint rank recipe.toml"
        )
        progress = labelled(self.progress, f"{stage} {unit.label}")
        with facts.stage("search"):
            search = self._search(stage, unit, progress)
        with facts.stage("fit"):
            config = unit.model.chosen(search.get("options", {}))
            fitted = self._fitted(stage, unit, config, inputs, progress, unit.model.refit)
        about: dict[str, Any] = {
            "model": unit.model.name,
            "recommender": unit.model.recommender,
            "seed": unit.seed,
            "metrics": list(part.metrics),
            "asked": len(asked.test.users),
            "empty": asked.empty,
            "text": asked.text,
            "data": self.log.manifest.name,
            "fingerprint": self.fingerprint,
            "code": code_digest(*unit.code),
            "parameters": None,
            "refit": stage == "test" and unit.model.refit,
        }
        if isinstance(fitted, Trained):
            about |= self._training(fitted, unit)
            fitted.save(folder / FITTED)
        about |= {"search": search} if search else {}
        about |= {"means": {}, "lists": {}}
        with facts.stage("ask"):
            for done, (form, include_seen) in enumerate(FORMS.items()):
                progress("rank", done, len(FORMS))
                found = asked.score(fitted, include_seen=include_seen)
                values = np.stack([found.values[m] for m in part.metrics])
                write_array(folder / f"{form}.npy", values)
                about["means"][form] = {m: found.mean(m) for m in part.metrics}
                about["lists"][form] = finite(found.lists)
            if about["refit"]:  # what learned nothing of the validation's items, beside it
                before = self._fitted(stage, unit, config, inputs, progress, False)
                scores = {f: asked.score(before, include_seen=seen) for f, seen in FORMS.items()}
                about["without"] = {
                    f: {m: found.mean(m) for m in part.metrics} for f, found in scores.items()
                }
            progress("rank", len(FORMS), len(FORMS))
        write_array(folder / "users.npy", asked.test.users)
        write_text(folder / UNIT, json.dumps(about, indent=1) + "\n")

    def _training(self, fitted: Trained, unit: _Unit) -> dict[str, Any]:
        """What is told of a network; one of the validation that is asked again has no epochs."""
        told: dict[str, Any] = {"parameters": parameters(fitted.network)._asdict()}
        curve = fitted.curve
        if curve is None:
            return told | {"epochs": 0, "best_epoch": self.epochs(unit)}
        best = curve.kept(fitted.recipe.training)
        told |= {"epochs": curve.epoch, "best_epoch": best}
        return told | {"curve": curve.metrics, "loss": curve.loss}

    def _search(self, stage: Stage, unit: _Unit, progress: Progress) -> dict[str, Any]:
        """The settings that were tried on validation, and the best; empty without a search."""
        if not unit.model.search:
            return {}
        if stage == "test":
            return self.searched(unit)
        rng = RNG(unit.seed or 0).child("rank")
        tried = unit.model.tried(self.question(stage), rng=rng, progress=progress)
        best, _ = max(tried, key=lambda found: found[1])
        return {"options": best, "tried": [{**options, "value": v} for options, v in tried]}

    def _fitted(
        self, stage: Stage, unit: _Unit, config: Any, inputs: str, progress: Progress, refit: bool
    ) -> Recommender:
        """The model as it is asked in a stage; without `refit` the validation's own."""
        learned, metric = self.question(stage), None
        if stage == "test" and not refit:
            kept = self.work.path(f"validation/{unit.name}/{FITTED}")
            if kept.is_dir():
                loaded: Any = load_fitted(kept)
                return loaded
            learned = self.question("validation")
        elif isinstance(config, Trains):
            if stage == "test" and (epochs := self.epochs(unit)) is not None:
                training = replace(config.training, epochs=epochs, patience=0)
                recipe: Any = config
                config = replace(recipe, training=training)
            elif config.training.patience:
                metric = learned.metric
        session = Session(
            checkpoints=self.work.training(inputs),
            key=inputs,
            accelerator=self.accelerator,
            metric=metric,
        )
        rng = RNG(unit.seed or 0).child("rank")
        fitted: Recommender = config.fit(learned.past, rng=rng, progress=progress, session=session)
        return fitted


# -- what was made ---------------------------------------------------------------------------


def _table(
    work: Workspace, recipe: RankingRecipe, stage: Stage, bench: _Bench | None
) -> RankingTable:
    """All units of the recipe in the folder; with a bench only those made from its inputs."""
    models, other_code = [], []
    for model in recipe.models.values():
        seeds = []
        for unit in (_Unit(model, s) for s in (recipe.seeds if model.stochastic else (None,))):
            name = f"{stage}/{unit.name}"
            if work.path(name).is_dir() and (
                bench is None or work.made(name) == bench.inputs(stage, unit)
            ):
                seeds.append(_read(work.path(name), work.path(f"facts/{name}.json")))
                if changed(seeds[-1].about["code"], *unit.code):
                    other_code.append(unit.label)
        if seeds:
            models.append(ModelScores(model.name, model.recommender, tuple(seeds)))
    if not models:
        more = " with --test" if stage == "test" else ""
        raise ConfigError(
            f"{work.folder}: nothing of the {stage} is here yet; call `clickprint rank`{more}"
        )
    part = recipe.ranking
    return RankingTable(
        recipe.name,
        stage,
        part.metric,
        part.include_seen,
        tuple(models),
        len(recipe.seeds),
        tuple(other_code),
        tuple(ledger.words(models[0].seeds[0].about["fingerprint"], part.items)),
    )


def _read(folder: Path, costs: Path | None = None) -> SeedScore:
    """A unit, its scores memory-mapped. Raises DataError."""
    try:
        about = read_json(folder / UNIT, finite=False)
        users, *values = (
            read_npy(folder / f"{name}.npy", mapped=True) for name in ("users", *FORMS)
        )
        assert all(v.shape == (len(about["metrics"]), len(users)) for v in values)
        assert isinstance(about["code"], str)
    except (DataError, ValueError, KeyError, TypeError, AssertionError) as fault:
        problem = f"cannot be read ({fault!r}); remove it, and it is made again"
        raise DataError(folder, problem) from None
    trained = about.get("epochs") != 0  # else validation's own, which was only read
    stages = Facts.read(costs).get("stages", {}) if costs and trained else {}
    seconds = stages.get("fit", {}).get("seconds", float("nan"))
    return SeedScore(about, np.asarray(users), dict(zip(FORMS, values, strict=True)), seconds)
