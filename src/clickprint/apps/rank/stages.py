"""`clickprint rank`: one table for all who rank items. Validation as often as wanted, the test once, from a frozen recipe.

A model and a seed is one unit of work (a bar that draws nothing is one unit): fitted, asked, scored, kept. What is kept is not made
again while its part of the recipe and the data are the same; a training that was killed goes on from its checkpoint, to the same bytes.
A change of clickprint's own code makes nothing anew: facts/ names the commit of each unit.

FOLDER/recipe.toml                    what was asked
FOLDER/{validation,test}/MODEL/SEED/  unit.json, users.npy, unseen.npy and seen.npy (metric × user), fitted/, inputs.json
FOLDER/test/frozen.json               digests of the recipe and of each validation when the test was first scored
FOLDER/training/INPUTS/               the checkpoint of a unit that is being trained
FOLDER/facts/…                        what each unit cost, and with which versions
FOLDER/{validation,test}.{md,csv,json,svg}  the table
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, Int64

from clickprint.apps.rank.recipe import Model, RankingPart, RankingRecipe, load
from clickprint.apps.rank.table import FORMS, Line, Ranking, Unit, write
from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.files import write_array, write_text
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.items import AttributeKind, Catalogue
from clickprint.core.options import unknown_name
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.time import Time
from clickprint.core.time import show as show_time
from clickprint.data.engine import DuckDB
from clickprint.data.histories import build
from clickprint.data.log import EventLog
from clickprint.data.split import anchored
from clickprint.encoders import ENCODERS
from clickprint.encoders.costs import parameters, using
from clickprint.encoders.derived import columns
from clickprint.encoders.sequence import FittedSequence, fit, items_only, known_values, wanted
from clickprint.recommenders.baselines import Ranks, fit_baseline
from clickprint.tasks.ranking import RankingScore, RankingTest, in_window, leave_one_out, score
from clickprint.work.facts import Facts
from clickprint.work.folder import check_folder, digest, locked, made_from, make_folder
from clickprint.work.folder import spill as _spill
from clickprint.work.source import dataset, expanded, place

RECIPE, LOCK, UNIT, FROZEN, TRAINING, FITTED = (
    "recipe.toml",
    ".lock",
    "unit.json",
    "frozen.json",
    "training",
    "fitted",
)
ONCE = "once"  # instead of a seed: a bar that draws nothing
Stage = Literal["validation", "test"]
SCORES = RNG(0).child(
    "rank score"
)  # who is drawn in which resample: the same for all models and seeds


def rank(
    recipe: RankingRecipe | Path | str,
    folder: Path | str,
    *,
    test: bool = False,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    data: Path | None = None,
    memory: str | None = None,
    threads: int | None = None,
    accelerator: str = "auto",
    progress: Progress = silent,
) -> Ranking:
    """The table of validation, or (`test`) of the test; what it rests on is made in `folder` as far as it is not there.

    `only` and `seeds` restrict what is made; the table shows all that stands in the folder. `data` is where the recipe's data are
    instead. `test` needs all of the recipe's validations and freezes them: from then on another recipe is refused in this folder, and
    what was scored is only shown. Raises DataError, ConfigError.
    """
    recipe, folder = recipe if isinstance(recipe, RankingRecipe) else load(recipe), Path(folder)
    recipe = recipe.at(data) if data is not None else recipe
    units = _units(recipe, only, seeds)
    stage: Stage = "test" if test else "validation"
    with ExitStack() as stack:
        _claim(folder, recipe)
        if test and (folder / "test" / FROZEN).is_file():
            _check_frozen(folder, recipe)
            if all(_place(folder, "test", model, seed).is_dir() for model, seed in units):
                return _table(folder, recipe, "test", None)
        engine = stack.enter_context(
            DuckDB(memory=memory, threads=threads, spill=stack.enter_context(_spill(folder)))
        )
        stack.enter_context(using(threads))
        found = _dataset(recipe, engine, progress)
        work = _Work(
            recipe,
            folder,
            EventLog.open(found, engine),
            engine.scratch(),
            found.manifest.fingerprint,
            accelerator,
            progress,
        )
        if test:
            work.freeze()
        for done, (model, seed) in enumerate(units):
            progress("models", done, len(units))
            work.make(stage, model, seed)
        progress("models", len(units), len(units))
        table = _table(folder, recipe, stage, work.inputs if stage == "validation" else None)
        with locked(folder / LOCK, wait=True):
            write(table, folder / stage)
    return table


def show_folder(folder: Path | str, stage: Stage = "validation") -> Ranking:
    """The table in a folder that `rank` made; nothing is computed anew but intervals. Raises ConfigError, DataError."""
    folder = Path(folder)
    return _table(folder, load(folder / RECIPE), stage, None)


# -- what is made -----------------------------------------------------------------------------------------------------------------

Units = list[tuple[Model, int | None]]


def _units(recipe: RankingRecipe, only: Sequence[str] = (), seeds: Sequence[int] = ()) -> Units:
    """Models and their seeds, None for the one of a model that draws nothing."""
    faults = [f"--only: {unknown_name(n, recipe.models)}" for n in only if n not in recipe.models]
    faults += [
        f"--seeds: found {s}, expected some of the recipe's seeds, {list(recipe.seeds)}"
        for s in seeds
        if s not in recipe.seeds
    ]
    if faults:
        raise ConfigError("; ".join(faults))
    models = [m for m in recipe.models.values() if not only or m.name in only]
    wanted_seeds = [s for s in recipe.seeds if not seeds or s in seeds]
    return [(m, s) for m in models for s in (wanted_seeds if m.drawn else (None,))]


def _place(folder: Path, stage: Stage, model: Model, seed: int | None) -> Path:
    return folder / stage / model.name / (ONCE if seed is None else f"seed-{seed}")


def _claim(folder: Path, recipe: RankingRecipe) -> None:
    """Writes the recipe into the folder. Raises ConfigError for a folder of something else, and where a test was scored with another."""
    check_folder(folder, RECIPE, LOCK, "ranking")
    with locked(folder / LOCK, wait=True):
        if (folder / RECIPE).is_file():
            try:
                load(folder / RECIPE)
            except ConfigError:
                raise ConfigError(
                    f"{folder} holds something that is no ranking; name another --out"
                ) from None
        if (folder / "test" / FROZEN).is_file():
            _check_recipe(folder, recipe)
        write_text(folder / RECIPE, recipe.text)


def _dataset(recipe: RankingRecipe, engine: DuckDB, progress: Progress) -> Dataset:
    part = recipe.data
    if part.folder:
        return Dataset.open(expanded(Path(part.folder)))
    return dataset(
        part.source,
        Path(part.path) if part.path else None,
        part.options,
        engine=engine,
        progress=progress,
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """A stage: what may be learned from, who is asked what, and each item's category as far as one is known."""

    train: Histories
    test: RankingTest
    items: Int64[np.ndarray, "V"]
    category: Int64[np.ndarray, "V"] | None
    said: str


