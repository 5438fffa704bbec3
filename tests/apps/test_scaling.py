"""The scaling study: the dial, what a model costs by hand, the law by hand, and a tiny ladder end to end."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from scipy import stats
from torch import nn

from clickprint.apps.cli.main import main
from clickprint.apps.scale.figures import LOSS, Rung, Study, alone, picture, power_law, show
from clickprint.apps.scale.recipe import ScalingPart, load, parse, shape, sized
from clickprint.apps.scale.stages import item_losses, nested, study
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.histories import Histories
from clickprint.core.ragged import Ragged
from clickprint.core.rng import RNG
from clickprint.encoders.costs import forward_flops, parameters, training_flops
from clickprint.encoders.gru4rec import GRU4Rec
from clickprint.encoders.hstu import HSTU
from clickprint.encoders.sasrec import SASRec
from clickprint.encoders.sequence import HistorySpec, fit
from clickprint.nn.next_item import Batch, NextItemLoss
from clickprint.nn.train import Training
from clickprint.report.figure import draw
from clickprint.tasks.ranking import RESAMPLES, RankingTest, leave_one_out

ROOT = Path(__file__).resolve().parents[2]
ITEMS = 12

pytestmark = pytest.mark.usefixtures("cache")


# -- the dial ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "dial", "wanted"),
    [
        (1.0, {}, {"width": 16, "layers": 2, "heads": 2}),
        (2.0, {}, {"width": 32, "layers": 2, "heads": 2}),
        (0.5, {}, {"width": 8, "layers": 2, "heads": 2}),
        (0.01, {}, {"width": 4, "layers": 2, "heads": 2}),  # at least two numbers a head
        (
            1.3,
            {},
            {"width": 20, "layers": 2, "heads": 2},
        ),  # 20.8: the multiple of 4 that is nearest
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
    assert (
        sized(SASRec(width=8, inner=0), 3.0, part).inner == 0
    )  # the form's own, which is a multiple of the width
    assert sized(GRU4Rec(width=8, hidden=12), 3.0, part) == GRU4Rec(width=24, hidden=36)
    assert sized(HSTU(width=8, query_width=4), 3.0, part) == HSTU(width=24, query_width=12)


# -- what a model costs -----------------------------------------------------------------------------------------------------------


def test_parameters_by_hand() -> None:
    w, length, layers = 6, 9, 2
    network = SASRec(
        width=w, layers=layers, history=HistorySpec(length=length, fields=("kind",))
    ).model({"item": 10, "kind": 3})
    block = (
        4 * (w * w + w) + 2 * (w * w + w) + 2 * 2 * w
    )  # query key value out; up down; two norms
    assert parameters(network) == (w * (10 + 1) + w * (3 + 1) + w * length, layers * block + 2 * w)
    tied = nn.ModuleList([nn.Embedding(5, 2), nn.Linear(2, 3)])
    tied.append(tied[0])
    assert parameters(tied) == (10, 9)


def test_flops_of_a_linear_layer() -> None:
    ran: list[bool] = []

    def loss(network: nn.Module, part: torch.Tensor) -> torch.Tensor:
        ran.append(network.training)
        return network(part).sum()

    layer = nn.Linear(3, 5)
    assert (
        forward_flops(layer, loss, [(torch.ones(7, 3), 7), (torch.ones(2, 3), 2)])
        == 2 * (7 + 2) * 3 * 5
    )
    assert ran == [False, False]
    assert layer.training  # a copy was counted


def batch(rows: int, length: int) -> Batch:
    return Batch({"item": torch.ones(rows, length, dtype=torch.long)}, torch.full((rows,), length))


@pytest.mark.parametrize("loss", [NextItemLoss(), NextItemLoss(kind="sampled", negatives=4)])
def test_flops_of_a_model_by_hand(loss: NextItemLoss) -> None:
    w, items, rows, length = 4, 10, 3, 5
    network = SASRec(width=w, heads=2).model({"item": items})
    per_token = (
        2 * 4 * w * w + 2 * 2 * w * w
    )  # four maps of attention, two of the feed-forward part
    attention = 2 * 2 * rows * length * length * w  # scores and their products with values
    against = items if loss.kind == "softmax" else 4
    state = torch.get_rng_state()
    found = forward_flops(
        network, loss, [((batch(rows, length), batch(rows, length)), rows * length)]
    )
    assert found == rows * length * per_token + attention + 2 * rows * length * against * w
    assert torch.equal(state, torch.get_rng_state())


def histories(users: int = 30, seed: int = 0) -> Histories:
    """Items that follow one another in a ring, four to seven a user."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 8, users)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = np.concatenate(
        [
            (first + np.arange(n)) % ITEMS
            for first, n in zip(rng.integers(0, ITEMS, users), lengths, strict=True)
        ]
    )
    return Histories(
        np.arange(users) * 3,
        starts,
        {"item": items, "time": np.arange(len(items))},
        fingerprint="ring",
    )


