"""Writing a synthetic shop: the canonical form, or the challenge's directory."""

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clickprint.core.dataset import Dataset, Manifest
from clickprint.core.errors import ConfigError
from clickprint.core.files import new_folder, whole, write_array
from clickprint.core.lookup import positions
from clickprint.core.progress import Progress, silent
from clickprint.core.time import DAY, SECOND, show
from clickprint.data.engine import Engine, to_numpy
from clickprint.data.export import CHALLENGE as DIRECTORY
from clickprint.data.parquet import TableWriter
from clickprint.data.split import windows
from clickprint.data.store import GROUP_ROWS, store
from clickprint.data.synthetic.events import batches
from clickprint.data.synthetic.latent import ATTRIBUTES, Latent
from clickprint.data.synthetic.shop import (
    BUY,
    CART,
    COLUMNS,
    KINDS,
    MOST_RATE,
    REMOVE,
    SEARCH,
    VIEW,
    Shop,
)

HORIZON_DAYS, LABELS = 14, 100
CHALLENGE = {
    BUY: "sku",
    CART: "sku",
    REMOVE: "sku",
    VIEW: "url",
    SEARCH: "query",
}  # kinds of the challenge and their third column


def shop_of(
    *,
    users: int = 5_000,
    items: int = 800,
    categories: int = 120,
    days: int = 120,
    rate: float | None = None,
    events: int | None = None,
    start: str = "2022-06-20",
    seed: int = 0,
) -> Shop:
    """The shop with these dials.

    `events` (how many are expected in all) stands for a rate. Raises ConfigError.
    """
    dials: dict[str, Any] = {"users": users, "items": items, "categories": categories}
    dials |= {"days": days, "start": start, "seed": seed}
    if events is None:
        return Shop(**dials, rate=0.9 if rate is None else rate)
    if rate is not None:
        raise ConfigError(
            "events, rate: found both, expected one of them (events = users · days · rate)"
        )
    Shop(**dials)  # its faults come first
    most = users * days * MOST_RATE
    if isinstance(events, bool) or not 1 <= events <= most:
        raise ConfigError(
            f"events: found {events}, expected 1 to {MOST_RATE} a user and day ({most});"
            " raise users or days"
        )
    return Shop(**dials, rate=events / (users * days))


def read(
    out: Path,
    shop: Shop | None = None,
    *,
    engine: Engine | None = None,
    progress: Progress = silent,
    **dials: int | float | str | None,
) -> Dataset:
    """Writes the log of a shop to `out` in the canonical form, and opens it.

    The shop is `shop`, or what `shop_of` makes of the dials. Users without an event are in the
    shop, not in the log. Raises ConfigError for a dial that cannot be honoured.
    """
    if shop is not None and dials:
        raise ConfigError(
            f"shop: found a shop and dials of another ({', '.join(dials)}), expected one of"
            " the two"
        )
    shop = shop or shop_of(**dials)  # type: ignore[arg-type]
    latent = Latent.of(shop)
    items = latent.items
    return store(
        Path(out),
        Manifest(
            name="synthetic",
            kinds=KINDS,
            columns=COLUMNS,
            attributes=dict(ATTRIBUTES),
            query="codes",
            source={d: str(getattr(shop, d)) for d in Shop.__dataclass_fields__},
        ),
        batches(latent),
        items.table(),
        {"query": pa.table({"id": items.query, "text": pa.array(items.queries, pa.string())})},
        engine=engine,
        expected=round(shop.users * shop.days * shop.rate),
        progress=progress,
    )


def write_challenge(out: Path, shop: Shop, *, progress: Progress = silent) -> None:
    """Writes the same log as the challenge's directory, whole or not at all.

    Five event files, the properties, relevant clients and label files. Exposures, clicks,
    sessions, prices and quantities have no place there. Relevant clients are all with an event in
    these files, the active ones those with a purchase before the training window. Label values are
    the 100 most bought of the training-target window (ties: the smaller id first), popularity is
    their share there; new_sku leaves out the past's 100 most bought, and its shares are of what is
    left. Raises ConfigError where the log is too short for the two windows. Source:
    spec/challenge-protocol.md, "Directory".
    """
    out = Path(out)
    new_folder(out, DIRECTORY, overwrite=True)
    latent = Latent.of(shop)
    with whole(out, DIRECTORY) as folder:
        for name in ("input", "target"):
            (folder / name).mkdir(parents=True)
        tally = _Tally(latent)
        _event_files(folder, latent, tally, progress)
        table = latent.items.table()
        renamed = table.select(["item", *ATTRIBUTES]).rename_columns(
            ["sku", "category", "price", "name"]
        )
        pq.write_table(renamed, folder / "product_properties.parquet", compression="zstd")
        write_array(folder / "input/relevant_clients.npy", latent.users.id[tally.seen])
        for name, values in tally.labels().items():
            write_array(folder / f"target/{name}.npy", values)


