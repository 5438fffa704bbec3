"""`clickprint scale`: the dial, the recipe, and a tiny ladder end to end."""

import csv
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from clickprint.apps.cli.main import main
from clickprint.apps.scale.recipe import ScalingPart, load, parse, shape, sized
from clickprint.apps.scale.stages import study
from clickprint.core.errors import DataError
from clickprint.core.files import own, write_text
from clickprint.core.options import OptionsError
from clickprint.core.seal import seal
from clickprint.encoders.gru4rec import GRU4Rec
from clickprint.encoders.hstu import HSTU
from clickprint.encoders.sasrec import SASRec
from clickprint.tasks.ladder import LOSS
from clickprint.work.resources import Resources

ROOT = Path(__file__).resolve().parents[2]
ITEMS = 12
CPU = Resources(accelerator="cpu")
pytestmark = pytest.mark.usefixtures("cache")


# -- the dial --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "dial", "wanted"),
    [
        (1.0, {}, {"width": 16, "layers": 2, "heads": 2}),
        (2.0, {}, {"width": 32, "layers": 2, "heads": 2}),
        (0.5, {}, {"width": 8, "layers": 2, "heads": 2}),
        (0.01, {}, {"width": 4, "layers": 2, "heads": 2}),  # at least two numbers a head
        (1.3, {}, {"width": 20, "layers": 2, "heads": 2}),  # the multiple of 4 nearest to 20.8
        (4.0, {"width": 0.5, "layers": 0.5}, {"width": 32, "layers": 4, "heads": 2}),
        (4.0, {"width": 0.0, "layers": 1.0}, {"width": 16, "layers": 8, "heads": 2}),
        (2.0, {"heads": 1.0}, {"width": 32, "layers": 2, "heads": 4}),
        (0.1, {"layers": 1.0, "heads": 1.0}, {"width": 2, "layers": 1, "heads": 1}),
    ],
)
def test_the_dial(size: float, dial: dict[str, float], wanted: dict[str, int]) -> None:
    base = SASRec(width=16, layers=2, heads=2, dropout=0.3)
    found = sized(base, size, ScalingPart(sizes=(size,), **dial))
    assert shape(found) == wanted
    assert found == replace(base, **wanted)  # nothing else is touched


def test_widths_inside_a_layer_grow_along() -> None:
    part = ScalingPart(sizes=(3.0,))
    assert sized(SASRec(width=8, inner=20), 3.0, part) == SASRec(width=24, inner=60)
    # 0 is the form's own, a multiple of the width.
    assert sized(SASRec(width=8, inner=0), 3.0, part) == SASRec(width=24, inner=0)
    assert sized(GRU4Rec(width=8, hidden=12), 3.0, part) == GRU4Rec(width=24, hidden=36)
    assert sized(HSTU(width=8, query_width=4), 3.0, part) == HSTU(width=24, query_width=12)


# -- recipes ---------------------------------------------------------------------------------

LADDER = """
name = "tiny"
[data]
source = "amazon_sequences"
path = "{path}"
[ranking]
protocol = "leave-one-out"
ks = [1, 3]
metric = "ndcg@3"
[models.sasrec]
width = 4
dropout = 0.0
history = {{ length = 5 }}
training = {{ epochs = 3, batch = 16, lr = 0.01, patience = 2 }}
[scaling]
sizes = [1, 2]
"""
HEAD = 'name = "a"\ndata.folder = "x"\nranking.protocol = "leave-one-out"\n'


@pytest.mark.parametrize(
    "path", sorted((ROOT / "recipes" / "scaling").glob("*.toml")), ids=lambda p: p.stem
)
def test_ours_parse_and_are_named_after_their_file(path: Path) -> None:
    recipe = load(path)
    assert recipe.name == path.stem
    assert len(recipe.scaling.sizes) >= 4  # a law can be fitted


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("sizes = [1, 0, -2]", {"scaling.sizes[1]", "scaling.sizes[2]"}),
        ("sizes = [1, 1]", {"scaling.sizes"}),
        ("sizes = []\ndepth = 3", {"scaling.sizes", "scaling.depth"}),
        ("sizes = [1]\nfractions = [2]\nwidth = -1", {"scaling.fractions[0]", "scaling.width"}),
        ("sizes = [1]\nwidth = 0", {"scaling.width"}),
        ("sizes = [1, 1.01]", {"scaling.sizes"}),  # one model
        ("sizes = [inf]", {"scaling.sizes[0]"}),
        ("sizes = 3", {"scaling.sizes"}),
        ("", {"scaling.sizes"}),
    ],
)
def test_faults_of_a_ladder_name_their_keys(text: str, paths: set[str]) -> None:
    with pytest.raises(OptionsError) as caught:
        parse(f"{HEAD}[models.sasrec]\nwidth = 8\n[scaling]\n{text}")
    assert {fault.path for fault in caught.value.faults} == paths


