"""Where epochs are logged: JSON lines beside the scores, or an MLflow tracking server when one is configured."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from clickprint.core.errors import ConfigError

SERVER = "MLFLOW_TRACKING_URI"


@runtime_checkable
class Log(Protocol):
    """Called with a task's name, the epoch (from 0) and the epoch's numbers."""

    def __call__(self, task: str, epoch: int, values: Mapping[str, float]) -> None: ...


@contextmanager
def tracked(file: Path, name: str, facts: Mapping[str, str]) -> Iterator[Log]:
    """A log of epochs called `name`. With MLFLOW_TRACKING_URI set they go there, else to `file`, one JSON object a line, appended.

    Raises ConfigError where the variable is set and mlflow is not installed: numbers that someone expects on a server are not
    quietly written elsewhere.
    """
    if os.environ.get(SERVER):
        with _server(name, facts) as log:
            yield log
    else:
        yield _Lines(file, name)


class _Lines:
    def __init__(self, file: Path, name: str) -> None:
        self._file, self._name = file, name

    def __call__(self, task: str, epoch: int, values: Mapping[str, float]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(
                json.dumps({"name": self._name, "task": task, "epoch": epoch, **values}) + "\n"
            )


@contextmanager
def _server(name: str, facts: Mapping[str, str]) -> Iterator[Log]:
    try:
        import mlflow
    except ImportError:
        raise ConfigError(
            f"{SERVER} is set to {os.environ[SERVER]!r}, but mlflow is not installed; "
            "install it (pip install 'clickprint[track]'), or unset the variable to log to a file"
        ) from None
    try:
        mlflow.set_experiment(name)
        with mlflow.start_run():
            mlflow.log_params(dict(facts))

            def log(task: str, epoch: int, values: Mapping[str, float]) -> None:
                mlflow.log_metrics(
                    {f"{task}/{key}": value for key, value in values.items()}, step=epoch
                )

            yield log
    except mlflow.exceptions.MlflowException as fault:
        raise ConfigError(
            f"the tracking server at {os.environ[SERVER]!r} refuses: {fault}; unset {SERVER} to log to a file"
        ) from None
