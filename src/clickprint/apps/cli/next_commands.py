"""`clickprint next STAGE`: every stage of next purchase by itself, all of them, and the rolling evaluation."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from cyclopts import App

PARAMS, OUT = Path("recipes/next/params.toml"), Path("runs/next")
# Stage → where its function stands, and what it does.
STAGES = {
    "read": ("stages:read", "Read the log that the parameters choose: OUT/data/."),
    "split": (
        "stages:split",
        "Choose the windows to learn from, to validate on and to predict: OUT/split/.",
    ),
    "candidates": ("stages:candidates", "Make the candidates of every window: OUT/candidates/."),
    "features": ("stages:features", "Make what the model learns from: OUT/features/."),
    "tune": ("stages:tune", "Search the ranker's options, if [tune] asks for trials: OUT/tune/."),
    "train": ("stages:train", "Train the ranker and the chances: OUT/model/."),
    "validate": (
        "validate:validate",
        "Validate on the last window, beside all bars; track the run, gate the model: OUT/validate/.",
    ),
    "predict": (
        "predict:predict",
        "Predict the days after the log's end: the submission, in OUT/predict/.",
    ),
    "report": ("page:report", "Draw the slides and the page: OUT/report/."),
}
app = App(
    name="next",
    help="Next purchase: who will buy in the next days, and which products. The stages in their order, or all of them.",
)


def _run(
    params: Path,
    out: Path,
    log: str,
    memory: str | None,
    threads: int | None,
    work: Callable[[Any], str],
) -> None:
    from clickprint.apps.next.recipe import load
    from clickprint.apps.next.stages import Run
    from clickprint.work.progress import progress_bars

    recipe = load(params, log=log)
    with progress_bars() as progress:
        print(work(Run(recipe, out, str(params), log, memory, threads, progress)))


def perform(stage: str, run: Any) -> str:
    """One stage; what it says."""
    from clickprint.work.source import place

    module, _, function = STAGES[stage][0].partition(":")
    said: str = place(f"clickprint.apps.next.{module}:{function}")(run)
    return said


def _command(name: str, says: str, work: Callable[[Any], str]) -> None:
    def command(
        *,
        params: Path = PARAMS,
        out: Path = OUT,
        log: str = "",
        memory: str | None = None,
        threads: int | None = None,
    ) -> None:
        _run(params, out, log, memory, threads, work)

    command.__doc__ = f"""{says}

    Parameters
    ----------
    params
        The file of parameters; docs/next-purchase.md explains the keys.
    out
        The folder of all stages.
    log
        Take this log of the file's [logs], instead of the one that it chooses.
    memory
        How much memory the tables' engine may hold, such as 2GB (or CLICKPRINT_MEMORY).
    threads
        How many cores the engine uses [default: all] (or CLICKPRINT_THREADS).
    """
    app.command(command, name=name)


for _name in STAGES:
    _command(_name, STAGES[_name][1], partial(perform, _name))
_command(
    "all",
    "All stages in their order; what is there and of the same parameters, data and code is left as it is.",
    lambda run: "\n".join(perform(stage, run) for stage in STAGES),
)


@app.command
def evaluate(
    *,
    params: Path = PARAMS,
    out: Path = OUT,
    windows: int | None = None,
    log: str = "",
    memory: str | None = None,
    threads: int | None = None,
) -> None:
    """Judge the whole recipe on several windows, each learned from what lies before it: OUT/evaluate/.

    Called again it goes on where it stopped: a window that was scored is not scored again.

    Parameters
    ----------
    params
        The file of parameters; docs/next-purchase.md explains the keys.
    out
        The folder of all stages; the log is read to it if it is not there.
    windows
        How many windows [default: evaluate.windows of the parameters].
    log
        Take this log of the file's [logs], instead of the one that it chooses.
    memory
        How much memory the tables' engine may hold, such as 2GB (or CLICKPRINT_MEMORY).
    threads
        How many cores the engine uses [default: all] (or CLICKPRINT_THREADS).
    """
    from clickprint.apps.next.evaluate import evaluate as judge

    _run(params, out, log, memory, threads, lambda run: judge(run, windows))


@app.command
def check(file: Path, /, *, params: Path = PARAMS, out: Path = OUT, log: str = "") -> None:
    """Is a submission in the form of the task sheet? Every broken rule at once; exit status 1 if there is one.

    Parameters
    ----------
    file
        CSV or Parquet: user_id, products (a list; in CSV as JSON), one row a user, best first.
    params
        The file of parameters: how many users and products are allowed.
    out
        The folder of all stages: users and products are compared with those of its log, if it was read.
    log
        Take this log of the file's [logs], instead of the one that it chooses.
    """
    from clickprint.apps.next.submission import check as checked

    _run(params, out, log, None, None, lambda run: checked(run, file))


@app.command
def score(
    file: Path,
    /,
    *,
    params: Path = PARAMS,
    out: Path = OUT,
    data: Path | None = None,
    start: str = "",
    log: str = "",
) -> None:
    """What a submission scores: mean recall over all who bought in a window; a broken rule makes it 0, and is told.

    Parameters
    ----------
    file
        CSV or Parquet: user_id, products (a list; in CSV as JSON), one row a user, best first.
    params
        The file of parameters: how many users, products and days.
    out
        The folder of all stages, with the log that was read.
    data
        Another dataset that holds the window's purchases, as `clickprint read` writes it.
    start
        The window's first day [default: the window that was validated].
    log
        Take this log of the file's [logs], instead of the one that it chooses.
    """
    from clickprint.apps.next.submission import score as scored

    _run(params, out, log, None, None, lambda run: scored(run, file, data, start))