def drop_last(histories: Histories, last: int) -> Histories:
    """Without each user's `last` events, as far as they are asked for: who has so many or fewer keeps his first, which nobody asks."""
    lengths = histories.lengths
    keep = lengths - np.minimum(last, np.maximum(lengths - 1, 0))
    place = np.arange(histories.events) - np.repeat(histories.starts[:-1], lengths)
    return histories.where(place < np.repeat(keep, lengths))


def mixed(
    lists: Int64[np.ndarray, "U K"],
    items: Int64[np.ndarray, "V"],
    category: Int64[np.ndarray, "V"],
) -> float:
    """The share of pairs of a list's items that are of different categories, the mean over lists: intra-list diversity (1 − cosine) by
    one-hot categories. Items without a category take no part; a list with fewer than two others neither."""
    at = np.minimum(np.searchsorted(items, lists), max(len(items) - 1, 0))
    known = items[at] == lists if len(items) else np.zeros(lists.shape, bool)
    found = np.where(known, category[at] if len(items) else NONE, NONE)
    there = found != NONE
    pairs = there.sum(1) * (there.sum(1) - 1) / 2
    alike = np.zeros(len(lists))
    for step in range(1, lists.shape[1]):
        alike += ((found[:, step:] == found[:, :-step]) & there[:, step:]).sum(1)
    return (
        float(np.mean(1 - alike[pairs > 0] / pairs[pairs > 0]))
        if (pairs > 0).any()
        else float("nan")
    )


