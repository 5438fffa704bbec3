"""Intervals at scale: shared resamples beside computing the exact metric for each of them.

200 resamples of a score of 100 labels for 1,000,000 users.

    python benchmarks/bootstrap.py [--users 1000000] [--labels 100] [--resamples 200]

The naive way is measured on a tenth of the users, one label in ten and one resample in twenty, and
multiplied. Ends with 1 above 3 GB.
"""

import argparse
import platform
import resource
import sys
from time import perf_counter

import numpy as np

from clickprint.metrics.compare import resample_weights
from clickprint.metrics.task_metrics import Diversity, MacroAUROC, Novelty

MOST_GB = 3.0


def world(users: int, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Rare labels (1 % to .1 % of the users), and probabilities that know something of them."""
    generator = np.random.default_rng(0)
    truth, score = np.empty((users, labels), bool), np.empty((users, labels), np.float32)
    for t in range(labels):
        truth[:, t] = generator.random(users, np.float32) < 10 ** -(2 + t / labels)
        score[:, t] = 1 / (
            1 + np.exp(5 - generator.standard_normal(users, np.float32) - truth[:, t])
        )
    return truth, score


def naive(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Every resample as a list of users, and the exact mark of it."""
    rows = [np.repeat(np.arange(len(truth)), w.astype(np.int64)) for w in weights]
    return np.array([MacroAUROC()(truth[r], score[r], live=True) for r in rows])


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--users", type=int, default=1_000_000)
    options.add_argument("--labels", type=int, default=100)
    options.add_argument("--resamples", type=int, default=200)
    chosen = options.parse_args()
    truth, score = world(chosen.users, chosen.labels)
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    print(
        f"\n| {chosen.users:,} users, {chosen.labels} labels, {chosen.resamples} resamples | s "
        "|\n|---|---|"
    )

    seconds = []
    start = perf_counter()

    def row(what: str) -> None:
        nonlocal start
        seconds.append(perf_counter() - start)
        print(f"| {what} | {seconds[-1]:.1f} |", flush=True)
        start = perf_counter()

    weights = resample_weights(np.arange(chosen.users), chosen.resamples, 0)
    row("weights, once a run")
    one = MacroAUROC()(truth, score, live=True)
    row("AUROC, one number, exact")
    many = MacroAUROC().resample(truth, score, weights, live=True)
    row("AUROC, all resamples")
    Novelty(tuple(np.arange(float(chosen.labels)))).resample(truth, score, weights)
    Diversity().resample(truth, score, weights)
    row("novelty and diversity, all resamples")
    few, some = slice(0, max(chosen.users // 10, 1)), slice(0, None, 10)
    part = truth[few, some], score[few, some], weights[::20, few]
    start = perf_counter()
    exact = naive(*part)
    elapsed = perf_counter() - start
    times = truth.size * len(weights) / (part[0].size * len(part[2]))
    print(
        f"| AUROC, all resamples, the naive way ({elapsed:.2f} s on a sample × {times:.0f}) | "
        f"{elapsed * times:.0f} |"
    )
    fast = MacroAUROC().resample(*part, live=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    gap, spread = abs(fast - exact).max(), exact.std()
    print(
        f"\nAUROC {one:.4f}, resamples {many.mean():.4f} ± {many.std():.5f}. On the sample a "
        f"resample's two values differ by {gap:.1e}"
    )
    print(
        f"at most, where the resamples' deviation is {spread:.1e}. Peak memory {peak:.2f} GB, "
        f"inputs included (at most {MOST_GB:.0f})."
    )
    return int(peak > MOST_GB)


if __name__ == "__main__":
    sys.exit(main())
