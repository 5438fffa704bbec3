"""Ranking tables: recipes, what is learned and asked in each stage, the table against the metrics by hand, and the test, once."""

import csv
import io
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from clickprint.apps.cli.main import main
from clickprint.apps.rank import stages as rank_module
from clickprint.apps.rank.recipe import load, parse
from clickprint.apps.rank.stages import SCORES, _spill, drop_last, mixed, rank, show_folder
from clickprint.apps.rank.table import Line, Ranking, Unit, show
from clickprint.apps.scale import stages as scaling_module
from clickprint.apps.scale.recipe import parse as parse_ladder
from clickprint.apps.scale.stages import study
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.time import DAY
from clickprint.recommenders.baselines import OwnItems, Popularity
from clickprint.tasks.ranking import RankingScore, leave_one_out, score

ROOT = Path(__file__).resolve().parents[2]
ITEMS = 12
pytestmark = pytest.mark.usefixtures("cache")

DATA = '\n[data]\nsource = "amazon_sequences"\npath = "x_sequences.parquet"\n'
ASKED = '\n[ranking]\nprotocol = "leave-one-out"\n'


# -- recipes ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", sorted((ROOT / "recipes" / "ranking").glob("*.toml")), ids=lambda p: p.stem
)
def test_ours_parse_and_are_named_after_their_file(path: Path) -> None:
    recipe = load(path)
    assert recipe.name == path.stem
    assert recipe.seeds in ((0,), (0, 1, 2))
    assert recipe.ranking.ks == (5, 10, 20)


def test_what_a_recipe_says() -> None:
    found = parse(
        'name = "n"\nseeds = [3, 1]'
        + DATA
        + '\n[ranking]\nprotocol = "window"\nhorizon_days = 7\nroles = ["buy", "cart"]\nks = [2]\nseen = true\nmeasure = "mrr@2"\n'
        "[models.sasrec]\nwidth = 8\nrefit = false\n[models.mine]\nbar = 'popularity'\nhalf_life = 3\n[models.als]\n"
    )
    assert found.seeds == (3, 1)
    assert (found.ranking.horizon_days, found.ranking.roles, found.ranking.seen) == (
        7,
        ("buy", "cart"),
        True,
    )
    assert found.ranking.metrics == ("recall@2", "ndcg@2", "mrr@2")
    assert [(m.kind, m.of, m.refit, m.drawn) for m in found.models.values()] == [
        ("encoder", "sasrec", False, True),
        ("bar", "popularity", True, False),
        ("bar", "als", True, True),
    ]
    assert found.models["sasrec"].made.width == 8
    assert found.models["mine"].made == Popularity(half_life=3)
    assert found.at(Path("y")).data.path == "y"


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(
            """
            name = "a b"
            seeds = [1, 1]
            colour = 3
            [data]
            [ranking]
            protocol = "leave-one-out"
            horizon_days = 3
            ks = [0, 1]
            measure = "f1@1"
            [models.sasrec]
            widht = 3
            dropout = "much"
            refit = 1
            [models.ease]
            penalty = "much"
            [models.what]
            """
        )
    told = str(caught.value)
    for part in (
        "recipe: 11 faults",
        "colour: unknown",
        "name: found str 'a b'",
        "seeds: found list [1, 1]",
        "data: expected either source",
        "ranking.ks: found ['0', '1']",
        "ranking.measure: 'f1@1' is unknown",
        "ranking.horizon_days: for the protocol 'window' only",
        "models.sasrec.refit: found int 1, expected true or false",
        "models.sasrec: 'widht' is not an option",
        "models.sasrec: SASRec.dropout: found 'much'",
        "models.ease: EASE.penalty: found 'much'",
        "models.what.encoder: 'what' is unknown",
    ):
        assert part in told or part.startswith("recipe"), told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (ASKED, "models: none; write at least one"),
        (ASKED + "[models]\nx = 3", "models.x: found int 3, expected a table"),
        (
            ASKED + '[models.x]\nbar = "ease"\nencoder = "sasrec"',
            "models.x: found encoder and bar",
        ),
        (ASKED + '[models.x]\nbar = "eas"', "models.x.bar: 'eas' is unknown; known: als, ease"),
        (ASKED + "[models.x]\nbar = 3", "models.x.bar: 3 is unknown"),
        (
            ASKED + '[models.x]\nencoder = "als"',
            "models.x.encoder: als is not trained to say the next item, so it ranks none; as a bar it does",
        ),
        (ASKED + '[models.x]\nencoder = "counts"', "counts is not trained to say the next item"),
        (
            ASKED + '[models.als]\ncolumn = "category"',
            "models.als.column: found 'category', expected 'item'",
        ),
        (
            ASKED + "[models.sasrec]\nhistory = { everything = true }",
            "models.sasrec.history.everything: found true",
        ),
        (ASKED + '[models."a/b"]\nbar = "ease"', "models.a/b: found str 'a/b', expected a name"),
        (
            ASKED + "[models.ease]\n[models.sasrec]\nheads = 3",
            "models.sasrec: heads: 3 do not divide",
        ),
        (
            ASKED + 'roles = ["buy"]\n[models.ease]',
            "ranking.roles: for the protocol 'window' only",
        ),
        ("[ranking]\n[models.ease]", "ranking.protocol: missing"),
        (
            '[ranking]\nprotocol = "split"\n[models.ease]',
            "ranking.protocol: found str 'split', expected one of 'leave-one-out', 'window'",
        ),
        (
            '[ranking]\nprotocol = "window"\nhorizon_days = 0\n[models.ease]',
            "ranking.horizon_days: found 0",
        ),
        ('[ranking]\nprotocol = "window"\nroles = []\n[models.ease]', "ranking.roles: found []"),
        (
            '[ranking]\nprotocol = "window"\nroles = ["bought"]\n[models.ease]',
            "ranking.roles[0]: found str 'bought'",
        ),
        (
            ASKED + "ks = [5]\n[models.ease]",
            "ranking.measure: 'ndcg@10' is unknown; known: mrr@5, ndcg@5, recall@5",
        ),
        (ASKED + "depth = 3\n[models.ease]", "ranking.depth: unknown"),
        ("ranking = 3\n[models.ease]", "ranking: found int 3, expected a table"),
    ],
)
def test_a_fault(text: str, told: str) -> None:
    top, rest = (text + "\n", "") if text.startswith("ranking = ") else ("", text)
    with pytest.raises(ConfigError) as caught:
        parse(
            f'name = "n"\n{top.splitlines()[0] if top else ""}\n{DATA}{rest or text.split(chr(10), 1)[1]}',
            where="here.toml",
        )
    assert "here.toml: " in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize("seeds", ["[]", "3", "[-1]", "[1.5]", "[9223372036854775808]", "[true]"])
