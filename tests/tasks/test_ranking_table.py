"""A ranking table: seeds, intervals and gaps against the scores by themselves, words, output."""

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from clickprint.core.errors import ConfigError, DataError
from clickprint.metrics import compare
from clickprint.report.ranking import markdown, notes, show, words, write
from clickprint.tasks.ranking_table import FORMS, SEEDS, ModelScores, RankingTable, SeedScore


def seed(values: list[float], number: int | None, *, network: bool) -> SeedScore:
    """One metric; with seen items every value is half as high."""
    both = {"exclude_seen": values, "include_seen": [v / 2 for v in values]}
    about = {
        "seed": number,
        "metrics": ["ndcg@1"],
        "means": {f: {"ndcg@1": float(np.mean(both[f]))} for f in FORMS},
        "lists": {f: {"coverage": 0.5, "novelty": None} for f in FORMS},
        "parameters": {"embedding": 9, "layers": 1} if network else None,
        "asked": len(values),
        "data": "d|\x1b[31m",
        "fingerprint": "f",
        "text": "s",
        "empty": 0,
    }
    each = {f: np.array([v]) for f, v in both.items()}
    return SeedScore(about, np.arange(len(values)), each, float("nan"))


def table_of(network: list[float], baseline: list[float], *more: list[float]) -> RankingTable:
    seeds = [seed(v, n, network=True) for n, v in enumerate((network, *more))]
    models = (
        ModelScores("net", "sasrec", tuple(seeds)),
        ModelScores("b|r", "ease", (seed(baseline, None, network=False),)),
    )
    return RankingTable("n", "test", "ndcg@1", False, models, len(seeds), ("net seed 0",))


ONES, NOISE = [1.0] * 40, [0.0, 1.0] * 20


def test_seeds_are_averaged_and_differences_are_paired() -> None:
    other = [0.0] * 10 + [1.0] * 30
    table = table_of(NOISE, ONES, other)
    net, baseline = table.models
    each = [s.score("exclude_seen") for s in net.seeds]
    assert net.each("exclude_seen", "ndcg@1") == [0.5, 0.75]
    assert net.mean("exclude_seen", "ndcg@1") == 0.625
    assert net.deviation("exclude_seen", "ndcg@1") == pytest.approx(0.25 / np.sqrt(2))
    assert np.isnan(baseline.deviation("exclude_seen", "ndcg@1"))
    found = np.stack([s.replicates("ndcg@1") for s in each])
    replicates = compare.over_seeds(found, SEEDS.child("net"))
    assert replicates.std() > found.mean(axis=0).std()
    estimate = table.estimate(net, "exclude_seen", "ndcg@1")
    assert tuple(estimate) == pytest.approx((0.625, *map(float, compare.intervals(replicates))))
    gap = table.gap(net, baseline)
    assert gap.value == pytest.approx(-0.375)
    rival = baseline.seeds[0].score("exclude_seen").replicates("ndcg@1")
    assert tuple(gap)[1:] == pytest.approx(tuple(compare.difference(replicates, rival)))


def test_one_seed_and_many_comparisons_are_told() -> None:
    """Of one seed an interval is over users alone; three differences stand in the table."""
    alone, several = notes(table_of(NOISE, ONES)), notes(table_of(NOISE, ONES, ONES))
    assert any("users alone: net" in note for note in alone)
    assert not any("users alone" in note for note in several)
    assert any("of the 2 differences here, .1 are" in note for note in several)


@pytest.mark.parametrize(("best", "told"), [(4, True), (3, False)])
def test_a_training_that_was_cut_short_is_told(best: int, told: bool) -> None:
    """On validation; a test's epochs are those that validation chose."""
    table = table_of(NOISE, ONES)
    net, baseline = table.models
    curve = {"curve": [(n, 0.1) for n in range(1, 5)], "epochs": 4, "best_epoch": best}
    seeds = tuple(replace(s, about={**s.about, **curve}) for s in net.seeds)
    validation = replace(table, stage="validation", models=(replace(net, seeds=seeds), baseline))
    assert any("training.epochs" in n and n.endswith("net") for n in notes(validation)) == told
    assert not any("training.epochs" in n for n in notes(replace(validation, stage="test")))


def test_types_and_order() -> None:
    table = table_of(NOISE, ONES)
    assert [m.type for m in table.models] == ["network", "baseline"]
    assert table.best("network") is table.model("net")
    assert [m.name for m in table.ordered()] == ["b|r", "net"]
    assert table.forms == ["exclude_seen", "include_seen"]
    assert table.model("net").parameters == 10


def test_words_say_who_wins() -> None:
    said = words(table_of(ONES, NOISE))[0]
    assert "net, is above the best baseline, b|r, by ndcg@1 +.5000 [" in said
    assert words(table_of(NOISE, ONES))[0].endswith("; the baseline b|r wins")
    assert "is not shown to differ from" in words(table_of(NOISE, NOISE[::-1]))[0]
    alone = RankingTable("n", "test", "ndcg@1", False, table_of(ONES, NOISE).models[:1])
    assert words(alone)[0].endswith("net is best by ndcg@1, 1.0000")
    assert alone.best("baseline") is None
    assert "over the best baseline" in markdown(alone)


def test_notes_name_missing_seeds_and_other_code() -> None:
    whole = table_of(ONES, NOISE)
    few = RankingTable("n", "test", "ndcg@1", False, whole.models, 3, whole.other_code)
    assert any("3 seeds" in note and "net 1" in note for note in notes(few))
    assert any("code" in note and "net seed 0" in note for note in notes(few))


def test_names_cannot_steer_what_is_printed() -> None:
    table, out = table_of([1.0], [0.0]), io.StringIO()
    assert "| b\\|r best baseline |" in markdown(table)
    show(table, Console(file=out, width=100))
    assert "\x1b" not in out.getvalue() + markdown(table)
    assert max(map(len, out.getvalue().splitlines())) <= 100


def test_the_files(tmp_path: Path) -> None:
    table = table_of(NOISE, ONES, ONES)
    write(table, tmp_path / "test")
    plain = json.loads((tmp_path / "test.json").read_text())
    assert [(m["model"], m["mark"]) for m in plain["models"]] == [
        ("net", "best network"),
        ("b|r", "best baseline"),
    ]
    assert len(plain["pairs"]) == 2
    assert plain["words"] == words(table)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "test.csv").read_text())))
    assert len(rows) == 2 * 2 * (1 + 3)
    found = {(r["model"], r["form"], r["metric"]): r["value"] for r in rows}
    assert float(found["net", "exclude_seen", "ndcg@1"]) == 0.75
    assert float(found["net", "include_seen", "ndcg@1"]) == 0.375
    assert found["net", "exclude_seen", "novelty"] == ""
    root = ElementTree.parse(tmp_path / "test.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    lines = [x for x in (tmp_path / "test.md").read_text().splitlines() if x.startswith("|")]
    assert len(lines) == 5 * (2 + 2)


def test_models_of_other_users_are_not_compared() -> None:
    with pytest.raises(DataError, match="other users"):
        table_of([1.0, 0.0], [1.0])
    with pytest.raises(ConfigError, match=r"'x'.*net, b\|r"):
        table_of([1.0], [1.0]).model("x")
