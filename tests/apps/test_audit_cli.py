"""`clickprint audit`: what it says, its exit codes, JSON and page; on clean and on real logs."""

import json
import os
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickprint.apps.audit.stages import audit_page, show
from clickprint.apps.cli.main import main
from clickprint.core.profiles import Profiles
from clickprint.data.adapters import taobao
from clickprint.data.adapters.table import read as read_table
from clickprint.data.audit import Finding
from clickprint.data.audit.examine import Audit, Examined, Section
from clickprint.data.engine import DuckDB
from clickprint.data.synthetic import shop_of, write_challenge

DATA = Path(
    os.environ.get(
        "CLICKPRINT_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"
    )
)
MAPPINGS = Path(__file__).resolve().parents[2] / "recipes" / "mappings"


@pytest.fixture(autouse=True)
def small_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKPRINT_MEMORY", "400MB")
    monkeypatch.setenv("CLICKPRINT_THREADS", "1")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop") / "log"
    assert (
        main(
            [
                "read",
                "synthetic",
                "--set",
                "users=300",
                "items=150",
                "days=70",
                "--out",
                str(folder),
            ]
        )
        == 0
    )
    return folder


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("challenge") / "data"
    write_challenge(folder, shop_of(users=200, items=150, categories=6, days=55, rate=3.0, seed=2))
    assert main(["challenge", "split", str(folder)]) == 0
    return folder


def found_in(file: Path) -> dict[str, list[dict[str, object]]]:
    return {s["about"]: s["findings"] for s in json.loads(file.read_text())["sections"]}


