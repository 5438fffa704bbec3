"""What there is, as text: readers of data sets, encoders, tasks, and what is in a dataset."""

import inspect
from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import Any

from clickprint.core.dataset import Dataset
from clickprint.core.registry import lookup
from clickprint.core.rng import RNG
from clickprint.core.text import printable
from clickprint.data.adapters import DATASETS, card
from clickprint.encoders import ENCODERS
from clickprint.work.reading import small_shop
from clickprint.work.source import fetcher, option_names, takes_path
from clickprint.work.tasksets import OPEN, tasks_of


def dataset(found: Dataset) -> str:
    """Three lines about a dataset, and what could not be read, by reason."""
    m = found.manifest
    clocked = m.days and m.time == "clock"
    days = f", {len(m.days)} days from {min(m.days)} to {max(m.days)}" if clocked else ""
    kinds = ", ".join(
        f"{k.name} ({k.role.value})" if k.name != k.role.value else k.name for k in m.kinds
    )
    lines = [
        f"{m.name}: {m.events:,} events of {m.users:,} users and {m.items:,} items{days}",
        f"kinds: {kinds}",
        f"fingerprint {m.fingerprint}, in {found.folder}",
        *(f"{n:,} rows not read: {reason}" for reason, n in m.rejected.items()),
        *(f"{n:,} values not read, now missing: {reason}" for reason, n in m.unread.items()),
    ]
    return "\n".join(map(printable, lines))  # names of a shop's kinds, and of its folders


def appended(before: Dataset, longer: Dataset) -> str:
    """What `clickprint append` added, and what is in the dataset now."""
    events = longer.manifest.events - before.manifest.events
    days = len(longer.manifest.days) - len(before.manifest.days)
    return f"{events:,} events of {days} days appended\n{dataset(longer)}"


def datasets() -> str:
    """Two lines a reader: its name and options, and what it reads."""
    lines = []
    for name in sorted(DATASETS):
        path = "PATH " if takes_path(name) else ""
        known = " ".join(f"{o}=…" for o in option_names(name))
        fetched = "  (can be fetched)" if fetcher(name) else ""
        lines += [f"{name:<18}{path}{known}{fetched}", f"{'':<18}{card(name).title}"]
    return "\n".join(lines)


def source(name: str) -> str:
    """The card of a reader and its options. Raises ConfigError for an unknown name."""
    options = ", ".join(f"--set {o}=…" for o in option_names(name))
    return card(name).text() + (f"\noptions: {options}" if options else "")


def encoders() -> str:
    """Two lines an encoder: its name, options and defaults, and what it does."""
    lines = []
    for name in ENCODERS:
        recipe: Any = lookup(ENCODERS, name, "encoder")
        options = " ".join(f"{f.name}={_default(f.default)}" for f in fields(recipe))
        lines += [f"{name:<18}{options}", f"{'':<18}{_first_sentence(inspect.getdoc(recipe))}"]
    return "\n".join(lines)


def _default(value: Any) -> str:
    if value is MISSING:
        return "…"
    return str(list(value)).replace(" ", "") if isinstance(value, tuple) else str(value)


def _first_sentence(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split()).split(". ")[0].rstrip(".") + "."


def tasks() -> str:
    """The sets of tasks, and what each task asks of a small synthetic shop."""
    return "\n".join(_tasks())


def _tasks() -> Iterator[str]:
    with small_shop() as (log, parts):
        for name in OPEN:
            yield f"{name}:"
            for task in tasks_of(name, parts.past, log, parts.train, rng=RNG(0)).tasks:
                yield f"  {task.name:<26}{task.about}"
    yield "hidden:"
    yield "  any number, generated from the log itself (tasks.hidden in a recipe)"
