"""A ladder of sizes: what is said of it, paired intervals, seeds, shares, laws, its picture."""

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from clickprint.report.figure import draw, standalone
from clickprint.report.ladder import picture, show
from clickprint.tasks.ladder import LOSS, Ladder, Rung
from clickprint.tasks.ranking import RESAMPLES


def rung(
    size: float, value: float, *, noise: float = 0.001, fraction: float = 1.0, seed: int = 0
) -> Rung:
    own = np.random.default_rng(int(size * 100 + seed)).normal(0, noise, RESAMPLES)
    # Users who are easy or hard for every size.
    together = np.random.default_rng(9).normal(0, 0.05, RESAMPLES)
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


def of(*values: float) -> Ladder:
    return Ladder("mine", "ndcg@10", tuple(rung(2.0**i, v) for i, v in enumerate(values)))


def test_larger_is_better() -> None:
    ladder = of(0.10, 0.12, 0.14)
    said = ladder.words()
    assert "larger is better up to the largest size: 4 over 1 +.0400 [" in said[0]
    assert "3 sizes, and 4 are needed" in said[1]
    assert ladder.enough(1.0).size == 4


def test_larger_is_not_better() -> None:
    said = of(0.10, 0.12, 0.12, 0.1201).words()
    assert "larger is not better beyond size 2: the largest, 8, is not shown" in said[0]
    assert "(+.0001 [−." in said[0]
    assert said[0].endswith("size 8")
    assert "of the 6 differences here" in said[1]
    assert len(said) == 2


def test_larger_is_worse() -> None:
    said = of(0.12, 0.11, 0.10).words()
    assert "beyond size 1: the largest, 4, is worse (−.0200 [−.02" in said[0]
    assert said[0].endswith("size 1")


def test_one_size_shows_nothing() -> None:
    assert len(of(0.1).words()) == 1
    assert "nothing" in of(0.1).words()[0]


def test_intervals_are_paired() -> None:
    """Users who are easy for all sizes move both alike: the difference is known well."""
    few, more = of(0.10, 0.11).steps
    alone, gap = more.estimate("ndcg@10"), more.above(few, "ndcg@10")
    assert alone.high - alone.low > 0.15
    assert gap.value == pytest.approx(0.01)
    assert 0 < gap.low < 0.01 < gap.high < 0.02


def test_seeds_are_averaged_and_shares_compared() -> None:
    rungs = [
        rung(s, 0.1 + 0.01 * s + 0.002 * seed + 0.05 * f, fraction=f, seed=seed)
        for s in (1.0, 2.0)
        for seed in (0, 1)
        for f in (0.5, 1.0)
    ]
    found = Ladder("mine", "ndcg@10", tuple(rungs))
    assert found.fractions == (1.0, 0.5)
    steps = [(s.fraction, s.size, len(s.rungs)) for s in found.steps]
    assert steps == [(1.0, 1, 2), (1.0, 2, 2), (0.5, 1, 2), (0.5, 2, 2)]
    assert found.steps[0].estimate("ndcg@10").value == pytest.approx(0.1 + 0.01 + 0.001 + 0.05)
    seeds = np.stack([rungs[n].replicates["ndcg@10"] for n in (1, 3)])
    both, mean = found.steps[0].replicates("ndcg@10"), seeds.mean(axis=0)
    assert both.mean() == pytest.approx(mean.mean(), abs=0.0002)
    # Each resample draws one of them twice, or both.
    assert set(np.round((both - mean) / (seeds[1] - seeds[0]) * np.sqrt(2), 6)) == {-1, 0, 1}
    said = found.words()
    assert said[0].startswith("with all of the users: larger is better")
    assert said[2].startswith("with 50 % of the users: larger is better")
    assert said[-2].startswith("the largest size with all of the users over 50 %: +.0250 [")
    assert said[-2].endswith("more users are better")
    assert "of the 3 differences here" in said[-1]


def test_rows_have_each_metric_and_its_interval() -> None:
    rows = of(0.10, 0.12).rows()
    assert [(r["size"], r["width"], r["parameters"]) for r in rows] == [
        (1, 16, 1010),
        (2, 32, 2020),
    ]
    assert all(r["ndcg@10 low"] < r["ndcg@10"] < r["ndcg@10 high"] for r in rows)


def test_the_tables_tell_the_laws() -> None:
    rungs = [
        rung(2.0**i, v * f**0.2, fraction=f)
        for f in (1.0, 0.5)
        for i, v in enumerate((0.1, 0.11, 0.121, 0.1331))
    ]
    rungs = [*rungs[:4], *(replace(r, layers=0) for r in rungs[4:])]
    ladder = Ladder("mine", "ndcg@10", tuple(rungs), ("a note",))
    laws = ladder.laws(1.0)
    assert laws["ndcg@10", "flops"].exponent == pytest.approx(np.log2(1.1))
    assert laws[LOSS, "parameters"].exponent == pytest.approx(-np.log2(1.1))
    assert ("ndcg@10", "layers") not in ladder.laws(0.5)  # no parameters, no logarithm of them
    console = Console(file=io.StringIO(), width=200)
    show(ladder, console)
    out = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"ndcg@10, all +\+\.138 \[\.138, \.138\] +\+\.138", out)
    assert re.search(r"loss, 50 % +– +−\.138 \[−\.138, −\.138\]", out)
    assert "8 of 50 %" in out
    assert out.rstrip().endswith("a note")


@pytest.mark.parametrize(
    "made",
    [
        lambda: of(0.10, 0.12, 0.14, 0.17),
        lambda: Ladder(
            "$x$ <&>",
            "ndcg@10",
            tuple(
                rung(s, 0.1, fraction=f, seed=d)
                for s in (1.0, 2.0)
                for f in (0.5, 1.0)
                for d in (0, 1)
            ),
        ),
        lambda: Ladder(
            "flat",
            "ndcg@10",
            (replace(rung(1.0, 0.1), layers=0), replace(rung(2.0, 0.1), layers=0)),
        ),
    ],
)
def test_the_picture_is_a_file_of_its_own(made: Callable[[], Ladder]) -> None:
    found = made()
    drawn = draw(lambda: picture(found), found.name)
    assert drawn is not None
    text = standalone(drawn.svg)
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(" not in text
    assert "currentColor" not in text
    assert "training FLOPs" in text
    assert drawn.png[:4] == b"\x89PNG"
    assert ("power law" in text) == any(
        law.shown for f in found.fractions for law in found.laws(f).values()
    )
