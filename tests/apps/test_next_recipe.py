"""The parameters of next purchase: what the file says, and every fault with its path."""

from pathlib import Path

import pytest
from next_shop import PARAMS

from clickprint.apps.next.recipe import load, parse
from clickprint.core.options import OptionsError
from clickprint.recommenders.funnel import DEFAULT

ROOT = Path(__file__).resolve().parents[2]
LEAST = 'log = "a"\n[logs.a]\nsource = "synthetic"\n'


def faults(text: str, **more: str) -> dict[str, str]:
    with pytest.raises(OptionsError) as caught:
        parse(text, **more)
    return dict(caught.value.faults)


def test_what_the_file_says() -> None:
    found = parse(PARAMS)
    purchase, space = found.purchase, found.tune.space
    assert (found.log, found.seed, found.model) == ("tiny", 3, "next-purchase-tiny")
    assert (purchase.days, purchase.list_length, purchase.max_users) == (3, 5, 20)
    assert (purchase.train_windows, purchase.seed) == (2, 3)
    assert {n: o["k"] for n, o in purchase.retrievers.items()} == {"history": 10, "popular": 8}
    assert (purchase.ranker.trees, purchase.propensity.leaves) == (8, 4)
    assert (space["leaves"].values, space["lr"].log) == ((3, 8), True)
    assert space["objective"].choices == ("lambdarank", "binary")
    assert (found.gate.resamples, found.gate.coverage, found.evaluate.shares) == (
        100,
        0.01,
        (0.1, 0.3),
    )


def test_what_is_left_out_has_its_default() -> None:
    found = parse(LEAST)
    assert (found.next.days, found.next.list_length, found.next.max_users) == (3, 25, 3_000)
    assert (found.tune.trials, found.track.on, found.purchase.retrievers) == (0, True, DEFAULT)


def test_another_log_of_the_file_can_be_asked_for() -> None:
    assert parse(PARAMS, log="made").data.source == "synthetic"
    assert parse(LEAST.replace('log = "a"', ""), log="a").log == "a"
    assert "made, tiny" in faults(PARAMS, log="moon")["log"]


def test_the_file_that_comes_with_clickprint_is_good() -> None:
    file = ROOT / "recipes/next/params.toml"
    asked = load(file).next
    assert (asked.list_length, asked.max_users, asked.days) == (25, 3_000, 3)
    for log in ("complete-journey", "ta-feng", "uci", "retailrocket", "stokman"):
        assert load(file, log=log).model == f"next-purchase-{log}"


def test_all_faults_of_fields_are_told_at_once_and_those_of_the_whole_then() -> None:
    text = """
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
max_users = 2.5
[windows]
train_windows = 0
[retrievers]
history = 3
[ranker]
trees = "12"
[propensity]
lr = 7
[tune]
trials = -1
[tune.space.leavs]
low = 1
high = 2
[tune.space.lr]
low = 0
high = 1
log = true
[gate]
seconds = -1
[track]
alias = "a/b"
on = "yes"
[evaluate]
shares = [0.1, 1.5]
"""
    assert set(faults(text)) == {
        "seed",
        "shiny",
        "logs.one.source",
        "logs.two.users",
        "next.days",
        "next.prodcts",
        "next.max_users",
        "windows.train_windows",
        "retrievers.history",
        "ranker.trees",
        "propensity.lr",
        "tune.trials",
        "tune.space.leavs",
        "tune.space.lr",
        "gate.seconds",
        "track.alias",
        "track.on",
        "evaluate.shares[1]",
    }
    text = """
log = "nowhere"
[logs.one]
source = "synthetic"
[retrievers.history]
k = 0
[retrievers.nobody]
[retrievers.popularity]
half_live = 3
[profiles.als]
widht = 8
[tune]
trials = 3
windows = 6
[tune.space.leaves]
low = 3
high = 9
"""
    assert set(faults(text)) == {
        "log",
        "retrievers.history.k",
        "retrievers.nobody.retriever",
        "retrievers.popularity.half_live",
        "profiles.als.widht",
        "tune.windows",
    }


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[logs.a]\nsource = 'synthetic'", "log"),
        ("log = 3\n[logs.a]\nsource = 'synthetic'", "log"),
        ("log = 'a'\nlogs = 1", "logs"),
        ("log = 'a'\n[logs]\na = 1", "logs.a"),
        ("log = '../x'\n[logs.'../x']\nsource = 'synthetic'", "logs.../x"),
        ("log = 'a'\n[logs.a]\nsource = 'synthetic'\nfolder = 'x'", "logs.a"),
        ("retrievers = 1\n" + LEAST, "retrievers"),
        (LEAST + "[retrievers]\n", "retrievers"),
        (LEAST + '[retrievers."../x"]\nretriever = "history"\n', "retrievers.../x"),
        (LEAST + '[profiles."../x"]\nencoder = "als"\n', "profiles.../x"),
        (LEAST + "[features]\nroles = ['byu']", "features.roles[0]"),
        (LEAST + "[profiles]\nown = 3", "profiles.own"),
        (LEAST + "[profiles.als]\ncomponents = 0", "profiles.als.components"),
        (LEAST + "[tune]\ntrials = 3", "tune.space"),
        (LEAST + "[tune.space]\nleaves = 3", "tune.space.leaves"),
        (LEAST + "[tune.space.leaves]\nlow = 3", "tune.space.leaves"),
        (LEAST + "[tune.space.leaves]\nlow = 9\nhigh = 3", "tune.space.leaves"),
        (LEAST + "[tune.space.leaves]\nlow = 3\nhigh = 9\nchoices = [3]", "tune.space.leaves"),
        (LEAST + "[tune.space.leaves]\nlow = 1\nhigh = 9", "tune.space.leaves"),
        (LEAST + "[tune.space.leaves]\nlow = 2.5\nhigh = 9", "tune.space.leaves"),
        (LEAST + "[tune.space.objective]\nchoices = ['gini']", "tune.space.objective"),
        (LEAST + "[tune.space.threads]\nlow = 1\nhigh = 2", "tune.space.threads"),
        (LEAST + "[gate]\ncoverage = nan", "gate.coverage"),
        (LEAST + "[track]\nmodel = '<b>'", "track.model"),
        (LEAST + "[evaluate]\nwindows = 0", "evaluate.windows"),
        (LEAST + "[evaluate]\nshares = 0.1", "evaluate.shares"),
        (LEAST + "[next]\nlist_length = 10000000000000000000000000.5", "next.list_length"),
    ],
)
def test_each_fault_has_its_path(text: str, path: str) -> None:
    assert set(faults(text)) == {path}
