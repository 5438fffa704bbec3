"""The file of parameters: every fault at once, each with its path; nothing that a person writes ends in a traceback."""

from pathlib import Path

import pytest
from next_shop import PARAMS

from clickprint.apps.cli.main import main
from clickprint.apps.next.recipe import load, parse
from clickprint.core.errors import ConfigError
from clickprint.recommenders.funnel import DEFAULT

ROOT = Path(__file__).resolve().parents[2]
LEAST = 'log = "a"\n[logs.a]\nsource = "synthetic"\n'


def refused(text: str, **more: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, **more)
    return str(caught.value)


def test_what_the_file_says() -> None:
    found = parse(PARAMS)
    assert (found.log, found.seed, found.model) == ("tiny", 3, "next-purchase-tiny")
    assert (found.next.days, found.next.products, found.next.users, found.next.windows) == (
        3,
        5,
        20,
        2,
    )
    assert dict(found.next.sources) == {"own": {"k": 10}, "popular": {"k": 8}}
    assert (found.next.ranker.trees, found.next.propensity.leaves) == (8, 4)
    assert found.tune.space["leaves"].high == 8
    assert found.tune.space["rate"].log
    assert found.tune.space["objective"].choices == ("lambdarank", "binary")
    assert found.evaluate.limits == (0.1, 0.3)


def test_what_is_left_out_has_its_default() -> None:
    found = parse(LEAST)
    assert (
        found.next.days,
        found.next.products,
        found.next.users,
        found.tune.trials,
        found.track.on,
    ) == (3, 25, 3_000, 0, True)
    assert found.next.sources == DEFAULT


def test_another_log_of_the_file_can_be_asked_for() -> None:
    assert parse(PARAMS, log="made").data.source == "synthetic"
    assert "log: 'moon' is unknown; known: made, tiny" in refused(PARAMS, log="moon")


def test_the_file_that_comes_with_clickprint_is_good() -> None:
    found = load(ROOT / "recipes/next/params.toml")
    assert (found.next.products, found.next.users, found.next.days) == (25, 3_000, 3)
    for log in ("complete-journey", "ta-feng", "uci", "retailrocket", "stokman"):
        assert load(ROOT / "recipes/next/params.toml", log=log).model == f"next-purchase-{log}"