@dataclass(frozen=True, slots=True)
class _Work:
    """What the units of one call share."""

    recipe: RankingRecipe
    folder: Path
    log: EventLog
    scratch: Path
    fingerprint: str
    accelerator: str
    progress: Progress
    _asked: dict[str, _Asked] = field(default_factory=dict)

    # -- what is asked

    def asked(self, stage: Stage) -> _Asked:
        if stage not in self._asked:
            made = (
                self._left_out(stage)
                if self.recipe.ranking.protocol == "leave-one-out"
                else self._in_window(stage)
            )
            if not len(made.test.users):
                raise DataError(
                    self.log.manifest.name,
                    [f"nobody is asked anything in the {stage} ({made.said})"],
                )
            self._asked[stage] = made
        return self._asked[stage]

    def _fields(self) -> tuple[str, ...]:
        """What all models of the recipe read, so that the histories do not depend on --only."""
        encoders = [m.made for m in self.recipe.models.values() if m.kind == "encoder"]
        if timed := sorted(
            {f for made in encoders for f in made.history.fields if "time" in columns((f,))}
        ):
            self.log.manifest.need_clock(f"the field {timed[0]} of histories")
        return tuple(
            dict.fromkeys(
                ("item", "time", *(f for made in encoders for f in wanted(made.history)))
            )
        )

    def said_of_items(self, train: Histories) -> Catalogue:
        """The catalogue as it was known when the histories end."""
        return (self.log if train.cutoff is None else self.log.before(train.cutoff)).catalogue

    def _left_out(self, stage: Stage) -> _Asked:
        folder = self.scratch / "histories"
        built = (
            Histories.open(folder)
            if folder.is_dir()
            else build(self.log, folder, self._fields(), progress=self.progress)
        )
        histories = items_only(built)
        back = 1 if stage == "validation" else 0
        what = "the item before the last" if back else "the last item"
        train = drop_last(histories, back + 1)
        return _Asked(
            train,
            leave_one_out(histories, back=back),
            *self._catalogue(train, None),
            f"leave-one-out, {what}",
        )

    def _in_window(self, stage: Stage) -> _Asked:
        part = self.recipe.ranking
        first, second = anchored(self.log, part.horizon_days, part.roles[0])
        window = first if stage == "validation" else second
        train = build(
            self.log.before(window.start),
            self.scratch / f"histories-{stage}",
            self._fields(),
            progress=self.progress,
        )
        if not train.events:
            raise DataError(
                self.log.manifest.name,
                [
                    f"nothing happened before {show_time(window.start)}, so there is nothing to learn"
                ],
            )
        asked = self.log.users(roles=part.roles, window=window)
        said = f"what users did ({', '.join(part.roles)}) in {window}"
        return _Asked(
            train,
            in_window(train.of(asked), self.log, window, roles=part.roles),
            *self._catalogue(train, window.start),
            said,
        )

    def _catalogue(
        self, train: Histories, cut: Time | None
    ) -> tuple[Int64[np.ndarray, "V"], Int64[np.ndarray, "V"] | None]:
        """Items that can be learned, and their categories: of the attribute that is called so, or else of the first of that kind."""
        items = known_values(train.fields["item"])
        names = [
            n for n, kind in self.log.manifest.attributes.items() if kind is AttributeKind.CATEGORY
        ]
        if not names:
            return items, None
        name = next((n for n in names if n.startswith("categor")), names[0])
        table = (self.log if cut is None else self.log.before(cut)).catalogue.table
        known = table.column("item").to_numpy()
        values = table.column(name).fill_null(NONE).to_numpy().astype(np.int64)
        at = np.minimum(np.searchsorted(known, items), max(len(known) - 1, 0))
        return items, np.where(known[at] == items, values[at], NONE) if len(known) else np.full(
            len(items), NONE, np.int64
        )

    # -- units

    def inputs(self, stage: Stage, model: Model, seed: int | None) -> str:
        """What a unit is made from; of a test also how it was chosen."""
        part = {**asdict(self.recipe.ranking), "roles": list(map(str, self.recipe.ranking.roles))}
        same = [model.kind, model.of, asdict(model.made), self.fingerprint, part, seed]
        return (
            digest(*same)
            if stage == "validation"
            else digest(*same, model.refit, stage, self._epochs(model, seed))
        )

    def _epochs(self, model: Model, seed: int | None) -> int:
        """How many epochs validation chose; 0 for a bar."""
        return (
            int(_read(_place(self.folder, "validation", model, seed)).about["best_epoch"])
            if model.kind == "encoder"
            else 0
        )

    def freeze(self) -> None:
        """Says, once, which recipe and validations the test is scored with. Raises ConfigError where one is missing or of other options or
        data, and where a test was begun on other data."""
        if (self.folder / "test" / FROZEN).is_file():
            if (
                found := _check_recipe(self.folder, self.recipe).get("fingerprint")
            ) != self.fingerprint:
                raise ConfigError(
                    f"{self.folder}: the test was begun on other data ({found}, now {self.fingerprint}); name another --out"
                )
            return
        units = _units(self.recipe)
        missing = [
            f"{m.name}{'' if s is None else f' seed {s}'}"
            for m, s in units
            if made_from(_place(self.folder, "validation", m, s))
            != {"folder": self.inputs("validation", m, s)}
        ]
        if missing:
            raise ConfigError(
                f"{self.folder}: the test is scored once, from a recipe whose validation is complete; missing, or of other options or "
                f"data: {', '.join(missing)}. Call the command without --test first, or take them out of the recipe"
            )
        frozen = {
            "recipe": digest(self.recipe.text),
            "fingerprint": self.fingerprint,
            "validation": _validations(self.folder, units),
        }
        with locked(self.folder / LOCK, wait=True):
            write_text(self.folder / "test" / FROZEN, json.dumps(frozen, indent=1) + "\n")

    def make(self, stage: Stage, model: Model, seed: int | None) -> None:
        """This unit, unless it stands in the folder and was made from the same. One of the test is never made again."""
        folder = _place(self.folder, stage, model, seed)
        if stage == "test" and folder.is_dir():
            return
        inputs = self.inputs(stage, model, seed)
        if made_from(folder) == {"folder": inputs}:
            return
        label = f"{stage} {model.name}" + ("" if seed is None else f" seed {seed}")
        training = self.folder / TRAINING / inputs
        with locked(training / LOCK):
            if made_from(folder) == {"folder": inputs}:  # by another process, meanwhile
                return
            make_folder(
                folder, inputs, partial(self._make, stage, model, seed, training, inputs, label)
            )
        shutil.rmtree(training, ignore_errors=True)

    def _make(
        self,
        stage: Stage,
        model: Model,
        seed: int | None,
        training: Path,
        inputs: str,
        label: str,
        folder: Path,
    ) -> None:
        asked = self.asked(stage)
        costs = (
            self.folder
            / "facts"
            / stage
            / model.name
            / f"{ONCE if seed is None else f'seed-{seed}'}.json"
        )
        if (
            model.kind == "bar" or Facts.read(costs).get("inputs") != inputs
        ):  # what goes on from a checkpoint is added up
            costs.unlink(missing_ok=True)
        facts = Facts.of(
            costs, inputs=inputs, recipe=self.recipe.name, command=f"clickprint rank {RECIPE}"
        )

        def progress(stage: str, done: int, total: int) -> None:
            self.progress(f"{label}: {stage}", done, total)

        with facts.stage("fit"):
            fitted = self._fitted(stage, model, seed, asked, training, inputs, progress)
        about: dict[str, Any] = {
            "model": model.name,
            "kind": model.kind,
            "of": model.of,
            "seed": seed,
            "metrics": list(self.recipe.ranking.metrics),
            "asked": len(asked.test.users),
            "empty": int((items_only(asked.test.given).lengths == 0).sum()),
            "said": asked.said,
            "data": self.log.manifest.name,
            "fingerprint": self.fingerprint,
            "parameters": None,
        }
        if isinstance(fitted, FittedSequence):
            curve = fitted.curve
            about["parameters"] = parameters(fitted.network)._asdict()
            if curve is not None:  # not the validation's own, asked once more
                best = curve.kept(fitted.recipe.training)
                about |= {
                    "epochs": curve.epoch,
                    "best_epoch": best,
                    "measures": curve.measures,
                    "loss": curve.loss,
                }
            else:
                about |= {"epochs": 0, "best_epoch": self._epochs(model, seed)}
        about |= {"means": {}, "lists": {}}
        with facts.stage("ask"):
            for done, (form, seen) in enumerate(FORMS.items()):
                progress("rank", done, len(FORMS))
                found = _score(fitted, asked, self.recipe.ranking, seen)
                write_array(
                    folder / f"{form}.npy", np.stack([found.values[m] for m in about["metrics"]])
                )
                about["means"][form] = {m: found.mean(m) for m in about["metrics"]}
                about["lists"][form] = {
                    k: None if np.isnan(v) else v for k, v in found.lists.items()
                }
            progress("rank", len(FORMS), len(FORMS))
        write_array(folder / "users.npy", asked.test.users)
        if isinstance(fitted, FittedSequence):
            fitted.save(folder / FITTED)
        write_text(folder / UNIT, json.dumps(about, indent=1) + "\n")

    def _fitted(
        self,
        stage: Stage,
        model: Model,
        seed: int | None,
        asked: _Asked,
        training: Path,
        key: str,
        progress: Progress,
    ) -> Ranks | FittedSequence:
        """The model as it is asked in a stage."""
        again = stage == "test" and not model.refit
        rng = RNG(seed or 0).child("rank")
        if model.kind == "bar":
            learned = self.asked("validation").train if again else asked.train
            return fit_baseline(model.made, learned, rng=rng, progress=progress)
        if again:
            loaded: FittedSequence = place(ENCODERS[model.of]).load(
                _place(self.folder, "validation", model, seed) / FITTED
            )
            return loaded
        recipe, measure = model.made, None
        if stage == "test":
            recipe = replace(
                recipe,
                training=replace(recipe.training, epochs=self._epochs(model, seed), patience=0),
            )
        elif recipe.training.patience:
            measure = partial(_measure, asked=asked, part=self.recipe.ranking)
        return fit(
            recipe,
            model.of,
            asked.train,
            rng=rng,
            catalogue=self.said_of_items(asked.train) if recipe.history.texts else None,
            measure=measure,
            checkpoint=training / "checkpoint",
            key=key,
            progress=progress,
            accelerator=self.accelerator,
        )