@pytest.fixture(scope="module")
def page(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page")
    assert main(["audit", str(shop), "--out", str(out)]) == 0
    assert {p.name for p in out.iterdir()} == {"audit.html"}
    return (out / "audit.html").read_text()


def test_a_clean_shop(
    shop: Path, page: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert (
        main(
            [
                "audit",
                str(shop),
                "--out",
                str(tmp_path / "out"),
                "--json",
                str(tmp_path / "audit.json"),
            ]
        )
        == 0
    )
    assert (tmp_path / "out" / "audit.html").read_text() == page  # the same bytes
    told = capsys.readouterr().out
    assert "0 leaks" in told
    assert "no leak was found" in told
    raw = json.loads((tmp_path / "audit.json").read_text())
    assert set(raw) == {"format", "clickprint", "source", "leaks", "warnings", "notes", "sections"}
    assert raw["format"] == 1
    assert raw["leaks"] == 0
    assert set(raw["source"]) == {"name", "fingerprint", "events", "users", "items"}
    assert [s["about"] for s in raw["sections"]] == ["log", "split time:14"]
    assert all(set(s) == {"about", "fingerprint", "findings"} for s in raw["sections"])
    assert set(raw["sections"][1]["fingerprint"]) == {
        "past",
        "train",
        "valid",
        "population",
        "split",
    }
    assert all(
        set(f) == {"name", "severity", "said", "numbers", "picture"}
        for s in raw["sections"]
        for f in s["findings"]
    )
    bad = {f["name"] for f in raw["sections"][0]["findings"] if f["severity"] == "warning"}
    assert bad <= {"ties"}, (
        bad
    )  # shown and clicked in one second: the shop's clock has no finer one


class Page(HTMLParser):
    """Ids, links, and anything that a page could fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.pictures += tag == "svg"
        for key, value in attrs:
            if key == "id" and value:
                self.ids.append(value)
            if key == "href" and tag == "a" and value:
                self.links.append(value)
            if key in ("src", "srcset", "data") or (tag == "link" and key == "href"):
                self.fetched.append(str(value))


def test_the_page_is_one_file_with_its_pictures(page: str) -> None:
    read = Page()
    read.feed(page)
    assert read.pictures == 7
    names = ("timeline", "days", "kinds", "activity", "popularity", "gaps", "retention")
    assert {f"pictures-{name}" for name in names} <= set(read.ids)
    assert len(set(read.ids)) == len(read.ids)
    assert not read.fetched
    assert all(link.startswith("#") and link[1:] in read.ids for link in read.links)
    assert "http" not in page.replace("http-equiv", "")


def test_a_leak_is_exit_code_1(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(directory, data)
    assert main(["audit", str(data), "--json", str(tmp_path / "clean.json")]) == 0
    assert list(found_in(tmp_path / "clean.json")) == ["log", "split time:14", f"split {data}"]
    bought = pq.read_table(data / "target" / "validation_target.parquet")
    train = pq.read_table(data / "target" / "train_target.parquet")
    pq.write_table(
        pa.concat_tables([train, bought.slice(0, 7)]), data / "target" / "train_target.parquet"
    )
    capsys.readouterr()
    assert (
        main(["audit", str(data), "--split", str(data), "--json", str(tmp_path / "leak.json")])
        == 1
    )
    told = " ".join(capsys.readouterr().out.split())
    assert "LEAK windows-overlap 7 rows of the train window" in told
    raw = json.loads((tmp_path / "leak.json").read_text())
    assert raw["leaks"] == 2
    assert {
        f["name"]
        for f in found_in(tmp_path / "leak.json")[f"split {data}"]
        if f["severity"] == "leak"
    } == {"windows-overlap"}


def test_a_leaking_profile(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from clickprint.core.dataset import Dataset
    from clickprint.core.events import Role
    from clickprint.data.log import EventLog
    from clickprint.data.split import split

    with DuckDB(threads=1) as engine:
        log = EventLog.open(Dataset.open(shop), engine)
        made = split(log)
        buyers = log.users(roles=(Role.BUY,), window=made.valid)
        users = made.past.users
    vectors = np.random.default_rng(0).normal(size=(len(users), 4)).astype(np.float16)
    Profiles(users, vectors).save(tmp_path / "honest")
    vectors[:, 3] = np.isin(users, buyers)
    Profiles(users, vectors).save(tmp_path / "leaks")
    assert main(["audit", str(shop), "--profiles", str(tmp_path / "honest")]) == 0
    capsys.readouterr()
    assert (
        main(["audit", str(shop), "--profiles", str(tmp_path / "honest"), str(tmp_path / "leaks")])
        == 1
    )
    assert "LEAK label-leak Column 3 " in " ".join(capsys.readouterr().out.split())


def test_a_directory_that_was_cut_and_lost_its_log(directory: Path, tmp_path: Path) -> None:
    """Only input/ and target/: the log is the past, profiles are held against the target files."""
    data = tmp_path / "data"
    shutil.copytree(directory, data)
    for file in data.glob("*.parquet"):
        if file.name != "product_properties.parquet":
            file.unlink()
    valid = np.unique(
        pq.read_table(data / "target" / "validation_target.parquet").column("client_id").to_numpy()
    )
    relevant = np.unique(np.load(data / "input" / "relevant_clients.npy"))
    vectors = np.random.default_rng(0).normal(size=(len(relevant), 2)).astype(np.float16)
    vectors[:, 1] = np.isin(relevant, valid)
    Profiles(relevant, vectors).save(tmp_path / "profiles")
    assert main(["audit", str(data)]) == 0
    assert (
        main(
            [
                "audit",
                str(data),
                "--profiles",
                str(tmp_path / "profiles"),
                "--json",
                str(tmp_path / "a.json"),
            ]
        )
        == 1
    )
    found = found_in(tmp_path / "a.json")
    assert list(found) == ["log", f"split {data}", f"profiles {tmp_path / 'profiles'}"]
    assert [
        f["numbers"]["columns"]
        for f in found[f"profiles {tmp_path / 'profiles'}"]
        if f["name"] == "label-leak"
    ] == [[1]]  # type: ignore[index]


def test_recbole_files_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "benchmark"
    folder.mkdir()
    for place, part in enumerate(("train", "valid", "test")):
        rows = "".join(f"u{u}\ti{u % 5 + place}\t{100 - place}\n" for u in range(9))
        (folder / f"shop.{part}.inter").write_text(
            "user_id:token\titem_id:token\ttimestamp:float\n" + rows
        )
    assert main(["audit", str(folder), "--out", str(tmp_path / "out")]) == 1
    assert "future-in-history" in capsys.readouterr().out
    assert main(["audit", str(folder), "--split", "time"]) == 1
    assert "needs a log" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "not found"),
        (["."], "neither a clickprint dataset"),
        (["SHOP", "--split", "time:soon"], "expected time or time:DAYS"),
        (["SHOP", "--split", "time:0"], "expected 1 to"),
        (["SHOP", "--split", "time:400"], "too short for windows of 400 days"),
        (["SHOP", "--split", "elsewhere"], "not found"),
        (["SHOP", "--split", "."], "no split is here"),
        (["SHOP", "--profiles", "."], "client_ids.npy: not found"),
    ],
)
def test_refusals(
    words: list[str],
    message: str,
    shop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        main(["audit", *(str(shop) if w == "SHOP" else w for w in words), "--json", "out.json"])
        == 1
    )
    assert message in capsys.readouterr().err
    assert not Path("out.json").exists()


def test_names_from_files_cannot_steer_the_page_or_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    nasty = "<script>alert(1)</script>\x1b[2J"
    found = Audit(
        {"name": nasty},
        (Section.of(nasty, [Finding("rejected", "note", nasty), Finding("x", "leak", "y")]),),
    )
    assert [f.severity for f in found.sections[0].findings] == ["leak", "note"]
    show(found)
    assert "\x1b[2J" not in capsys.readouterr().out
    page = audit_page(Examined(found, None, None, None))
    assert "<script>" not in page
    assert json.loads(found.to_json())["sections"][0]["about"] == nasty


def test_the_reference_case_is_clean(golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden / "log", tmp_path / "log", copy_function=shutil.copyfile)
    for folder in (tmp_path / "log", *(p for p in (tmp_path / "log").rglob("*") if p.is_dir())):
        folder.chmod(0o755)
    assert main(["challenge", "split", str(tmp_path / "log")]) == 0
    words = [
        "audit",
        str(tmp_path / "log"),
        "--profiles",
        str(golden / "expected"),
        "--json",
        str(tmp_path / "a.json"),
    ]
    assert main(words) == 0
    found = found_in(tmp_path / "a.json")
    assert [
        f["numbers"]["matches"]
        for f in found[f"split {tmp_path / 'log'}"]
        if f["name"] == "popularity"
    ] == ["train"] * 4  # type: ignore[index]
    assert {f["name"] for f in found["log"]} == {"ties"}
    assert {f["name"] for fs in found.values() for f in fs if f["severity"] == "warning"} <= {
        "degenerate-labels",
        "labels-not-in-train",
    }


RETAILROCKET = """
name = "retailrocket"
[events]
files = "$CLICKPRINT_DATA/retailrocket_events.parquet"
user = "user"
item = "item"
time = { column = "ts", format = "seconds" }
[events.kind]
column = "event"
values = { view = "view", cart = "cart", buy = "buy" }
"""


@pytest.mark.parametrize(
    ("source", "file", "warned"),
    [
        # One time a user, item and event (data/README.md): the audit sees it, and the one visitor
        # who makes a twentieth of the log.
        ("retailrocket", "retailrocket_events.parquet", {"no-repeats", "bots-heavy"}),
        ("taobao", "taobao_head_events.parquet", set()),
        # Baskets under one time, repeated lines, the shop closed over Christmas.
        ("uci-online-retail", "uci_online_retail_2y.parquet", {"duplicates", "ties", "gap-days"}),
    ],
)
def test_real_logs(
    source: str, file: str, warned: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (DATA / file).is_file():
        pytest.skip(f"{file} is not here ({DATA}); set CLICKPRINT_DATA")
    monkeypatch.setenv("CLICKPRINT_DATA", str(DATA))
    mapping = MAPPINGS / f"{source}.toml"
    if source == "retailrocket":
        mapping = tmp_path / "retailrocket.toml"
        mapping.write_text(RETAILROCKET)
    with DuckDB(threads=1) as engine:
        if source == "taobao":
            taobao.read(DATA / file, tmp_path / "log", engine=engine)
        else:
            read_table(mapping, tmp_path / "log", engine=engine)
    assert main(["audit", str(tmp_path / "log"), "--json", str(tmp_path / "a.json")]) == 0
    assert {
        f["name"] for f in found_in(tmp_path / "a.json")["log"] if f["severity"] != "note"
    } == warned
