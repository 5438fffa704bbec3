"""The scaling study: a ladder of sizes on equal data, each trained once, quality against parameters and compute.

The rule that makes a size of a model is in scaling_recipe. Everything else is equal on all rungs: data, epochs or the rule to stop, rate,
batch, dropout. Scored is the validation as apps.rank asks it, and never the test. Where training stops early, the same validation stops
it: all rungs have that small advantage alike.

FOLDER/recipe.toml, facts.json        what was asked; what it cost
FOLDER/rungs/NAME/                    rung.json, replicates.npy (metric × resample), inputs.json: made once
FOLDER/training/INPUTS/               the checkpoint of a rung that is being trained
FOLDER/scaling.csv, .json, .svg, .png the ladder
"""

import json
import shutil
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64

from clickprint.apps.rank.stages import _Asked, _dataset, _measure, _score
from clickprint.apps.rank.stages import _Work as Stages
from clickprint.apps.scale.figures import LOSS, Rung, Study, alone, picture
from clickprint.apps.scale.recipe import ScalingRecipe, load, shape, sized
from clickprint.core.dataset import Dataset
from clickprint.core.files import whole, write_array, write_text
from clickprint.core.items import Catalogue
from clickprint.core.progress import Progress, silent
from clickprint.core.ragged import Ragged
from clickprint.core.rng import RNG, mix
from clickprint.data.engine import DuckDB
from clickprint.data.log import EventLog
from clickprint.encoders.costs import PASSES, parameters, training_flops, using
from clickprint.encoders.sequence import FittedSequence, chosen, fit, items_only, number
from clickprint.encoders.sequence import Recipe as Model
from clickprint.nn.next_item import NextItem, last_states
from clickprint.nn.topk import CELLS
from clickprint.report.figure import draw
from clickprint.tasks.ranking import RESAMPLES, RankingTest
from clickprint.work.facts import Facts
from clickprint.work.folder import claimed, digest, made_from, make_folder

RECIPE, FACTS, LOCK, SPILL, RUNG, REPLICATES = (
    "recipe.toml",
    "facts.json",
    ".lock",
    ".spill",
    "rung.json",
    "replicates.npy",
)
TRAINING = "training"
SHARES = "loss is over the items that a rung has learned: compare it among sizes of one share of the users, not between shares"


def study(
    recipe: ScalingRecipe | Path | str,
    folder: Path | str,
    *,
    fresh: bool = False,
    memory: str | None = None,
    threads: int | None = None,
    accelerator: str = "auto",
    progress: Progress = silent,
) -> Study:
    """Trains the ladder in `folder` and draws it; a rung that is there and still valid is not trained again, a killed one goes on.

    Raises DataError, and ConfigError where the folder holds another study, or something else, or is being written.
    """
    recipe, folder = recipe if isinstance(recipe, ScalingRecipe) else load(recipe), Path(folder)
    with ExitStack() as stack:
        stack.enter_context(_claimed(folder, recipe, fresh))
        facts = Facts.of(folder / FACTS, recipe=recipe.name, command=f"clickprint scale {RECIPE}")
        engine = stack.enter_context(DuckDB(memory=memory, threads=threads, spill=folder / SPILL))
        with facts.stage("data"):
            data = _dataset(recipe.table, engine, progress)
            log = EventLog.open(data, engine)
            scratch, fingerprint = engine.scratch(), data.manifest.fingerprint
            stages = Stages(recipe.table, folder, log, scratch, fingerprint, accelerator, progress)
            asked = stages.asked("validation")
            catalogue = stages.said_of_items(asked.train) if recipe.model.history.texts else None
        facts.tell(
            data={
                "name": data.manifest.name,
                "fingerprint": data.manifest.fingerprint,
                "asked": len(asked.test.users),
            }
        )
        stack.enter_context(using(threads))
        work = _Work(recipe, asked, catalogue, folder, facts, accelerator, progress)
        ladder = [
            (size, f, seed)
            for f in recipe.scaling.fractions
            for size in recipe.scaling.sizes
            for seed in recipe.table.seeds
        ]
        rungs = []
        for done, (size, fraction, seed) in enumerate(ladder):
            progress("ladder", done, len(ladder))
            rungs.append(work.rung(size, fraction, seed))
        progress("ladder", len(ladder), len(ladder))
        found = Study(recipe.name, recipe.table.ranking.measure, tuple(rungs), work.notes(data))
        _write(found, folder)
        shutil.rmtree(folder / TRAINING, ignore_errors=True)
    return found