def _score(fitted: Ranks, asked: _Asked, part: RankingPart, seen: bool) -> RankingScore:
    lists = fitted.recommend(asked.test.given, max(part.ks), seen=seen)
    found = score(lists, asked.test, ks=part.ks, rng=SCORES, items=asked.items)
    if asked.category is None:
        return found
    return replace(
        found,
        lists={
            **found.lists,
            "spread": mixed(lists.items[:, : max(part.ks)], asked.items, asked.category),
        },
    )


def _measure(fitted: FittedSequence, *, asked: _Asked, part: RankingPart) -> float:
    lists = fitted.recommend(asked.test.given, max(part.ks), seen=part.seen)
    return score(lists, asked.test, ks=part.ks, rng=SCORES, items=asked.items).mean(part.measure)


# -- what was made ----------------------------------------------------------------------------------------------------------------


def _check_recipe(folder: Path, recipe: RankingRecipe) -> Mapping[str, Any]:
    """What the test was frozen with. Raises ConfigError where that was another recipe."""
    file = folder / "test" / FROZEN
    try:
        frozen = json.loads(file.read_text("utf-8"))
        same = frozen["recipe"] == digest(recipe.text)
        dict(frozen["validation"])
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise DataError(
            str(file),
            [f"does not say what the test was scored with ({fault!r}); name another --out"],
        ) from None
    if not same:
        raise ConfigError(
            f"{folder}: the test was scored with another text of this recipe, the one in {folder / RECIPE}; a changed recipe is another "
            "one, which has seen the test: name another --out for its validation, or take the old text back"
        )
    found: Mapping[str, Any] = frozen
    return found


