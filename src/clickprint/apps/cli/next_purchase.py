"""Commands of next purchase: each stage by itself, all of them, and the evaluation."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from clickprint.apps.cli.shared import PRODUCTS, OnTables, app
from clickprint.work.progress import progress_bars
from clickprint.work.resources import Tables

# Stage → where its function stands, and what it does.
STAGES = {
    "read": (
        "clickprint.apps.next.stages:read",
        "Read the log that the parameters choose: OUT/data/.",
    ),
    "split": (
        "clickprint.apps.next.stages:split",
        "Choose the windows to learn from, to validate on and to predict: OUT/split/.",
    ),
    "candidates": (
        "clickprint.apps.next.stages:candidates",
        "Make the candidates of every window: OUT/candidates/.",
    ),
    "features": (
        "clickprint.apps.next.stages:features",
        "Make what the model learns from: OUT/features/.",
    ),
    "tune": (
        "clickprint.apps.next.stages:tune",
        "Search the ranker's options, if [tune] asks for trials: OUT/tune/.",
    ),
    "train": (
        "clickprint.apps.next.stages:train",
        "Train the ranker and the purchase propensities: OUT/model/.",
    ),
    "validate": (
        "clickprint.apps.next.validate:validate",
        "Validate on the last window, beside all baselines; track the run, gate the model: "
        "OUT/validate/.",
    ),
    "predict": (
        "clickprint.apps.next.predict:predict",
        "Predict the days after the log's end: the submission, in OUT/predict/.",
    ),
    "report": ("clickprint.apps.next.page:report", "Draw the slides and the page: OUT/report/."),
}
next_app = App(
    name="next",
    group=PRODUCTS,
    help="Next purchase: who will buy in the next days, and which products. "
    "The stages in their order, or all of them.",
)
app.command(next_app)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Which parameters, which log, and where everything is written.

    Args:
        params: The file of parameters; docs/next-purchase.md explains the keys.
        out: The folder of all stages, with the log that was read.
        log: Take this log of the file's [logs], instead of the one that it chooses.
    """

    params: Path = Path("recipes/next/params.toml")
    out: Path = Path("runs/next")
    log: str = ""


At = Annotated[Place, Parameter(name="*")]


def perform(stage: str, run: Any) -> str:
    """One stage; what it says."""
    from clickprint.work.source import place

    said: str = place(STAGES[stage][0])(run)
    return said


def _run(place: Place, machine: Tables, work: Callable[[Any], str]) -> None:
    from clickprint.apps.next.recipe import load
    from clickprint.apps.next.stages import Run

    recipe = load(place.params, log=place.log)
    with progress_bars() as progress:
        run = Run(
            recipe, place.out, str(place.params), place.log, **asdict(machine), progress=progress
        )
        print(work(run))


def _add(name: str, about: str, work: Callable[[Any], str]) -> None:
    """A command that takes the options of every stage."""

    def command(*, place: At = Place(), machine: OnTables = Tables()) -> None:
        _run(place, machine, work)

    next_app.command(command, name=name, help=about)


for _stage, (_, _about) in STAGES.items():
    _add(_stage, _about, partial(perform, _stage))
_add(
    "all",
    "All stages in their order; what is there and of the same parameters, data and code is kept.",
    lambda run: "\n".join(perform(stage, run) for stage in STAGES),
)


@next_app.command
def evaluate(
    *, place: At = Place(), windows: int | None = None, machine: OnTables = Tables()
) -> None:
    """Evaluate the whole recipe on several windows, each learned from what lies before it.

    Writes OUT/evaluate/. Called again it goes on where it stopped: a window that was scored is
    not scored again.

    Args:
        windows: How many windows [default: evaluate.windows of the parameters].
    """
    from clickprint.apps.next.evaluate import evaluate as judge

    _run(place, machine, lambda run: judge(run, windows))


@next_app.command
def check(file: Path, /, *, place: At = Place()) -> None:
    """Check that a submission has the form of the task sheet.

    Every broken rule is told at once; the exit status is 1 if there is one. Users and products
    are compared with those of the log in OUT, if it was read.

    Args:
        file: CSV or Parquet: user_id, products (a list; in CSV as JSON), one row a user, best
            first.
    """
    from clickprint.apps.next.submission import check as checked

    _run(place, Tables(), lambda run: checked(run, file))


@next_app.command
def score(
    file: Path, /, *, place: At = Place(), data: Path | None = None, start: str = ""
) -> None:
    """Score a submission: mean recall over all who bought in a window.

    A broken rule makes it 0, and is told.

    Args:
        file: CSV or Parquet: user_id, products (a list; in CSV as JSON), one row a user, best
            first.
        data: Another dataset that holds the window's purchases, as `clickprint read` writes it.
        start: The window's first day [default: the window that was validated].
    """
    from clickprint.apps.next.submission import score as scored

    _run(place, Tables(), lambda run: scored(run, file, data, start))
