"""`clickprint scale`: a ladder of sizes of one model on equal data, each trained once.

Everything but the size is equal on all rungs: data, epochs or the rule to stop, rate, batch,
dropout. The validation is scored, and never the test. Where training stops early, the same
validation stops it: all rungs have that small advantage alike.

FOLDER/recipe.toml, facts.json        what was asked; what it cost
FOLDER/rungs/NAME/                    rung.json, replicates.npy (metric × resample), inputs.json
FOLDER/training/INPUTS/               the checkpoint of a rung that is being trained
FOLDER/scaling.csv, .json, .svg, .png the ladder
"""

import json
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from clickprint.apps.scale.recipe import ScalingRecipe, Sizable, load, shape, sized
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import clear, write_array, write_text
from clickprint.core.forms import read_json, read_npy
from clickprint.core.histories import Histories, items_only
from clickprint.core.options import plain
from clickprint.core.progress import Progress, labelled, silent
from clickprint.core.recommender import Recommender
from clickprint.core.rng import RNG
from clickprint.core.session import Session
from clickprint.data.log import EventLog
from clickprint.encoders.sequence import HasLogShares, Trained
from clickprint.nn.costs import PASSES, parameters
from clickprint.report.ladder import write
from clickprint.tasks.ladder import LOSS, Ladder, Rung
from clickprint.tasks.protocols import PastShare, Question, nested, question
from clickprint.tasks.ranking import RESAMPLES
from clickprint.work.facts import Facts
from clickprint.work.folder import TRAINING, Workspace, digest
from clickprint.work.resources import Resources
from clickprint.work.stages import changed, code_digest

RUNG, REPLICATES = "rung.json", "replicates.npy"
SHARES = (
    "loss is over the items that a rung has learned: compare it among sizes of one share of the"
    " users, not between shares"
)


def study(
    recipe: ScalingRecipe | Path | str,
    folder: Path | str,
    *,
    fresh: bool = False,
    resources: Resources = Resources(),
    progress: Progress = silent,
) -> Ladder:
    """Train the ladder in `folder` and draw it.

    A rung that is there and of the same inputs is not trained again; a killed one goes on.
    Raises DataError, and ConfigError where the folder holds another study or something else, or
    is being written.
    """
    recipe = recipe if isinstance(recipe, ScalingRecipe) else load(recipe)
    work = Workspace(Path(folder), "study")
    with ExitStack() as stack:
        stack.enter_context(work.claim(recipe, load, fresh=fresh))
        work.can_write("facts.json", *(f"scaling.{f}" for f in ("csv", "json", "svg", "png")))
        facts = Facts.of(
            work.path("facts.json"), recipe=recipe.name, command="clickprint scale recipe.toml"
        )
        engine = stack.enter_context(resources.engine(stack.enter_context(work.spill())))
        stack.enter_context(resources.torch_threads())
        with facts.stage("data"):
            log = EventLog.open(recipe.data.open(engine, progress=progress), engine)
            recipe.check_clock(log)
            asked = question(log, recipe.ranking, "validation")
        name, fingerprint = log.manifest.name, log.manifest.fingerprint
        users = len(asked.test.users)
        facts.tell(data={"name": name, "fingerprint": fingerprint, "asked": users})
        bench = _Bench(recipe, asked, fingerprint, work, facts, resources.accelerator, progress)
        rungs = [
            (size, fraction, seed)
            for fraction in recipe.scaling.fractions
            for size in recipe.scaling.sizes
            for seed in recipe.seeds
        ]
        made = []
        for done, rung in enumerate(rungs):
            progress("ladder", done, len(rungs))
            made.append(bench.rung(*rung))
        progress("ladder", len(rungs), len(rungs))
        notes = bench.notes(name, made)
        ladder = Ladder(recipe.name, recipe.ranking.metric, tuple(made), notes)
        write(ladder, work.folder)
        clear(work.path(TRAINING))
    return ladder


@runtime_checkable
class _Network(Recommender, Trained, HasLogShares, Protocol):
    """What a rung must be when it is fitted."""

    def training_flops(self, histories: Histories, *, rng: RNG) -> float: ...