def test_flops_of_a_training_are_three_passes_of_every_batch() -> None:
    some = histories()
    model = SASRec(
        width=4, history=HistorySpec(length=5), training=Training(epochs=3, batch=30), pieces=1
    )
    fitted = fit(model, "sasrec", some, rng=RNG(1))
    longest, asked = 5, int((np.minimum(some.lengths, 6) - 1).sum())
    forward = 30 * longest * (12 * 4 * 4) + 4 * 30 * longest * longest * 4 + 2 * asked * ITEMS * 4
    assert training_flops(fitted, some, RNG(1)) == 3 * forward * 3
    # Batches of ten: their shapes are equal here, so the whole costs the same.
    small = fit(replace(model, training=Training(epochs=3, batch=5)), "sasrec", some, rng=RNG(1))
    assert training_flops(small, some, RNG(1)) == pytest.approx(
        3 * forward * 3, rel=0.1
    )  # 20 of 30 histories are counted


def test_losses_of_held_out_items_by_hand() -> None:
    some = histories()
    model = HSTU(
        width=4,
        layers=1,
        training=Training(epochs=1, batch=30),
        loss=NextItemLoss(kind="sampled", negatives=3, temperature=0.5),
    )
    fitted = fit(
        model, "hstu", some.take(np.arange(3)), rng=RNG(0)
    )  # three users do not know every item
    test = leave_one_out(some)
    found = item_losses(fitted, test)
    known = fitted.values["item"].tolist()
    lists = fitted.recommend(test.given, len(known))
    assert 0 < len(known) < ITEMS
    for u, item in enumerate(test.relevant.values.tolist()):
        if item not in known:
            assert np.isnan(found[u])
            continue
        logits = lists.scores[u].astype(np.float64) / 0.5
        at = lists.items[u].tolist().index(item)
        assert found[u] == pytest.approx(np.log(np.exp(logits).sum()) - logits[at], abs=1e-5)
    assert np.isnan(found).any()
    # Several right items: the mean over those that were learned; nobody's losses are those of another.
    pairs = Ragged(np.arange(0, 2 * len(some) + 1, 2), np.repeat(test.relevant.values, 2))
    pairs.values[1::2] = known[0]
    both = item_losses(fitted, RankingTest(test.given, pairs))
    first = item_losses(
        fitted, RankingTest(test.given, Ragged(test.relevant.starts, np.full(len(some), known[0])))
    )
    assert both == pytest.approx(np.where(np.isnan(found), first, (found + first) / 2), abs=1e-9)


# -- who is learned from ----------------------------------------------------------------------------------------------------------


def test_shares_of_users_are_nested() -> None:
    users = np.random.default_rng(0).permutation(1000)[:101].astype(np.int64)
    shares = [nested(users, f, RNG(3)) for f in (0.001, 0.1, 0.5, 1.0)]
    assert [int(s.sum()) for s in shares] == [1, 10, 50, 101]
    assert all((more | drop_last == more).all() for drop_last, more in pairwise(shares))
    # Who is in a share is a matter of his id, not of where he stands.
    order = np.argsort(users)
    assert (nested(users[order], 0.5, RNG(3)) == shares[2][order]).all()
    assert (nested(users, 0.5, RNG(4)) != shares[2]).any()


