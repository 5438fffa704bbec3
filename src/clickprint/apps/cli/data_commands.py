"""What small commands do and print. Their work is done by the floors below; here are only words."""

import inspect
import tomllib
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ClickprintError, ConfigError
from clickprint.core.files import write_text
from clickprint.core.profiles import problems
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.data.adapters import card
from clickprint.work import source as sources


def read(
    name: str,
    source: Path | None,
    *,
    out: Path,
    options: Sequence[str] = (),
    memory: str | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> None:
    """Reads a log to `out` and says what is in it. `options` are texts `key=value` with values as in TOML."""
    from clickprint.data.engine import DuckDB

    given = dict(_option(name, text) for text in options)
    with DuckDB(memory=memory, threads=threads) as engine:
        print(
            describe(
                sources.dataset(name, source, given, out=out, engine=engine, progress=progress)
            )
        )


def append(
    folder: Path,
    name: str,
    source: Path | None,
    *,
    options: Sequence[str] = (),
    memory: str | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> None:
    """Adds new days to a dataset and says what is in it now."""
    from clickprint.data.engine import DuckDB

    before = Dataset.open(folder).manifest
    given = dict(_option(name, text) for text in options)
    with DuckDB(memory=memory, threads=threads) as engine:
        found = sources.append(folder, name, source, given, engine=engine, progress=progress)
    m = found.manifest
    print(
        f"{m.events - before.events:,} events of {len(m.days) - len(before.days)} days appended\n{describe(found)}"
    )


def _option(name: str, text: str) -> tuple[str, Any]:
    """One `key=value`; what is no TOML value is a text."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(
            f"--set: found {text!r}, expected key=value; options of {name}: {', '.join(sources.option_names(name)) or 'none'}"
        )
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def describe(dataset: Dataset) -> str:
    """Two or three lines about a dataset; rows that could not be read, by reason."""
    m = dataset.manifest
    days = (
        f", {len(m.days)} days from {min(m.days)} to {max(m.days)}"
        if m.days and m.time == "clock"
        else ""
    )
    kinds = ", ".join(
        f"{k.name} ({k.role.value})" if k.name != k.role.value else k.name for k in m.kinds
    )
    lines = [
        f"{m.name}: {m.events:,} events of {m.users:,} users and {m.items:,} items{days}",
        f"kinds: {kinds}",
        f"fingerprint {m.fingerprint}, in {dataset.folder}",
        *(f"{n:,} rows not read: {reason}" for reason, n in m.rejected.items()),
    ]
    return "\n".join(lines)


def fetch(name: str, folder: Path) -> None:
    """Gets a public log."""
    sources.reader(name)  # an unknown name is said to be one
    found = sources.fetcher(name)
    if found is None:
        can = [n for n in sorted(sources.DATASETS) if sources.fetcher(n)]
        raise ConfigError(
            f"{name} cannot be fetched, only {', '.join(can)}; get it here: {card(name).where}"
        )
    print(f"{found(folder)}; read it with `clickprint read {name} {folder} --out …`")


def list_datasets(name: str | None) -> None:
    """All readers, or the card of one."""
    if name is not None:
        options = sources.option_names(name)
        print(
            card(name).text()
            + (f"\noptions: {', '.join(f'--set {o}=…' for o in options)}" if options else "")
        )
        return
    for each in sorted(sources.DATASETS):
        path = "PATH " if sources.takes_path(each) else ""
        fetched = "  (can be fetched)" if sources.fetcher(each) else ""
        print(
            f"{each:<18}{path}{' '.join(f'{o}=…' for o in sources.option_names(each))}{fetched}\n{'':<18}{card(each).title}"
        )


def list_encoders() -> None:
    from clickprint.encoders import ENCODERS

    for name, place in ENCODERS.items():
        kind: Any = sources.place(place)
        options = [
            f"{f.name}={_plain(f.default)}" if f.default is not MISSING else f"{f.name}=…"
            for f in fields(kind)
        ]
        print(f"{name:<18}{' '.join(options)}\n{'':<18}{_first(inspect.getdoc(kind))}")


def _plain(value: Any) -> str:
    return str(list(value)).replace(" ", "") if isinstance(value, tuple) else str(value)


def _first(text: str | None) -> str:
    """The first paragraph's first sentence."""
    return " ".join((text or "").split("\n\n")[0].split()).split(". ")[0].rstrip(".") + "."


def list_tasks() -> None:
    """The sets and their tasks, as a small synthetic shop is asked them."""
    from clickprint.apps.doctor.checks import small_shop
    from clickprint.work.tasksets import OPEN, tasks_of

    with small_shop() as (log, parts):
        for name in OPEN:
            print(f"{name}:")
            for task in tasks_of(name, parts.past, log, parts.train, rng=RNG(0)).tasks:
                print(f"  {task.name:<26}{task.about}")
    print(
        "hidden:\n  any number, drawn from the log itself (tasks.hidden in a recipe): another attribute, horizon or population each"
    )


def validate(folder: Path) -> int:
    """Prints every fault of a dataset, profiles or a run on a line of its own; 1 if there is one."""
    try:
        if (folder / "recipe.toml").is_file():
            from clickprint.apps.run.stages import check_run

            faults = check_run(folder)
        elif (folder / "manifest.json").is_file():
            dataset = Dataset.open(folder)
            faults = []
            print(describe(dataset))
        else:
            faults = problems(folder, None)
    except ClickprintError as fault:
        faults = [str(fault)]
    for line in faults:
        print(line)
    if not faults:
        print(f"{folder}: valid")
    return int(bool(faults))


def board(
    runs: Sequence[Path],
    *,
    probe: Literal["quick", "official"],
    csv: Path | None,
    json: Path | None,
    html: Path | None,
) -> None:
    """Prints one board of one or several runs, and writes it where it is wanted."""
    from clickprint.apps.run import boards, terminal
    from clickprint.apps.run.stages import report_of

    found = boards.of_runs(runs, probe)
    terminal.show(found)
    if csv:
        write_text(csv, found.to_csv())
    if json:
        write_text(json, found.to_json())
    if html:
        write_text(html, report_of(runs, found))
    for file in (csv, json, html):
        if file:
            print(file)
