"""The command line: words in, exit code out; nothing heavy for help, no traceback for a refusal."""

import inspect
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
from cyclopts import App

from clickprint.apps.cli import main as cli
from clickprint.apps.cli.main import app, main
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


def commands(of: App = app, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], App]]:
    for name in of:
        if not name.startswith("-"):
            below = of[name]
            yield from (
                commands(below, (*above, name))
                if len(list(below)) > 3 and below.default_command is None
                else [((*above, name), below)]
            )


COMMANDS = dict(commands())
STAGES = (
    "read",
    "split",
    "candidates",
    "features",
    "tune",
    "train",
    "validate",
    "predict",
    "report",
)
ALL = {
    ("run",), ("scale",), ("rank",), ("board",), ("read",), ("append",), ("audit",), ("prepare",),
    ("fetch",), ("datasets",), ("encoders",), ("tasks",), ("validate",), ("doctor",),
    ("export", "challenge"), ("export", "recbole"),
    ("challenge", "split"), ("challenge", "baseline"), ("challenge", "validate"), ("challenge", "score"),
    *(("next", stage) for stage in (*STAGES, "all", "evaluate", "check", "score")),
}  # fmt: skip
# Exactly the options that there are: one added or renamed here is a decision.
OPTIONS = {
    "run": "--out --fresh --memory --threads --accelerator --devices --skip-official",
    "scale": "--out --fresh --memory --threads --accelerator",
    "rank": "--out --test --only --seeds --data --memory --threads --accelerator",
    "board": "--probe --csv --json --html",
    "read": "--out --set --memory --threads",
    "append": "--set --memory --threads",
    "audit": "--split --profiles --out --json --memory --threads",
    "prepare": "--out --horizon-days --engine --shards --days --top --fields --memory --threads",
    "fetch": "",
    "datasets": "",
    "encoders": "",
    "tasks": "",
    "validate": "",
    "doctor": "",
    "export challenge": "--out --horizon --key --deny --memory --threads",
    "export recbole": "--out --name --split --roles --horizon --anchor --memory --threads",
    "challenge split": "--memory --threads",
    "challenge baseline": "--out --days --top --all-clients --all-events --memory --threads",
    "challenge validate": "--any-clients",
    "challenge score": "--tasks --scores --any-clients --accelerator --devices --num-workers --log-name --memory",
    **{f"next {stage}": "--params --out --log --memory --threads" for stage in (*STAGES, "all")},
    "next evaluate": "--params --out --windows --log --memory --threads",
    "next check": "--params --out --log",
    "next score": "--params --out --data --start --log",
}


def test_the_commands() -> None:
    assert set(COMMANDS) == ALL
    assert {" ".join(c) for c in COMMANDS} == set(OPTIONS)


