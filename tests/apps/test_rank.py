"""`clickprint rank`: what is made, kept and gone on with, and the test, once."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from clickprint.apps.cli.main import main
from clickprint.apps.rank import stages
from clickprint.apps.rank.recipe import parse
from clickprint.apps.rank.stages import rank
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.data.engine import DuckDB
from clickprint.data.log import EventLog
from clickprint.encoders import load
from clickprint.encoders.sasrec import SASRec
from clickprint.report.ranking import grids, notes, words
from clickprint.tasks.protocols import question
from clickprint.tasks.ranking_table import FORMS, RankingTable
from clickprint.work.ledger import entries
from clickprint.work.ledger import file as ledger_file
from clickprint.work.resources import Resources

ITEMS = 12
ONE = Resources(threads=1, accelerator="cpu")
NETWORKS, MEASURES = ("sasrec", "gru4rec"), ("recall", "ndcg", "mrr")
pytestmark = pytest.mark.usefixtures("cache")

TINY = """
name = "tiny"
seeds = [0, 1]
[data]
source = "amazon_sequences"
path = "{path}"
[ranking]
protocol = "leave-one-out"
ks = [1, 3]
metric = "ndcg@3"
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
recommender = "own-items"
refit = false
"""


def rows_of(users: int = 48) -> list[list[int]]:
    """Users of 4 to 6 items that follow one another in a ring; one of two items, one of one."""
    rng = np.random.default_rng(5)
    starts, lengths = rng.integers(0, ITEMS, users), rng.integers(4, 7, users)
    return [
        [int(v) for v in (first + np.arange(n)) % ITEMS]
        for first, n in zip(starts, lengths, strict=True)
    ] + [[0, 1], [1]]


def sequences(folder: Path, rows: list[list[int]]) -> Path:
    folder.mkdir(exist_ok=True)
    items = sorted({i for r in rows for i in r})
    users = {"user": list(range(len(rows))), "items": rows}
    pq.write_table(pa.table(users), folder / "ring_sequences.parquet")
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
    rank(recipe, folder, resources=ONE)
    rank(recipe, folder, test=True, resources=ONE)
    return folder


@pytest.fixture
def tables(made: Path, path: Path) -> dict[str, RankingTable]:
    """What stands in the folder; asking again makes nothing."""
    recipe = parse(TINY.format(path=path))
    return {
        "validation": rank(recipe, made, resources=ONE),
        "test": rank(recipe, made, test=True, resources=ONE),
    }


def files(folder: Path, stage: str) -> dict[str, bytes]:
    """What a stage's units are, whatever they cost."""
    found = sorted(f for f in (folder / stage).rglob("*") if f.is_file())
    return {str(f.relative_to(folder)): f.read_bytes() for f in found}


def unit(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name / "unit.json").read_text())
    return found


def test_the_ledger_knows_the_test_beyond_its_folder(
    tables: dict[str, RankingTable], made: Path, path: Path, tmp_path: Path
) -> None:
    """Every unit of the test, once; a page of another folder tells it too."""
    about = tables["test"].first.about
    lines = [t for t in entries(ledger_file()) if t.fingerprint == about["fingerprint"]]
    first = lines[0]
    assert (first.recipe, first.protocol) == ("tiny", "leave-one-out")
    assert len(first.units) == len(set(first.units)) == 6
    assert all((made / "test" / unit).is_dir() for unit in first.units)
    assert len(lines) == len({t.digest for t in lines})  # asked again, it was only shown
    assert any("tiny" in n and "6 units" in n for n in notes(tables["test"]))
    other = parse(TINY.format(path=path).replace("seeds = [0, 1]", "seeds = [0]"))
    elsewhere = rank(other, tmp_path / "other", only=["popularity"], resources=ONE)
    assert any("tiny" in n and "6 units" in n for n in notes(elsewhere))


