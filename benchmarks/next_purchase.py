"""Next purchase at one cutoff by the number of events: seconds and peak memory of each step.

    python benchmarks/next_purchase.py                  # 1, 5 and 20 million events: minutes
    python benchmarks/next_purchase.py --sizes 0.2      # a quick look

A synthetic shop, 150 events a user. Two windows of three days are trained on; everybody known is
given candidates (of the default retrievers), a list and a purchase propensity. Each size runs in a
process of its own; the log is written before and not counted.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import clickprint
from clickprint.core.rng import RNG
from clickprint.data.split import past_of
from clickprint.recommenders import funnel
from clickprint.recommenders.ranker import LambdaMART
from clickprint.recommenders.windows import bought, rolling
from clickprint.work.facts import measured

MILLION = 1_000_000
STEPS = {
    "open": "open the log",
    "examples": "candidates and features of two windows' buyers",
    "train": "train",
    "ask": "candidates of everybody",
    "plan": "features, lists and propensities of everybody",
}


def cell(events: int, threads: int) -> dict[str, dict[str, float]]:
    """The steps at one size."""
    cost: dict[str, dict[str, float]] = {name: {} for name in STEPS}
    rng = RNG(0)
    with tempfile.TemporaryDirectory() as scratch:
        users = max(events // 150, 200)
        log = clickprint.read(
            "synthetic",
            users=users,
            items=max(users // 2, 200),
            categories=200,
            days=120,
            events=events,
            out=Path(scratch) / "log",
        )
        with measured(cost["open"]):
            first, end = log.span()
            windows = rolling(first, end, days=3, count=3)
        recipe = funnel.NextPurchase(train_windows=2, ranker=LambdaMART(threads=threads))
        examples = []
        with measured(cost["examples"]):
            for window in windows[:-1]:
                past, truth = past_of(log, window.start), bought(log, window)
                pairs = funnel.candidates(
                    past, recipe, rng=rng, users=truth.users[np.isin(truth.users, past.users)]
                )
                examples.append((*funnel.example(past, recipe, pairs), truth))
        with measured(cost["train"]):
            model = funnel.fit(recipe, examples, rng=rng)
        past = past_of(log, windows[-1].start)
        with measured(cost["ask"]):
            pairs = funnel.candidates(past, recipe, rng=rng)
        with measured(cost["plan"]):
            plan = model.plan(past, pairs)
        assert len(plan.lists.users) == len(past.users)
        cost["about"] = {
            "events": log.manifest.events,
            "users": len(past.users),
            "candidates": len(pairs),
        }
    return cost


def main() -> None:
    ask = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ask.add_argument(
        "--sizes", type=float, nargs="+", default=[1, 5, 20], help="millions of events"
    )
    ask.add_argument("--threads", type=int, default=2)
    ask.add_argument("--cell", type=int, help=argparse.SUPPRESS)
    given = ask.parse_args()
    if given.cell:
        print(json.dumps(cell(given.cell, given.threads)))
        return
    where = f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    found = []
    for size in given.sizes:
        words = [
            sys.executable,
            __file__,
            "--cell",
            str(round(size * MILLION)),
            "--threads",
            str(given.threads),
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    print(f"Seed 0, {given.threads} threads, {where}. Cells: seconds · peak memory, MiB.\n")
    heads = [", ".join(f"{count:,.0f} {n}" for n, count in f["about"].items()) for f in found]
    print(f"| step | {' | '.join(heads)} |")
    print("|---|" + "---|" * len(found))
    for name, text in STEPS.items():
        cells = [f"{f[name]['seconds']:,.1f} · {f[name]['peak_mib']:,.0f}" for f in found]
        print(f"| {text} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
