"""Recipes: what they mean, and that every fault is told at once, with its path."""

import tomllib
from pathlib import Path

import pytest

from clickprint.apps.run.recipe import load, parse
from clickprint.core.options import OptionsError
from clickprint.encoders.controls import Random
from clickprint.encoders.counts import Counts
from clickprint.encoders.decay import Decay
from clickprint.encoders.joined import Joined
from clickprint.work.profiles import blocks_first, encoder

ROOT = Path(__file__).resolve().parents[2]
WHOLE = """
name = "mine"
seed = 3
[data]
source = "synthetic"
users = 100
rate = 1
[split]
horizon_days = 7
[profiles.few]
encoder = "counts"
days = [2]
[profiles.joined]
blocks = ["few", "decay"]
width = 32
[profiles.random]
[tasks]
sets = ["ubm25", "my_tasks:TASKS"]
hidden = 4
[probes]
quick = ["few", "joined"]
official = ["few"]
official_sets = ["ubm25"]
ablation = "joined"
resamples = 10
"""


def test_what_a_recipe_says() -> None:
    recipe = parse(WHOLE)
    assert (recipe.name, recipe.seed, recipe.split.horizon_days, recipe.tasks.hidden) == (
        "mine",
        3,
        7,
        4,
    )
    assert recipe.data.source == "synthetic"
    assert recipe.data.options == {"users": 100, "rate": 1.0}
    assert recipe.probes.quick == ("few", "joined")
    assert recipe.probes.official_sets == ("ubm25",)
    assert list(recipe.profiles) == ["few", "joined", "random"]
    parts = recipe.profiles
    assert encoder(parts, "few") == Counts(days=(2,))
    assert encoder(parts, "random") == Random()
    joined = encoder(parts, "joined")
    assert isinstance(joined, Joined)
    # A block is a profile of the recipe where there is one of that name, else the encoder.
    assert joined.encoders() == {"few": Counts(days=(2,)), "decay": Decay()}
    assert joined.width == 32
    assert blocks_first(parts, ["joined", "random"]) == ["few", "joined", "random"]


def test_what_is_left_out() -> None:
    recipe = parse('name = "a"\ndata.folder = "shop"\n[profiles.counts]\n')
    assert (recipe.seed, recipe.split.horizon_days, recipe.tasks.sets, recipe.tasks.hidden) == (
        0,
        14,
        ("ubm25",),
        0,
    )
    assert (recipe.probes.quick, recipe.probes.official, recipe.probes.resamples) == ((), (), 200)


def test_comments_and_order_are_not_the_recipe() -> None:
    lines = WHOLE.replace("seed = 3", "seed = 3 # three").replace("days = [2]", "days = [\n2]")
    assert parse(lines) == parse(WHOLE)
    assert parse(WHOLE.replace("seed = 3", "seed = 4")) != parse(WHOLE)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda p: p.stem)
def test_ours_parse_and_are_named_after_their_file(path: Path) -> None:
    recipe = load(path)
    assert recipe.name == path.stem
    assert all(encoder(recipe.profiles, name) for name in recipe.profiles)
    assert path.name in (ROOT / "docs" / "recipes.md").read_text()


def test_the_documents_recipe_parses() -> None:
    text = (ROOT / "docs" / "recipes.md").read_text()
    block = text.split("```toml\n")[1].split("```")[0]
    recipe = parse(block)
    assert set(tomllib.loads(block)) == {
        "name",
        "seed",
        "data",
        "split",
        "profiles",
        "tasks",
        "probes",
    }
    assert recipe.probes.control == "random"