def _check_frozen(folder: Path, recipe: RankingRecipe) -> None:
    """Raises ConfigError where the recipe or its validations are others than those the test was scored with."""
    frozen, now = _check_recipe(folder, recipe)["validation"], _validations(folder, _units(recipe))
    if changed := sorted(n for n in {*frozen, *now} if frozen.get(n) != now.get(n)):
        raise ConfigError(
            f"{folder}: the test was scored with other validation results ({', '.join(changed)} changed since); put them back, or "
            "name another --out, where the test is scored anew and both are told"
        )


def _validations(folder: Path, units: Units) -> dict[str, str]:
    """Of each validation a digest of all its files."""
    out = {}
    for model, seed in units:
        place_ = _place(folder, "validation", model, seed)
        found = sha256()
        for file in sorted(p for p in place_.rglob("*") if p.is_file()):
            found.update(
                f"{file.relative_to(place_).as_posix()}\0".encode()
                + sha256(file.read_bytes()).digest()
            )
        out[str(place_.relative_to(folder / "validation"))] = found.hexdigest()[:24]
    return out


def _table(
    folder: Path,
    recipe: RankingRecipe,
    stage: Stage,
    inputs: Callable[[Stage, Model, int | None], str] | None,
) -> Ranking:
    """All units of the recipe that stand in the folder; with `inputs` only those that were made from them."""
    lines = []
    for model in recipe.models.values():
        units = []
        for seed in recipe.seeds if model.drawn else (None,):
            place_ = _place(folder, stage, model, seed)
            if place_.is_dir() and (
                inputs is None or made_from(place_) == {"folder": inputs(stage, model, seed)}
            ):
                units.append(
                    _read(place_, folder / "facts" / stage / model.name / f"{place_.name}.json")
                )
        if units:
            lines.append(Line(model.name, model.kind, model.of, tuple(units)))
    if not lines:
        raise ConfigError(
            f"{folder}: nothing of the {stage} is here yet; call `clickprint rank` {'with --test' if stage == 'test' else ''}"
        )
    return Ranking(
        recipe.name,
        stage,
        recipe.ranking.measure,
        recipe.ranking.seen,
        tuple(lines),
        SCORES,
        len(recipe.seeds),
    )


def _read(folder: Path, costs: Path | None = None) -> Unit:
    """A unit, its scores memory-mapped. Raises DataError."""
    try:
        about = json.loads((folder / UNIT).read_text("utf-8"))
        users = np.load(folder / "users.npy", mmap_mode="r", allow_pickle=False)
        values: dict[str, Float64[np.ndarray, "M U"]] = {}
        for form in FORMS:
            values[form] = np.load(folder / f"{form}.npy", mmap_mode="r", allow_pickle=False)
            assert values[form].shape == (len(about["metrics"]), len(users))
    except (OSError, ValueError, KeyError, TypeError, EOFError, AssertionError) as fault:
        raise DataError(
            str(folder), [f"cannot be read ({fault!r}); remove it, and it is made again"]
        ) from None
    trained = about.get("epochs") != 0  # else the validation's own: reading it is no training
    stages = Facts.read(costs).get("stages", {}) if costs and trained else {}
    return Unit(
        about, np.asarray(users), values, stages.get("fit", {}).get("seconds", float("nan"))
    )
