"""The RecSys Challenge 2025's own steps, drop-in on its directory. Source: spec/challenge-protocol.md."""

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from clickprint.core.dataset import Manifest
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import REQUIRED, Role
from clickprint.core.files import write_text
from clickprint.core.items import AttributeKind
from clickprint.core.profiles import Profiles, problems
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.time import Time, Window, show
from clickprint.data.adapters import challenge
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.engine import name as quoted
from clickprint.data.log import EventLog
from clickprint.data.split import past_of
from clickprint.tasks.rows import Rows
from clickprint.tasks.score import Question, ask
from clickprint.tasks.ubm25 import HIDDEN, NAMES, ubm25
from clickprint.work.probes import Job, named_devices, official
from clickprint.work.track import tracked

BLOCKS = (
    Role.BUY,
    Role.CART,
    Role.REMOVE,
    Role.VIEW,
    Role.SEARCH,
)  # the organisers' order of event types
BUY = next(code for code, kind in enumerate(challenge.KINDS) if kind.role is Role.BUY)
PLACEHOLDER = "placeholder"  # the organisers' files end with it


def split(
    data: Path,
    *,
    memory: str | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> challenge.SplitFacts:
    """Cuts the log in place and says where. Raises DataError."""
    with DuckDB(memory=memory, threads=threads) as engine:
        facts = challenge.split(data, engine, progress=progress)
    print(
        f"end {show(facts.end)}, training window from {show(facts.train_start)}, validation window from {show(facts.validation_start)}"
    )
    for file, rows in facts.rows.items():
        print(f"{rows:>12,} rows  {data / file}")
    return facts


def reference(
    data: Path,
    out: Path,
    *,
    days: Sequence[int] = (1, 7, 30),
    top: int = 10,
    all_clients: bool = False,
    all_events: bool = False,
    memory: str | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> None:
    """The organisers' aggregated features of the relevant clients, in their order of rows; without `all_clients` of those with an event."""
    from clickprint.encoders import encoder

    relevant = np.unique(challenge.relevant_clients(data))
    counts = encoder("counts", days=tuple(days), top=top)
    with DuckDB(memory=memory, threads=threads) as engine:
        log = challenge.open_raw(data, engine, unsplit=all_events)
        span = log.span()
        if span is None:
            raise DataError(str(data), ["the log is empty"])
        users = _rows(log, relevant, rest=all_clients)
        if not len(users):
            raise DataError(str(data), ["none of the relevant clients has an event"])
        past = past_of(log, span[1] + 1, users)
        profiles = counts.fit(past, rng=RNG(0), progress=progress).encode(past)
    Profiles(users, profiles.of(users), profiles.blocks).save(out)
    absent = len(relevant) - len(users)
    note = (
        f"; {absent:,} relevant clients without an event are left out (--all-clients adds them as zeros)"
        if absent
        else ""
    )
    print(f"{len(users):,} clients x {profiles.vectors.shape[1]} columns in {out}{note}")


def _rows(
    log: EventLog, relevant: Int64[np.ndarray, "U"], *, rest: bool
) -> Int64[np.ndarray, "B"]:
    """The organisers' order of rows, which is their order of training: sorted, buyers first, then who only added to a cart, and so on.

    They join the blocks one by one, and each brings the clients that those before it did not have. `rest`: then those without an event.
    """
    blocks = [np.intersect1d(relevant, log.users(roles=(role,))) for role in BLOCKS]
    every = np.concatenate([*blocks, relevant] if rest else blocks)
    _, first = np.unique(every, return_index=True)
    return every[np.sort(first)]


def validate(data: Path, folder: Path, *, any_clients: bool = False) -> int:
    """Prints every fault of the profiles on a line of its own; 1 if there is one."""
    faults = problems(folder, None if any_clients else challenge.relevant_clients(data))
    for fault in faults:
        print(fault)
    if not faults:
        print(f"{folder}: valid")
    return int(bool(faults))


def score(
    data: Path,
    folder: Path,
    *,
    tasks: Sequence[str],
    scores: Path,
    any_clients: bool = False,
    accelerator: str = "auto",
    devices: str = "1",
    threads: int | None = None,
    log_name: str = "clickprint",
    memory: str | None = None,
    progress: Progress = silent,
) -> dict[str, float]:
    """Trains a network a task and writes the scores, under the names that were given; the scores of this call.

    Everything is checked before anything is trained: names, the scores file, the profiles. Raises ConfigError and DataError.
    """
    names = _names(tasks)
    before = read_scores(scores)
    on = named_devices(accelerator, devices)
    if faults := problems(folder, None if any_clients else challenge.relevant_clients(data)):
        raise DataError(str(folder), faults)
    profiles = Profiles.load(folder)
    epochs = scores.parent / f"{log_name}.epochs.jsonl"
    found: dict[str, float] = {}
    facts = {
        "data": str(data),
        "profiles": str(folder),
        "users": str(len(profiles.users)),
        "width": str(profiles.vectors.shape[1]),
    }
    with ExitStack() as stack:
        log = stack.enter_context(tracked(epochs, log_name, facts))
        engine = stack.enter_context(DuckDB(memory=memory, threads=threads))
        asked = _questions(data, engine, profiles, list(names.values()))
        jobs = {given: Job(given, asked[task], folder) for given, task in names.items()}
        for job, one in official(list(jobs.values()), on, resamples=0, progress=progress):
            found[job.name] = one.score
            for number, values in enumerate(one.epochs):
                log(job.name, number, values)
            # Written after each task: what was trained is not lost with the next one.
            write_scores(scores, before | {n: found[n] for n in names if n in found})
    for name in names:
        print(f"{name:<24}{found[name]:.4f}")
    return found


def _names(tasks: Sequence[str]) -> dict[str, str]:
    """The name in --tasks → the task. Raises ConfigError with every fault."""
    plain = {secret: task for task, secret in HIDDEN.items()}
    faults = [f"{t!r} is unknown" for t in tasks if t not in NAMES and t not in plain]
    found = {t: plain.get(t, t) for t in tasks}
    faults += [
        f"{t} and {u} are one task" for t in found for u in found if t < u and found[t] == found[u]
    ]
    if faults or not tasks:
        raise ConfigError(
            f"--tasks: {'; '.join(faults) or 'none'}; expected some of {', '.join(NAMES)} (or {', '.join(plain)})"
        )
    return found


def _questions(
    data: Path, engine: Engine, profiles: Profiles, tasks: Sequence[str]
) -> dict[str, Question]:
    """The organisers' questions from their target files; what a missing label file would say comes from the rule of ubm25."""
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
        print(
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
    """A log of the purchases in the two target files, each in a window of one microsecond, after the split's input or after nothing.

    The target files do the work of a log, because with them and the profiles the organisers score; the event files may be elsewhere.
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
    events = f"SELECT {', '.join(map(quoted, REQUIRED))} FROM {bought}"
    if past:
        events += f" UNION ALL SELECT {', '.join(map(quoted, REQUIRED))} FROM {past.events} WHERE kind = {BUY}"
    attributes = {"category": AttributeKind.CATEGORY, "price": AttributeKind.PRICE_BUCKET}
    manifest = Manifest(name=data.resolve().name, kinds=challenge.KINDS, attributes=attributes)
    return EventLog(engine, manifest, engine.view(events), catalogue), cutoff


def read_scores(file: Path) -> dict[str, float]:
    """A scores.json as the organisers write it, less its placeholder; empty where there is none. Raises DataError."""
    if not file.exists():
        return {}
    hint = 'expected a scores.json such as {"churn": 0.7}; name another --scores, or remove it'
    try:
        raw = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as fault:
        raise DataError(str(file), [f"not JSON ({fault}); {hint}"]) from None
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
