"""Reading is bounded: a log of more than ten times the engine's memory is read, ordered and stored
within it.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LIMIT_MB = 48  # the least that the engine's external sort bears with ten columns
ROWS, STEP = 7_050_000, 50_000
IDS = {
    "user": 300_000,
    "item": 50_000,
    "session": 2**60,
    "scenario": 2**60,
    "query": 2**60,
    "url": 2**60,
}

MAPPING = """
[events]
files = "log.parquet"
user = "user"
item = "item"
session = "session"
scenario = "scenario"
query = "query"
url = "url"
price = "price"
quantity = "quantity"
kind = "buy"
time = { column = "time", format = "microseconds" }
"""

# In a process of its own, so that its peak is the reader's alone.
READ = """
import json, resource, sys
from pathlib import Path
from clickprint.data.adapters.table import read
from clickprint.data.engine import DuckDB

folder, limit = Path(sys.argv[1]), sys.argv[2]
spilled = 0

def progress(stage, done, total):
    global spilled
    files = (f for f in (folder / "spill").rglob("*") if f.is_file())
    spilled = max(spilled, sum(f.stat().st_size for f in files))

with DuckDB(memory=limit, threads=1, spill=folder / "spill") as engine:
    engine.table("SELECT COUNT(*) FROM range(10)")
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (said,) = engine.one("SELECT current_setting('memory_limit')")
    manifest = read(folder / "map.toml", folder / "out", engine=engine, progress=progress).manifest
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base
counts = {"events": manifest.events, "rejected": manifest.rejected}
print(json.dumps({**counts, "said": said, "spilled": spilled, "peak": peak * 1024}))
"""


def test_a_log_ten_times_the_engines_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    schema = pa.schema(
        [
            ("time", pa.int64()),
            *((c, pa.int64()) for c in IDS),
            ("price", pa.float64()),
            ("quantity", pa.float64()),
        ]
    )
    with pq.ParquetWriter(
        tmp_path / "log.parquet", schema, compression="none", use_dictionary=False
    ) as writer:
        for _ in range(ROWS // STEP):
            columns = [
                rng.integers(10**15, 10**15 + 10**13, STEP),
                *(rng.integers(0, most, STEP) for most in IDS.values()),
                *rng.random((2, STEP)),
            ]
            writer.write_table(pa.table(columns, schema=schema))
    size = (tmp_path / "log.parquet").stat().st_size
    assert size > 10 * LIMIT_MB * 2**20
    (tmp_path / "map.toml").write_text(MAPPING)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path), f"{LIMIT_MB}MiB"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["events"] == ROWS
    assert found["rejected"] == {}
    assert found["said"] == f"{LIMIT_MB}.0 MiB"
    assert found["spilled"] > 5 * LIMIT_MB * 2**20, (
        "the limit was not in force: nothing had to be spilled"
    )
    # The engine's share, some row groups on their way, and what Arrow keeps for later: it does not
    # grow with the log.
    assert found["peak"] < 350 * 2**20 < size
    times = [
        pq.read_table(f, columns=["time"]).column("time").to_numpy()
        for f in sorted((tmp_path / "out" / "events").iterdir())
    ]
    assert (np.diff(np.concatenate(times)) >= 0).all()
    assert not list((tmp_path / "spill").iterdir())
