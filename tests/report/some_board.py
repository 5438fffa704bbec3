"""Boards with scores that are the same every time, and names that want to be markup."""

import numpy as np

from clickprint.tasks.board import Board, Without
from clickprint.tasks.task import TaskScore

HOSTILE = """<script>alert(1)</script>$x^{$ & "q" 'p' \x07 ](javascript:1)"""
TASKS = {"churn": (1, 0), "propensity_category": (100, 3), "propensity_new_sku": (20, 12)}


def row(
    name: str, base: float, *, probe="quick", tasks=TASKS, hidden: int = 0, resamples: int = 40
) -> list[TaskScore]:
    """Scores around `base`, the same every time."""
    rng = np.random.default_rng([resamples, *name.encode()])
    found = []
    for i, (task, (labels, dead)) in enumerate(
        [*tasks.items(), *((f"hidden_{j}", (1, 0)) for j in range(hidden))]
    ):
        score = base + 0.02 * rng.standard_normal()
        around = score + 0.01 * rng.standard_normal(resamples)
        epochs = tuple(
            {"auroc": score - 0.02 * (2 - e), "score": score - 0.02 * (2 - e), "loss": 0.1}
            for e in range(3)
        )
        found.append(
            TaskScore(
                task=task,
                probe=probe,
                question=f"q{i}",
                users=1234,
                labels=labels,
                degenerate=dead,
                score=score,
                live=score + 0.05,
                metrics={"auroc": score},
                live_metrics={"auroc": score + 0.05},
                epochs=epochs if probe == "official" else (),
                best_epoch=2 if probe == "official" else -1,
                hidden=task.startswith("hidden_"),
                about=f"who does {task}",
                replicates=around,
                live_replicates=around + 0.05,
            )
        )
    return found


def board(**options) -> Board:
    names = {"counts": 0.6, "joined": 0.7, "random": 0.5}
    ablation = {
        Without("joined", "decay"): row("x", 0.65, **{**options, "hidden": 0}),
        Without("joined", "counts"): row("y", 0.6, **{**options, "hidden": 0}),
    }
    return Board.of({n: row(n, b, **options) for n, b in names.items()}, ablation=ablation)
