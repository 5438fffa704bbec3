"""Preparing a log of 2, 20 and 150 million events: seconds and memory, beside DuckDB and pandas.

That is: reading, the split, aggregated features, targets, histories.

    python benchmarks/size.py                    # a quarter of an hour on two cores, 25 GB of disk
    python benchmarks/size.py --sizes 2 20       # a quick look
    python benchmarks/size.py --log LOGS         # the logs are kept there, and found again

Every cell is measured, in a process of its own, with the files in the system's cache; nothing is
extrapolated. The log is synthetic (150 events a user, so a million users at the largest), written
in the form of the RecSys Challenge's raw files, which all ways read.

- clickprint: the functions that `clickprint read`, `clickprint challenge split` and `clickprint
  prepare` call.
- DuckDB: every SQL text that clickprint sent in the run beside it, once more, on the same
  relations with the same settings, and the answers thrown away; so the ratio is what clickprint
  adds to the engine (writing files, arrays, digests, checks in Python).
- pandas: as the organisers do it: whole files in memory, a filter for each event type and window,
  value_counts, a loop over users. Up to --pandas million events; what it cannot bear is left out.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import process_time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clickprint.apps.prepare import features, histories, split, targets
from clickprint.apps.prepare.job import Job, Options
from clickprint.core.dataset import Dataset
from clickprint.core.progress import silent
from clickprint.data.adapters import challenge
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.histories import default_fields
from clickprint.data.log import EventLog
from clickprint.data.synthetic import shop_of, write_challenge
from clickprint.work.facts import measured

MILLION = 1_000_000
SHARE = 0.598  # of the synthetic shop's events, how many the challenge's files hold
STEPS = {
    "read": "read: raw files → canonical log",
    "challenge split": "split into the organisers' files",
    "split": "split: windows, users",
    "features": "aggregated features",
    "targets": "targets and labels",
    "histories": "histories",
}


# -- the log --
def make_log(folder: Path, events: int) -> None:
    """The raw files of about so many events, unless they are there."""
    users = max(events // 150, 100)
    if not (folder / "raw").is_dir():
        shop = shop_of(
            users=users,
            items=100_000 if events > 10 * MILLION else 50_000,
            categories=1_000,
            days=120,
            events=round(events / SHARE),
        )
        write_challenge(folder / "raw", shop)


def raw_events(folder: Path) -> int:
    return sum(
        pq.read_metadata(folder / "raw" / f"{file}.parquet").num_rows for file in challenge.FILES
    )


# -- clickprint --
def ours(step: str, folder: Path, engine: Engine) -> None:
    if step == "read":
        challenge.read(folder / "raw", folder / "log", engine=engine)
    elif step == "challenge split":
        challenge.split(folder / "raw", engine)
    else:
        data = Dataset.open(folder / "log")
        log = EventLog.open(data, engine)
        options = Options(fields=tuple(default_fields(log)))
        job = Job(options, log, data.population, folder / "split", silent)
        write = {"split": split, "features": features, "targets": targets}.get(step, histories)
        write.write(job, fresh(folder / step))


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


class Recorded(DuckDB):
    """An engine that remembers what it was told."""

    def __init__(self, memory: str, threads: int) -> None:
        self.said: list[tuple[str, str | pa.Table]] = []
        super().__init__(memory=memory, threads=threads)

    def keep(self, sql: str | pa.Table) -> str:
        if not isinstance(sql, str):
            self.said.append(("arriving", sql))
        return super().keep(sql)

    def table(self, sql: str) -> pa.Table:
        self.said.append(("drain", sql))
        return super().table(sql)

    def batches(self, sql: str, rows: int = 262_144) -> Iterator[pa.RecordBatch]:
        self.said.append(("drain", sql))
        return super().batches(sql, rows)

    def _rows(self, sql: str) -> list[tuple]:
        self.said.append(("run", sql))
        return super()._rows(sql)

    def _run(self, sql: str) -> object:
        self.said.append(("run", sql))
        return super()._run(sql)

    def save(self, folder: Path) -> None:
        texts = []
        for i, (how, what) in enumerate(self.said):
            if not isinstance(what, str):
                pq.write_table(what, folder / f"{i}.parquet")
                what = str(folder / f"{i}.parquet")
            texts.append([how, what])
        (folder / "said.json").write_text(json.dumps(texts))


def replay(folder: Path, engine: DuckDB) -> None:
    """Says it all again; nobody listens."""
    connection = engine._connection
    for how, what in json.loads((folder / "said.json").read_text()):
        if how == "arriving":
            connection.register("arriving", pq.read_table(what))
        elif how == "run":
            connection.execute(what).fetchall()
        else:
            # What was read back while the folder was not yet in its place.
            for _ in engine.batches(what.replace("/.log.clickprint-part/", "/log/")):
                pass


# -- pandas --
def pandas_way(step: str, folder: Path) -> None:
    import pandas as pd

    raw = folder / "raw"
    if step == "challenge split":
        return split_by_pandas(pd, raw, folder)
    told = json.loads((folder / "split" / "split.json").read_text())
    cutoff = pd.Timestamp(told["cutoff"], unit="us")
    properties = pd.read_parquet(raw / "product_properties.parquet")
    frames = {}
    for file in challenge.FILES:
        frame = pd.read_parquet(raw / "input" / f"{file}.parquet")
        frames[file] = frame.merge(properties, on="sku", how="left") if "sku" in frame else frame
        assert frame["timestamp"].max() < cutoff
    if step == "features":
        features_by_pandas(pd, frames)
    elif step == "targets":
        bought = pd.read_parquet(raw / "target" / "train_target.parquet")
        best = frames["product_buy"]["sku"].value_counts().index[:100]
        found = [
            bought[c].value_counts(normalize=True).iloc[:100] for c in ("category", "sku", "price")
        ]
        found.append(
            bought[~bought["sku"].isin(best)]["sku"].value_counts(normalize=True).iloc[:100]
        )
    elif step == "histories":
        for code, (file, (_, about)) in enumerate(challenge.FILES.items()):
            frames[file] = (
                frames[file]
                .rename(columns={about: "item"} if about == "sku" else {})
                .assign(kind=code)
            )
        every = pd.concat(frames.values()).sort_values(["client_id", "timestamp", "kind", "item"])
        columns = ["timestamp", "kind", "item", "url", "query", "category", "price"]
        made = {
            user: {c: events[c].to_numpy() for c in columns}
            for user, events in every.groupby("client_id")
        }
        assert len(made)


def split_by_pandas(pd, raw: Path, folder: Path) -> None:
    out = fresh(folder / "pandas")
    frames = {}
    for file in challenge.FILES:
        frames[file] = pd.read_parquet(raw / f"{file}.parquet")
        frames[file]["timestamp"] = pd.to_datetime(frames[file]["timestamp"])
    end = frames["product_buy"]["timestamp"].max()
    train = end.normalize() - pd.Timedelta(days=27)
    valid = train + pd.Timedelta(days=14)
    for file, frame in frames.items():
        frame[frame["timestamp"] < train].to_parquet(out / f"{file}.parquet")
    properties = pd.read_parquet(raw / "product_properties.parquet")
    buys = frames["product_buy"]
    for label, start, stop in (
        ("train", train, valid),
        ("validation", valid, end + pd.Timedelta(seconds=1)),
    ):
        some = buys[(buys["timestamp"] >= start) & (buys["timestamp"] < stop)]
        some.merge(properties, on="sku", how="inner").to_parquet(out / f"{label}_target.parquet")


def features_by_pandas(pd, frames: dict) -> None:
    columns = {
        "page_visit": ["url"],
        **{
            f: ["sku", "category", "price"]
            for f in ("product_buy", "add_to_cart", "remove_from_cart")
        },
    }
    users = np.unique(np.concatenate([f["client_id"].unique() for f in frames.values()]))
    place = {user: i for i, user in enumerate(users.tolist())}
    blocks = []
    for file, counted in columns.items():
        frame = frames[file]
        tops = {c: frame[c].value_counts().index[:10] for c in counted}
        starts = [frame["timestamp"].max() - pd.Timedelta(days=d) for d in (1, 7, 30)]
        vectors = np.zeros((len(users), 1 + 3 * sum(map(len, tops.values()))), np.float16)
        for user, events in frame.groupby("client_id"):
            row, at = vectors[place[user]], 1
            row[0] = len(events)
            for start in starts:
                late = events[events["timestamp"] >= start]
                for c, top in tops.items():
                    row[at : at + len(top)] = (
                        late[c].value_counts().reindex(top, fill_value=0).to_numpy()
                    )
                    at += len(top)
        blocks.append(vectors)
    queries = frames["search_query"]
    codes = np.array([[int(n) for n in text.strip("[]").split()] for text in queries["query"]])
    means = pd.DataFrame(codes).groupby(queries["client_id"].to_numpy()).mean()
    last = np.zeros((len(users), 16), np.float16)
    last[[place[u] for u in means.index.tolist()]] = means.to_numpy()
    assert np.hstack([*blocks, last]).shape[0] == len(users)


# -- cells --
def cell(step: str, way: str, folder: Path, memory: str, threads: int) -> None:
    """Measures one cell in this process and prints it as JSON."""
    cost: dict[str, float] = {}
    trace = folder / f"said {step}"
    if way == "pandas":
        with measured(cost):
            pandas_way(step, folder)
    elif way == "bare":
        with measured(cost), DuckDB(memory=memory, threads=threads) as engine:
            replay(trace, engine)
    else:
        with Recorded(memory, threads) as recorded:
            with measured(cost):
                ours(step, folder, recorded)
            recorded.save(fresh(trace))
    print(json.dumps({**cost, "cpu": process_time()}))


def run_cell(
    step: str, way: str, folder: Path, memory: str, threads: int
) -> dict[str, float] | None:
    """A cell of its own process; None where pandas runs out of memory."""
    command = [sys.executable, __file__, "--cell", step, way, str(folder), memory, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        if way == "pandas":
            return None
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--sizes", type=float, nargs="+", default=[2, 20, 150], help="million events"
    )
    options.add_argument(
        "--steps",
        nargs="+",
        choices=list(STEPS),
        default=list(STEPS),
        help="a step needs those before it (see --log)",
    )
    options.add_argument("--pandas", type=float, default=2, help="up to so many million events")
    options.add_argument("--memory", default="5GB", help="what the engine may hold")
    options.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options.add_argument("--log", type=Path, help="where the logs are kept, and found again")
    options.add_argument("--cell", nargs=5, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.cell:
        step, way, folder, memory, threads = given.cell
        return cell(step, way, Path(folder), memory, int(threads))
    print(
        f"{platform.machine()}, {given.threads} cores, Python {platform.python_version()}, engine "
        f"memory {given.memory}\n"
    )
    print(
        "| what | events | clickprint: s (CPU s) | GiB | s a million | DuckDB bare: s (CPU s) | "
        "GiB | ratio | pandas: s (CPU s) | GiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
        for size in given.sizes:
            folder = (given.log or Path(scratch)) / f"{size:g}M"
            folder.mkdir(parents=True, exist_ok=True)
            make_log(folder, round(size * MILLION))
            events = raw_events(folder)
            for step in given.steps:
                print(
                    row(step, events, folder, given.memory, given.threads, size <= given.pandas),
                    flush=True,
                )
            if not given.log:
                shutil.rmtree(folder)
    print(
        "\nEvery cell is measured, in a process of its own; CPU seconds are of all its threads, "
        "imports included."
    )
    print("pandas reads as it splits; its features are a loop over users.")


def warm(folder: Path) -> None:
    """Reads every file once, so that all ways find the log in the system's cache."""
    for file in folder.rglob("*.parquet"):
        with file.open("rb") as data:
            while data.read(1 << 24):
                pass


def row(step: str, events: int, folder: Path, memory: str, threads: int, pandas: bool) -> str:
    warm(folder)
    mine = run_cell(step, "ours", folder, memory, threads)
    bare = run_cell(step, "bare", folder, memory, threads)
    assert mine
    assert bare
    # What the engine alone has copied and nobody has renamed.
    for left in folder.rglob(".*.clickprint-part"):
        left.unlink()
    other = (
        run_cell(step, "pandas", folder, memory, threads)
        if pandas and step not in ("read", "split")
        else None
    )
    cells = [STEPS[step], f"{events:,}", *took(mine), f"{mine['seconds'] / events * MILLION:.2f}"]
    cells += [
        *took(bare),
        f"{mine['seconds'] / bare['seconds']:.2f}",
        *(took(other) if other else ["", ""]),
    ]
    return f"| {' | '.join(cells)} |"


def took(cost: dict[str, float]) -> list[str]:
    return [f"{cost['seconds']:.1f} ({cost['cpu']:.1f})", f"{cost['peak_mib'] / 1024:.2f}"]


if __name__ == "__main__":
    main()
