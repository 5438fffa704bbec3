"""Recipes: what they mean, and that every fault is told at once, with its path."""

import tomllib
from pathlib import Path

import pytest

from clickprint.apps.run.recipe import load, parse
from clickprint.core.errors import ConfigError
from clickprint.encoders import encoder
from clickprint.encoders.counts import Counts
from clickprint.encoders.joined import Joined

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
    assert recipe.encoder("few") == Counts(days=(2,))
    assert recipe.encoder("random") == encoder("random")
    joined = recipe.encoder("joined")
    assert isinstance(joined, Joined)
    # A block is a profile of the recipe where there is one of that name, else the encoder with its defaults.
    assert joined.encoders() == {"few": Counts(days=(2,)), "decay": encoder("decay")}
    assert joined.width == 32


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
    assert all(recipe.encoder(name) for name in recipe.profiles)
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


CIRCLE = '[profiles.more]\nencoder = "joined"\nblocks = ["less"]\n[profiles.less]\nencoder = "joined"\nblocks = ["more"]'
SEQUENCE = '\n[profiles.seq]\nencoder = "contrastive"\n{}\n'
CASES = {
    "not TOML": ("name = ", "recipe: not TOML"),
    "key": (WHOLE + "widht = 3", "probes.widht: unknown; known: ablation, control, official, official_sets, quick, reference"),
    "top key": ("modle = 1\n" + WHOLE, "modle: unknown; known: data, name"),
    "encoder's key": (WHOLE.replace("width = 32", "widht = 32"), "profiles.joined.widht: unknown; known:"),
    "reader's key": (WHOLE.replace("users = 100", "user = 100"), "data.user: unknown; known: categories, days, events"),
    "near": (WHOLE.replace("width = 32", "widht = 32"), "(did you mean width?)"),
    "type": (WHOLE.replace("days = [2]", "days = 2"), "profiles.few.days: found int 2, expected a list, each a whole number"),
    "inner type": (WHOLE.replace("days = [2]", 'days = ["2"]'), "profiles.few.days[0]: found str '2', expected a whole number"),
    "no bool": (WHOLE.replace("seed = 3", "seed = true"), "seed: found bool True"),
    "negative seed": (WHOLE.replace("seed = 3", "seed = -1"), "seed: found int -1"),
    "float": (WHOLE.replace("horizon_days = 7", "horizon_days = 7.5"), "split.horizon_days: found float 7.5, expected a whole number"),
    "nan": (WHOLE.replace("rate = 1", "rate = nan"), "data.rate: found float nan"),
    "key inside": (WHOLE + SEQUENCE.format("training = { epoch = 3 }"), "profiles.seq.training.epoch: unknown; known: batch,"),
    "type inside": (WHOLE + SEQUENCE.format("history = { length = 0.5 }"), "profiles.seq.history.length: found float 0.5, expected a"),
    "value inside": (WHOLE + SEQUENCE.format("training = { batch = 0 }"), "profiles.seq.training.batch: found 0, expected at least 1"),
    "values apart": (WHOLE + SEQUENCE.format("history = { fields = ['age'] }"), "profiles.seq.history: the towers count time"),
    "value": (WHOLE.replace("width = 32", "width = 5000"), "profiles.joined.width: found 5000"),
    "value of a dial": (WHOLE.replace("users = 100", "users = 0"), "data.users: found 0"),
    "back": (WHOLE.replace("horizon_days = 7", "horizon_days = 7\nback = -1"), "split.back: found -1, expected 0 to 100"),
    "horizon": (WHOLE.replace("horizon_days = 7", "horizon_days = 0"), "split.horizon_days: found 0, expected at least 1"),
    "reader": (WHOLE.replace('"synthetic"', '"sythetic"'), "data.source: 'sythetic' is unknown; known: amazon_reviews"),
    "no data": ('name = "a"\n[profiles.counts]\n', "data: expected either source"),
    "two data": (WHOLE.replace("users = 100", 'folder = "x"'), "data: expected either source"),
    "folder with options": ('name = "a"\n[data]\nfolder = "x"\nusers = 3\n[profiles.counts]\n', "data.users: unknown; known: folder"),
    "path missing": ('name = "a"\n[data]\nsource = "challenge"\n[profiles.counts]\n', "data.path: missing"),
    "path too much": (WHOLE.replace("users = 100", 'path = "x"'), "data.path: synthetic reads no files"),
    "encoder": (WHOLE.replace('encoder = "counts"', 'encoder = "count"'), "profiles.few.encoder: 'count' is unknown"),
    "encoder by name": (WHOLE.replace("[profiles.random]", "[profiles.rnadom]"), "profiles.rnadom.encoder: 'rnadom' is unknown"),
    "option missing": (WHOLE.replace("[profiles.random]", "[profiles.saved]"), "profiles.saved.folder: missing"),
    "block": (WHOLE.replace('"decay"]', '"dceay"]'), "profiles.joined.blocks: 'dceay' is unknown"),
    "block twice": (WHOLE.replace('"decay"]', '"few"]'), "profiles.joined.blocks: found ['few', 'few']"),
    "no block": (WHOLE.replace('["few", "decay"]', "[]"), "profiles.joined.blocks: found []"),
    "its own block": (WHOLE.replace("[profiles.random]", CIRCLE), "profiles.more.blocks: it is"),
    "no profile": ('name = "a"\ndata.folder = "shop"\n', "profiles: none"),
    "profile is no table": ('name = "a"\ndata.folder = "shop"\nprofiles.counts = 3\n', "profiles.counts: found int 3, expected a table"),
    "section is no table": ('name = "a"\nsplit = 3\ndata.folder = "shop"\n[profiles.counts]\n', "split: found int 3, expected a table"),
    "profile's name": (WHOLE.replace("[profiles.random]", '[profiles."../up"]\nencoder = "random"'), "profiles.../up: found str '../up'"),
    "name": (WHOLE.replace('"mine"', '"a/b"'), "name: found str 'a/b'"),
    "no name": (WHOLE.replace('name = "mine"', ""), "name: found nothing"),
    "task set": (WHOLE.replace("my_tasks:TASKS", "ubm26"), "tasks.sets: 'ubm26' is unknown; known: examples, ubm25"),
    "hidden is not a set": (WHOLE.replace("my_tasks:TASKS", "hidden"), "tasks.sets: 'hidden' is unknown"),
    "set twice": (WHOLE.replace("my_tasks:TASKS", "ubm25"), "tasks.sets: found ['ubm25', 'ubm25']"),
    "no task": (WHOLE.replace('sets = ["ubm25", "my_tasks:TASKS"]', "sets = []").replace("hidden = 4", ""), "tasks: no set and no hidden"),
    "hidden": (WHOLE.replace("hidden = 4", "hidden = -4"), "tasks.hidden: found -4"),
    "probed": (WHOLE.replace('quick = ["few",', 'quick = ["fwe",'), "probes.quick: 'fwe' is unknown; known: few, joined, random"),
    "probed twice": (WHOLE.replace('quick = ["few",', 'quick = ["joined",'), "probes.quick: found ['joined', 'joined']"),
    "official set": (WHOLE.replace('official_sets = ["ubm', 'official_sets = ["ubn'), "probes.official_sets: 'ubn25' is unknown"),
    "ablation": (WHOLE.replace('ablation = "joined"', 'ablation = "few"'), "probes.ablation: few is not a joined profile"),
    "resamples": (WHOLE.replace("resamples = 10", "resamples = -1"), "probes.resamples: found -1"),
    "reference": (WHOLE + 'reference = "countz"', "probes.reference: 'countz' is unknown"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_fault_is_named_with_its_path(case: str) -> None:
    text, message = CASES[case]
    assert text != WHOLE, "the case changes nothing"
    with pytest.raises(ConfigError) as fault:
        parse(text)
    assert message in str(fault.value)


def test_all_faults_at_once() -> None:
    text = (
        WHOLE.replace("width = 32", "widht = 1")
        .replace("seed = 3", 'seed = "3"')
        .replace("hidden = 4", "hiden = 4")
    )
    with pytest.raises(ConfigError) as fault:
        parse(text, where="mine.toml")
    lines = str(fault.value).splitlines()
    assert lines[0] == "mine.toml: 3 faults"
    assert len(lines) == 4
    for line, path in zip(
        lines[1:], ("seed", "profiles.joined.widht", "tasks.hiden"), strict=True
    ):
        assert line.startswith(f"  - {path}: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"name = '\xff'", "not UTF-8 (byte 8)"),
        (b"", "name: found nothing"),
        (b"\x00\x01", "not TOML"),
    ],
)
def test_files_that_are_no_recipes(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as fault:
        load(path)
    assert str(path) in str(fault.value)
    assert message in str(fault.value)


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