@pytest.mark.parametrize(
    ("models", "path"),
    [
        ("", "models"),
        ("[models.a]\nrecommender = 'sasrec'\n[models.b]\nrecommender = 'hstu'", "models"),
        ("[models.popularity]", "models.popularity"),
        ("[models.als]\nweights = {}", "models.als"),
        ("[models.multitask]", "models.multitask"),
        ("[models.counts]", "models.counts.recommender"),
        ("[models.sasrec]\nwidth = 6\nheads = 4", "models.sasrec.heads"),
    ],
)
def test_faults_of_a_model_name_their_keys(models: str, path: str) -> None:
    with pytest.raises(OptionsError) as caught:
        parse(f"{HEAD}scaling.sizes = [1, 2]\n{models}")
    assert path in {fault.path for fault in caught.value.faults}


# -- end to end ------------------------------------------------------------------------------


def sequences(folder: Path, *, last: int = 0, users: int = 48) -> Path:
    """Users of 4 to 6 items that follow one another in a ring.

    `last` turns everyone's last item into another.
    """
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(5)
    starts, lengths = rng.integers(0, ITEMS, users), rng.integers(4, 7, users)
    rows = [
        [int(v) for v in (first + np.arange(n)) % ITEMS]
        for first, n in zip(starts, lengths, strict=True)
    ]
    rows = [[*r[:-1], (r[-1] + last) % ITEMS] for r in rows] + [[0, 1], [1]]
    given = {"user": list(range(len(rows))), "items": rows}
    pq.write_table(pa.table(given), folder / "ring_sequences.parquet")
    about = {"item": list(range(ITEMS)), "title": [f"item {i}" for i in range(ITEMS)]}
    pq.write_table(pa.table(about), folder / "ring_items.parquet")
    return folder / "ring_sequences.parquet"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sequences(tmp_path_factory.mktemp("ring"))