@pytest.mark.parametrize("command", sorted(ALL), ids=" ".join)
def test_help_tells_every_option(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--help"]) == 0
    told = capsys.readouterr().out
    assert sorted(
        set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", told))
        & set(OPTIONS[" ".join(command)].split())
    ) == sorted(OPTIONS[" ".join(command)].split())
    function = COMMANDS[command].default_command
    assert function is not None
    parameters = inspect.signature(function).parameters
    assert len(parameters) == len(OPTIONS[" ".join(command)].split()) + sum(
        p.kind is p.POSITIONAL_ONLY for p in parameters.values()
    ), "an option is missing here"
    assert set(get_type_hints(function)) >= set(parameters)
    explained = inspect.getdoc(function) or ""
    for name in parameters:
        assert re.search(rf"^{name}$", explained, re.M), f"{name} is not explained"


def test_the_documents_tell_every_command() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    for command in ALL:
        assert f"clickprint {' '.join(command)}" in text


def test_help_is_light() -> None:
    heavy = "torch duckdb matplotlib pyarrow numpy jinja2 mlflow pandas"
    code = (
        "import sys\nfrom clickprint.apps.cli.main import main\nassert main(sys.argv[1:]) == 0\n"
        f"assert not set({heavy.split()}) & set(sys.modules), set({heavy.split()}) & set(sys.modules)"
    )
    for words in (["--help"], ["challenge", "score", "--help"], ["--version"]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == "0.1.0"


WRONG = [
    (["runn"], 'Unknown command "runn"'),
    (["run"], "requires an argument"),
    (["run", "a.toml", "--fresch"], "Unknown option"),
    (["run", "a.toml", "b.toml"], "Unused Tokens"),
    (["run", "a.toml", "--threads", "two"], 'unable to convert "two" into int'),
    (["run", "a.toml", "--accelerator", "abacus"], "abacus"),
    (["board"], "requires an argument"),
    (["board", "x", "--probe", "slow"], "slow"),
    (["read", "synthetic"], "--out"),
    (["append", "shop"], "requires an argument"),
    (["challenge", "scores", "x"], "Unknown command"),
    (["challenge", "score", "x", "y", "--scores", "z"], "--tasks"),
    (
        ["challenge", "baseline", "x", "--out", "y", "--days", "one"],
        'unable to convert "one" into int',
    ),
    (["challenge", "validate", "x"], "requires an argument"),
]


@pytest.mark.parametrize(
    ("words", "message"), WRONG, ids=lambda w: " ".join(w) if isinstance(w, list) else ""
)
def test_wrong_usage_is_2_and_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "--help" in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


REFUSED = [
    (["run", "nowhere.toml"], "there is no such file"),
    (["run", str(ROOT / "recipes" / "synthetic.toml"), "--memory", "lots"], "memory='lots'"),
    (["run", str(ROOT / "recipes" / "synthetic.toml"), "--threads", "-1"], "threads"),
    (["board", "nowhere"], "no board of the quick probe"),
    (
        ["read", "nowhere", "x", "--out", "y"],
        "found no data set 'nowhere', expected one of amazon_reviews",
    ),
    (["read", "synthetic", "--out", "y", "--set", "users"], "expected key=value"),
    (
        ["read", "synthetic", "--out", "y", "--set", "user=3"],
        "synthetic.user: unknown; known: categories",
    ),
    (
        ["read", "synthetic", "--out", "y", "--set", "users=many"],
        "synthetic.users: found str 'many', expected a whole number",
    ),
    (["read", "synthetic", "x", "--out", "y"], "synthetic reads no files"),
    (["read", "challenge", "--out", "y"], "challenge reads files: name their path"),
    (["append", "nowhere", "table", "x.toml"], "no manifest.json here"),
    (
        ["read", "challenge", "nowhere", "--out", "y"],
        "there is nothing here for challenge to read",
    ),
    (["fetch", "moon", "y"], "found no data set 'moon', expected one of amazon_reviews"),
    (["fetch", "challenge", "y"], "challenge cannot be fetched, only complete_journey"),
    (["validate", "nowhere"], "client_ids.npy: not found"),
    (["challenge", "split", "nowhere"], "nowhere: not found"),
    (["challenge", "baseline", "nowhere", "--out", "y"], "relevant_clients.npy: not found"),
    (["challenge", "validate", "nowhere", "y"], "relevant_clients.npy: not found"),
    (
        ["challenge", "score", "nowhere", "y", "--tasks", "churns", "--scores", "z"],
        "--tasks: 'churns' is unknown",
    ),
    (
        [
            "challenge",
            "score",
            "nowhere",
            "y",
            "--tasks",
            "churn",
            "--scores",
            "z",
            "--num-workers",
            "-1",
        ],
        "--num-workers: found -1",
    ),
    (
        [
            "challenge",
            "score",
            "nowhere",
            "y",
            "--tasks",
            "churn",
            "--scores",
            "z",
            "--devices",
            "7,x",
        ],
        "--devices: found '7,x'",
    ),
]


@pytest.mark.parametrize(
    ("words", "message"),
    REFUSED,
    ids=lambda w: " ".join(w[:2] + w[3:]) if isinstance(w, list) else "",
)
def test_a_refusal_is_1_and_no_traceback(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    said = capsys.readouterr()
    assert message in said.out + said.err
    assert "Traceback" not in said.out + said.err
    left = [
        p
        for p in tmp_path.rglob("*")
        if p.is_file() and p.name not in (".lock", "recipe.toml", "facts.json")
    ]
    assert not left, "something half-written is left"


def test_debug_shows_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLICKPRINT_DEBUG", "1")
    with pytest.raises(cli.ClickprintError):
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

    monkeypatch.setattr("clickprint.apps.cli.data_commands.list_datasets", press)
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell starts what runs behind it with the signal ignored
    try:
        assert main(["datasets"]) == 130
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
        f'name = "a"\n[data]\nfolder = "{shop}"\n[split]\nhorizon_days = 7\n[profiles.counts]\ntop = 2\n[profiles.random]\nwidth = 4\n'
        "[probes]\nresamples = 2\n"
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