# -- the law ----------------------------------------------------------------------------------------------------------------------


def test_a_law_is_found_again() -> None:
    x = [10.0, 100.0, 1000.0, 1e5]
    law = power_law(x, [3 * v**-0.25 for v in x])
    assert law is not None
    assert (law.factor, law.exponent, law.rungs) == (pytest.approx(3), pytest.approx(-0.25), 4)
    assert law.shown
    assert law.high - law.low < 1e-6
    assert law(np.array([1e4])) == pytest.approx(0.3)


def test_the_uncertainty_of_a_law_by_hand() -> None:
    x, y = np.array([1.0, 2, 4, 8, 16]), np.array([1.0, 1.5, 1.4, 2.0, 1.9])
    a, b = np.log(x), np.log(y)
    slope = ((a - a.mean()) * (b - b.mean())).sum() / ((a - a.mean()) ** 2).sum()
    left = b - b.mean() - slope * (a - a.mean())
    error = np.sqrt((left**2).sum() / 3 / ((a - a.mean()) ** 2).sum())
    law = power_law(x.tolist(), y.tolist())
    assert law is not None
    assert law.exponent == pytest.approx(slope)
    assert law.high - law.exponent == pytest.approx(
        3.182446 * error, rel=1e-5
    )  # t of 3 degrees, 97.5 %
    assert law.exponent - law.low == pytest.approx(stats.t.ppf(0.975, 3) * error)
    flat = power_law([1.0, 2.0, 4.0, 8.0], [1.0, 1.2, 0.9, 1.0])
    assert flat is not None
    assert not flat.shown


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
        ([1.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]),
        ([1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0]),
        ([0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]),
        ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, float("nan")]),
    ],
)
def test_no_law(x: list[float], y: list[float]) -> None:
    assert power_law(x, y) is None


# -- what is said -----------------------------------------------------------------------------------------------------------------


def rung(
    size: float, value: float, *, noise: float = 0.001, fraction: float = 1.0, seed: int = 0
) -> Rung:
    own = np.random.default_rng(int(size * 100 + seed)).normal(0, noise, RESAMPLES)
    together = np.random.default_rng(9).normal(
        0, 0.05, RESAMPLES
    )  # users who are easy or hard for every size
    means = {"ndcg@10": value, LOSS: 1 / value}
    return Rung(
        size=size,
        fraction=fraction,
        seed=seed,
        shape={"width": int(16 * size)},
        users=100,
        embedding=int(1000 * size),
        layers=int(10 * size),
        flops=1e6 * size,
        epochs=3,
        best_epoch=2,
        train_loss=1.0,
        means=means,
        replicates={m: v + own + together for m, v in means.items()},
        seconds=1.0,
    )


def of(*values: float, **more: float) -> Study:
    return Study("mine", "ndcg@10", tuple(rung(2.0**i, v, **more) for i, v in enumerate(values)))  # type: ignore[arg-type]


def test_larger_is_better() -> None:
    study = of(0.10, 0.12, 0.14)
    said = study.words()
    assert "larger is better up to the largest size: 4 over 1 +.0400 [" in said[0]
    assert "no power law is fitted: 3 sizes, and 4 are needed" in said[1]
    assert study.enough(1.0).size == 4


def test_larger_is_not_better() -> None:
    study = of(0.10, 0.12, 0.12, 0.1201)
    said = study.words()
    assert said[0].startswith(
        "larger is not better beyond size 2: the largest, 8, is not shown to be better (+.0001 [−."
    )
    assert said[0].endswith("; the highest ndcg@10 has size 8")
    assert len(said) == 1


def test_larger_is_worse() -> None:
    said = of(0.12, 0.11, 0.10).words()
    assert said[0].startswith(
        "larger is not better beyond size 1: the largest, 4, is worse (−.0200 [−.02"
    )
    assert said[0].endswith("size 1")


def test_one_size_shows_nothing() -> None:
    assert of(0.1).words() == ["one size was trained, so nothing is shown about size"]


