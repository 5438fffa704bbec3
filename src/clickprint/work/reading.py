"""A log in one call: of a reader, of a dataset's folder, or a small made-up one."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clickprint.core.dataset import Dataset
from clickprint.core.errors import ConfigError
from clickprint.core.progress import Progress, silent
from clickprint.data import synthetic
from clickprint.data.adapters import DATASETS, card
from clickprint.data.log import EventLog
from clickprint.data.split import Split, split
from clickprint.work.resources import Tables
from clickprint.work.source import dataset, fetcher


def read(
    source: str | Path,
    path: str | Path | None = None,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    resources: Tables = Tables(),
    progress: Progress = silent,
    **options: Any,
) -> EventLog:
    """Read a log, ready to be split. It keeps an engine open: close it with `log.engine.close()`.

    - `source`: a reader (`"synthetic"`, `"complete_journey"`, …), or a dataset's folder.
    - `path`: what the reader reads; `options` are its own.
    - `out`: where the dataset is written; without it, it is kept in the cache (CLICKPRINT_CACHE,
      or ~/.cache/clickprint) and found there the next time.
    - `overwrite`: replace a dataset of other files or options in `out`.

    Raises ConfigError and DataError.
    """
    engine = resources.engine()
    try:
        if isinstance(source, Path) or (Path(source) / "manifest.json").is_file():
            if path is not None or options or out is not None:
                raise ConfigError(
                    f"{source} is a dataset already: it takes no path, out or options"
                )
            return EventLog.open(Dataset.open(source), engine)
        made = dataset(
            source,
            None if path is None else Path(path),
            options,
            out=None if out is None else Path(out),
            overwrite=overwrite,
            engine=engine,
            progress=progress,
        )
        return EventLog.open(made, engine)
    except BaseException:
        engine.close()
        raise


@contextmanager
def small_shop() -> Iterator[tuple[EventLog, Split]]:
    """A shop of 400 users and its split, made in two seconds; it is gone afterwards."""
    shop = synthetic.Shop(users=400, items=120, categories=15, days=60, seed=1)
    with tempfile.TemporaryDirectory(prefix="clickprint-") as folder, Tables().engine() as engine:
        log = EventLog.open(synthetic.read(Path(folder) / "shop", shop, engine=engine), engine)
        yield log, split(log, horizon_days=7)


def fetch(name: str, folder: Path) -> Path:
    """Get a public log from where it is published. Raises ConfigError where a person has to."""
    where, get = card(name).where, fetcher(name)
    if get is None:
        can = ", ".join(n for n in sorted(DATASETS) if fetcher(n))
        raise ConfigError(f"{name} cannot be fetched, only {can}; get it here: {where}")
    return get(folder)
