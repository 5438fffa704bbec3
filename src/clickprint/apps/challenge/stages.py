"""The RecSys Challenge 2025's own steps, on its directory.

Source: spec/challenge-protocol.md.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from clickprint.core.dataset import Manifest
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import REQUIRED, Role
from clickprint.core.files import new_file, write_text
from clickprint.core.forms import read_json
from clickprint.core.items import AttributeType
from clickprint.core.profiles import (
    BLOCKS_FILE,
    USERS_FILE,
    VECTORS_FILE,
    Profiles,
    problems,
)
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.text import say
from clickprint.core.time import Time, Window, show
from clickprint.data.adapters import challenge
from clickprint.data.engine import Engine
from clickprint.data.engine import name as quoted
from clickprint.data.log import EventLog
from clickprint.data.split import past_of
from clickprint.encoders.counts import Counts
from clickprint.tasks.rows import Rows
from clickprint.tasks.score import Question, ask
from clickprint.tasks.ubm25 import HIDDEN, NAMES, ubm25
from clickprint.work.probes import Job, named_devices, official
from clickprint.work.recipe import NAME, NAME_EXPECTED
from clickprint.work.resources import Resources, Tables
from clickprint.work.track import tracked

# The organisers' order of event types.
BLOCKS = (Role.BUY, Role.CART, Role.REMOVE, Role.VIEW, Role.SEARCH)
BUY = next(code for code, kind in enumerate(challenge.KINDS) if kind.role is Role.BUY)
PLACEHOLDER = "placeholder"  # the organisers' files end with it


def split(
    data: Path, *, resources: Tables = Tables(), progress: Progress = silent
) -> challenge.SplitFacts:
    """Cuts the log in place and prints where. Raises DataError."""
    with resources.engine() as engine:
        facts = challenge.split(data, engine, progress=progress)
    train, valid = show(facts.train_start), show(facts.validation_start)
    say(f"end {show(facts.end)}, training window from {train}, validation window from {valid}")
    for file, rows in facts.rows.items():
        say(f"{rows:>12,} rows  {data / file}")
    return facts


def reference(
    data: Path,
    out: Path,
    *,
    days: Sequence[int] = (1, 7, 30),
    top: int = 10,
    all_clients: bool = False,
    all_events: bool = False,
    overwrite: bool = False,
    resources: Tables = Tables(),
    progress: Progress = silent,
) -> None:
    """Writes the organisers' aggregated features of the relevant clients, in their order of rows.

    - `all_clients`: those without an event too, with zeros.
    - `all_events`: of the whole log, not of the split's input.
    - `overwrite`: replace profiles in `out`. Without it a file that is there is an error.
    """
    for file in (USERS_FILE, VECTORS_FILE, BLOCKS_FILE):
        new_file(out / file, overwrite=overwrite, sources=[data])
    relevant = np.unique(challenge.relevant_clients(data))
    counts = Counts(days=tuple(days), top=top)
    with resources.engine() as engine:
        log = challenge.open_raw(data, engine, unsplit=all_events)
        span = log.span()
        if span is None:
            raise DataError(data, "the log is empty")
        users = _rows(log, relevant, rest=all_clients)
        if not len(users):
            raise DataError(data, "none of the relevant clients has an event")
        past = past_of(log, span[1] + 1, users)
        profiles = counts.fit(past, rng=RNG(0), progress=progress).encode(past)
    Profiles(users, profiles.of(users), profiles.blocks).save(out)
    note = ""
    if absent := len(relevant) - len(users):
        note = f"; {absent:,} relevant clients without an event are left out (--all-clients"
        note += " adds them as zeros)"
    say(f"{len(users):,} clients x {profiles.vectors.shape[1]} columns in {out}{note}")


def _rows(
    log: EventLog, relevant: Int64[np.ndarray, "U"], *, rest: bool
) -> Int64[np.ndarray, "B"]:
    """The clients in the organisers' order of rows, which is their order of training.

    They join the blocks one by one: first those who bought, sorted, then those who only added to
    a cart, and so on. `rest`: those without an event come last.
    """
    blocks = [np.intersect1d(relevant, log.users(roles=(role,))) for role in BLOCKS]
    every = np.concatenate([*blocks, relevant] if rest else blocks)
    _, first = np.unique(every, return_index=True)
    return every[np.sort(first)]


def validate(data: Path, folder: Path, *, any_clients: bool = False) -> int:
    """Prints every fault of the profiles on its own line; 1 if there is one, else 0."""
    faults = problems(folder, None if any_clients else challenge.relevant_clients(data))
    for fault in faults:
        say(fault)
    if not faults:
        say(f"{folder}: valid")
    return int(bool(faults))


def score(
    data: Path,
    folder: Path,
    *,
    tasks: Sequence[str],
    scores: Path,
    any_clients: bool = False,
    devices: str = "1",
    log_name: str = "clickprint",
    resources: Resources = Resources(),
    progress: Progress = silent,
) -> dict[str, float]:
    """Trains a network a task and writes the scores, under the names that were given.

    - `scores`: the scores.json; scores of other tasks in it are kept.
    - `any_clients`: whether profiles need not be of exactly the relevant clients.
    - `devices`: as probes.named_devices has it.
    - `log_name`: names the log of epochs, beside the scores or on a tracking server.

    Everything is checked before anything is trained: names, the scores file, the profiles.
    Returns the scores of this call. Raises ConfigError and DataError.
    """
    names = _names(tasks)
    if not NAME.fullmatch(log_name):
        raise ConfigError(f"--log-name: found {log_name!r}, expected {NAME_EXPECTED}")
    before = read_scores(scores)
    on = named_devices(resources.accelerator, devices)
    if faults := problems(folder, None if any_clients else challenge.relevant_clients(data)):
        raise DataError(folder, faults)
    profiles = Profiles.load(folder)
    facts = {
        "data": str(data),
        "profiles": str(folder),
        "users": str(len(profiles.users)),
        "width": str(profiles.vectors.shape[1]),
    }
    found: dict[str, float] = {}
    epochs = scores.parent / f"{log_name}.epochs.jsonl"
    with tracked(epochs, log_name, facts) as log, resources.engine() as engine:
        asked = _questions(data, engine, profiles, list(names.values()))
        jobs = [Job(given, asked[task], folder) for given, task in names.items()]
        trained = official(jobs, on, resamples=0, threads=resources.threads, progress=progress)
        for job, one in trained:
            found[job.name] = one.score
            for number, values in enumerate(one.epochs):
                log(job.name, number, values)
            # Written after each task: what was trained is not lost with the next one.
            write_scores(scores, before | {n: found[n] for n in names if n in found})
    for name in names:
        say(f"{name:<24}{found[name]:.4f}")
    return found


def _names(tasks: Sequence[str]) -> dict[str, str]:
    """The name in --tasks → the task. Raises ConfigError with every fault."""
    known = {secret: task for task, secret in HIDDEN.items()}
    faults = [f"{t!r} is unknown" for t in tasks if t not in NAMES and t not in known]
    found = {t: known.get(t, t) for t in tasks}
    faults += [f"{t} stands there twice" for t in found if list(tasks).count(t) > 1]
    faults += [
        f"{t} and {u} are one task" for t in found for u in found if t < u and found[t] == found[u]
    ]
    if faults or not tasks:
        raise ConfigError(
            f"--tasks: {'; '.join(faults) or 'none'};"
            f" expected some of {', '.join(NAMES)} (or {', '.join(known)})"
        )
    return found


def _questions(
    data: Path, engine: Engine, profiles: Profiles, tasks: Sequence[str]
) -> dict[str, Question]:
    """The organisers' questions, from their target files.

    What a missing label file would say comes from the rule of tasks.ubm25.
    """
    labels, missing = {}, []
    for task in NAMES[2:]:
        if (data / "target" / f"{task}.npy").is_file():
            labels[task] = challenge.labels(data, task)
        elif task in tasks:
            missing.append(f"target/{task}.npy")
    active = None
    if (data / "target" / "active_clients.npy").is_file():
        active = challenge.active_clients(data)
    elif "churn" in tasks:
        missing.append("target/active_clients.npy")
    if missing:
        say(
            f"not there: {', '.join(missing)}; the rule of docs/tasks.md stands in",
            file=sys.stderr,
        )
    log, cutoff = _targets(data, engine, with_past=bool(missing))
    train, valid = Window(cutoff, cutoff + 1), Window(cutoff + 1, cutoff + 2)
    rows = Rows(log)
    made = ubm25(past_of(log, cutoff, profiles.users), rows, train, labels=labels, active=active)
    known = {t.name: t for t in made.tasks}
    if faults := [f"{t}: {made.left_out[t]}" for t in tasks if t not in known]:
        raise DataError(str(data), faults)
    # The order of the profiles' rows is the order of training.
    return {t: ask(known[t], rows, train, valid, profiles.users) for t in tasks}


def _targets(data: Path, engine: Engine, *, with_past: bool) -> tuple[EventLog, Time]:
    """A log of the purchases in the two target files, and the cutoff before them.

    Each file's purchases lie in a window of one microsecond, after the split's input or after
    nothing. The target files stand for a log, because the organisers score with them and the
    profiles alone; the event files may be elsewhere.
    """
    past = challenge.open_raw(data, engine, unsplit=False) if with_past else None
    span = past.span() if past else None
    cutoff = span[1] + 1 if span else 0
    parts, rows = challenge.target_rows(data), []
    for time, part in enumerate(parts):
        rows.append(
            pa.table(
                {
                    "time": pa.array(np.full(len(part["sku"]), cutoff + time, np.int64)),
                    "user": part["client_id"],
                    "kind": pa.array(np.full(len(part["sku"]), BUY, np.int16)),
                    "item": part["sku"],
                }
            )
        )
    bought = engine.keep(pa.concat_tables(rows))
    items = {c: np.concatenate([part[c] for part in parts]) for c in ("sku", "category", "price")}
    _, first = np.unique(items["sku"], return_index=True)
    known = {"item": items["sku"][first], "known_from": pa.nulls(len(first), pa.int64())}
    catalogue = engine.keep(
        pa.table({**known, **{c: items[c][first] for c in ("category", "price")}})
    )
    columns = ", ".join(map(quoted, REQUIRED))
    events = f"SELECT {columns} FROM {bought}"
    if past:
        events += f" UNION ALL SELECT {columns} FROM {past.events} WHERE kind = {BUY}"
    attributes = {"category": AttributeType.CATEGORY, "price": AttributeType.PRICE_BUCKET}
    manifest = Manifest(name=data.resolve().name, kinds=challenge.KINDS, attributes=attributes)
    return EventLog(engine, manifest, engine.view(events), catalogue), cutoff


def read_scores(file: Path) -> dict[str, float]:
    """The scores in a scores.json, without the organisers' placeholder; empty without a file.

    Raises DataError.
    """
    if not file.exists():
        return {}
    hint = 'expected a scores.json such as {"churn": 0.7}; name another --scores, or remove it'
    raw = read_json(file, again=hint)
    if not isinstance(raw, dict):
        raise DataError(str(file), [f"found {type(raw).__name__}, {hint}"])
    wrong = [
        k
        for k, v in raw.items()
        if isinstance(v, bool)
        or not isinstance(v, int | float)
        or not (0 <= v <= 1 or k == PLACEHOLDER)
    ]
    if wrong:
        raise DataError(
            str(file),
            [f"{k}: found {raw[k]!r}, expected a score from 0 to 1" for k in wrong] + [hint],
        )
    return {k: v for k, v in raw.items() if k != PLACEHOLDER}


def write_scores(file: Path, scores: dict[str, float]) -> None:
    """Writes scores as the organisers do: 4 decimals, the placeholder last."""
    write_text(file, json.dumps({**{k: round(v, 4) for k, v in scores.items()}, PLACEHOLDER: -1}))
