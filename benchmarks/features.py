"""Split and aggregated features of a large synthetic log: seconds and peak memory of a fresh process.

    python benchmarks/features.py                     # 20 million events, about two minutes
    python benchmarks/features.py --events 1000000    # a quick look

Beside ours, in the same run: the same SQL with its answers thrown away (what the engine alone takes), and the organisers' way, one user
after the other, on a sample of users (its seconds for all users are that, scaled up).
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from clickprint.core.dataset import Dataset
from clickprint.core.time import DAY
from clickprint.data import features, synthetic
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.log import EventLog
from clickprint.data.split import split
from clickprint.encoders.counts import Counts, FittedCounts


def ours(folder: Path, engine: Engine) -> dict:
    past = split(EventLog.open(Dataset.open(folder), engine)).past
    profiles = Counts().fit(past).encode(past)
    with tempfile.TemporaryDirectory() as out:
        profiles.save(Path(out))
    return {"users": len(profiles.users), "columns": profiles.vectors.shape[1]}


def bare(folder: Path, engine: Engine) -> dict:
    """The texts that `ours` runs."""
    past = split(EventLog.open(Dataset.open(folder), engine)).past
    log = past.log

    def run(sql: str) -> None:
        for _ in engine.batches(sql):
            pass

    run(features.lasts_sql(log))
    fitted = Counts().fit(past)
    with features.tables(log, past.users, fitted.price_edges) as tables, features.query_codes(log) as codes:
        run(features.totals_sql(tables))
        run(features.code_sums_sql(tables, codes))
        lasts = features.lasts(log)
        since = min(lasts.values()) - 30 * DAY
        ends = ", ".join(f"last - {d * DAY} AS e{i}" for i, d in enumerate(fitted.days))
        edges = engine.keep(f"SELECT CAST(kind AS SMALLINT) AS kind, {ends} FROM ({features.lasts_sql(log)}) AS l")
        for column in features.value_columns(log):
            values = {v for b in fitted.blocks for c, vs in b.tops if c == column for v in vs}
            if values:
                run(features.windows_sql(tables, column, sorted(values), edges, len(fitted.days), since))
    return {"users": len(past.users), "columns": 0}


def organisers(folder: Path, engine: Engine, sample: int) -> dict:
    """For each user of a sample and each kind: filter the user's events by window, count the values. Reading is not counted."""
    past = split(EventLog.open(Dataset.open(folder), engine)).past
    fitted: FittedCounts = Counts().fit(past)
    users = past.users[:: max(len(past.users) // sample, 1)][:sample]
    chosen = engine.keep(f'SELECT * FROM {past.log.events} WHERE "user" IN ({", ".join(map(str, users.tolist()))})')
    log = EventLog(engine, past.log.manifest, chosen, past.log.items, past.log.texts, past.log.end)
    columns = [c for c in ("item", "url", "category", "price_bucket") if c in ("item", "url") or c in log.manifest.attributes]
    rows = {c: v.tolist() for c, v in log.rows(["user", "time", "kind", *columns]).items()}
    last = features.lasts(past.log)
    codes = {k.name: code for code, k in enumerate(log.manifest.kinds)}
    start = time.perf_counter()
    events: dict[tuple[int, int], list[int]] = {}
    for i, key in enumerate(zip(rows["user"], rows["kind"], strict=True)):
        events.setdefault(key, []).append(i)
    vectors = np.zeros((len(users), len(fitted.names)), np.float16)
    for row, user in enumerate(users.tolist()):
        at = 0
        for block in fitted.blocks:
            mine = events.get((user, codes[block.kind]), [])
            if not block.codes:
                vectors[row, at] = len(mine)
                at += 1
                for d in fitted.days:
                    late = [i for i in mine if rows["time"][i] >= last[codes[block.kind]] - d * DAY]
                    for column, values in block.tops:
                        counted = Counter(rows["price_bucket" if column == "price" else column][i] for i in late)
                        vectors[row, at : at + len(values)] = [counted[v] for v in values]
                        at += len(values)
            else:
                at += features.CODES
    return {"users": len(users), "seconds": time.perf_counter() - start, "scale": len(past.users) / len(users)}


def measure(what: str, folder: Path, memory: str, sample: int) -> None:
    start = time.perf_counter()
    with DuckDB(memory=memory) as engine:
        found = organisers(folder, engine, sample) if what == "organisers" else {"ours": ours, "bare": bare}[what](folder, engine)
    seconds = {"seconds": time.perf_counter() - start, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    print(json.dumps({**seconds, **found}))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--events", type=int, default=20_000_000)
    options.add_argument("--users", type=int, default=0, help="one for 150 events, when it is 0")
    options.add_argument("--sample", type=int, default=1_000, help="users for the organisers' way")
    options.add_argument("--memory", default="1500MB", help="what the engine may hold")
    options.add_argument("--log", type=Path, help="where the log is kept, and found again")
    options.add_argument("--measure", choices=["ours", "bare", "organisers"], help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.measure:
        return measure(given.measure, given.log, given.memory, given.sample)
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.log or Path(scratch) / "log"
        if not (folder / "manifest.json").exists():
            users = given.users or max(given.events // 150, 100)
            synthetic.read(folder, users=users, items=50_000, categories=1_000, days=120, events=given.events)
        manifest = Dataset.open(folder).manifest
        size = sum(f.stat().st_size for f in folder.rglob("*.parquet")) / 2**20
        print(f"{manifest.events:,} events of {manifest.users:,} users, {size:.0f} MiB\n")
        print("| what | seconds | peak memory, GiB |\n|---|---|---|")
        for what, text in (
            ("ours", "split + aggregated features ({columns} columns, {users:,} users)"),
            ("bare", "the same SQL, answers thrown away"),
            ("organisers", "one user after the other, {users:,} users"),
        ):
            command = [
                sys.executable,
                __file__,
                "--measure",
                what,
                "--log",
                str(folder),
                "--memory",
                given.memory,
                "--sample",
                str(given.sample),
            ]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            scaled = f" (all: {found['seconds'] * found['scale']:.0f})" if "scale" in found else ""
            print(f"| {text.format(**found)} | {found['seconds']:.1f}{scaled} | {found['peak']:.2f} |")


if __name__ == "__main__":
    main()