def test_baselines_are_scored_as_by_hand(tables: dict[str, RankingTable]) -> None:
    rows = rows_of()
    item_ids = sorted({i for r in rows for i in r})  # whole numbers keep their ids
    asked = [r for r in rows if len(r) > 1]
    for stage, drop in (("validation", 2), ("test", 1)):
        model = tables[stage].model("popularity")
        learned = [r[: len(r) - min(drop, max(len(r) - 1, 0))] for r in rows]
        counts = {i: sum(r.count(i) for r in learned) for i in item_ids}
        people = [r for r in asked if len(r) > 2] if stage == "validation" else asked
        for form, seen in (("exclude_seen", False), ("include_seen", True)):
            hits: dict[int, list[bool]] = {1: [], 3: []}
            for r in people:
                given, right = (r[:-drop], r[-drop]) if len(r) > 2 else (r[:-1], r[-1])
                ranked = sorted(
                    (i for i in item_ids if counts[i] and (seen or i not in given)),
                    key=lambda i: (-counts[i], i),
                )
                for k, found in hits.items():
                    found.append(right in ranked[:k])
            for k, found in hits.items():
                assert model.mean(form, f"recall@{k}") == pytest.approx(np.mean(found))
        assert model.seeds[0].about["asked"] == len(people)


def test_the_test_tells_what_was_learned_without_the_validations_items(
    tables: dict[str, RankingTable], made: Path, path: Path
) -> None:
    """The same question, asked of the validation's models, too."""
    recipe, test = parse(TINY.format(path=path)), tables["test"]
    with DuckDB(threads=1) as engine:
        log = EventLog.open(recipe.data.open(engine), engine)
        asked, learned = (question(log, recipe.ranking, s) for s in ("test", "validation"))
        popular = recipe.models["popularity"].config.fit(learned.past, rng=RNG(0))
        network = load(made / "validation" / "sasrec" / "seed-0" / "fitted")
        for form, seen in FORMS.items():
            for name, model in (("popularity", popular), ("sasrec", network)):
                score = asked.score(model, include_seen=seen)
                without = test.model(name).seeds[0].about["without"][form]
                assert without == {m: score.mean(m) for m in recipe.ranking.metrics}
    sasrec, gru4rec = (test.model(n).learned("exclude_seen", "ndcg@3") for n in NETWORKS)
    assert sasrec[0] != sasrec[1]
    assert gru4rec[0] == test.model("gru4rec").mean("exclude_seen", "ndcg@3")  # refit = false
    assert np.isnan(gru4rec[1])
    heads = [tuple(grid.heads) for grid in grids(test)]
    assert ("model", *(f"{m}@3, {w}" for m in MEASURES for w in ("without", "with"))) in heads
    assert len(grids(tables["validation"])) == len(heads) - 1