class _Tally:
    """What the label files need, in memory that does not grow with the days.

    The last 28 days' sales by item, and the sum of those before.
    """

    def __init__(self, latent: Latent) -> None:
        self.latent = latent
        self.seen = np.zeros(latent.shop.users, bool)
        self.first_buy = np.full(latent.shop.users, np.iinfo(np.int32).max, np.int32)  # the day
        self.before = np.zeros(latent.shop.items, np.int64)
        # A day and its sales by item, in the catalogue's order.
        self.days: deque[tuple[int, np.ndarray]] = deque()
        self.end = 0  # time of the last purchase
        self.order = np.argsort(latent.items.id)
        self.ids = latent.items.id[self.order]

    def add(self, user: np.ndarray, kind: np.ndarray, item: np.ndarray, time: np.ndarray) -> None:
        """Events of one day, in the order of time."""
        rows = positions(self.latent.users.id, user)
        self.seen[rows[kind >= VIEW]] = True
        bought = np.flatnonzero(kind == BUY)
        if not len(bought):
            return
        self.end = int(time[-1]) if kind[-1] == BUY else int(time[bought[-1]])
        day = self.latent.shop.day(self.end)
        buyers = rows[bought]
        self.first_buy[buyers] = np.minimum(self.first_buy[buyers], day)
        sales = np.bincount(positions(self.ids, item[bought]), minlength=len(self.ids))
        if self.days and self.days[-1][0] == day:
            self.days[-1][1][:] += sales
        else:
            self.days.append((day, sales))
        while self.days[0][0] <= day - 2 * HORIZON_DAYS:
            self.before += self.days.popleft()[1]

    def labels(self) -> dict[str, np.ndarray]:
        """The files of target/ by name.

        Raises ConfigError where the training window sold nothing or starts before the log.
        """
        shop, items = self.latent.shop, self.latent.items
        train, valid = windows(self.end, HORIZON_DAYS)
        first, middle = shop.day(train.start), shop.day(valid.start)
        sold = np.zeros(len(self.ids), np.int64)
        for day, sales in self.days:
            if first <= day < middle:
                sold += sales
        if first < 1 or not sold.any():
            raise ConfigError(
                f"days, rate: found a log whose last purchase is on {show(self.end)}, expected"
                f" purchases in the {HORIZON_DAYS} days from {show(train.start)} on and at least a"
                " day before; make it longer or busier"
            )
        others = sold.copy()
        others[top(self.before, LABELS)] = 0
        found: dict[str, np.ndarray] = {
            "active_clients": self.latent.users.id[self.first_buy < first]
        }
        category = items.category_id[items.category[self.order]]
        for name, values, sales in (
            ("category", category, sold),
            ("sku", self.ids, sold),
            ("price", items.bucket[self.order], sold),
            ("new_sku", self.ids, others),
        ):
            different, which = np.unique(values, return_inverse=True)
            counts = np.bincount(which, weights=sales).astype(np.int64)
            best = top(counts, LABELS)
            found[f"propensity_{name}"] = different[best]
            found[f"popularity_propensity_{name}"] = counts[best] / max(1, counts.sum())
        return found


def top(counts: np.ndarray, k: int) -> np.ndarray:
    """The places of the k largest counts above zero, the first place first among equals."""
    best = np.argsort(-counts, kind="stable")[:k]
    return best[counts[best] > 0]


def _event_files(folder: Path, latent: Latent, tally: _Tally, progress: Progress) -> None:
    shop, items = latent.shop, latent.items
    by_id = np.argsort(items.query)
    texts, ids = pa.array(items.queries, pa.string()).take(pa.array(by_id)), items.query[by_id]
    done, expected = 0, round(shop.users * shop.days * shop.rate)
    waiting: dict[int, list[pa.Table]] = {code: [] for code in CHALLENGE}
    with ExitStack() as stack:
        files = {}
        for code, column in CHALLENGE.items():
            fields = [
                ("client_id", pa.int64()),
                ("timestamp", pa.string()),
                (column, pa.string() if column == "query" else pa.int64()),
            ]
            path = folder / f"{KINDS[code].name}.parquet"
            files[code] = stack.enter_context(TableWriter(path, pa.schema(fields)))

        def flush(code: int, rows: int) -> None:
            if sum(map(len, waiting[code])) >= rows:
                files[code].write_table(
                    pa.concat_tables([files[code].schema.empty_table(), *waiting[code]])
                )
                waiting[code].clear()

        for batch, stamps in _stamped(latent):
            user, kind, item, time = (
                to_numpy(batch.column(c)) for c in ("user", "kind", "item", "time")
            )
            tally.add(user, kind, item, time)
            second = (time % DAY) // SECOND
            for code, column in CHALLENGE.items():
                rows = np.flatnonzero(kind == code)
                values = batch.column("item" if column == "sku" else column).take(pa.array(rows))
                if column == "query":
                    values = texts.take(pa.array(positions(ids, values.to_numpy())))
                columns = [pa.array(user[rows]), stamps.take(pa.array(second[rows])), values]
                waiting[code].append(pa.Table.from_arrays(columns, schema=files[code].schema))
                flush(code, GROUP_ROWS)
            done += batch.num_rows
            progress("events", done, expected)
        for code in CHALLENGE:
            flush(code, 1)


def _stamped(latent: Latent) -> Iterator[tuple[pa.RecordBatch, pa.Array]]:
    """Each batch with the texts of all seconds of its day."""
    clock = np.datetime_as_string(np.arange(DAY // SECOND).astype("datetime64[s]"))
    clock = pa.array([f" {text[11:]}" for text in clock.tolist()])
    day, stamps = -1, clock
    for batch in batches(latent):
        time = batch.column("time")[0].as_py()
        if time // DAY != day:
            day = time // DAY
            stamps = pc.binary_join_element_wise(show(day * DAY)[:10], clock, "")
        yield batch, stamps
