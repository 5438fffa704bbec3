"""The command line: exit codes, light help, refusals without a traceback."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cyclopts import App
from cyclopts.argument import Argument

from clickprint.apps.cli import (  # noqa: F401  importing them adds their commands
    challenge,
    data,
    next_purchase,
    profiles,
    ranking,
)
from clickprint.apps.cli.main import main
from clickprint.apps.cli.shared import app
from clickprint.apps.next.graph import STAGES
from clickprint.core.errors import ClickprintError, ConfigError
from clickprint.core.options import read_text
from clickprint.core.profiles import Profiles
from clickprint.work.progress import Lines, progress_bars

ROOT = Path(__file__).resolve().parents[2]
SHOP = ["--set", "users=150", "items=120", "categories=6", "days=45", "rate=1.5"]


pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shops") / "shop"
    assert main(["read", "synthetic", "--out", str(folder), *SHOP]) == 0
    return folder


def commands(of: App = app, above: tuple[str, ...] = ()) -> Iterator[tuple[str, App]]:
    """Every command that does something: its words and its App."""
    for name in of:
        if not name.startswith("-"):
            below = of[name]
            if below.default_command is None:
                yield from commands(below, (*above, name))
            else:
                yield " ".join((*above, name)), below


COMMANDS = dict(commands())


def documented() -> dict[str, list[str]]:
    """The commands of docs/cli.md and what each takes: another option is decided there."""
    text = (ROOT / "docs" / "cli.md").read_text().split("## All commands\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `clickprint ([a-z ]+)` \|(.*)\|$", text, re.M)
    taken = {command: re.findall(r"`([^`]+)`", takes) for command, takes in rows}
    stage = taken.pop("next")
    return taken | {f"next {s.name}": stage for s in STAGES}


def test_the_documents_tell_every_command_and_option() -> None:
    found = {
        command: [name for a in taken(each) for name in a.names]
        for command, each in COMMANDS.items()
    }
    assert found == documented()


def taken(command: App) -> list[Argument]:
    return [a for a in command.assemble_argument_collection(parse_docstring=True) if a.show]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_explains_everything(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    told = capsys.readouterr().out
    for argument in taken(COMMANDS[command]):
        assert argument.names[0] in told
        assert argument.parameter.help, f"{argument.names} is not explained"


def test_help_is_light() -> None:
    heavy = "torch duckdb matplotlib pyarrow numpy jinja2 mlflow pandas"
    code = (
        "import sys\nfrom clickprint.apps.cli.main import main\nassert main(sys.argv[1:]) == 0\n"
        f"loaded = set({heavy.split()}) & set(sys.modules)\nassert not loaded, loaded"
    )
    for words in (["--help"], ["challenge", "score", "--help"], ["--version"]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == "0.1.0"


WRONG = [
    ("runn", "runn"),
    ("run", "RECIPE"),
    ("run a.toml --fresch", "--fresch"),
    ("run a.toml b.toml", "b.toml"),
    ("run a.toml --threads two", "--threads"),
    ("run a.toml --accelerator abacus", "--accelerator"),
    ("board", "RUN"),
    ("board x --probe slow", "--probe"),
    ("read synthetic", "--out"),
    ("append shop", "NAME"),
    ("challenge scores x", "scores"),
    ("challenge score x y --scores z", "--tasks"),
    ("challenge baseline x --out y --days one", "--days"),
    ("challenge validate x", "DIR"),
    ("next score", "FILE"),
    ("next evaluate --windows 1.5", "--windows"),
    ("prepare shop --out y --horizon-days 1.5", "--horizon-days"),
    ("prepare shop --out y --shards 1e3", "--shards"),
    ("prepare shop --out y --days 1 7.0", "--days"),
    ("export challenge shop --out y --horizon-days 99999999999999999999", "--horizon-days"),
]


@pytest.mark.parametrize(("words", "fact"), WRONG)
def test_wrong_usage_is_2_and_one_line(
    words: str, fact: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    said = capsys.readouterr()
    assert fact in said.err
    assert "--help" in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


SYNTHETIC = ROOT / "recipes" / "synthetic.toml"
SCORE = "challenge score nowhere y --scores z"
REFUSED = [
    ("run nowhere.toml", "nowhere.toml"),
    (f"run {SYNTHETIC} --memory lots", "memory: found 'lots'"),
    (f"run {SYNTHETIC} --threads -1", "threads"),
    (f"run {SYNTHETIC} --threads 0", "threads: found 0"),
    (f"run {SYNTHETIC} --threads 1000000000", "threads: found 1000000000"),
    ("export challenge x --out y --horizon-days 1000000000", "--horizon-days: found 1000000000"),
    ("board nowhere", "nowhere"),
    ("read nowhere x --out y", "'nowhere', expected one of amazon_reviews"),
    ("read synthetic --out y --set users", "key=value"),
    ("read synthetic --out y --set user=3", "synthetic.user: unknown; known: categories"),
    ("read synthetic --out y --set users=many", "synthetic.users: found"),
    ("read synthetic x --out y", "synthetic reads no files"),
    ("read challenge --out y", "challenge reads files"),
    ("append nowhere table x.toml", "manifest.json"),
    ("read challenge nowhere --out y", "nowhere"),
    ("fetch moon y", "'moon', expected one of amazon_reviews"),
    ("fetch challenge y", "only complete_journey"),
    ("validate nowhere", "client_ids.npy: not found"),
    ("board no\x1b[2Jwhere", "no\\x1b[2Jwhere"),
    ("challenge split nowhere", "nowhere: not found"),
    ("challenge baseline nowhere --out y", "relevant_clients.npy: not found"),
    ("challenge validate nowhere y", "relevant_clients.npy: not found"),
    (f"{SCORE} --tasks churns", "--tasks: 'churns'"),
    (f"{SCORE} --tasks churn --devices 7,x", "--devices: found '7,x'"),
    (f"{SCORE} --tasks churn churn", "churn stands there twice"),
    (f"{SCORE} --tasks churn --log-name ../../x", "--log-name: found '../../x'"),
]


@pytest.mark.parametrize(("words", "fact"), REFUSED)
def test_a_refusal_is_1_and_no_traceback(
    words: str,
    fact: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 1
    said = capsys.readouterr()
    assert fact in said.out + said.err
    assert "Traceback" not in said.out + said.err
    left = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert not left, "something half-written is left"


def test_all_stages_without_mlflow_are_refused_before_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    words = ["--params", str(ROOT / "recipes/next/params.toml"), "--out", str(tmp_path / "out")]
    assert main(["next", "all", *words, "--log", "uci"]) == 1
    assert "mlflow" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_recipe_that_comes_with_the_package_is_found_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("clickprint.core.options.INSTALLED", ROOT)
    assert "synthetic" in read_text("recipes/synthetic.toml", "")
    with pytest.raises(ConfigError):
        read_text("recipes/no.toml", "")


def test_debug_shows_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLICKPRINT_DEBUG", "1")
    with pytest.raises(ClickprintError):
        main(["run", str(tmp_path / "nowhere.toml")])


def test_what_the_system_refuses_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shop: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["board", str(tmp_path), "--csv", str(tmp_path / "file" / "below.csv")]) == 1
    assert main(["read", "synthetic", "--out", str(tmp_path / "file" / "below"), *SHOP]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_interrupted_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press(*a: object, **k: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("clickprint.work.listing.card", press)
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell starts what runs behind it with the signal ignored
    try:
        assert main(["datasets", "table"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert "goes on from here" in capsys.readouterr().err


def test_read_tells_what_is_in_it(
    shop: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["read", "synthetic", "--out", str(tmp_path / "shop"), *SHOP]) == 0
    told = capsys.readouterr().out
    manifest = json.loads((shop / "manifest.json").read_text())
    assert f"{manifest['events']:,} events of {manifest['users']:,} users" in told
    assert manifest["fingerprint"] in told
    assert json.loads((tmp_path / "shop" / "manifest.json").read_text()) == manifest


def test_validate_tells_a_dataset_and_profiles(
    shop: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["validate", str(shop)]) == 0
    told = capsys.readouterr().out
    assert f"{shop}: valid" in told
    assert " users and " in told
    Profiles(np.arange(3), np.zeros((3, 2), np.float16)).save(tmp_path)
    assert main(["validate", str(tmp_path)]) == 0
    np.save(tmp_path / "client_ids.npy", np.zeros(3, np.int64))
    np.save(tmp_path / "embeddings.npy", np.full((2, 2), np.inf, np.float16))
    assert main(["validate", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("client_ids.npy: 2 of 3 ids") for line in lines)
    assert any(line.startswith("embeddings.npy: found 0 NaN and 4 infinite") for line in lines)
    (tmp_path / "manifest.json").write_text("{}")
    assert main(["validate", str(tmp_path)]) == 1


def test_validate_reads_every_byte_of_a_dataset(
    shop: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(shop, tmp_path / "shop"))
    part = min((copy / "events").iterdir())
    raw = bytearray(part.read_bytes())
    raw[len(raw) // 2] ^= 1
    part.write_bytes(raw)
    assert main(["validate", str(copy)]) == 1
    assert f"events/{part.name}" in capsys.readouterr().out


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets"]) == 0
    assert main(["encoders"]) == 0
    assert main(["tasks"]) == 0
    told = capsys.readouterr().out
    for word in (
        "complete_journey",
        "table",
        "users=…",
        "counts",
        "days=[1,7,30]",
        "ubm25",
        "propensity_new_sku",
        "spend_next_window",
    ):
        assert word in told


def test_a_run_and_its_board(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "a.toml"
    recipe.write_text(
        f'name = "a"\n[data]\nfolder = "{shop}"\n[split]\nhorizon_days = 7\n'
        "[profiles.counts]\ntop = 2\n[profiles.random]\nwidth = 4\n[probes]\nresamples = 2\n"
    )
    out = tmp_path / "run"
    assert main(["run", str(recipe), "--out", str(out), "--threads", "1", "--memory", "1GB"]) == 0
    said = capsys.readouterr()
    assert "conversion" in said.out
    assert str(out / "report.html") in said.out
    assert "quick probe" in said.err
    assert "\x1b" not in said.err + said.out  # no terminal, no colours
    table, page = tmp_path / "b.csv", tmp_path / "b.html"
    assert (
        main(
            [
                "board",
                str(out),
                "--csv",
                str(table),
                "--json",
                str(tmp_path / "b.json"),
                "--html",
                str(page),
            ]
        )
        == 0
    )
    assert table.read_bytes() == (out / "board.csv").read_bytes()
    assert (tmp_path / "b.json").read_bytes() == (out / "board.json").read_bytes()
    assert "<html" in page.read_text()
    assert main(["board", str(out), "--probe", "official"]) == 1
    assert main(["validate", str(out)]) == 0


class Terminal:
    """A stream that says it is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


def test_progress_draws_on_a_terminal_and_writes_lines_elsewhere(tmp_path: Path) -> None:
    terminal = Terminal()
    with progress_bars(terminal) as progress:
        progress("events", 1, 3)
        progress("catalogue", 0, 0)
        progress("events", 3, 3)
    assert "events" in terminal.text
    with (tmp_path / "log").open("w") as stream, progress_bars(stream) as progress:
        assert isinstance(progress, Lines)
        for done in range(1_000):
            progress("events", done, 1_000)
        progress("events", 1_000, 1_000)
        progress("catalogue", 1, 1)
        progress("users", 7, 0)
    assert (tmp_path / "log").read_text().splitlines() == [
        "events 0/1,000",
        "events 1,000/1,000 done",
        "catalogue done",
        "users 7",
    ]