def test_the_tables_tell_the_laws() -> None:
    rungs = [
        rung(2.0**i, v * f**0.2, fraction=f)
        for f in (1.0, 0.5)
        for i, v in enumerate((0.1, 0.11, 0.121, 0.1331))
    ]
    study = Study(
        "mine", "ndcg@10", (*rungs[:4], *(replace(r, layers=0) for r in rungs[4:])), ("a note",)
    )
    laws = study.laws(1.0)
    assert laws["ndcg@10", "flops"].exponent == pytest.approx(np.log2(1.1))
    assert laws[LOSS, "parameters"].exponent == pytest.approx(-np.log2(1.1))
    assert ("ndcg@10", "layers") not in study.laws(0.5)  # no parameters, no logarithm of them
    console = Console(file=io.StringIO(), width=200)
    show(study, console)
    out = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"ndcg@10, all +\+\.138 \[\.138, \.138\] +\+\.138", out)
    assert re.search(r"loss, 50 % +– +−\.138 \[−\.138, −\.138\]", out)
    assert "8 of 50 %" in out
    assert out.rstrip().endswith("a note")


def test_intervals_are_paired() -> None:
    """Users who are easy for all sizes move both alike: the difference is known well where the values are not."""
    few, more = of(0.10, 0.11).steps
    alone, gap = more.estimate("ndcg@10"), more.above(few, "ndcg@10")
    assert alone.high - alone.low > 0.15
    assert gap.value == pytest.approx(0.01)
    assert 0 < gap.low < 0.01 < gap.high < 0.02


def test_seeds_are_averaged_and_shares_compared() -> None:
    rungs = [
        rung(s, 0.1 + 0.01 * s + 0.02 * seed + 0.05 * f, fraction=f, seed=seed)
        for s in (1.0, 2.0)
        for seed in (0, 1)
        for f in (0.5, 1.0)
    ]
    found = Study("mine", "ndcg@10", tuple(rungs))
    assert found.fractions == (1.0, 0.5)
    assert [(s.fraction, s.size, len(s.rungs)) for s in found.steps] == [
        (1.0, 1, 2),
        (1.0, 2, 2),
        (0.5, 1, 2),
        (0.5, 2, 2),
    ]
    assert found.steps[0].estimate("ndcg@10").value == pytest.approx(0.1 + 0.01 + 0.01 + 0.05)
    assert found.steps[0].replicates("ndcg@10") == pytest.approx(
        (rungs[1].replicates["ndcg@10"] + rungs[3].replicates["ndcg@10"]) / 2
    )
    said = found.words()
    assert said[0].startswith("with all of the users: larger is better")
    assert said[2].startswith("with 50 % of the users: larger is better")
    assert said[-1].startswith("the largest size with all of the users over 50 %: +.0250 [")
    assert said[-1].endswith("more users are better")


