"""The stages of next purchase as one graph, from which `clickprint next` and dvc.yaml are made."""

from clickprint.work.stages import Graph, Stage, dvc_yaml

PARAMS, OUT = "recipes/next/params.toml", "runs/next"

STAGES = Graph(
    (
        Stage(
            name="read",
            run="clickprint.apps.next.read:read",
            about="Read the log that the parameters choose: OUT/data/.",
            keys=("log", "logs.${log}"),
            folder="data",
            cached=False,
        ),
        Stage(
            name="split",
            run="clickprint.apps.next.split:split",
            about="Choose the windows to train on, to validate on and to predict: OUT/split/.",
            reads=("read",),
            keys=("windows", "next.days"),
        ),
        Stage(
            name="candidates",
            run="clickprint.apps.next.candidates:candidates",
            about="Make the candidates of every window: OUT/candidates/.",
            reads=("read", "split"),
            keys=("retrievers", "next.list_length", "next.linked", "seed"),
            parts=True,
            cached=False,
        ),
        Stage(
            name="features",
            run="clickprint.apps.next.features:features",
            about="Make what the models train on: OUT/features/.",
            reads=("read", "candidates"),
            keys=("features", "profiles", "seed"),
            parts=True,
            cached=False,
        ),
        Stage(
            name="tune",
            run="clickprint.apps.next.tune:tune",
            about="Search the ranker's options, if [tune] asks for trials: OUT/tune/.",
            reads=("features",),
            keys=("tune", "ranker", "next.list_length", "seed"),
            parts=True,
            cached=False,
        ),
        Stage(
            name="train",
            run="clickprint.apps.next.train:train",
            about="Train the ranker and the purchase propensity: OUT/model/.",
            reads=("features", "tune"),
            keys=("ranker", "propensity", "next.list_length", "next.max_users", "seed"),
            folder="model",
        ),
        Stage(
            name="validate",
            run="clickprint.apps.next.validate:validate",
            about="Validate beside all baselines, track the run, gate the model: OUT/validate/.",
            reads=("read", "candidates", "train"),
            keys=("gate", "track", "evaluate.shares", "log"),
            metrics="metrics.json",
        ),
        Stage(
            name="predict",
            run="clickprint.apps.next.predict:predict",
            about="Predict the days after the log's end, with the submission: OUT/predict/.",
            reads=("read", "candidates", "train"),
            keys=("next.max_users", "next.list_length"),
        ),
        Stage(
            name="report",
            run="clickprint.apps.next.report:report",
            about="Draw the slides and the page: OUT/report/.",
            reads=("validate", "predict"),
            keys=("next", "windows", "tune"),
        ),
    )
)


def dag() -> str:
    """The text of dvc.yaml: the same stages for `dvc repro`."""
    return dvc_yaml(
        STAGES,
        "clickprint next {stage} --params {params} --out {out}",
        params=PARAMS,
        out=OUT,
        variables=("log",),
        head=(
            "Next purchase as one DAG, written by `clickprint next dag > dvc.yaml`. `dvc repro`",
            f"makes what is stale, in order. All options are in {PARAMS}.",
        ),
    )
