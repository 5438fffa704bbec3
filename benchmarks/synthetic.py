"""How fast the synthetic shop makes events, alone and written to disk, and in how much memory.

    python benchmarks/synthetic.py [--full]

Each number is a process of its own; its peak memory includes Python and the libraries (the row of
no events). Making events is one thread, so on a quiet machine its seconds are its CPU seconds.
Ends with 1 where a shop of a million events or more is made at less than a million a CPU second.
--full adds 150 million events (minutes; 3 GB of disk for a while).
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from clickprint.data.synthetic import Latent, Shop, batches, read, shop_of

SHOPS = {
    "the default": Shop(),
    "100,000 users, 30 days": shop_of(
        users=100_000, items=20_000, categories=600, days=30, events=3_000_000
    ),
    "100,000 users, 300 days": shop_of(
        users=100_000, items=20_000, categories=600, days=300, events=30_000_000
    ),
    "1,000,000 users, 90 days": shop_of(
        users=1_000_000, items=100_000, categories=2_000, days=90, events=20_000_000
    ),
}
LARGE = {
    "10,000,000 users, 180 days": shop_of(
        users=10_000_000, items=1_000_000, categories=6_000, days=180, events=150_000_000
    )
}
LEAST = 1_000_000  # events a second


def one(shop: Shop, way: str) -> int:
    """Makes a shop; the number of its events."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        if way == "stored":
            return read(Path(folder) / "shop", shop).manifest.events
    return sum(b.num_rows for b in batches(Latent.of(shop))) if way == "made" else 0


def measure(name: str, way: str) -> tuple[int, float, float, float]:
    """Events, seconds, CPU seconds and peak memory in MB, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", name, way], capture_output=True, text=True, check=True
    )
    events, seconds, cpu, memory = done.stdout.split()
    return int(events), float(seconds), float(cpu), float(memory)


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--full", action="store_true")
    options.add_argument("--one", nargs=2, metavar=("SHOP", "WAY"), help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.one:
        start, cpu = perf_counter(), process_time()
        events = one((SHOPS | LARGE)[chosen.one[0]], chosen.one[1])
        print(
            events,
            perf_counter() - start,
            process_time() - cpu,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        )
        return 0
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy "
        f"{np.__version__}\n"
    )
    print(
        "| shop | events | made: s | CPU s | events a CPU second | peak MB | and stored: s | CPU "
        "s | peak MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    print(f"| none | 0 | | | | {measure('the default', 'nothing')[3]:.0f} | | | |", flush=True)
    slow = []
    for name in SHOPS | (LARGE if chosen.full else {}):
        events, seconds, cpu, memory = measure(name, "made")
        print(
            f"| {name} | {events:,} | {seconds:.1f} | {cpu:.1f} | {events / cpu:,.0f} | "
            f"{memory:.0f} |",
            end="",
            flush=True,
        )
        _, seconds, stored, memory = measure(name, "stored")
        print(f" {seconds:.1f} | {stored:.1f} | {memory:.0f} |", flush=True)
        slow += [name] if events >= LEAST and events / cpu < LEAST else []
    for name in slow:
        print(f"{name}: below {LEAST:,} events a CPU second", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
