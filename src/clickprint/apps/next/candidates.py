"""Stage `candidates`: OUT/candidates/<start>/pairs.parquet for every window.

Of the buyers where a window is trained on; else of everybody who is known.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clickprint.core.time import Time
from clickprint.data.log import EventLog
from clickprint.data.split import LogPast, past_of
from clickprint.recommenders import funnel
from clickprint.recommenders.pairs import Bought, Pairs
from clickprint.recommenders.windows import bought, day

if TYPE_CHECKING:
    from clickprint.apps.next.run import Run


def candidates(run: "Run") -> str:
    """The candidates of every window."""
    run.stages.need("split")
    starts = run.windows().starts
    with run.log() as log:
        parts = {day(start): partial(_candidates, run, log, start) for start in starts}
        return run.stages.make_parts("candidates", parts)


def _candidates(run: "Run", log: EventLog, start: Time, folder: Path) -> None:
    window = next((w for w in run.windows().train if w.start == start), None)
    truth = bought(log, window) if window else None
    make_candidates(run, past_of(log, start), truth).save(folder / "pairs.parquet")


def make_candidates(run: "Run", past: LogPast, truth: Bought | None = None) -> Pairs:
    """Of everybody, or of those who bought."""
    users = None if truth is None else np.intersect1d(truth.users, past.users)
    return funnel.candidates(
        past,
        run.recipe.purchase,
        rng=run.rng("candidates"),
        users=users,
        progress=run.at(past.cutoff),
    )


def pairs_of(run: "Run", start: Time) -> Pairs:
    """The candidates that were made at `start`."""
    return Pairs.load(run.folder("candidates") / day(start) / "pairs.parquet")
