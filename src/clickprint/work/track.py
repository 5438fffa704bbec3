"""Where runs, models and epochs are logged: MLflow, and for epochs JSON lines without a server.

The server is that of MLFLOW_TRACKING_URI; without one, runs and models go to a database in the
product's folder. Only here is mlflow imported, when it is needed.
"""

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from clickprint.core.errors import ConfigError
from clickprint.core.files import note

SERVER, BARS = "MLFLOW_TRACKING_URI", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
LONGEST = 500  # characters of a parameter: the least that MLflow's stores take
AT_ONCE = 100  # parameters: what a server takes in one request


@runtime_checkable
class Log(Protocol):
    """Called with a task's name, the epoch (from 0) and the epoch's numbers."""

    def __call__(self, task: str, epoch: int, values: Mapping[str, float]) -> None: ...


@dataclass(frozen=True, slots=True)
class Registered:
    """A model of the registry, its files on this machine."""

    folder: Path
    version: str


@dataclass(frozen=True, slots=True)
class Store:
    """An experiment of a tracking store. `mlflow` is the module."""

    mlflow: Any
    experiment: str
    artifacts: str  # where an experiment's files go; empty where the server knows

    @property
    def client(self) -> Any:
        return self.mlflow.MlflowClient()

    @contextmanager
    def run(self, name: str = "", run_id: str = "") -> Iterator[str]:
        """A new run of the experiment, or the one with an id; its id."""
        if self.client.get_experiment_by_name(self.experiment) is None:
            self.client.create_experiment(
                self.experiment, artifact_location=self.artifacts or None
            )
        self.mlflow.set_experiment(self.experiment)
        new = None if run_id else name or None
        with self.mlflow.start_run(run_id=run_id or None, run_name=new) as run:
            yield str(run.info.run_id)

    def log(
        self,
        params: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        files: Sequence[Path] = (),
    ) -> None:
        """Writes to the run that is open."""
        flat = list(flattened(params).items())
        for start in range(0, len(flat), AT_ONCE):
            self.mlflow.log_params(dict(flat[start : start + AT_ONCE]))
        if metrics:
            self.mlflow.log_metrics({k: float(v) for k, v in metrics.items()})
        if tags:
            self.mlflow.set_tags(dict(tags))
        self.files(files)

    def epoch(self, task: str, epoch: int, values: Mapping[str, float]) -> None:
        """Writes the numbers of an epoch to the run that is open: a Log."""
        self.mlflow.log_metrics({f"{task}/{k}": v for k, v in values.items()}, step=epoch)

    def files(self, files: Sequence[Path]) -> None:
        """Adds files and folders to the run that is open."""
        for file in files:
            if file.is_dir():
                self.mlflow.log_artifacts(str(file), file.name)
            else:
                self.mlflow.log_artifact(str(file))

    def registered(self, name: str, alias: str, into: Path) -> Registered | None:
        """The files of the model that has an alias, in `into`; None where there is none."""
        from mlflow.models import Model

        try:
            version = self.client.get_model_version_by_alias(name, alias)
        except self.mlflow.exceptions.MlflowException as fault:
            if fault.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        uri = f"models:/{name}/{version.version}"
        found = Path(self.mlflow.artifacts.download_artifacts(uri, dst_path=str(into)))
        data = Model.load(str(found)).flavors["python_function"]["data"]
        return Registered(found / data, str(version.version))

    def register(
        self,
        name: str,
        folder: Path,
        *,
        loader: str,
        columns: tuple[Mapping[str, str], Mapping[str, str]],
        needs: Sequence[str],
        tags: Mapping[str, str],
    ) -> str:
        """A new version of a model, from a folder; its number.

        `loader`: the module whose `_load_pyfunc` reads the folder. `columns`: what the model is
        asked and what it answers, each a name → MLflow's type. `needs`: what pip installs for it.
        """
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        asked, answered = (Schema([ColSpec(t, n) for n, t in side.items()]) for side in columns)
        info = self.mlflow.pyfunc.log_model(
            name="model",
            loader_module=loader,
            data_path=str(folder),
            signature=ModelSignature(inputs=asked, outputs=answered),
            pip_requirements=list(needs),
        )
        if not self.client.search_registered_models(filter_string=f"name = '{name}'"):
            self.client.create_registered_model(name)
        made = self.client.create_model_version(name, info.model_uri, info.run_id, tags=dict(tags))
        return str(made.version)

    def promote(self, name: str, alias: str, version: str) -> None:
        """Gives a version of a model an alias, which another one may have had."""
        self.client.set_registered_model_alias(name, alias, version)


def installed(how: str) -> None:
    """Raises ConfigError where mlflow is not installed; `how` one goes on without it."""
    if sys.modules.get("mlflow") is None and find_spec("mlflow") is None:
        raise ConfigError(
            "tracking needs mlflow, which is not installed;"
            f" install it (pip install 'clickprint[track]'), or {how}"
        )


@contextmanager
def store(folder: Path, experiment: str, *, without: str = "") -> Iterator[Store]:
    """The tracking store of a product's folder, or the server that is configured.

    `without` says, in messages, how to go on without tracking. Raises ConfigError where mlflow is
    not installed or refuses.
    """
    installed(how := without or f"unset {SERVER} to log to a file")
    import mlflow
    import mlflow.pyfunc

    before = {name: os.environ.get(name) for name in (SERVER, BARS)}
    uri = before[SERVER] or f"sqlite:///{(folder / DATABASE).resolve()}"
    artifacts = "" if before[SERVER] else (folder / ARTIFACTS).resolve().as_uri()
    folder.mkdir(parents=True, exist_ok=True)
    if not before[SERVER]:
        note(folder / DATABASE)
        note(folder / ARTIFACTS, inside=True)
    loud = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [each.level for each in loud]
    try:
        mlflow.set_tracking_uri(uri)
        os.environ[BARS] = "false"
        for each in loud:
            each.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            # It hints to give an example of what a model is asked: the signature says it.
            warnings.simplefilter("ignore", UserWarning)
            yield Store(mlflow, experiment, artifacts)
    except mlflow.exceptions.MlflowException as fault:
        raise ConfigError(f"the tracking store at {uri!r} refuses: {fault}; {how}") from None
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
        for each, level in zip(loud, levels, strict=True):
            each.setLevel(level)
        for name, value in before.items():  # MLflow writes its variable itself
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def tracked(file: Path, name: str, facts: Mapping[str, str]) -> Iterator[Log]:
    """A log of epochs called `name`: on the server that is configured, else as lines in `file`.

    Raises ConfigError where a server is configured and mlflow is not installed: numbers that
    someone expects on a server are not quietly written elsewhere.
    """
    if not os.environ.get(SERVER):
        yield _Lines(file, name)
        return
    with store(file.parent, name) as found, found.run():
        found.log(facts)
        yield found.epoch


class _Lines:
    """Appends one JSON object an epoch to a file."""

    def __init__(self, file: Path, name: str) -> None:
        self._file, self._name = file, name

    def __call__(self, task: str, epoch: int, values: Mapping[str, float]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        told = {"name": self._name, "task": task, "epoch": epoch, **values}
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(told) + "\n")


def flattened(params: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Tables inside tables as `ranker.leaves`, each value a text."""
    found: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = str(value)[:LONGEST]
    return found
