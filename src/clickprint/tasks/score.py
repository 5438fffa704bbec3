"""Profiles to scores.

A task, a log and two windows make a question; profiles and a probe make an answer.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, Shaped

from clickprint.core.errors import ConfigError, DataError, own_code
from clickprint.core.files import write_array, write_text
from clickprint.core.forms import read_json, read_npy, reading
from clickprint.core.lookup import positions_in_any_order
from clickprint.core.past import Table
from clickprint.core.profiles import Profiles, random_profiles
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG, mix
from clickprint.core.text import json_text, number
from clickprint.core.time import Window, show
from clickprint.metrics.compare import over_seeds, resample_weights
from clickprint.metrics.labels import degenerate
from clickprint.metrics.values import constant
from clickprint.tasks import quick
from clickprint.tasks.rows import Rows
from clickprint.tasks.task import Controls, Task, TaskScore

Probe = Literal["official", "quick"]
PROBES: tuple[Probe, ...] = ("official", "quick")
FORMAT = 2
AGAIN = "score again"
NOISE, HALVES = RNG(0).child("floor"), RNG(0).child("held-out users").integer()
DRAWS: Mapping[Probe, int] = {"official": 1, "quick": 3}  # of random vectors
CELLS = 1 << 28  # numbers: half a gigabyte, twice, is what the controls of a profile may hold


@dataclass(frozen=True, slots=True)
class Question:
    """A task put to a log: whom it asks, and what is true of them in both windows.

    `users` are in the order in which they are trained on. `digest` is of users (in any order),
    targets, loss and metrics, not of names: tasks that happen to ask the same have the same.
    """

    task: Task
    users: Int64[np.ndarray, "U"] = field(repr=False)
    train: Shaped[np.ndarray, "U T"] = field(repr=False)
    valid: Shaped[np.ndarray, "U T"] = field(repr=False)
    digest: str
    hidden: bool = False


def ask(
    task: Task,
    log: Table,
    train: Window,
    valid: Window,
    users: Int64[np.ndarray, "U"],
    *,
    hidden: bool = False,
) -> Question:
    """The question that `task` is for those of `users` that are in its population.

    Their order is the order of training, which the official probe's score depends on; the
    challenge has its profiles' file order. For several tasks of one log give a `Rows` of it, and
    the windows are read once. Raises DataError where nobody is left to ask, or where a target is
    not what its loss needs; ConfigError where the windows overlap.
    """
    if valid.start < train.end:
        raise ConfigError(
            f"the validation window starts at {show(valid.start)}, before the train window ends at"
            f" {show(train.end)}"
        )
    rising = bool((users[1:] > users[:-1]).all())
    order = np.arange(len(users)) if rising else np.argsort(users, kind="stable")
    # Targets are made of sorted users and put in order at the end: searches in sorted arrays stay
    # in the processor's caches.
    with own_code(f"task {task.name}", task.population):
        asked = np.asarray(task.population(log, train))
    order = order[positions_in_any_order(asked, users[order]) >= 0]
    if not len(order):
        raise DataError(
            f"task {task.name}", f"none of the {len(users)} users is in its population"
        )
    with own_code(f"task {task.name}", task.target):
        truth = [task.target(log, window, users[order]) for window in (train, valid)]
    faults = [
        f"the {name} target: {f}"
        for name, t in zip(("train", "valid"), truth, strict=True)
        for f in _faults(task, t, len(order))
    ]
    if not faults and truth[0].shape != truth[1].shape:
        faults.append(
            f"found {truth[0].shape[1]} labels in the train window and {truth[1].shape[1]} in the"
            " validation window"
        )
    if faults:
        raise DataError(f"task {task.name}", faults)
    digest = _digest(task, users[order], truth)
    if not rising:
        place = np.full(len(users), -1)
        place[order] = np.arange(len(order))
        order = np.flatnonzero(place >= 0)
        truth = [np.take(t, place[order], axis=0) for t in truth]  # half the time of t[…]
    return Question(task, users[order], truth[0], truth[1], digest, hidden)


def answer(
    question: Question,
    profiles: Profiles,
    probe: Probe,
    *,
    resamples: int = 200,
    seed: int = 0,
    device: str = "cpu",
    designs: "Designs | None" = None,
    controls: bool | None = None,
    progress: Progress = silent,
) -> TaskScore:
    """How well a probe, trained on the train window, foresees the validation window.

    - `probe`: `official` needs torch and trains on `device`; `quick` needs neither.
    - `designs`: the same in every call prepares the same vectors once for `quick`.
    - `controls`: whether the probe also scores random vectors, and users that it did not learn
      from; by default the quick one does. The official one then trains two and a half times as
      long.
    - `seed`: of the resamples alone.

    Raises DataError where a user of the question has no profile, ConfigError for an unknown probe.
    """
    task, name = question.task, f"{probe} {question.task.name}"
    epochs: tuple[dict[str, float], ...] = ()
    best = -1
    weights = resample_weights(question.users, resamples, seed)
    beside: Controls | None = None
    if probe == "official":
        train = partial(
            _official().train, loss=task.loss, device=device, name=name, progress=progress
        )
        probed = train(
            profiles.of(question.users),
            question.train,
            evaluate=lambda prediction: task.score(question.valid, prediction),
        )
        epochs, best, prediction = probed.epochs, probed.best, probed.prediction

        def learn(made: Profiles, asked: _Asked) -> np.ndarray:
            found: np.ndarray = train(
                made.of(question.users[asked.learn]),
                question.train[asked.learn],
                others=made.of(question.users[asked.score]),
                evaluate=lambda p: task.score(question.valid[asked.score], p, live=asked.live),
            ).prediction
            return found
    elif probe == "quick":
        designs = designs or Designs()
        made = designs.of(profiles, question.users, name, progress)
        prediction = made.fit_predict(question.train, loss=task.loss, name=name, progress=progress)

        def learn(made: Profiles, asked: _Asked) -> np.ndarray:
            design = designs.of(made, question.users[asked.learn], name, progress)
            return design.fit_predict(
                question.train[asked.learn],
                loss=task.loss,
                others=made.of(question.users[asked.score]),
                name=name,
                progress=progress,
            )
    else:
        raise ConfigError(f"probe: found {probe!r}, expected one of {', '.join(PROBES)}")
    if probe == "quick" if controls is None else controls:
        beside = _controls(question, profiles, weights, learn, designs or Designs(), DRAWS[probe])
    with own_code(f"task {task.name}"):
        metrics, live = (task.score(question.valid, prediction, live=a) for a in (False, True))
    return TaskScore(
        task=task.name,
        probe=probe,
        question=question.digest,
        users=len(question.users),
        labels=question.valid.shape[1],
        degenerate=int(
            (degenerate if task.loss.name == "bce" else constant)(question.valid).sum()
        ),
        score=metrics.pop("score"),
        live=live.pop("score"),
        metrics=metrics,
        live_metrics=live,
        epochs=epochs,
        best_epoch=best,
        hidden=question.hidden,
        about=task.about,
        replicates=task.resample(question.valid, prediction, weights),
        live_replicates=task.resample(question.valid, prediction, weights, live=True),
        controls=beside,
    )


class _Asked(NamedTuple):
    """Which of a question's users teach a probe, and which are scored."""

    learn: Bool[np.ndarray, "U"]
    score: Bool[np.ndarray, "U"]
    live: bool


