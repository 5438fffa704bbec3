"""The RecSys Challenge 2025's own steps, drop-in on its directory. Source: spec/challenge-protocol.md."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from clickprint.core.errors import DataError
from clickprint.core.events import Role
from clickprint.core.files import write_text
from clickprint.core.profiles import Profiles, problems
from clickprint.core.rng import RNG
from clickprint.core.time import show
from clickprint.core.watch import Watch, silent
from clickprint.data.adapters import challenge
from clickprint.data.engine import Engine
from clickprint.data.log import EventLog
from clickprint.data.split import past_of

BLOCKS = (Role.BUY, Role.CART, Role.REMOVE, Role.VIEW, Role.SEARCH)  # the organisers' order of event types
PLACEHOLDER = "placeholder"  # the organisers' files end with it


def split(data: Path, *, memory: str | None = None, threads: int | None = None, watch: Watch = silent) -> challenge.SplitFacts:
    """Cuts the log in place and says where. Raises DataError."""
    with Engine(memory=memory, threads=threads) as engine:
        facts = challenge.split(data, engine, watch=watch)
    print(f"end {show(facts.end)}, training window from {show(facts.train_start)}, validation window from {show(facts.validation_start)}")
    for file, rows in facts.rows.items():
        print(f"{rows:>12,} rows  {data / file}")
    return facts


def baseline(
    data: Path,
    out: Path,
    *,
    days: Sequence[int] = (1, 7, 30),
    top: int = 10,
    all_clients: bool = False,
    all_events: bool = False,
    memory: str | None = None,
    threads: int | None = None,
    watch: Watch = silent,
) -> None:
    """The organisers' aggregated features of the relevant clients, in their order of rows; without `all_clients` of those with an event."""
    from clickprint.encoders import encoder

    relevant = np.unique(challenge.relevant_clients(data))
    counts = encoder("counts", days=tuple(days), top=top)
    with Engine(memory=memory, threads=threads) as engine:
        log = challenge.open_raw(data, engine, unsplit=all_events)
        span = log.span()
        if span is None:
            raise DataError(str(data), ["the log is empty"])
        users = _rows(log, relevant, rest=all_clients)
        if not len(users):
            raise DataError(str(data), ["none of the relevant clients has an event"])
        past = past_of(log, span[1] + 1, users)
        profiles = counts.fit(past, rng=RNG(0), watch=watch).encode(past)
    Profiles(users, profiles.of(users), profiles.blocks).save(out)
    absent = len(relevant) - len(users)
    note = f"; {absent:,} relevant clients without an event are left out (--all-clients adds them as zeros)" if absent else ""
    print(f"{len(users):,} clients x {profiles.vectors.shape[1]} columns in {out}{note}")


def _rows(log: EventLog, relevant: Int64[np.ndarray, "U"], *, rest: bool) -> Int64[np.ndarray, "B"]:
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
    wrong = [k for k, v in raw.items() if isinstance(v, bool) or not isinstance(v, int | float) or not abs(v) <= 1]
    if wrong:
        raise DataError(str(file), [f"{k}: found {raw[k]!r}, expected a score from 0 to 1" for k in wrong] + [hint])
    return {k: v for k, v in raw.items() if k != PLACEHOLDER}


def write_scores(file: Path, scores: dict[str, float]) -> None:
    """Writes scores as the organisers do: 4 decimals, the placeholder last."""
    write_text(file, json.dumps({**{k: round(v, 4) for k, v in scores.items()}, PLACEHOLDER: -1}))
