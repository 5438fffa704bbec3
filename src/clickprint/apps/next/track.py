"""Next purchase in MLflow: runs, and models in the registry. OUT/mlflow.db (SQLite), or the server of MLFLOW_TRACKING_URI."""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clickprint.apps.next.model import schema
from clickprint.core.errors import ConfigError
from clickprint.work.track import SERVER

if TYPE_CHECKING:
    import pandas

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
EXPERIMENT = "next-purchase"
LONGEST = 500  # of a parameter's text: the least that MLflow's stores take


@dataclass(frozen=True, slots=True)
class Registered:
    """A model of the registry, its files on this machine."""

    folder: Path
    version: str


@dataclass(frozen=True, slots=True)
class Tracker:
    """One store. `mlflow` is the module."""

    mlflow: Any
    artifacts: str  # where an experiment's files go; empty where the server knows

    @property
    def client(self) -> Any:
        return self.mlflow.MlflowClient()

    def registered(self, name: str, alias: str, into: Path) -> Registered | None:
        """The files of the model that has the alias; None where there is none."""
        from mlflow.models import Model

        try:
            version = self.client.get_model_version_by_alias(name, alias)
        except self.mlflow.exceptions.MlflowException as fault:
            if fault.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        found = Path(
            self.mlflow.artifacts.download_artifacts(
                f"models:/{name}/{version.version}", dst_path=str(into)
            )
        )
        return Registered(
            found / Model.load(str(found)).flavors["python_function"]["data"], str(version.version)
        )

    @contextmanager
    def run(self, name: str, run_id: str = "") -> Iterator[str]:
        """A run of the experiment, a new one or the one that is named; its id."""
        if self.client.get_experiment_by_name(EXPERIMENT) is None:
            self.client.create_experiment(EXPERIMENT, artifact_location=self.artifacts or None)
        self.mlflow.set_experiment(EXPERIMENT)
        with self.mlflow.start_run(
            run_id=run_id or None, run_name=None if run_id else name
        ) as run:
            yield str(run.info.run_id)

    def log(
        self,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Sequence[Path],
    ) -> None:
        """Into the run that is open."""
        flat = flattened(params)
        for start in range(0, len(flat), 100):  # what a server takes at once
            self.mlflow.log_params(dict(list(flat.items())[start : start + 100]))
        self.mlflow.log_metrics({k: float(v) for k, v in metrics.items()})
        self.mlflow.set_tags(dict(tags))
        self.files(files)

    def files(self, files: Sequence[Path]) -> None:
        for file in files:
            (self.mlflow.log_artifacts if file.is_dir() else self.mlflow.log_artifact)(
                str(file), *([file.name] if file.is_dir() else [])
            )

    def register(
        self, name: str, folder: Path, sample: "pandas.DataFrame", tags: Mapping[str, str]
    ) -> str:
        """A new version of the model, from `folder`, which next_model loads; its number. `sample` tells the columns of what it is asked."""
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        asked, answered = schema(sample)
        columns = [Schema([ColSpec(t, n) for n, t in part.items()]) for part in (asked, answered)]
        signature = ModelSignature(inputs=columns[0], outputs=columns[1])
        info = self.mlflow.pyfunc.log_model(
            name="model",
            loader_module="clickprint.apps.next.model",
            data_path=str(folder),
            signature=signature,
            pip_requirements=["clickprint[recommend,track]"],
        )
        if not self.client.search_registered_models(filter_string=f"name = '{name}'"):
            self.client.create_registered_model(name)
        return str(
            self.client.create_model_version(
                name, info.model_uri, info.run_id, tags=dict(tags)
            ).version
        )

    def promote(self, name: str, alias: str, version: str) -> None:
        self.client.set_registered_model_alias(name, alias, version)


@contextmanager
def tracker(out: Path) -> Iterator[Tracker]:
    """The store of this folder, or the server. Raises ConfigError where mlflow is not installed, or refuses."""
    try:
        import mlflow
        import mlflow.pyfunc
    except ImportError:
        raise ConfigError(
            "tracking needs MLflow; install it (pip install 'clickprint[track]'), or say [track] on = false in the parameters"
        ) from None
    before = {
        name: os.environ.get(name) for name in (SERVER, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR")
    }
    uri = before[SERVER] or f"sqlite:///{(out / DATABASE).resolve()}"
    artifacts = "" if before[SERVER] else (out / ARTIFACTS).resolve().as_uri()
    out.mkdir(parents=True, exist_ok=True)
    loud = [logging.getLogger(n) for n in ("mlflow", "alembic")]
    levels = [each.level for each in loud]
    try:
        mlflow.set_tracking_uri(uri)
        os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
        for each in loud:
            each.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # hints to give an example of what is asked: the signature says it
            yield Tracker(mlflow, artifacts)
    except mlflow.exceptions.MlflowException as fault:
        raise ConfigError(
            f"the tracking store at {uri!r} refuses: {fault}; [track] on = false goes on without it"
        ) from None
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
        for each, level in zip(loud, levels, strict=True):
            each.setLevel(level)
        for name, value in before.items():  # MLflow writes its variable itself
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def flattened(params: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Tables inside tables as `ranker.leaves`."""
    found: dict[str, str] = {}
    for key, value in params.items():
        here = f"{above}{key}"
        found |= (
            flattened(value, f"{here}.")
            if isinstance(value, Mapping)
            else {here: str(value)[:LONGEST]}
        )
    return found