def _controls(
    question: Question,
    profiles: Profiles,
    weights: Float32[np.ndarray, "R U"],
    learn: Callable[[Profiles, _Asked], np.ndarray],
    designs: "Designs",
    draws: int,
) -> Controls:
    """The probe on random vectors, and on users that it did not learn from."""
    task, nothing = question.task, (float("nan"), np.full(len(weights), np.nan))
    users, width = question.users, profiles.vectors.shape[1]
    everyone = np.ones(len(users), bool)
    share = min(CELLS / max(len(users) * width, 1), 1.0)
    # A user's place in [0, 1) is of the id alone, so every task has the same halves.
    place = mix(users.astype(np.uint64) ^ np.uint64(HALVES)) / 2.0**64
    first, second = place < share / 2, (place >= share / 2) & (place < share)

    def scored(made: Profiles, asked: _Asked) -> tuple[float, Float[np.ndarray, "R"]]:
        truth, prediction = question.valid[asked.score], learn(made, asked)
        drawn = weights[:, asked.score]
        replicates = task.resample(truth, prediction, drawn, live=asked.live)
        return task.score(truth, prediction, live=asked.live)["score"], replicates

    floor = held_out = nothing
    if share == 1:
        noise = (designs.noise(users, width, n) for n in range(draws))
        each = [scored(made, _Asked(everyone, everyone, False)) for made in noise]
        replicates = over_seeds(np.stack([r for _, r in each]), NOISE.child("draws"))
        floor = float(np.mean([value for value, _ in each])), replicates
    if first.any() and second.any():
        held_out = scored(profiles, _Asked(first, second, True))
    return Controls(floor[0], held_out[0], floor[1], held_out[1])