def test_seeds_that_are_none(seeds: str) -> None:
    with pytest.raises(ConfigError, match="seeds"):
        parse(f'name = "n"\nseeds = {seeds}\n{DATA}{ASKED}[models.ease]')


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file.*recipes/ranking/"):
        load(tmp_path / "gone.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "bytes")
    with pytest.raises(ConfigError, match="not TOML"):
        parse("name = ")


# -- what is learned from, what lists are like ------------------------------------------------------------------------------------


def of(rows: list[list[int]]) -> Histories:
    item = np.array([i for r in rows for i in r], np.int64)
    return Histories(
        np.arange(len(rows)),
        np.cumsum([0, *map(len, rows)]).astype(np.int64),
        {"item": item, "time": np.arange(len(item))},
    )


@given(
    st.lists(st.lists(st.integers(0, 5), max_size=5), min_size=1, max_size=6),
    st.sampled_from([1, 2]),
)
def test_nothing_that_is_asked_is_learned(rows: list[list[int]], last: int) -> None:
    """Of n events the last is the test, the one before it validation where that leaves a history to ask from."""
    found = drop_last(of(rows), last)
    kept = [found.ragged("item")[u].tolist() for u in range(len(rows))]
    for row, some in zip(rows, kept, strict=True):
        asked = {1: 1, 2: 1 if len(row) == 2 else 2}[last] if len(row) > 1 else 0
        assert some == row[: len(row) - asked]
    for back in range(
        last
    ):  # as leave_one_out sees it: nobody's asked event is among those that are left
        test = leave_one_out(of(rows), back=back)
        for user, length in zip(test.users, test.given.lengths, strict=True):
            assert len(kept[user]) <= length


@given(
    st.lists(
        st.lists(st.integers(0, 9), unique=True, max_size=5).map(
            lambda r: [*r, *[NONE] * (5 - len(r))]
        ),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.sampled_from([NONE, 7, 8]), min_size=6, max_size=6),
)
def test_pairs_of_different_categories(lists: list[list[int]], category: list[int]) -> None:
    items = np.array([0, 2, 3, 5, 8, 9])
    known = dict(zip(items.tolist(), category, strict=True))
    each = []
    for row in lists:
        pairs = list(combinations([known[i] for i in row if known.get(i, NONE) != NONE], 2))
        if pairs:
            each.append(np.mean([a != b for a, b in pairs]))
    found = mixed(np.array(lists, np.int64), items, np.array(category, np.int64))
    assert found == pytest.approx(np.mean(each)) if each else np.isnan(found)


def test_no_category_at_all() -> None:
    assert np.isnan(mixed(np.array([[1, 2]]), np.zeros(0, np.int64), np.zeros(0, np.int64)))


# -- a table ----------------------------------------------------------------------------------------------------------------------

TINY = """
name = "tiny"
seeds = [0, 1]
[data]
source = "amazon_sequences"
path = "{path}"
[ranking]
protocol = "leave-one-out"
ks = [1, 3]
measure = "ndcg@3"
[models.sasrec]
width = 8
dropout = 0.0
history = {{ length = 5 }}
training = {{ epochs = 3, batch = 16, lr = 0.01, patience = 2 }}
[models.gru4rec]
refit = false
width = 4
history = {{ length = 5 }}
training = {{ epochs = 1, batch = 16 }}
[models.popularity]
[models.own]
bar = "own-items"
refit = false
"""


def rows_of(users: int = 48) -> list[list[int]]:
    """Users of 4 to 6 items that follow one another in a ring; one with two items, one with one."""
    rng = np.random.default_rng(5)
    starts, lengths = rng.integers(0, ITEMS, users), rng.integers(4, 7, users)
    return [
        [int(v) for v in (first + np.arange(n)) % ITEMS]
        for first, n in zip(starts, lengths, strict=True)
    ] + [[0, 1], [1]]


def sequences(folder: Path, rows: list[list[int]]) -> Path:
    folder.mkdir(exist_ok=True)
    items = sorted({i for r in rows for i in r})
    pq.write_table(
        pa.table({"user": list(range(len(rows))), "items": rows}),
        folder / "ring_sequences.parquet",
    )
    about = {
        "item": items,
        "title": [f"item {i}" for i in items],
        "brand": ["b"] * len(items),
        "categories": ["ab"[i % 2] for i in items],
    }
    pq.write_table(pa.table(about), folder / "ring_items.parquet")
    return folder / "ring_sequences.parquet"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sequences(tmp_path_factory.mktemp("ring"), rows_of())


@pytest.fixture(scope="module")
def made(path: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """Validation and test of the tiny recipe."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("made") / "table"
    recipe = parse(TINY.format(path=path))
    rank(recipe, folder, threads=1, accelerator="cpu")
    rank(recipe, folder, test=True, threads=1, accelerator="cpu")
    return folder


def files(folder: Path, stage: str) -> dict[str, bytes]:
    """What a stage's units are, whatever they cost."""
    return {
        str(f.relative_to(folder)): f.read_bytes()
        for f in sorted((folder / stage).rglob("*"))
        if f.is_file()
    }


def test_bars_are_scored_as_by_hand(made: Path) -> None:
    rows = rows_of()
    item_ids = sorted({i for r in rows for i in r})  # whole numbers keep their ids
    asked = [r for r in rows if len(r) > 1]
    for stage, drop in (("validation", 2), ("test", 1)):
        table = show_folder(made, stage)  # type: ignore[arg-type]
        learned = [r[: len(r) - min(drop, max(len(r) - 1, 0))] for r in rows]
        counts = {i: sum(r.count(i) for r in learned) for i in item_ids}
        people = [r for r in asked if len(r) > 2] if stage == "validation" else asked
        for seen in (False, True):
            hits = {1: [], 3: []}
            for r in people:
                given, right = (
                    r[:-drop] if len(r) > 2 else r[:-1],
                    r[-drop] if len(r) > 2 else r[-1],
                )
                ranked = sorted(
                    (i for i in item_ids if counts[i] and (seen or i not in given)),
                    key=lambda i: (-counts[i], i),
                )
                for k, found in hits.items():
                    found.append(right in ranked[:k])
            for k, found in hits.items():
                line = table.line("popularity")
                assert line.mean("seen" if seen else "unseen", f"recall@{k}") == pytest.approx(
                    np.mean(found)
                ), (stage, seen, k)
        assert table.line("popularity").units[0].about["asked"] == len(people)


def test_a_unit_is_what_ranking_score_gives(made: Path) -> None:
    """The table's values and intervals against tasks.ranking on the same lists, both forms."""
    histories = of(rows_of())
    train, test = drop_last(histories, 2), leave_one_out(histories, back=1)
    table = show_folder(made)
    line = table.line("own")
    for form, seen in (("unseen", False), ("seen", True)):
        lists = OwnItems().fit(train).recommend(test.given, 3, seen=seen)
        wanted = score(lists, test, ks=(1, 3), rng=SCORES, items=np.arange(ITEMS))
        found = line.units[0].score(form, SCORES)
        assert found.users.tolist() == wanted.users.tolist()
        for metric, values in wanted.values.items():
            np.testing.assert_array_equal(found.values[metric], values)
            assert line.mean(form, metric) == wanted.mean(metric)
            assert tuple(table.estimate(line, form, metric)) == pytest.approx(
                (wanted.mean(metric), *wanted.interval(metric))
            )
        assert found.lists["coverage"] == wanted.lists["coverage"]
        assert found.lists["surprise"] == wanted.lists["surprise"]
        assert found.lists["spread"] == mixed(lists.items, np.arange(ITEMS), np.arange(ITEMS) % 2)


def test_a_model_that_is_not_trained_again_has_no_seconds_of_the_test(made: Path) -> None:
    validation, test = show_folder(made, "validation"), show_folder(made, "test")
    assert all(
        u.seconds > 0 for model in ("sasrec", "gru4rec") for u in validation.line(model).units
    )
    assert all(u.seconds > 0 for u in test.line("sasrec").units)
    assert all(np.isnan(u.seconds) for u in test.line("gru4rec").units)
    note = "not trained again for the test (refit = false), so without seconds here: gru4rec"
    assert note in test.notes()
    assert note not in validation.notes()


def test_seeds_are_averaged_and_differences_are_paired(made: Path) -> None:
    table = show_folder(made)
    one, other = table.line("sasrec"), table.line("popularity")
    each = [u.score("unseen", SCORES) for u in one.units]
    assert [u.about["seed"] for u in one.units] == [0, 1]
    assert one.mean("unseen", "ndcg@3") == pytest.approx(np.mean([s.mean("ndcg@3") for s in each]))
    assert one.deviation("unseen", "ndcg@3") == pytest.approx(
        abs(each[0].mean("ndcg@3") - each[1].mean("ndcg@3")) / np.sqrt(2)
    )
    mean = RankingScore(
        each[0].users,
        {m: (each[0].values[m] + each[1].values[m]) / 2 for m in each[0].values},
        {},
        SCORES,
    )
    baseline = other.units[0].score("unseen", SCORES)
    gap = table.above(one, other)
    assert gap.value == pytest.approx(mean.mean("ndcg@3") - baseline.mean("ndcg@3"))
    assert tuple(gap)[1:] == pytest.approx(tuple(mean.above(baseline, "ndcg@3")))
    assert len(other.units) == 1
    assert np.isnan(other.deviation("unseen", "ndcg@3"))


def test_what_an_encoder_learned_from_in_each_stage(tmp_path: Path) -> None:
    """Items that only validation or only the test asks for are unknown before; refit learns the first of them, without it neither."""
    rows = [[*r[:-2], 100 + u, 200 + u] for u, r in enumerate(rows_of()) if len(r) > 3]
    recipe = parse(
        TINY.format(path=sequences(tmp_path / "data", rows))
        .replace("seeds = [0, 1]", "")
        .replace("patience = 2", "patience = 1")
    )
    rank(recipe, tmp_path / "t", threads=1, accelerator="cpu")
    rank(recipe, tmp_path / "t", test=True, threads=1, accelerator="cpu")
    for stage, model, most in (
        ("validation", "sasrec", 99),
        ("test", "sasrec", 199),
        ("validation", "gru4rec", 99),
        ("test", "gru4rec", 99),
    ):
        folder = tmp_path / "t" / stage / model / "seed-0"
        known = np.load(folder / "fitted" / "values.item.npy")
        assert known.max() <= most
        assert (most == 99) == (known.max() < 100)
    assert (
        show_folder(tmp_path / "t").line("sasrec").mean("seen", "recall@3") == 0
    )  # nobody can say what he never saw
    about = {
        stage: json.loads((tmp_path / "t" / stage / "sasrec" / "seed-0" / "unit.json").read_text())
        for stage in ("validation", "test")
    }
    assert (
        about["test"]["epochs"] == about["test"]["best_epoch"] == about["validation"]["best_epoch"]
    )
    assert about["test"]["measures"] == []
    same = [
        "validation/gru4rec/seed-0/fitted/weights.safetensors",
        "test/gru4rec/seed-0/fitted/weights.safetensors",
    ]
    assert len({(tmp_path / "t" / f).read_bytes() for f in same}) == 1


def test_a_killed_table_goes_on_to_the_same(made: Path, path: Path, tmp_path: Path) -> None:
    recipe, folder = parse(TINY.format(path=path)), tmp_path / "t"

    def stop(stage: str, done: int, total: int) -> None:
        if "sasrec seed 1" in stage and "epoch 2" in stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rank(recipe, folder, threads=1, accelerator="cpu", progress=stop)
    assert [
        p.name for p in (folder / "validation" / "sasrec").iterdir() if not p.name.startswith(".")
    ] == ["seed-0"]
    assert len(list(folder.glob("training/*/checkpoint/progress.json"))) == 1
    assert not (folder / "validation.md").exists()
    seen: list[str] = []
    rank(
        recipe,
        folder,
        threads=1,
        accelerator="cpu",
        progress=lambda stage, done, total: seen.append(stage),
    )
    assert not [
        s for s in seen if "sasrec seed 0" in s or ("sasrec seed 1" in s and "epoch 1" in s)
    ]
    assert files(folder, "validation") == files(made, "validation")
    assert not list(folder.glob("training/*"))
    assert not list(folder.glob(".spill*"))


def test_in_pieces_and_only_what_changed(made: Path, path: Path, tmp_path: Path) -> None:
    text, folder = TINY.format(path=path), tmp_path / "t"
    table = rank(parse(text), folder, only=("gru4rec",), seeds=(1,), threads=1, accelerator="cpu")
    assert [(x.name, [u.about["seed"] for u in x.units]) for x in table.lines] == [
        ("gru4rec", [1])
    ]
    assert "of 2 seeds are here only: gru4rec 1" in table.notes()
    table = rank(parse(text), folder, only=("own",), threads=1)
    assert [x.name for x in table.lines] == ["gru4rec", "own"]  # all that is there
    assert files(folder, "validation").items() <= files(made, "validation").items()
    changed = parse(
        text.replace("width = 4", "width = 6").replace(
            "[models.popularity]", "[models.popularity]\nhalf_life = 3"
        )
    )
    table = rank(changed, folder, only=("own", "popularity"), threads=1)
    assert [x.name for x in table.lines] == [
        "popularity",
        "own",
    ]  # the GRU here is of other options
    for wrong, told in (
        ({"only": ("own", "owm")}, "--only: 'owm' is unknown"),
        ({"seeds": (5,)}, r"--seeds: found 5.*\[0, 1\]"),
    ):
        with pytest.raises(ConfigError, match=told):
            rank(changed, folder, **wrong)


def test_the_test_is_scored_once(made: Path, path: Path, tmp_path: Path) -> None:
    text, folder = TINY.format(path=path), tmp_path / "t"
    with pytest.raises(
        ConfigError, match=r"the test is scored once.*missing.*sasrec seed 0, sasrec seed 1"
    ):
        rank(parse(text), folder, test=True, only=("own",), threads=1)
    assert not (folder / "test").exists()

    before = {f: f.stat().st_mtime_ns for f in (made / "test").rglob("*")}
    gone = parse(
        text.replace(str(path), str(tmp_path / "gone"))
    )  # the second time the data are not even opened …
    with pytest.raises(ConfigError, match="another text of this recipe"):
        rank(gone, made, test=True)  # … but this is another recipe
    with pytest.raises(ConfigError, match=r"another text of this recipe.*name another --out"):
        rank(parse(text + "\n# tuned"), made)
    first = (made / "test.md").read_bytes()
    seen: list[str] = []
    table = rank(
        parse(text), made, test=True, progress=lambda stage, done, total: seen.append(stage)
    )
    assert table.stage == "test"
    assert seen == []
    assert {f: f.stat().st_mtime_ns for f in (made / "test").rglob("*")} == before
    assert (made / "test.md").read_bytes() == first


def test_a_test_of_other_validations_or_data_is_refused(path: Path, tmp_path: Path) -> None:
    text = (
        TINY.format(path=path).split("[models.sasrec]")[0]
        + "[models.popularity]\n[models.own]\nbar = 'own-items'\n"
    )
    folder, recipe = tmp_path / "t", parse(text)
    rank(recipe, folder, threads=1)
    rank(recipe, folder, test=True, only=("own",), threads=1)
    other = sequences(tmp_path / "other", rows_of(20))
    with pytest.raises(ConfigError, match="begun on other data"):
        rank(recipe, folder, test=True, data=other, threads=1)
    assert [x.name for x in rank(recipe, folder, test=True, threads=1).lines] == [
        "popularity",
        "own",
    ]
    unit = folder / "validation" / "own" / "once" / "unit.json"
    kept = unit.read_text()
    unit.write_text(kept.replace("ring", "king"))
    with pytest.raises(ConfigError, match=r"other validation results \(own/once changed since\)"):
        rank(recipe, folder, test=True, threads=1)
    unit.write_text(kept)
    (folder / "test" / "own" / "once" / "unseen.npy").write_bytes(b"")
    with pytest.raises(DataError, match="remove it, and it is made again"):
        rank(recipe, folder, test=True, threads=1)
    (folder / "test" / "frozen.json").write_text("[]")
    with pytest.raises(DataError, match="does not say what the test was scored with"):
        rank(recipe, folder, threads=1)


def test_folders_that_are_refused(path: Path, tmp_path: Path) -> None:
    recipe = parse(TINY.format(path=path))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        rank(recipe, tmp_path / "file")
    with pytest.raises(ConfigError, match=r"holds something that is no ranking \(file\)"):
        rank(recipe, tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.toml").write_text("name = 3")
    with pytest.raises(ConfigError, match="holds something that is no ranking"):
        rank(recipe, tmp_path / "run")
    assert (tmp_path / "run" / "recipe.toml").read_text() == "name = 3"


def test_what_a_killed_process_spilled_is_removed(tmp_path: Path) -> None:
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    for name in (gone.stdout.strip(), str(os.getppid()), "odd"):
        (tmp_path / f".spill-{name}" / "inside").mkdir(parents=True)
    with _spill(tmp_path) as own:
        own.mkdir()
        assert {p.name for p in tmp_path.iterdir()} == {
            f".spill-{os.getppid()}",
            own.name,
        }  # one is alive
    assert not own.exists()


def test_data_that_nobody_can_be_asked_about(tmp_path: Path) -> None:
    recipe = parse(TINY.format(path=sequences(tmp_path / "data", [[0, 1], [1]])))
    with pytest.raises(
        DataError,
        match=r"nobody is asked anything in the validation \(leave-one-out, the item before the last\)",
    ):
        rank(recipe, tmp_path / "t", only=("popularity",), threads=1)


# -- a global cut in time ---------------------------------------------------------------------------------------------------------

WINDOW = """
name = "days"
[data]
source = "table"
path = "{path}"
[ranking]
protocol = "window"
horizon_days = 7
ks = [2]
seen = true
measure = "recall@2"
[models.popularity]
[models.frequency]
bar = "own-items"
[models.recency]
bar = "own-items"
by = "recency"
[models.hstu]
width = 4
layers = 1
history = {{ length = 4 }}
training = {{ epochs = 1 }}
"""

# (user, day, kind, item); the last purchase is on day 27, so validation is 14 ≤ day < 21 and the test 21 ≤ day.
EVENTS = [
    (1, 1, "buy", 10),
    (1, 2, "buy", 11),
    (1, 3, "view", 12),
    (1, 15, "buy", 12),
    (1, 16, "buy", 11),
    (1, 17, "view", 13),  # only looked at: not right
    (1, 22, "buy", 13),
    (2, 5, "buy", 11),
    (2, 6, "buy", 11),
    (2, 7, "buy", 10),
    (2, 15, "buy", 11),
    (2, 27, "buy", 10),
    (3, 15, "buy", 11),  # nothing before: asked from an empty history
    (3, 23, "buy", 12),
    (4, 2, "buy", 10),
    (4, 20, "view", 10),  # nobody asks him
]


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    user, day, kind, item = zip(*EVENTS, strict=True)
    table = pa.table(
        {
            "user": user,
            "time": [(19_000 + d) * DAY // 1_000_000 + 3600 for d in day],
            "kind": kind,
            "item": item,
        }
    )
    pq.write_table(table, tmp_path / "events.parquet")
    (tmp_path / "days.toml").write_text(
        f'name = "days"\n[events]\nfiles = "{tmp_path / "events.parquet"}"\nuser = "user"\nitem = "item"\n'
        'time = { column = "time", format = "seconds" }\n[events.kind]\ncolumn = "kind"\nvalues = { buy = "buy", view = "view" }\n'
    )
    return tmp_path / "days.toml"


def test_windows_by_hand(mapping: Path, tmp_path: Path) -> None:
    recipe = parse(WINDOW.format(path=mapping))
    table = rank(recipe, tmp_path / "t", threads=1, accelerator="cpu")
    about = table.line("popularity").units[0].about
    assert (about["asked"], about["empty"]) == (3, 1)
    assert "3 users are asked, 1 of them without a history" in table.notes()[0]
    # Validation: 1 buys {11, 12}, 2 and 3 buy {11}. Had before: 10 three times, 11 three times, 12 once.
    # Popular are 10, 11. 1 had 10, 11, 12 once each: by frequency 10, 11, by recency 12, 11. 2 had 11 twice, and 10 last.
    assert {
        x.name: x.mean("seen", "recall@2") for x in table.lines if x.kind == "bar"
    } == pytest.approx(
        {"popularity": (1 / 2 + 1 + 1) / 3, "frequency": (1 / 2 + 1 + 1) / 3, "recency": 1.0}
    )
    # Nothing again: 1 has no item left, 2 can be given 12 alone, 3 is given 10 and 11.
    assert {x.mean("unseen", "recall@2") for x in table.lines if x.kind == "bar"} == {1 / 3}
    assert table.line("hstu").units[0].users.tolist() == [
        1,
        2,
        3,
    ]  # the network is asked the same, also for who has no history
    assert table.best("bar") is table.line("recency")
    assert "the best bar, recency" in table.words()[0]

    tested = rank(recipe, tmp_path / "t", test=True, threads=1, accelerator="cpu")
    # Test: 1 buys 13, 2 buys 10, 3 buys 12. Had before: 11 six times, 10 four (a view too), 12 twice, 13 once.
    # By recency 1 had 13, 11 last; 2 had 11, 10; 3 had 11 alone, then the popular 10.
    assert {
        x.name: x.mean("seen", "recall@2") for x in tested.lines if x.kind == "bar"
    } == pytest.approx({"popularity": 1 / 3, "frequency": 1 / 3, "recency": 2 / 3})
    assert tested.line("popularity").units[0].about["empty"] == 0


@pytest.mark.parametrize("module", [rank_module, scaling_module], ids=["rank", "scale"])
def test_item_vectors_start_from_what_was_known_before_the_window(
    mapping: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    """Both commands: an item that is renamed inside the validation window has its old name when they train for it."""
    names = {
        "item": [10, 11, 11, 12],
        "listed": [0, 0, 16, 23],
        "title": ["old ten", "old eleven", "new eleven", "new twelve"],
    }
    names["listed"] = [(19_000 + d) * DAY // 1_000_000 for d in names["listed"]]
    pq.write_table(pa.table(names), tmp_path / "names.parquet")
    with mapping.open("a") as file:
        file.write(
            f'[catalogue]\nfiles = "{tmp_path / "names.parquet"}"\nitem = "item"\n'
            'known_from = { column = "listed", format = "seconds" }\n[catalogue.attributes]\ntitle = "text"\n'
        )
    text = WINDOW.format(path=mapping).replace("length = 4", "length = 4, texts = true")
    given = []
    whole = module.fit
    monkeypatch.setattr(
        module,
        "fit",
        lambda *args, **named: (given.append(named["catalogue"]), whole(*args, **named))[1],
    )
    if module is rank_module:
        rank(parse(text), tmp_path / "t", only=("hstu",), threads=1, accelerator="cpu")
    else:
        alone = re.sub(r"\[models\.popularity\].*?(?=\[models\.hstu\])", "", text, flags=re.DOTALL)
        study(
            parse_ladder(alone + "[scaling]\nsizes = [1, 2]\n"),
            tmp_path / "t",
            threads=1,
            accelerator="cpu",
        )
    assert given
    for catalogue in given:
        assert catalogue.at(10**18).table.column("title").to_pylist() == ["old ten", "old eleven"]


def test_a_window_before_which_nothing_happened(mapping: Path, tmp_path: Path) -> None:
    recipe = parse(WINDOW.format(path=mapping).replace("horizon_days = 7", "horizon_days = 30"))
    with pytest.raises(DataError, match="nothing happened before"):
        rank(recipe, tmp_path / "t", only=("popularity",), threads=1)


def test_a_log_without_a_clock(path: Path, tmp_path: Path) -> None:
    text = TINY.format(path=path).replace('protocol = "leave-one-out"', 'protocol = "window"')
    with pytest.raises(ConfigError, match="needs a clock"):
        rank(parse(text), tmp_path / "t", only=("popularity",), threads=1)
    hours = TINY.format(path=path).replace(
        "history = { length = 5 }", 'history = { length = 5, fields = ["hour"] }', 1
    )
    with pytest.raises(ConfigError, match="the field hour of histories needs a clock"):
        rank(parse(hours), tmp_path / "u", only=("sasrec",), threads=1)


# -- what is written and said -----------------------------------------------------------------------------------------------------


def test_files_of_a_table(made: Path) -> None:
    table = show_folder(made)
    plain = json.loads((made / "validation.json").read_text())
    assert [m["model"] for m in plain["models"]] == ["sasrec", "gru4rec", "popularity", "own"]
    assert len(plain["pairs"]) == 2 * 6
    assert plain["models"][0]["parameters"] == table.line("sasrec").parameters > 0
    assert plain["models"][2]["parameters"] is None
    assert plain["words"] == table.words()
    rows = list(csv.DictReader(io.StringIO((made / "validation.csv").read_text())))
    assert len(rows) == 4 * 2 * (6 + 3)
    found = {(r["model"], r["form"], r["metric"]): r["value"] for r in rows}
    for line in table.lines:
        for form in ("unseen", "seen"):
            assert float(found[line.name, form, "ndcg@3"]) == line.mean(form, "ndcg@3")
            assert float(found[line.name, form, "coverage"]) == line.lists(form, "coverage")
    assert (
        ElementTree.parse(made / "validation.svg").getroot().tag
        == "{http://www.w3.org/2000/svg}svg"
    )
    text = (made / "validation.md").read_text()
    assert text.startswith("# tiny: validation\n")
    table_lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table_lines) == 4 * (2 + 4)
    assert f"| popularity {table.mark(table.line('popularity'))} |" in text
    assert "stopped where ndcg@3 of these very items was best" in text
    assert "very items" not in (made / "test.md").read_text()
    facts = json.loads((made / "facts" / "validation" / "sasrec" / "seed-0.json").read_text())
    assert facts["stages"]["fit"]["seconds"] > 0


def unit(values: list[float], seed: int | None) -> Unit:
    users = np.arange(len(values))
    about = {
        "seed": seed,
        "metrics": ["ndcg@1"],
        "means": {f: {"ndcg@1": float(np.mean(values))} for f in ("unseen", "seen")},
    }
    about |= {
        "lists": {f: {"coverage": 0.5, "surprise": None} for f in ("unseen", "seen")},
        "parameters": None,
        "asked": len(users),
    }
    about |= {"data": "d|\x1b[31m", "fingerprint": "f", "said": "s", "empty": 0}
    return Unit(about, users, {f: np.array([values]) for f in ("unseen", "seen")}, float("nan"))


def table_of(encoder: list[float], baseline: list[float]) -> Ranking:
    lines = (
        Line("net", "encoder", "sasrec", (unit(encoder, 0),)),
        Line("b|r", "bar", "ease", (unit(baseline, None),)),
    )
    return Ranking("n", "test", "ndcg@1", False, lines, SCORES)


def test_words_say_who_wins() -> None:
    ones, noise = [1.0] * 40, [0.0, 1.0] * 20
    assert (
        "the best encoder, net, is above the best bar, b|r, by ndcg@1 +.5000 ["
        in table_of(ones, noise).words()[0]
    )
    assert table_of(noise, ones).words()[0].endswith("; the bar b|r wins")
    assert "is not shown to differ from" in table_of(noise, noise[::-1]).words()[0]
    alone = Ranking("n", "test", "ndcg@1", False, table_of(ones, noise).lines[:1], SCORES)
    assert (
        alone.words()[0]
        == "items of the history are not given again: net is best by ndcg@1, 1.0000"
    )
    assert alone.best("bar") is None
    assert "over the best bar" in alone.to_markdown()


def test_names_cannot_steer_what_is_printed() -> None:
    found, out = table_of([1.0], [0.0]), io.StringIO()
    assert "| b\\|r best bar |" in found.to_markdown()
    show(found, Console(file=out, width=100))
    assert "\x1b" not in out.getvalue() + found.to_markdown()
    assert max(map(len, out.getvalue().splitlines())) <= 100


def test_models_of_other_users_are_not_compared() -> None:
    with pytest.raises(DataError, match="other users"):
        table_of([1.0, 0.0], [1.0])
    with pytest.raises(ConfigError, match=r"no model 'x' in the table, expected one of net, b\|r"):
        table_of([1.0], [1.0]).line("x")


def test_the_command(
    made: Path, path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = TINY.format(path="$NOWHERE/x_sequences.parquet")
    (tmp_path / "r.toml").write_text(text)
    words = [
        "rank",
        str(tmp_path / "r.toml"),
        "--out",
        str(tmp_path / "t"),
        "--only",
        "popularity",
        "own",
        "--threads",
        "1",
    ]
    assert main(words) == 1
    assert "the environment variable $NOWHERE is not set" in capsys.readouterr().err
    assert main([*words, "--data", str(path), "--seeds", "0"]) == 0
    out = capsys.readouterr().out
    assert "tiny: validation" in out
    assert "best bar" in out
    assert max(map(len, out.splitlines()[:20])) <= 100
    assert f"picture: {tmp_path / 't' / 'validation.svg'}" in out
    assert main([*words, "--data", str(path), "--test"]) == 1
    assert "Call the command without --test first" in capsys.readouterr().err
    assert main(["rank", str(made / "recipe.toml"), "--out", str(made), "--test"]) == 0
    assert "tiny: test" in capsys.readouterr().out
    assert main(["rank", str(tmp_path / "gone.toml")]) == 1
    assert main(["rank"]) == 2