# -- the picture ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [
        lambda: of(0.10, 0.12, 0.14, 0.17),
        lambda: Study(
            "$x$ <&>",
            "ndcg@10",
            tuple(
                rung(s, 0.1, fraction=f, seed=d)
                for s in (1.0, 2.0)
                for f in (0.5, 1.0)
                for d in (0, 1)
            ),
        ),
        lambda: Study(
            "flat",
            "ndcg@10",
            (replace(rung(1.0, 0.1), layers=0), replace(rung(2.0, 0.1), layers=0)),
        ),
    ],
)
def test_the_picture_is_a_file_of_its_own(made: Callable[[], Study]) -> None:
    found = made()
    drawn = draw(lambda: picture(found), found.name)
    assert drawn is not None
    text = alone(drawn.svg)
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(" not in text
    assert "currentColor" not in text
    assert "training FLOPs" in text
    assert drawn.png[:4] == b"\x89PNG"
    assert ("power law" in text) == any(
        law.shown for f in found.fractions for law in found.laws(f).values()
    )


# -- recipes ----------------------------------------------------------------------------------------------------------------------

LADDER = """
name = "tiny"
[data]
source = "amazon_sequences"
path = "{path}"
[ranking]
protocol = "leave-one-out"
ks = [1, 3]
measure = "ndcg@3"
[models.sasrec]
width = 4
dropout = 0.0
history = {{ length = 5 }}
training = {{ epochs = 3, batch = 16, lr = 0.01, patience = 2 }}
[scaling]
sizes = [1, 2]
"""


@pytest.mark.parametrize(
    "path", sorted((ROOT / "recipes" / "scaling").glob("*.toml")), ids=lambda p: p.stem
)
def test_ours_parse_and_are_named_after_their_file(path: Path) -> None:
    recipe = load(path)
    assert recipe.name == path.stem
    assert len(recipe.scaling.sizes) >= 4  # a law can be fitted


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(
            """
            name = "a b"
            seed = 3
            seeds = [-1]
            [data]
            [ranking]
            protocol = "leave-one-out"
            roles = ["view"]
            ks = [0, 1]
            measure = "f1@1"
            [models.sasrec]
            widht = 3
            dropout = "much"
            [models.popularity]
            [scaling]
            sizes = [1, 1, 0, -2]
            fractions = [2]
            width = -1
            """
        )
    told = str(caught.value)
    for part in (
        "seed: unknown",
        "name: found str 'a b'",
        "seeds: found list [-1]",
        "data: expected either source",
        "ranking.ks: found ['0', '1']",
        "ranking.roles: for the protocol 'window' only",
        "ranking.measure: 'f1@1' is unknown",
        "models.sasrec: 'widht' is not an option",
        "models.sasrec: SASRec.dropout: found 'much'",
        "models.popularity: popularity is no network of a width",
        "scaling.sizes: found [1.0, 1.0, 0.0, -2.0], expected each once",
        "scaling.sizes: found -2.0",
        "scaling.fractions: found 2.0",
        "scaling.width: found -1.0",
    ):
        assert part in told, told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "sizes = [1, 1, 0, -2]",
            ["each once", "found 0.0, expected a number above 0", "found -2.0"],
        ),
        ("sizes = []\ndepth = 3", ["scaling.depth: unknown"]),
        ("sizes = []", ["scaling.sizes: none"]),
        (
            "sizes = [1]\nfractions = [2]\nwidth = -1",
            ["fractions: found 2.0", "width: found -1.0"],
        ),
        ("sizes = [1]\nwidth = 0", ["all 0, so all sizes are one model"]),
        ("sizes = [1, 1.01]", ["1 and 1.01 are one model"]),
        ("sizes = [inf]", ["scaling.sizes"]),
        ("sizes = 3", ["scaling.sizes: found int 3"]),
        ("", ["scaling.sizes: missing"]),
    ],
)
def test_faults_of_a_ladder(text: str, told: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(
            f'name = "a"\ndata.folder = "x"\nranking.protocol = "leave-one-out"\n[models.sasrec]\nwidth = 8\n[scaling]\n{text}'
        )
    assert all(part in str(caught.value) for part in told), str(caught.value)


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ("", "models: none"),
        (
            "[models.a]\nencoder = 'sasrec'\n[models.b]\nencoder = 'hstu'",
            "models: found a, b, expected one model",
        ),
        ("[models]\nsasrec = 3", "models.sasrec: found int 3, expected a table"),
        ("[models.sasrek]", "did you mean sasrec"),
        ("[models.sasrec]\nencoder = 3", "models.sasrec.encoder: 3 is unknown"),
        (
            "[models.sasrec]\nhistory.everything = true",
            "models.sasrec.history.everything: found true",
        ),
        ("[models.counts]", "counts is not trained to say the next item"),
        ("[models.sasrec]\nwidth = 6\nheads = 4", "models.sasrec: heads: 4 do not divide"),
    ],
)
def test_faults_of_a_model(models: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("[", r"\[")):
        parse(
            f'name = "a"\ndata.folder = "x"\nranking.protocol = "leave-one-out"\nscaling.sizes = [1, 2]\n{models}'
        )


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    (tmp_path / "no.toml").write_text("[[[")
    for name, told in (
        ("gone.toml", "there is no such file"),
        ("latin.toml", "not UTF-8"),
        ("no.toml", "not TOML"),
        (".", "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=told):
            load(tmp_path / name)


# -- end to end -------------------------------------------------------------------------------------------------------------------


def sequences(folder: Path, *, last: int = 0, users: int = 48) -> Path:
    """Users of 3 to 6 items that follow one another in a ring; `last` turns everyone's last item into another."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(5)
    rows = [
        [int(v) for v in (first + np.arange(n)) % ITEMS]
        for first, n in zip(rng.integers(0, ITEMS, users), rng.integers(4, 7, users), strict=True)
    ]
    rows = [[*r[:-1], (r[-1] + last) % ITEMS] for r in rows] + [[0, 1], [1]]
    pq.write_table(
        pa.table({"user": list(range(len(rows))), "items": rows}),
        folder / "ring_sequences.parquet",
    )
    pq.write_table(
        pa.table({"item": list(range(ITEMS)), "title": [f"item {i}" for i in range(ITEMS)]}),
        folder / "ring_items.parquet",
    )
    return folder / "ring_sequences.parquet"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sequences(tmp_path_factory.mktemp("ring"))


@pytest.fixture(scope="module")
def made(path: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A finished ladder."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("made") / "study"
    study(parse(LADDER.format(path=path)), folder, accelerator="cpu")
    return folder


def told(folder: Path) -> dict:
    """scaling.json less what it cost."""
    found = json.loads((folder / "scaling.json").read_text())
    for row in found["rungs"]:
        row.pop("seconds")
    return found


def test_a_ladder(made: Path) -> None:
    found = json.loads((made / "scaling.json").read_text())
    assert [(r["size"], r["width"], r["users"]) for r in found["rungs"]] == [
        (1.0, 4, 48),
        (2.0, 8, 48),
    ]
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
    assert "no power law is fitted: 2 sizes" in found["words"][1]
    assert "the item before the last, 48 users" in found["notes"][0]
    with (made / "scaling.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(r["ndcg@3"]) for r in rows] == [r["ndcg@3"] for r in found["rungs"]]
    assert ElementTree.parse(made / "scaling.svg").getroot().tag.endswith("svg")
    assert (made / "scaling.png").read_bytes()[:4] == b"\x89PNG"
    assert not (made / "training").exists()
    assert not (made / ".spill").exists()


def test_a_finished_rung_is_not_made_again(made: Path, path: Path) -> None:
    before = {f: f.stat().st_mtime_ns for f in made.glob("rungs/*/*")}
    first, picture = (made / "scaling.json").read_bytes(), (made / "scaling.svg").read_bytes()
    seen: list[str] = []
    study(
        parse(LADDER.format(path=path)),
        made,
        progress=lambda stage, done, total: seen.append(stage),
    )
    assert {f: f.stat().st_mtime_ns for f in made.glob("rungs/*/*")} == before
    assert not [s for s in seen if "train" in s]
    assert (made / "scaling.json").read_bytes() == first  # the seconds too: they are remembered
    assert (made / "scaling.svg").read_bytes() == picture


def test_damaged_rungs_are_made_again(made: Path, path: Path) -> None:
    before = told(made)
    (made / "rungs" / "size-1-of-1-seed-0" / "rung.json").write_text("[]")
    (made / "rungs" / "size-2-of-1-seed-0" / "replicates.npy").unlink()
    study(parse(LADDER.format(path=path)), made, accelerator="cpu")
    assert told(made) == before


def test_a_killed_ladder_goes_on_to_the_same(made: Path, path: Path, tmp_path: Path) -> None:
    recipe = parse(LADDER.format(path=path))

    def stop(stage: str, done: int, total: int) -> None:
        if stage.startswith("size 2") and "epoch 2" in stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study(recipe, tmp_path / "s", accelerator="cpu", progress=stop)
    assert [
        p.name for p in (tmp_path / "s" / "rungs").iterdir() if not p.name.startswith(".")
    ] == ["size-1-of-1-seed-0"]
    assert len(list((tmp_path / "s" / "training").glob("*/progress.json"))) == 1
    assert not (tmp_path / "s" / "scaling.json").exists()
    seen: list[str] = []
    study(
        recipe,
        tmp_path / "s",
        accelerator="cpu",
        progress=lambda stage, done, total: seen.append(stage),
    )
    assert not [
        s for s in seen if "size 1," in s or "epoch 1" in s
    ]  # neither the rung nor the epoch that was done
    assert told(tmp_path / "s") == told(made)


def test_the_last_item_is_never_looked_at(made: Path, tmp_path: Path) -> None:
    """Other last items, equal results to the last digit."""
    other = LADDER.format(path=sequences(tmp_path / "data", last=5))
    study(parse(other), tmp_path / "s", accelerator="cpu")
    assert told(tmp_path / "s")["rungs"] == told(made)["rungs"]


def test_shares_and_seeds_in_an_emptied_folder(path: Path, tmp_path: Path) -> None:
    (tmp_path / "s" / "rungs" / "size-9-of-1-seed-0").mkdir(parents=True)
    (tmp_path / "s" / "recipe.toml").write_text("name = 3")
    text = (
        LADDER.format(path=path)
        .replace("sizes = [1, 2]", "sizes = [1]\nfractions = [1, 0.5]")
        .replace("[data]", "seeds = [0, 1]\n[data]")
        .replace("epochs = 3", "epochs = 1")
        .replace("length = 5", "length = 5, texts = true")
    )
    found = study(
        parse(text.replace("patience = 2", "patience = 0")),
        tmp_path / "s",
        fresh=True,
        threads=1,
        accelerator="cpu",
    )
    assert [(r.fraction, r.seed, r.users) for r in found.rungs] == [
        (1.0, 0, 48),
        (1.0, 1, 48),
        (0.5, 0, 23),
        (0.5, 1, 23),
    ]  # half of 50, two of whom have nothing to learn from
    assert found.rungs[0].means != found.rungs[1].means
    assert all(r.epochs == r.best_epoch == 1 for r in found.rungs)
    assert "the last epoch is kept" in found.notes[0]
    assert len(found.steps) == 2
    assert len(list((tmp_path / "s" / "rungs").iterdir())) == 4


def test_folders_that_are_refused(made: Path, path: Path, tmp_path: Path) -> None:
    recipe = parse(LADDER.format(path=path))
    other = parse(LADDER.format(path=path).replace("sizes = [1, 2]", "sizes = [1, 3]"))
    with pytest.raises(ConfigError, match="another recipe"):
        study(other, made)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        study(recipe, tmp_path / "file")
    with pytest.raises(ConfigError, match="is no study"):
        study(recipe, tmp_path)
    assert (tmp_path / "file").exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "recipe.toml").write_text("name = 3")
    with pytest.raises(ConfigError, match="another recipe"):
        study(recipe, tmp_path / "old")


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
        seen = true
        measure = "recall@5"
        [models.gru4rec]
        width = 4
        training = { epochs = 1, batch = 64 }
        [scaling]
        sizes = [1, 2]
        """
    found = study(parse(text), tmp_path / "s", accelerator="cpu")
    assert [r.shape for r in found.rungs] == [{"width": 4, "layers": 1}, {"width": 8, "layers": 1}]
    assert all(0 <= r.means["recall@5"] <= 1 and 2 < r.means[LOSS] < 5 for r in found.rungs)
    assert "what users did (buy) in" in found.notes[0]


def test_data_without_a_validation_item(tmp_path: Path) -> None:
    path = sequences(tmp_path / "data", users=0)
    with pytest.raises(DataError, match="nobody is asked anything in the validation"):
        study(parse(LADDER.format(path=path)), tmp_path / "s")
    assert not (tmp_path / "s" / "scaling.json").exists()


def test_the_command(made: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["scale", str(made / "recipe.toml"), "--out", str(made)]) == 0
    out = capsys.readouterr().out
    assert "tiny" in out
    assert "over the smaller" in out
    assert max(map(len, out.splitlines()[:20])) <= 100
    assert f"picture: {made / 'scaling.svg'}" in out
    assert main(["scale", str(tmp_path / "gone.toml")]) == 1
    assert "there is no such file" in capsys.readouterr().err