def _write(found: Study, folder: Path) -> None:
    write_text(folder / "scaling.csv", found.to_csv())
    write_text(
        folder / "scaling.json",
        json.dumps(found.to_plain(), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    )
    drawn = draw(
        lambda: picture(found), f"{found.name}: {found.measure} against parameters and compute"
    )
    assert drawn is not None
    write_text(folder / "scaling.svg", alone(drawn.svg))
    with whole(folder / "scaling.png") as part:
        part.write_bytes(drawn.png)


def _claimed(folder: Path, recipe: ScalingRecipe, fresh: bool) -> AbstractContextManager[None]:
    """Holds the folder for this process; comments and order aside, its recipe must be this one."""
    return claimed(
        folder,
        recipe=RECIPE,
        lock=LOCK,
        what="study",
        text=recipe.text,
        same=lambda file: load(file) == recipe,
        fresh=fresh,
        spill=SPILL,
        spare=TRAINING,
    )


# -- one rung ---------------------------------------------------------------------------------------------------------------------


def nested(users: Int64[np.ndarray, "U"], fraction: float, rng: RNG) -> Bool[np.ndarray, "U"]:
    """Which users are in a share of them: round(fraction · U), at least one. A smaller share's users are all in a larger one's."""
    if fraction >= 1:
        return np.ones(len(users), bool)
    keys = mix(users.astype(np.uint64) ^ np.uint64(rng.integer()))
    order = np.lexsort((users, keys))
    chosen = np.zeros(len(users), bool)
    chosen[order[: max(1, round(fraction * len(users)))]] = True
    return chosen


def item_losses(fitted: FittedSequence, test: RankingTest) -> Float64[np.ndarray, "U"]:
    """−log of a right item's share among all items, in nats, whatever loss trained the model; the mean over a user's right items.

    The shares are a softmax of the scores over the loss's temperature. NaN where the model has learned none of a user's items.
    """
    network = fitted.network
    assert isinstance(network, NextItem)
    events = chosen(fitted.recipe.history, test.given)
    items = network.items.detach()[1:].float()
    wanted = Ragged(test.relevant.starts, number(fitted.values["item"], test.relevant.values) - 1)
    temperature = getattr(fitted.recipe.loss, "temperature", 1.0)
    total, known = np.zeros(len(events)), np.zeros(len(events))
    many = max(CELLS // max(len(items), 1), 1)
    for rows, states in last_states(network, fitted.numbers(events), events.starts):
        for start in range(0, len(rows), many):
            some = wanted.take(rows[start : start + many])
            own = np.repeat(np.arange(len(some)), some.lengths)[some.values >= 0]
            logits = states[start : start + many].float() @ items.T / temperature
            share = (
                logits.log_softmax(1)[
                    torch.from_numpy(own), torch.from_numpy(some.values[some.values >= 0])
                ]
                .double()
                .cpu()
                .numpy()
            )
            np.add.at(total, rows[start : start + many][own], -share)
            np.add.at(known, rows[start : start + many][own], 1)
    return np.where(known > 0, total / np.maximum(known, 1), np.nan)


@dataclass(frozen=True, slots=True)
class _Work:
    """What all rungs share: the histories to train on, what is asked, where it goes."""

    recipe: ScalingRecipe
    asked: _Asked
    catalogue: Catalogue | None
    folder: Path
    facts: Facts
    accelerator: str
    progress: Progress

    def rung(self, size: float, fraction: float, seed: int) -> Rung:
        """This rung; trained, unless it stands in the folder and was made from the same."""
        model = sized(self.recipe.model, size, self.recipe.scaling)
        label = f"size {size:g}, {fraction:g} of the users, seed {seed}"
        name = f"size-{size:g}-of-{fraction:g}-seed-{seed}"
        part = self.recipe.table.ranking
        ranking = {**asdict(part), "roles": list(map(str, part.roles))}
        inputs = digest(
            self.recipe.encoder,
            asdict(model),  # type: ignore[call-overload]
            self.asked.train.fingerprint,
            ranking,
            fraction,
            seed,
        )
        folder, training = self.folder / "rungs" / name, self.folder / TRAINING / inputs
        if made_from(folder) == {"folder": inputs}:
            found = self._read(folder, label)
            if found is not None:
                return found
            shutil.rmtree(folder)
        with self.facts.stage(label):
            make_folder(
                folder,
                inputs,
                partial(self._make, (size, fraction, seed), model, training, inputs, label),
            )
        shutil.rmtree(training)
        found = self._read(folder, label)
        assert found is not None
        return found

    def _make(
        self,
        what: tuple[float, float, int],
        model: Model,
        training: Path,
        key: str,
        label: str,
        folder: Path,
    ) -> None:
        size, fraction, seed = what
        rng = RNG(seed).child("scaling")
        # Who is in a share does not depend on the seed of the weights: all seeds of a rung learn from the same users.
        given = self.asked.train.take(
            np.flatnonzero(nested(self.asked.train.users, fraction, RNG(0).child("scaling users")))
        )
        measure = partial(_measure, asked=self.asked, part=self.recipe.table.ranking)
        fitted = fit(
            model,
            self.recipe.encoder,
            given,
            rng=rng,
            catalogue=self.catalogue,
            measure=measure if model.training.patience else None,
            checkpoint=training,
            key=key,
            progress=lambda stage, done, total: self.progress(f"{label}: {stage}", done, total),
            accelerator=self.accelerator,
        )
        self.progress(f"{label}: score", 0, 1)
        found = _score(
            fitted, self.asked, self.recipe.table.ranking, self.recipe.table.ranking.seen
        )
        found = replace(found, values={**found.values, LOSS: item_losses(fitted, self.asked.test)})
        curve = fitted.curve
        assert curve is not None
        best = curve.kept(model.training)
        embedding, layers = parameters(fitted.network)
        about = {
            "size": size,
            "fraction": fraction,
            "seed": seed,
            "shape": shape(model),
            "users": int((items_only(given).lengths > 1).sum()),
            "embedding": embedding,
            "layers": layers,
            "flops": training_flops(fitted, given, rng),
            "epochs": curve.epoch,
            "best_epoch": best,
            "train_loss": curve.loss[best - 1] if best else float("nan"),
            "means": {m: found.mean(m) for m in found.values},
        }
        write_array(folder / REPLICATES, np.stack([found.replicates(m) for m in found.values]))
        write_text(folder / RUNG, json.dumps(about, indent=1) + "\n")
        self.progress(f"{label}: score", 1, 1)

    def _read(self, folder: Path, label: str) -> Rung | None:
        """The rung in a folder; None where its files are lost or damaged."""
        try:
            about = json.loads((folder / RUNG).read_text("utf-8"))
            replicates = np.load(folder / REPLICATES, allow_pickle=False)
            if replicates.shape != (len(about["means"]), RESAMPLES):
                return None
            by_metric = dict(zip(about["means"], replicates, strict=True))
            seconds = self.facts.told["stages"].get(label, {}).get("seconds", float("nan"))
            return Rung(**about, replicates=by_metric, seconds=seconds)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):
            return None

    def notes(self, data: Dataset) -> tuple[str, ...]:
        """What the figures rest on."""
        ranking = self.recipe.table.ranking
        seen = "seen items may be given again" if ranking.seen else "seen items filtered"
        best = self.recipe.model.training.patience and self.recipe.model.training.keep == "best"
        stops = "the best epoch by these is kept" if best else "the last epoch is kept"
        return (
            f"{data.manifest.name}, fingerprint {data.manifest.fingerprint}: validation, {self.asked.said}, {len(self.asked.test.users):,} "
            f"users, ranked among all items, {seen}; {stops}; the test was not looked at",
            f"{self.recipe.encoder}: training FLOPs = {PASSES} × those of a pass forward (matrix products, attention, convolutions), "
            "epochs that were run",
            *([SHARES] if len(self.recipe.scaling.fractions) > 1 else []),
        )