CIRCLE = """[profiles.more]
encoder = "joined"
blocks = ["less"]
[profiles.less]
encoder = "joined"
blocks = ["more"]"""
SEQUENCE = '\n[profiles.seq]\nencoder = "contrastive"\n{}\n'
# A changed text, the path of its fault, and a fact that the message names.
CASES = {
    "key": (WHOLE + "widht = 3", "probes.widht", "known: ablation"),
    "top key": ("modle = 1\n" + WHOLE, "modle", "known: data"),
    "encoder's key": (
        WHOLE.replace("width = 32", "widht = 32"),
        "profiles.joined.widht",
        "did you mean width?",
    ),
    "type": (WHOLE.replace("days = [2]", "days = 2"), "profiles.few.days", "found 2"),
    "inner type": (WHOLE.replace("days = [2]", 'days = ["2"]'), "profiles.few.days[0]", "'2'"),
    "no bool": (WHOLE.replace("seed = 3", "seed = true"), "seed", "found True"),
    "float": (WHOLE.replace("days = 7", "days = 7.5"), "split.horizon_days", "found 7.5"),
    "nan": (WHOLE.replace("rate = 1", "rate = nan"), "data.rate", "found nan"),
    "key inside": (
        WHOLE + SEQUENCE.format("training = { epoch = 3 }"),
        "profiles.seq.training.epoch",
        "epochs",
    ),
    "type inside": (
        WHOLE + SEQUENCE.format("history = { length = 0.5 }"),
        "profiles.seq.history.length",
        "found 0.5",
    ),
    "value inside": (
        WHOLE + SEQUENCE.format("training = { batch = 0 }"),
        "profiles.seq.training.batch",
        "found 0",
    ),
    "values apart": (
        WHOLE + SEQUENCE.format("history = { fields = ['age'] }"),
        "profiles.seq.history.fields",
        "age",
    ),
    "value": (WHOLE.replace("width = 32", "width = 5000"), "profiles.joined.width", "5000"),
    "shift": (WHOLE.replace("days = 7", "days = 7\nshift = -1"), "split.shift", "found -1"),
    "horizon": (WHOLE.replace("days = 7", "days = 0"), "split.horizon_days", "found 0"),
    "encoder": (WHOLE.replace('"counts"', '"count"'), "profiles.few.encoder", "'count'"),
    "encoder by name": (
        WHOLE.replace("[profiles.random]", "[profiles.rnadom]"),
        "profiles.rnadom.encoder",
        "'rnadom'",
    ),
    "option missing": (
        WHOLE.replace("[profiles.random]", "[profiles.saved]"),
        "profiles.saved.folder",
        "missing",
    ),
    "block": (WHOLE.replace('"decay"]', '"dceay"]'), "profiles.joined.blocks", "'dceay'"),
    "block twice": (WHOLE.replace('"decay"]', '"few"]'), "profiles.joined.blocks", "once"),
    "no block": (WHOLE.replace('["few", "decay"]', "[]"), "profiles.joined.blocks", "[]"),
    "its own block": (
        WHOLE.replace("[profiles.random]", CIRCLE),
        "profiles.more.blocks",
        "of itself",
    ),
    "no profile": ('name = "a"\ndata.folder = "shop"\n', "profiles", ""),
    "profile is no table": (
        'name = "a"\ndata.folder = "shop"\nprofiles.counts = 3\n',
        "profiles.counts",
        "found 3",
    ),
    "section is no table": (
        'name = "a"\nsplit = 3\ndata.folder = "shop"\n[profiles.counts]\n',
        "split",
        "found 3",
    ),
    "profile's name": (
        WHOLE.replace("[profiles.random]", '[profiles."../up"]\nencoder = "random"'),
        "profiles.../up",
        "'../up'",
    ),
    "task set": (WHOLE.replace("my_tasks:TASKS", "ubm26"), "tasks.sets", "'ubm26'"),
    "hidden is not a set": (WHOLE.replace("my_tasks:TASKS", "hidden"), "tasks.sets", "'hidden'"),
    "set twice": (WHOLE.replace("my_tasks:TASKS", "ubm25"), "tasks.sets", "once"),
    "no task": (
        WHOLE.replace('["ubm25", "my_tasks:TASKS"]', "[]")
        .replace("hidden = 4", "")
        .replace("official_sets", "# official_sets"),
        "tasks",
        "",
    ),
    "hidden": (WHOLE.replace("hidden = 4", "hidden = -4"), "tasks.hidden", "found -4"),
    "probed": (WHOLE.replace('quick = ["few",', 'quick = ["fwe",'), "probes.quick", "'fwe'"),
    "probed twice": (
        WHOLE.replace('quick = ["few",', 'quick = ["joined",'),
        "probes.quick",
        "once",
    ),
    "official set": (
        WHOLE.replace('official_sets = ["ubm', 'official_sets = ["ubn'),
        "probes.official_sets",
        "'ubn25'",
    ),
    "ablation": (
        WHOLE.replace('ablation = "joined"', 'ablation = "few"'),
        "probes.ablation",
        "few",
    ),
    "resamples": (
        WHOLE.replace("resamples = 10", "resamples = -1"),
        "probes.resamples",
        "found -1",
    ),
    "reference": (WHOLE + 'reference = "countz"', "probes.reference", "'countz'"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fault_is_named_with_its_path(case: str) -> None:
    text, path, fact = CASES[case]
    assert text != WHOLE, "the case changes nothing"
    with pytest.raises(OptionsError) as caught:
        parse(text)
    said = {f.path: f.problem for f in caught.value.faults}
    assert path in said
    assert fact in said[path]


def test_all_faults_at_once() -> None:
    text = (
        WHOLE.replace("width = 32", "widht = 1")
        .replace("seed = 3", 'seed = "3"')
        .replace("hidden = 4", "hiden = 4")
    )
    with pytest.raises(OptionsError) as caught:
        parse(text, where="mine.toml")
    assert caught.value.where == "mine.toml"
    paths = {f.path for f in caught.value.faults}
    assert paths == {"seed", "profiles.joined.widht", "tasks.hiden"}