def named(found: TaskScore, question: Question) -> TaskScore:
    """The same answer to an equal question of another name."""
    assert found.question == question.digest, "answers go to equal questions only"
    return replace(
        found, task=question.task.name, about=question.task.about, hidden=question.hidden
    )


def score(
    profiles: Profiles,
    log: Table,
    tasks: Sequence[Task],
    train: Window,
    valid: Window,
    *,
    probe: Probe = "quick",
    users: Int64[np.ndarray, "U"] | None = None,
    hidden: bool = False,
    resamples: int = 200,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = silent,
) -> list[TaskScore]:
    """The score of each task, in their order, asked of `users`.

    By default these are the profiles' own, in their order. A window's rows are read once for all
    tasks, and equal questions (churn and conversion where everybody has bought before) are trained
    once.
    """
    rows, designs = Rows(log), Designs()
    found: dict[str, TaskScore] = {}
    scores = []
    for task in tasks:
        question = ask(
            task, rows, train, valid, profiles.users if users is None else users, hidden=hidden
        )
        if question.digest not in found:
            found[question.digest] = answer(
                question,
                profiles,
                probe,
                resamples=resamples,
                seed=seed,
                device=device,
                designs=designs,
                progress=progress,
            )
        scores.append(named(found[question.digest], question))
    return scores


@dataclass(slots=True)
class Designs:
    """The quick probe's preparation of the last few vectors, as many tasks ask the same users."""

    keep: int = 10
    _noise: dict[tuple[int, int, bytes], Profiles] = field(default_factory=dict, repr=False)
    _kept: dict[tuple[int, bytes], tuple[Profiles, quick.Design]] = field(
        default_factory=dict, repr=False
    )

    def of(
        self, profiles: Profiles, users: Int64[np.ndarray, "U"], name: str, progress: Progress
    ) -> quick.Design:
        """The design of these users' vectors.

        The profiles are held too, so that their id stays theirs.
        """
        key = id(profiles), blake2b(users.tobytes(), digest_size=16).digest()
        made = self._kept.pop(key, None) or (
            profiles,
            quick.design(profiles.of(users), name=name, progress=progress),
        )
        while len(self._kept) >= self.keep:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = made  # last in, last out
        return made[1]

    def noise(self, users: Int64[np.ndarray, "U"], width: int, draw: int) -> Profiles:
        """Random vectors of these users, the same for all profiles of one width."""
        key = draw, width, blake2b(users.tobytes(), digest_size=16).digest()
        if key not in self._noise:
            while len(self._noise) >= self.keep:
                del self._noise[next(iter(self._noise))]
            self._noise[key] = random_profiles(users, width, NOISE.child(str(draw)).integer())
        return self._noise[key]