def test_all_faults_are_told_at_once() -> None:
    said = refused(
        """
log = "nowhere"
seed = -1
shiny = true
[logs.one]
source = "complete_jorney"
[logs.two]
source = "synthetic"
users = "many"
[next]
days = 0
prodcts = 3
users = 2.5
[windows]
learn = 0
aparts = 2
[sources.own]
k = 0
[sources.nobody]
[sources.popular]
half_live = 3
[features]
roles = ["byu"]
[profiles.als]
widht = 8
[ranker]
trees = "12"
[propensity]
rate = 7
[tune]
trials = -1
[tune.space.leavs]
low = 1
high = 2
[tune.space.rate]
low = 0
high = 1
log = true
[gate]
seconds = -1
[track]
alias = "a/b"
on = "yes"
[evaluate]
limits = [0.1, 1.5]
"""
    )
    for path in (
        "log: 'nowhere' is unknown; known: one, two",
        "seed: ",
        "shiny: unknown",
        "logs.one.source: 'complete_jorney' is unknown",
        "logs.two.users: found str 'many', expected a whole number",
        "next.prodcts: unknown; known: days, linked, products, users (did you mean products?)",
        "next.users: found float 2.5",
        "windows.aparts: unknown; known: apart, history, learn (did you mean apart?)",
        "sources.own.k: found 0",
        "sources.nobody: found no source 'nobody'",
        "sources.popular: ",
        "features.roles: found byu",
        "profiles.als",
        "ranker.trees: found str '12', expected a whole number",
        "propensity.rate: found 7",
        "tune.trials: found -1",
        "tune.space.leavs: 'leavs' is unknown",
        "tune.space.rate: expected low below high (above 0 with log = true)",
        "gate.seconds: found -1",
        "track.on: found str 'yes', expected true or false",
        "evaluate.limits: found [0.1, 1.5]",
    ):
        assert f"  - {path}" in said, f"{path} is not in\n{said}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "log: missing"),
        ("log = 3\n[logs.a]\nsource = 'synthetic'", "log: 3 is unknown"),
        ("log = 'a'\nlogs = 1", "logs"),
        ("log = 'a'\n[logs]\na = 1", "logs.a: found int 1, expected a table"),
        ("log = '../x'\n[logs.'../x']\nsource = 'synthetic'", "logs.../x: found dict"),
        (
            "log = 'a'\n[logs.a]\nsource = 'synthetic'\nfolder = 'x'",
            "logs.a: expected either source",
        ),
        (LEAST + "sources = 1", "sources"),
        (LEAST + "[sources]\nown = 3", "sources.own: found int 3, expected a table"),
        (LEAST + "[profiles]\nown = 3", "profiles.own: found int 3, expected a table"),
        (LEAST + "[tune]\ntrials = 3", "tune.space: empty"),
        (
            LEAST + "[tune]\ntrials = 3\nwindows = 6\n[tune.space.leaves]\nlow = 3\nhigh = 9",
            "tune.windows: found 6, expected fewer than",
        ),
        (LEAST + "[tune.space]\nleaves = 3", "tune.space.leaves: found int 3, expected a table"),
        (LEAST + "[tune.space.leaves]\nlow = 3", "tune.space.leaves: expected low below high"),
        (
            LEAST + "[tune.space.leaves]\nlow = 9\nhigh = 3",
            "tune.space.leaves: expected low below high",
        ),
        (
            LEAST + "[tune.space.leaves]\nlow = 3\nhigh = 9\nchoices = [3]",
            "tune.space.leaves: expected low below high",
        ),
        (
            LEAST + "[tune.space.leaves]\nlow = 1\nhigh = 9",
            "tune.space.leaves: leaves: found 1, expected at least 2",
        ),
        (
            LEAST + "[tune.space.leaves]\nlow = 2.5\nhigh = 9",
            "tune.space.leaves: found float 2.5, expected a whole number",
        ),
        (
            LEAST + "[tune.space.objective]\nchoices = ['gini']",
            "tune.space.objective: objective: found 'gini'",
        ),
        (
            LEAST + "[tune.space.threads]\nlow = 1\nhigh = 2",
            "tune.space.threads: 'threads' is unknown",
        ),
        (LEAST + "[gate]\nresamples = 0", "gate.resamples: found 0, expected at least 1"),
        (LEAST + "[gate]\ncoverage = nan", "gate.coverage: found float nan, expected a number"),
        (LEAST + "[track]\nmodel = '<b>'", "track.model: found '<b>', expected a name"),
        (LEAST + "[evaluate]\nwindows = 0", "evaluate.windows: found 0, expected at least 1"),
        (
            LEAST + "[evaluate]\nlimits = 0.1",
            "evaluate.limits: found float 0.1, expected a list, each a number",
        ),
        (
            LEAST + "[next]\nproducts = 10000000000000000000000000.5",
            "next.products: found float 1e+25, expected a whole number",
        ),
    ],
)
def test_each_fault_says_where_and_what(text: str, says: str) -> None:
    assert says in refused(text)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"log = [", "not TOML"),
        ("log = 'größer'".encode("latin-1"), "not UTF-8 (byte 9)"),
        (b"", "log: missing"),
        (b"\x00\x01\xff", "not UTF-8"),
    ],
)
def test_a_file_that_is_none(
    raw: bytes, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "params.toml"
    file.write_bytes(raw)
    assert main(["next", "split", "--params", str(file), "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert says in told
    assert str(file) in told
    assert not (tmp_path / "out").exists()


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"there is no such file; the ones that come with clickprint are in recipes/next/",
    ):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
