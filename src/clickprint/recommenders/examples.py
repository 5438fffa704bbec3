"""What one window teaches, in files: candidates with features, users, and what was bought."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clickprint.core.forms import reading
from clickprint.core.parquet import need_columns, read_table
from clickprint.core.ragged import Ragged, starts_of
from clickprint.recommenders.funnel import Example
from clickprint.recommenders.pairs import Bought, Pairs

COLUMN = "column "  # in front of a column's name, so that none is called `user`


def save_example(found: Example, folder: Path) -> None:
    """Three Parquet files: pairs, users, bought."""
    pairs, columns, truth = found
    pairs.save(folder / "pairs.parquet")
    users = {"user": pairs.users, **{f"{COLUMN}{n}": c for n, c in columns.items()}}
    pq.write_table(pa.table(users), folder / "users.parquet")
    buyers = np.repeat(truth.users, truth.items.lengths)
    pq.write_table(
        pa.table({"user": buyers, "item": truth.items.values}), folder / "bought.parquet"
    )


def load_example(folder: Path) -> Example:
    """What `save_example` wrote. Raises DataError."""
    again = "remove it and make the features again"
    paths = [folder / f"{name}.parquet" for name in ("users", "bought")]
    users, truth = (read_table(path, again=again) for path in paths)
    need_columns(truth, paths[1], "user", "item", again=again)
    with reading(folder, again):
        names = [n for n in users.column_names if n.startswith(COLUMN)]
        columns = {n.removeprefix(COLUMN): users.column(n).to_numpy() for n in names}
        buyers, counts = np.unique(truth.column("user").to_numpy(), return_counts=True)
        items = truth.column("item").to_numpy()
    bought = Bought(buyers, Ragged(starts_of(counts), items))
    return Pairs.load(folder / "pairs.parquet"), columns, bought