def save(found: TaskScore, path: Path) -> None:
    """Writes `path` (JSON) and, beside it under the same name, the replicates as .npy.

    Equal scores give equal bytes; NaN is null. The JSON comes last and holds the replicates'
    digest, so a pair that a killed process left halfway is never taken for whole.
    """
    controls = found.controls
    every = [found.replicates, found.live_replicates]
    every += [controls.floor_replicates, controls.held_out_replicates] if controls else []
    replicates = np.stack(every).astype(np.float64)
    plain = {
        f.name: getattr(found, f.name)
        for f in fields(TaskScore)
        if not f.name.endswith("replicates")
    }
    plain["controls"] = controls and {"floor": controls.floor, "held_out": controls.held_out}
    text = json_text({"format": FORMAT, **plain, "replicates": _of_bytes(replicates)})
    write_array(_array(path), replicates)
    write_text(path, text)


def load(path: Path) -> TaskScore:
    """The score that `save` wrote.

    Raises DataError naming what is missing, damaged or of another format.
    """
    raw: dict[str, Any] = read_json(path, again=AGAIN)
    with reading(path, AGAIN):
        if raw.pop("format") != FORMAT:
            raise DataError(path, f"a score of another format; {AGAIN}")
        replicates = read_npy(_array(path), Float64[np.ndarray, "N R"], again=AGAIN)
        beside = raw.pop("controls")
        same = _of_bytes(replicates) == raw.pop("replicates")
        if not same or len(replicates) != (4 if beside else 2):
            raise ValueError(f"{_array(path).name} does not belong to it")
        for key in ("score", "live"):
            raw[key] = number(raw[key])
        for key in ("metrics", "live_metrics"):
            raw[key] = {n: number(v) for n, v in raw[key].items()}
        raw["epochs"] = tuple({n: number(v) for n, v in epoch.items()} for epoch in raw["epochs"])
        if beside:
            beside = Controls(number(beside["floor"]), number(beside["held_out"]), *replicates[2:])
        return TaskScore(
            **raw, replicates=replicates[0], live_replicates=replicates[1], controls=beside
        )


def _official() -> ModuleType:
    """The official probe's module, imported late: only who asks for it pays for torch."""
    try:
        return import_module("clickprint.tasks.official")
    except ModuleNotFoundError as fault:
        raise ConfigError(
            f"the official probe needs torch, which is not here ({fault}); install"
            " clickprint[probe], or use the quick probe"
        ) from None


def _array(path: Path) -> Path:
    return path.with_name(f"{path.stem}.npy")


def _faults(task: Task, truth: Shaped[np.ndarray, "..."], users: int) -> list[str]:
    if truth.ndim != 2 or len(truth) != users or not truth.shape[1]:
        return [f"found shape {truth.shape}, expected {users} users × at least one label"]
    if task.loss.name == "bce":
        return (
            []
            if truth.dtype == bool
            else [f"found {truth.dtype}, expected bool, which the loss bce needs"]
        )
    if truth.dtype.kind != "f":
        return [f"found {truth.dtype}, expected floats, which the loss {task.loss.name} needs"]
    return (
        []
        if np.isfinite(truth).all()
        else [f"{(~np.isfinite(truth)).sum()} values are no finite numbers"]
    )


def _digest(
    task: Task, users: Int64[np.ndarray, "U"], truth: Sequence[Shaped[np.ndarray, "U T"]]
) -> str:
    """Of users in rising order and their answers."""
    text = json.dumps(
        [
            task.loss.name,
            truth[0].shape,
            sorted((n, w, _say(m)) for n, (w, m) in task.metrics.items()),
        ]
    )
    digest = blake2b(text.encode(), digest_size=16)
    digest.update(users.tobytes())
    for t in truth:
        for start in range(0, len(t), 65_536):
            part = t[start : start + 65_536]
            digest.update(
                np.packbits(part).tobytes()
                if part.dtype == bool
                else part.astype(np.float64).tobytes()
            )
    return digest.hexdigest()


def _say(value: Any) -> str:
    """A metric as a text: its class and, whole, what it is made of."""
    if is_dataclass(value):
        inside = (f"{f.name}={_say(getattr(value, f.name))}" for f in fields(value))
        return f"{type(value).__qualname__}({', '.join(inside)})"
    return _of_bytes(value) if isinstance(value, np.ndarray) else repr(value)


def _of_bytes(values: Float[np.ndarray, "..."]) -> str:
    return blake2b(str(values.shape).encode() + values.tobytes(), digest_size=16).hexdigest()
