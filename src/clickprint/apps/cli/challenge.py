"""Commands of the RecSys Challenge 2025, drop-in on its directory.

Options have our names, but for clients, tasks and `--log-name`, which are the organisers'.
"""

from pathlib import Path

from clickprint.apps.cli.shared import (
    PRODUCTS,
    Challenge,
    Devices,
    Flag,
    Numbers,
    OnMachine,
    OnTables,
    Overwrite,
    Vectors,
    Words,
    group_of,
)
from clickprint.work.progress import progress_bars
from clickprint.work.resources import Resources, Tables

ABOUT = "The RecSys Challenge 2025's own steps, on its directory, in place, with its file names."
challenge_app = group_of("challenge", PRODUCTS, ABOUT)


@challenge_app.command(name="split")
def challenge_split(data: Challenge, /, *, machine: OnTables = Tables()) -> None:
    """Cut the log as the organisers do, in place.

    Writes input/*.parquet and target/{train,validation}_target.parquet.

    """
    from clickprint.apps.challenge import stages

    with progress_bars() as progress:
        stages.split(data, resources=machine, progress=progress)


@challenge_app.command(name="baseline")
def challenge_baseline(
    data: Challenge,
    /,
    *,
    out: Path,
    days: Numbers = (1, 7, 30),
    top: int = 10,
    all_clients: Flag = False,
    all_events: Flag = False,
    overwrite: Overwrite = False,
    machine: OnTables = Tables(),
) -> None:
    """Make the organisers' aggregated features: client_ids.npy and embeddings.npy.

    Args:
        out: The folder of the profiles.
        days: The windows, in days before each event type's last event.
        top: How many of the most frequent values of each column are counted.
        all_clients: Every relevant client, with zeros where a client has no event [default: as the
            organisers: only those with an event].
        all_events: Read the whole log, not the split's input: for a real submission.
    """
    from clickprint.apps.challenge import stages

    with progress_bars() as progress:
        stages.reference(
            data,
            out,
            days=days,
            top=top,
            all_clients=all_clients,
            all_events=all_events,
            overwrite=overwrite,
            resources=machine,
            progress=progress,
        )


@challenge_app.command(name="validate")
def challenge_validate(data: Challenge, folder: Vectors, /, *, any_clients: Flag = False) -> int:
    """Check profiles as the organisers' validator does.

    Every fault stands on its own line; the exit status is 1 if there is one.

    Args:
        any_clients: Do not ask for exactly the relevant clients.
    """
    from clickprint.apps.challenge import stages

    return stages.validate(data, folder, any_clients=any_clients)


@challenge_app.command(name="score")
def challenge_score(
    data: Challenge,
    folder: Vectors,
    /,
    *,
    tasks: Words,
    scores: Path,
    any_clients: Flag = False,
    devices: Devices = ("auto",),
    log_name: str = "clickprint",
    machine: OnMachine = Resources(),
) -> None:
    """Train the official probe on profiles, a network a task, and write their scores.json.

    Profiles are trained on in the order of their rows.

    Args:
        tasks: churn, propensity_category, propensity_sku, and conversion, propensity_new_sku,
            propensity_price or hidden1, hidden2, hidden3.
        scores: The scores.json to write; tasks that are in it already and not asked for are kept.
        any_clients: Do not ask for exactly the relevant clients: for profiles of those with an
            event.
        log_name: The name that epochs are logged under: DIR of FILE/NAME.epochs.jsonl, or an
            experiment of MLFLOW_TRACKING_URI where that is set.
    """
    from clickprint.apps.challenge import stages

    with progress_bars() as progress:
        stages.score(
            data,
            folder,
            tasks=tasks,
            scores=scores,
            any_clients=any_clients,
            devices=",".join(devices),
            log_name=log_name,
            resources=machine,
            progress=progress,
        )