def test_early_stopping_never_sees_the_test(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation asks nothing of the test; what is trained again is measured by nothing."""
    stages_asked, trained = [], []
    ask, fit = stages.question, SASRec.fit

    def question_of(log: Any, part: Any, stage: str) -> Any:
        stages_asked.append(stage)
        return ask(log, part, stage)

    def fit_of(self: Any, past: Any, *, session: Any, **more: Any) -> Any:
        longest = int(past.histories(("item", "time")).lengths.max())
        trained.append((longest, session.metric, self.training))
        return fit(self, past, session=session, **more)

    monkeypatch.setattr(stages, "question", question_of)
    monkeypatch.setattr(SASRec, "fit", fit_of)
    recipe = parse(TINY.format(path=path).replace("seeds = [0, 1]", "seeds = [0]"))
    rank(recipe, tmp_path / "t", resources=ONE)
    assert stages_asked == ["validation"]
    ((longest, metric, training),) = trained
    assert (longest, metric.__self__.text) == (4, "leave-one-out, the item before the last")
    assert training.patience == 2
    rank(recipe, tmp_path / "t", test=True, resources=ONE)
    longest, metric, training = trained[1]
    assert (longest, metric, training.patience) == (5, None, 0)
    chosen = unit(tmp_path / "t", "validation/sasrec/seed-0")["best_epoch"]
    assert training.epochs == chosen


def test_a_unit_tells_what_it_is(made: Path, tables: dict[str, RankingTable]) -> None:
    about = unit(made, "validation/sasrec/seed-1")
    assert (about["model"], about["recommender"], about["seed"]) == ("sasrec", "sasrec", 1)
    assert about["parameters"]["embedding"] > 0
    assert len(about["curve"]) == about["epochs"] >= about["best_epoch"] > 0
    for form in ("exclude_seen", "include_seen"):
        values = np.load(made / "validation" / "sasrec" / "seed-1" / f"{form}.npy")
        means = dict(zip(about["metrics"], values.mean(1).tolist(), strict=True))
        assert means == pytest.approx(about["means"][form])
        assert about["lists"][form].keys() == {"coverage", "novelty", "category_diversity"}
    assert unit(made, "validation/own/once")["parameters"] is None
    facts = json.loads((made / "facts" / "validation" / "sasrec" / "seed-0.json").read_text())
    assert facts["stages"]["fit"]["seconds"] > 0
    assert {m.name: m.type for m in tables["test"].models} == {
        "sasrec": "network",
        "gru4rec": "network",
        "popularity": "baseline",
        "own": "baseline",
    }
    assert (made / "validation.md").read_text().startswith("# tiny: validation\n")


def test_a_model_that_is_not_trained_again_has_no_seconds_of_the_test(
    tables: dict[str, RankingTable],
) -> None:
    validation, test = tables["validation"], tables["test"]
    networks = [validation.model(name) for name in ("sasrec", "gru4rec")]
    assert all(s.seconds > 0 for m in networks for s in m.seeds)
    assert all(s.seconds > 0 for s in test.model("sasrec").seeds)
    assert all(np.isnan(s.seconds) for s in test.model("gru4rec").seeds)
    assert [n for n in notes(test) if "refit = false" in n and n.endswith("gru4rec")]
    assert not [n for n in notes(validation) if "refit = false" in n]


def test_what_a_network_learned_from_in_each_stage(tmp_path: Path) -> None:
    """Items that only validation or test ask for are unknown before; refit learns the first."""
    rows = [[*r[:-2], 100 + u, 200 + u] for u, r in enumerate(rows_of()) if len(r) > 3]
    text = TINY.format(path=sequences(tmp_path / "data", rows)).replace("seeds = [0, 1]", "")
    recipe, folder = parse(text.replace("patience = 2", "patience = 1")), tmp_path / "t"
    table = rank(recipe, folder, resources=ONE)
    rank(recipe, folder, test=True, resources=ONE)
    for name, most in (
        ("validation/sasrec", 99),
        ("test/sasrec", 199),
        ("validation/gru4rec", 99),
        ("test/gru4rec", 99),
    ):
        known = np.load(folder / name / "seed-0" / "fitted" / "values.item.npy")
        assert known.max() <= most
        assert (most == 99) == (known.max() < 100)
    # Nobody can recommend what they never saw.
    assert table.model("sasrec").mean("include_seen", "recall@3") == 0
    validation, test = (unit(folder, f"{s}/sasrec/seed-0") for s in ("validation", "test"))
    assert test["epochs"] == test["best_epoch"] == validation["best_epoch"]
    assert test["curve"] == []
    weights = "gru4rec/seed-0/fitted/weights.safetensors"
    same = [(folder / stage / weights).read_bytes() for stage in ("validation", "test")]
    assert same[0] == same[1]


def test_a_killed_table_goes_on_to_the_same(made: Path, path: Path, tmp_path: Path) -> None:
    recipe, folder = parse(TINY.format(path=path)), tmp_path / "t"

    def stop(stage: str, done: int, total: int) -> None:
        if "sasrec seed 1" in stage and "epoch 2" in stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rank(recipe, folder, resources=ONE, progress=stop)
    units = (folder / "validation" / "sasrec").iterdir()
    assert [p.name for p in units if not p.name.startswith(".")] == ["seed-0"]
    assert len(list(folder.glob("training/*/*/progress.json"))) == 1
    assert not (folder / "validation.md").exists()
    told: list[str] = []
    rank(recipe, folder, resources=ONE, progress=lambda stage, done, total: told.append(stage))
    again = [s for s in told if "seed 0" in s or ("seed 1" in s and "epoch 1" in s)]
    assert not [s for s in again if "sasrec" in s]
    assert files(folder, "validation") == files(made, "validation")
    assert not list(folder.glob("training/*"))
    assert not list(folder.glob(".clickprint-spill*"))


def test_in_pieces_and_only_what_changed(made: Path, path: Path, tmp_path: Path) -> None:
    text, folder = TINY.format(path=path), tmp_path / "t"
    table = rank(parse(text), folder, only=("gru4rec",), seeds=(1,), resources=ONE)
    assert [(m.name, [s.about["seed"] for s in m.seeds]) for m in table.models] == [
        ("gru4rec", [1])
    ]
    assert [n for n in notes(table) if "2 seeds" in n and n.endswith("gru4rec 1")]
    table = rank(parse(text), folder, only=("own",), resources=ONE)
    assert [m.name for m in table.models] == ["gru4rec", "own"]  # all that is there
    assert files(folder, "validation").items() <= files(made, "validation").items()
    text = text.replace("width = 4", "width = 6")
    changed = parse(text.replace("[models.popularity]", "[models.popularity]\nhalf_life = 3"))
    table = rank(changed, folder, only=("own", "popularity"), resources=ONE)
    assert [m.name for m in table.models] == ["popularity", "own"]  # the GRU has other options
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"only": ("own", "owm")}, "--only.*owm"),
        ({"seeds": (5,)}, r"--seeds: 5.*\[0, 1\]"),
    ]
    for options, told in wrong:
        with pytest.raises(ConfigError, match=told):
            rank(changed, folder, **options)


def test_other_code_makes_nothing_anew_and_is_told(
    made: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, before = parse(TINY.format(path=path)), files(made, "validation")
    assert rank(recipe, made, resources=ONE).other_code == ()
    monkeypatch.setattr(stages, "changed", lambda kept, *roots: "gru4rec" in roots[0])
    table = rank(recipe, made, resources=ONE)
    assert table.other_code == ("gru4rec seed 0", "gru4rec seed 1")
    assert [n for n in notes(table) if n.endswith("gru4rec seed 0, gru4rec seed 1")]
    assert files(made, "validation") == before


def test_the_test_is_scored_once(made: Path, path: Path, tmp_path: Path) -> None:
    text, folder = TINY.format(path=path), tmp_path / "t"
    with pytest.raises(ConfigError, match=r"missing.*sasrec seed 0, sasrec seed 1"):
        rank(parse(text), folder, test=True, only=("own",), resources=ONE)
    assert not (folder / "test").exists()

    before = {f: f.stat().st_mtime_ns for f in (made / "test").rglob("*")}
    # The second time the data are not even opened, but this is another recipe.
    gone = parse(text.replace(str(path), str(tmp_path / "gone")))
    with pytest.raises(ConfigError, match="another text of this recipe"):
        rank(gone, made, test=True)
    with pytest.raises(ConfigError, match=r"another text of this recipe.*--out"):
        rank(parse(text + "\n# tuned"), made)
    first, told = (made / "test.md").read_bytes(), list[str]()
    table = rank(
        parse(text), made, test=True, progress=lambda stage, done, total: told.append(stage)
    )
    assert table.stage == "test"
    assert told == []
    assert {f: f.stat().st_mtime_ns for f in (made / "test").rglob("*")} == before
    assert (made / "test.md").read_bytes() == first


def test_a_search_is_made_on_validation_and_the_test_takes_what_it_found(
    path: Path, tmp_path: Path
) -> None:
    """The setting of the highest metric on validation; another space is another unit."""
    head = TINY.format(path=path).split("[models.sasrec]")[0]
    searched = head + "[models.item-knn]\nsearch = {{ neighbours = [1, 9], shrink = [{}] }}\n"
    recipe, folder = parse(searched.format("0, 50")), tmp_path / "t"
    values = {}
    for neighbours in (1, 9):
        for shrink in (0, 50):
            text = f"[models.item-knn]\nneighbours = {neighbours}\nshrink = {shrink}\n"
            alone = tmp_path / f"{neighbours}-{shrink}"
            table = rank(parse(head + text), alone, resources=ONE)
            model = table.model("item-knn")
            values[neighbours, shrink] = model.mean("exclude_seen", "ndcg@3")
    assert len(set(values.values())) > 1
    table = rank(recipe, folder, resources=ONE)
    about = unit(folder, "validation/item-knn/once")["search"]
    assert {(t["neighbours"], t["shrink"]): t["value"] for t in about["tried"]} == values
    best = max(values, key=values.__getitem__)
    assert tuple(about["options"].values()) == best
    assert table.model("item-knn").mean("exclude_seen", "ndcg@3") == values[best]
    (told,) = (n for n in notes(table) if "4 settings" in n)
    assert told.endswith("tried: neighbours, shrink")  # two values have no middle
    test = rank(recipe, folder, test=True, resources=ONE)
    same = tmp_path / f"{best[0]}-{best[1]}"
    text = (same / "recipe.toml").read_text()
    alone = rank(parse(text), same, test=True, resources=ONE)
    for metric in test.metrics:
        both = (t.model("item-knn").each("exclude_seen", metric) for t in (test, alone))
        assert len({tuple(b) for b in both}) == 1
    assert unit(folder, "test/item-knn/once")["search"] == about


def test_a_test_of_other_validations_or_data_is_refused(path: Path, tmp_path: Path) -> None:
    head = TINY.format(path=path).split("[models.sasrec]")[0]
    recipe = parse(head + "[models.popularity]\n[models.own]\nrecommender = 'own-items'\n")
    folder = tmp_path / "t"
    rank(recipe, folder, resources=ONE)
    rank(recipe, folder, test=True, only=("own",), resources=ONE)
    other = sequences(tmp_path / "other", rows_of(20))
    with pytest.raises(ConfigError, match="other data"):
        rank(recipe, folder, test=True, data=other, resources=ONE)
    table = rank(recipe, folder, test=True, resources=ONE)
    assert [m.name for m in table.models] == ["popularity", "own"]
    file = folder / "validation" / "own" / "once" / "unit.json"
    kept = file.read_text()
    file.write_text(kept.replace("ring", "king"))
    with pytest.raises(ConfigError, match=r"other validation results \(own/once"):
        rank(recipe, folder, test=True, resources=ONE)
    file.write_text(kept)
    (folder / "test" / "own" / "once" / "exclude_seen.npy").write_bytes(b"")
    with pytest.raises(DataError, match="once: cannot be read"):
        rank(recipe, folder, test=True, resources=ONE)
    (folder / "test" / "frozen.json").write_text("[]")
    with pytest.raises(DataError, match=r"frozen\.json"):
        rank(recipe, folder, resources=ONE)


def test_a_field_of_times_needs_a_clock(path: Path, tmp_path: Path) -> None:
    hours = TINY.format(path=path).replace("length = 5", 'length = 5, fields = ["hour"]', 1)
    with pytest.raises(ConfigError, match=r"hour.*clock"):
        rank(parse(hours), tmp_path / "u", only=("popularity",), resources=ONE)


# -- a global cut in time --------------------------------------------------------------------

WINDOW = """
name = "days"
[data]
source = "table"
path = "{path}"
[ranking]
protocol = "window"
horizon_days = 7
ks = [2]
include_seen = true
metric = "recall@2"
[models.popularity]
[models.frequency]
recommender = "own-items"
[models.recency]
recommender = "own-items"
by = "recency"
[models.tifu-knn]
[models.hstu]
width = 4
layers = 1
history = {{ length = 4 }}
training = {{ epochs = 1 }}
"""

# (user, day, kind, item); the last purchase is on day 27, so validation is 14 ≤ day < 21 and the
# test 21 ≤ day.
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
    (4, 20, "view", 10),  # nobody asks them
]


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    user, day, kind, item = zip(*EVENTS, strict=True)
    time = [(19_000 + d) * DAY // 1_000_000 + 3600 for d in day]
    table = pa.table({"user": user, "time": time, "kind": kind, "item": item})
    pq.write_table(table, tmp_path / "events.parquet")
    (tmp_path / "days.toml").write_text(
        f'name = "days"\n[events]\nfiles = "{tmp_path / "events.parquet"}"\n'
        'user = "user"\nitem = "item"\ntime = { column = "time", format = "seconds" }\n'
        '[events.kind]\ncolumn = "kind"\nvalues = { buy = "buy", view = "view" }\n'
    )
    return tmp_path / "days.toml"


def recalls(table: RankingTable, form: str) -> dict[str, float]:
    names = "popularity", "frequency", "recency"
    return {name: table.model(name).mean(form, "recall@2") for name in names}


def test_windows_by_hand(mapping: Path, tmp_path: Path) -> None:
    recipe = parse(WINDOW.format(path=mapping))
    table = rank(recipe, tmp_path / "t", resources=ONE)
    about = table.model("popularity").seeds[0].about
    assert (about["asked"], about["empty"]) == (3, 1)
    # Validation: 1 buys {11, 12}, 2 and 3 buy {11}. Had before: 10 three times, 11 three times,
    # 12 once. Popular are 10, 11. 1 had 10, 11, 12 once each: by frequency 10, 11, by recency
    # 12, 11. 2 had 11 twice, and 10 last.
    popular = (1 / 2 + 1 + 1) / 3
    wanted = {"popularity": popular, "frequency": popular, "recency": 1.0}
    assert recalls(table, "include_seen") == pytest.approx(wanted)
    # Nothing again: 1 has no item left, 2 can be given 12 alone, 3 is given 10 and 11.
    assert set(recalls(table, "exclude_seen").values()) == {1 / 3}
    # A network and a next-basket method are asked the same, also for a user without a history.
    for name in ("hstu", "tifu-knn"):
        assert table.model(name).seeds[0].users.tolist() == [1, 2, 3]
    assert table.best("baseline") is table.model("recency")
    assert "recency" in words(table)[0]

    tested = rank(recipe, tmp_path / "t", test=True, resources=ONE)
    # Test: 1 buys 13, 2 buys 10, 3 buys 12. Had before: 11 six times, 10 four (a view too), 12
    # twice, 13 once. By recency 1 had 13, 11 last; 2 had 11, 10; 3 had 11 alone, then popular 10.
    wanted = {"popularity": 1 / 3, "frequency": 1 / 3, "recency": 2 / 3}
    assert recalls(tested, "include_seen") == pytest.approx(wanted)
    assert tested.model("popularity").seeds[0].about["empty"] == 0


def test_the_command(
    made: Path, path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    recipe, out = tmp_path / "r.toml", tmp_path / "t"
    recipe.write_text(TINY.format(path="$NOWHERE/x_sequences.parquet"))
    given = ["rank", str(recipe), "--out", str(out), "--only", "popularity", "own"]
    given += ["--threads", "1"]
    assert main(given) == 1
    assert "$NOWHERE" in capsys.readouterr().err
    assert main([*given, "--data", str(path), "--seeds", "0"]) == 0
    printed = capsys.readouterr().out
    assert "tiny: validation" in printed
    assert "best baseline" in printed
    assert max(map(len, printed.splitlines()[:20])) <= 100
    assert f"{out / 'validation.svg'}" in printed
    assert main([*given, "--data", str(path), "--test"]) == 1
    assert "--test" in capsys.readouterr().err
    assert main(["rank", str(made / "recipe.toml"), "--out", str(made), "--test"]) == 0
    assert "tiny: test" in capsys.readouterr().out
    assert main(["rank", str(tmp_path / "gone.toml")]) == 1
    assert main(["rank"]) == 2