@dataclass(frozen=True, slots=True)
class _Bench:
    """What all rungs share."""

    recipe: ScalingRecipe
    asked: Question
    fingerprint: str
    work: Workspace
    facts: Facts
    accelerator: str
    progress: Progress

    @property
    def code(self) -> tuple[str, ...]:
        """The modules that decide what comes out of a rung."""
        return type(self.recipe.model.config).__module__, "clickprint.tasks.protocols"

    def rung(self, size: float, fraction: float, seed: int) -> Rung:
        """This rung; trained unless it stands in the folder and was made from the same."""
        model = sized(self.recipe.model.config, size, self.recipe.scaling)
        label = f"size {size:g}, {fraction:g} of the users, seed {seed}"
        name = f"rungs/size-{size:g}-of-{fraction:g}-seed-{seed}"
        options = [self.recipe.model.recommender, plain(model), plain(self.recipe.ranking)]
        inputs = digest(*options, self.fingerprint, fraction, seed)
        if self.work.made(name) == inputs:
            if (found := self._read(name, label)) is not None:
                return found
            clear(self.work.path(name))
        with self.facts.stage(label):
            make = partial(self._make, (size, fraction, seed), model, inputs, label)
            self.work.make(name, inputs, make)
        found = self._read(name, label)
        assert found is not None
        return found

    def _make(
        self,
        which: tuple[float, float, int],
        model: Sizable,
        inputs: str,
        label: str,
        folder: Path,
    ) -> None:
        size, fraction, seed = which
        rng, progress = RNG(seed).child("scaling"), labelled(self.progress, label)
        # Who is in a share does not depend on the seed of the weights: all seeds of a rung learn
        # from the same users.
        past = self.asked.past
        if fraction < 1:
            chosen = nested(past.users, fraction, RNG(0).child("scaling users"))
            past = PastShare(past, past.users[chosen])
        session = Session(
            checkpoints=self.work.training(inputs),
            key=inputs,
            accelerator=self.accelerator,
            metric=self.asked.metric if model.training.patience else None,
        )
        config: Any = model
        fitted = config.fit(past, rng=rng, progress=progress, session=session)
        if not isinstance(fitted, _Network):
            raise ConfigError(f"{self.recipe.model.recommender} gives no shares of items")
        progress("score", 0, 1)
        found = self.asked.score(fitted)
        loss = fitted.log_shares(self.asked.requests(fitted.fields), self.asked.test.relevant)
        found = replace(found, values={**found.values, LOSS: loss})
        curve, learned = fitted.curve, past.histories(fitted.fields)
        assert curve is not None  # it was trained just now
        best = curve.kept(model.training)
        embedding, layers = parameters(fitted.network)
        about = {
            "size": size,
            "fraction": fraction,
            "seed": seed,
            "shape": shape(model),
            "users": int((items_only(learned).lengths > 1).sum()),
            "embedding": embedding,
            "layers": layers,
            "flops": fitted.training_flops(learned, rng=rng),
            "epochs": curve.epoch,
            "best_epoch": best,
            "train_loss": curve.loss[best - 1] if best else float("nan"),
            "means": {m: found.mean(m) for m in found.values},
            "code": code_digest(*self.code),
        }
        write_array(folder / REPLICATES, np.stack([found.replicates(m) for m in found.values]))
        write_text(folder / RUNG, json.dumps(about, indent=1) + "\n")
        progress("score", 1, 1)

    def _read(self, name: str, label: str) -> Rung | None:
        """The rung in a folder; None where its files are lost or damaged."""
        folder = self.work.path(name)
        try:
            about = read_json(folder / RUNG, finite=False)
            replicates = read_npy(folder / REPLICATES, Float64[np.ndarray, "M R"])
            if replicates.shape != (len(about["means"]), RESAMPLES):
                return None
            by_metric = dict(zip(about["means"], replicates, strict=True))
            seconds = self.facts.told["stages"].get(label, {}).get("seconds", float("nan"))
            return Rung(**about, replicates=by_metric, seconds=seconds)
        except (DataError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def notes(self, data: str, rungs: list[Rung]) -> tuple[str, ...]:
        """What the figures rest on."""
        part, training = self.recipe.ranking, self.recipe.model.config.training
        seen = "may be recommended" if part.include_seen else "left out"
        best = training.patience and training.keep == "best"
        stops = "the best epoch by these is kept" if best else "the last epoch is kept"
        notes = [
            f"{data}, fingerprint {self.fingerprint}: validation, {self.asked.text},"
            f" {len(self.asked.test.users):,} users, ranked among all items, items of the history"
            f" {seen}; {stops}; the test was not looked at",
            f"{self.recipe.model.recommender}: training FLOPs = {PASSES} × those of a pass forward"
            " (matrix products, attention, convolutions), epochs that were run",
        ]
        notes += [SHARES] if len(self.recipe.scaling.fractions) > 1 else []
        if old := [f"{r.size:g}" for r in rungs if changed(r.code, *self.code)]:
            notes.append(f"made by another version of the code: sizes {', '.join(old)}")
        return tuple(notes)
