"""Stage `features`: what the models train on.

OUT/features/profiles/  the encoders whose profiles are features, fitted before the oldest window
OUT/features/<start>/   candidates with features, the users' columns, and what was bought
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clickprint.apps.next.candidates import pairs_of
from clickprint.core.time import Time
from clickprint.data.log import EventLog
from clickprint.data.split import past_of
from clickprint.recommenders import funnel
from clickprint.recommenders.examples import load_example, save_example
from clickprint.recommenders.funnel import Example
from clickprint.recommenders.profiler import Profiler
from clickprint.recommenders.windows import bought, day

if TYPE_CHECKING:
    from clickprint.apps.next.run import Run


def features(run: "Run") -> str:
    """What is known of each candidate and user in every training window, and what was bought."""
    run.stages.need("candidates")
    starts = [w.start for w in run.windows().train]
    with run.log() as log:
        parts = {"profiles": partial(fit_profiles, run, log, starts[0])}
        parts |= {day(start): partial(_features, run, log, start) for start in starts}
        return run.stages.make_parts("features", parts)


def fit_profiles(run: "Run", log: EventLog, start: Time, folder: Path) -> None:
    """The encoders whose profiles are features, fitted to what lies before `start`."""
    past, progress = past_of(log, start), run.at(start)
    profiles = funnel.profiler(
        past, run.recipe.purchase, rng=run.rng("profiles"), progress=progress
    )
    profiles.save(folder / "fitted")


def load_profiles(folder: Path) -> Profiler:
    """What `fit_profiles` made in OUT/features/ or OUT/evaluate/. Raises DataError."""
    return Profiler.load(folder / "profiles" / "fitted")


def _features(run: "Run", log: EventLog, start: Time, folder: Path) -> None:
    progress = run.at(start)
    progress("features", 0, 0)
    window = next(w for w in run.windows().train if w.start == start)
    profiles = load_profiles(run.folder("features"))
    known = funnel.example(
        past_of(log, start), run.recipe.purchase, pairs_of(run, start), profiles
    )
    save_example((*known, bought(log, window)), folder)
    progress("features", 1, 1)


def examples_of(run: "Run") -> list[Example]:
    """Of every training window, oldest first. Raises DataError."""
    return [load_example(run.folder("features") / day(w.start)) for w in run.windows().train]
