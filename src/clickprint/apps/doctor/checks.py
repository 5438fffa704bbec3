"""Checks of an installation: versions, extras, memory, and a small shop from log to board."""

import importlib.util
import os
import sys
from collections.abc import Iterator

from clickprint.core.errors import ClickprintError, ConfigError
from clickprint.core.rng import RNG
from clickprint.data.engine import DEFAULT_MEMORY, DuckDB
from clickprint.work import facts

PYTHON = (3, 11)
EXTRAS = {
    "probe": (("torch",), "the official probe"),
    "als": (("implicit",), "alternating least squares"),
    "recommend": (("lightgbm", "optuna", "pandas", "pptx", "scipy"), "the next purchase"),
    "ann": (("faiss",), "candidates of millions of items by a graph"),
    "dag": (("dvc",), "the next purchase as one DAG"),
    "track": (("mlflow",), "logging epochs to a tracking server"),
    "spark": (("pyspark",), "tables beyond one machine"),
    "llm": (("transformers", "peft"), "language models"),
}


def doctor() -> int:
    """Print a line for each finding; return 1 if one of them is a fault."""
    lines = [*_python(), *_extras(), *_memory(), *_check()]
    for well, line in lines:
        print(f"{'ok ' if well else 'BAD'} {line}")
    sick = sum(not well for well, _ in lines)
    print(
        "clickprint is well"
        if not sick
        else f"{sick} {'thing is' if sick == 1 else 'things are'} wrong"
    )
    return int(sick > 0)


def _python() -> Iterator[tuple[bool, str]]:
    found = ".".join(map(str, sys.version_info[:3]))
    yield (
        sys.version_info >= PYTHON,
        f"python {found} (expected {'.'.join(map(str, PYTHON))} or later)",
    )
    yield (
        True,
        ", ".join(
            f"{name} {version}" for name, version in facts.versions().items() if name != "python"
        ),
    )


def _extras() -> Iterator[tuple[bool, str]]:
    """A missing extra is no fault: its line says what it is for."""
    for extra, (modules, what) in EXTRAS.items():
        there = all(importlib.util.find_spec(m) for m in modules)
        yield (
            True,
            f"extra {extra} ({what}): "
            + ("installed" if there else f"not installed; pip install 'clickprint[{extra}]'"),
        )


def _memory() -> Iterator[tuple[bool, str]]:
    gib, limit = facts.memory() / 2**30, os.environ.get("CLICKPRINT_MEMORY") or DEFAULT_MEMORY
    try:
        DuckDB(memory=limit).close()
    except ConfigError as fault:
        yield False, str(fault)
        return
    size = f"{gib:.1f} GiB of memory" if gib else "memory unknown"
    line = f"{size}, {facts.cores()} cores; the engine may hold {limit} (CLICKPRINT_MEMORY)"
    yield not gib or gib >= 1, line


def _check() -> Iterator[tuple[bool, str]]:
    """A small shop from log to board by the quick probe: counts have to beat random vectors."""
    from clickprint.encoders import encoder
    from clickprint.work.reading import small_shop
    from clickprint.work.scoring import score

    try:
        with small_shop() as (log, parts):
            rng = RNG(0)
            profiles = {
                n: encoder(n).fit(parts.past, rng=rng.child(n)).encode(parts.past)
                for n in ("counts", "joined", "random")
            }
            board = score(profiles, log, train=parts.train, valid=parts.valid, resamples=20)
            totals = {name: board.total(name).value for name in board.profiles}
    except ClickprintError as fault:
        yield False, f"self check: {fault}"
        return
    told = ", ".join(f"{name} {total:.3f}" for name, total in totals.items())
    yield (
        totals["counts"] > totals["random"],
        f"self check: {len(board.tasks)} tasks on {len(parts.past.users)} users, sums {told}",
    )