@pytest.fixture(scope="module")
def made(path: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A finished ladder."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("made") / "study"
    study(parse(LADDER.format(path=path)), folder, resources=CPU)
    return folder


def told(folder: Path) -> dict[str, Any]:
    """scaling.json less what it cost."""
    found: dict[str, Any] = json.loads((folder / "scaling.json").read_text())
    for row in found["rungs"]:
        row.pop("seconds")
    return found


def test_a_ladder(made: Path) -> None:
    found = json.loads((made / "scaling.json").read_text())
    shapes = [(r["size"], r["width"], r["users"]) for r in found["rungs"]]
    assert shapes == [(1.0, 4, 48), (2.0, 8, 48)]
    for row in found["rungs"]:
        w = row["width"]
        assert row["embedding"] == w * (ITEMS + 1) + w * 5
        assert row["layer_parameters"] == 6 * (w * w + w) + 4 * w + 2 * w
        assert row["parameters"] == row["embedding"] + row["layer_parameters"]
        assert row["ndcg@3 low"] <= row["ndcg@3"] <= row["ndcg@3 high"]
        assert 1 <= row["best_epoch"] <= row["epochs"] <= 3
        assert row["flops"] > 0
        assert row["seconds"] > 0
        assert 0 < row["recall@1"] <= row["recall@3"] <= 1
        assert 0 < row["loss"] < 2 * np.log(ITEMS)
    assert found["laws"] == []
    assert "48 users" in found["notes"][0]
    with (made / "scaling.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(r["ndcg@3"]) for r in rows] == [r["ndcg@3"] for r in found["rungs"]]
    assert ElementTree.parse(made / "scaling.svg").getroot().tag.endswith("svg")
    assert (made / "scaling.png").read_bytes()[:4] == b"\x89PNG"
    assert not (made / "training").exists()
    assert not list(made.glob(".clickprint-spill*"))


def test_a_finished_rung_is_not_made_again(made: Path, path: Path) -> None:
    before = {f: f.stat().st_mtime_ns for f in made.glob("rungs/*/*")}
    kept = {n: (made / n).read_bytes() for n in ("scaling.json", "scaling.svg")}
    stages: list[str] = []
    study(
        parse(LADDER.format(path=path)),
        made,
        progress=lambda stage, done, total: stages.append(stage),
    )
    assert {f: f.stat().st_mtime_ns for f in made.glob("rungs/*/*")} == before
    assert not [s for s in stages if "train" in s]
    # The seconds too: they are remembered.
    assert {n: (made / n).read_bytes() for n in kept} == kept


def test_damaged_rungs_are_made_again(made: Path, path: Path) -> None:
    before = told(made)
    (made / "rungs" / "size-1-of-1-seed-0" / "rung.json").write_text("[]")
    (made / "rungs" / "size-2-of-1-seed-0" / "replicates.npy").unlink()
    study(parse(LADDER.format(path=path)), made, resources=CPU)
    assert told(made) == before


def test_rungs_of_other_code_are_told(made: Path, path: Path) -> None:
    file = made / "rungs" / "size-2-of-1-seed-0" / "rung.json"
    kept = file.read_text()
    file.write_text(json.dumps({**json.loads(kept), "code": "other"}))
    seal(file.parent)
    found = study(parse(LADDER.format(path=path)), made, resources=CPU)
    assert found.notes[-1].endswith("code: sizes 2")
    file.write_text(kept)
    seal(file.parent)
    found = study(parse(LADDER.format(path=path)), made, resources=CPU)
    assert not [note for note in found.notes if "code" in note]


def test_a_killed_ladder_goes_on_to_the_same(made: Path, path: Path, tmp_path: Path) -> None:
    recipe, folder = parse(LADDER.format(path=path)), tmp_path / "s"

    def stop(stage: str, done: int, total: int) -> None:
        if stage.startswith("size 2") and "epoch 2" in stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study(recipe, folder, resources=CPU, progress=stop)
    rungs = [p.name for p in (folder / "rungs").iterdir() if not p.name.startswith(".")]
    assert rungs == ["size-1-of-1-seed-0"]
    assert len(list((folder / "training").glob("*/*/progress.json"))) == 1
    assert not (folder / "scaling.json").exists()
    stages: list[str] = []
    study(recipe, folder, resources=CPU, progress=lambda stage, *counts: stages.append(stage))
    # Neither the rung nor the epoch that was done.
    assert not [s for s in stages if "size 1," in s or "epoch 1" in s]
    assert told(folder) == told(made)


def test_the_last_item_is_never_looked_at(made: Path, tmp_path: Path) -> None:
    """Other last items, equal results to the last digit."""
    other = LADDER.format(path=sequences(tmp_path / "data", last=5))
    study(parse(other), tmp_path / "s", resources=CPU)
    assert told(tmp_path / "s")["rungs"] == told(made)["rungs"]


def test_shares_and_seeds_in_an_emptied_folder(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    own(folder, "study")
    write_text(folder / "rungs" / "size-9-of-1-seed-0" / "rung.json", "{}")
    write_text(folder / "recipe.toml", "name = 3")
    text = (
        LADDER.format(path=path)
        .replace("sizes = [1, 2]", "sizes = [1]\nfractions = [1, 0.5]")
        .replace("[data]", "seeds = [0, 1]\n[data]")
        .replace("epochs = 3", "epochs = 1")
        .replace("length = 5", "length = 5, init_from_text = true")
        .replace("patience = 2", "patience = 0")
    )
    one = Resources(threads=1, accelerator="cpu")
    found = study(parse(text), folder, fresh=True, resources=one)
    # Half of 50 users, two of whom have nothing to learn from.
    assert [(r.fraction, r.seed, r.users) for r in found.rungs] == [
        (1.0, 0, 48),
        (1.0, 1, 48),
        (0.5, 0, 23),
        (0.5, 1, 23),
    ]
    assert found.rungs[0].means != found.rungs[1].means
    assert all(r.epochs == r.best_epoch == 1 for r in found.rungs)
    assert "last epoch" in found.notes[0]
    assert len(found.steps) == 2
    assert len(list((folder / "rungs").iterdir())) == 4


def test_a_cut_in_time(tmp_path: Path) -> None:
    """The protocol of two windows: the second one is never looked at either."""
    text = """
        name = "window"
        [data]
        source = "synthetic"
        users = 80
        items = 40
        categories = 4
        days = 40
        [ranking]
        protocol = "window"
        horizon_days = 7
        ks = [5]
        include_seen = true
        metric = "recall@5"
        [models.gru4rec]
        width = 4
        training = { epochs = 1, batch = 64 }
        [scaling]
        sizes = [1, 2]
        """
    found = study(parse(text), tmp_path / "s", resources=CPU)
    assert [r.shape for r in found.rungs] == [{"width": 4, "layers": 1}, {"width": 8, "layers": 1}]
    assert all(0 <= r.means["recall@5"] <= 1 and 2 < r.means[LOSS] < 5 for r in found.rungs)


def test_data_without_a_validation_item(tmp_path: Path) -> None:
    path = sequences(tmp_path / "data", users=0)
    with pytest.raises(DataError, match="validation"):
        study(parse(LADDER.format(path=path)), tmp_path / "s")
    assert not (tmp_path / "s" / "scaling.json").exists()


def test_the_command(made: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["scale", str(made / "recipe.toml"), "--out", str(made)]) == 0
    out = capsys.readouterr().out
    assert "tiny" in out
    assert "over the" in out
    assert max(map(len, out.splitlines()[:20])) <= 100
    assert str(made / "scaling.svg") in out
    assert main(["scale", str(tmp_path / "gone.toml")]) == 1
    assert "gone.toml" in capsys.readouterr().err
