"""The six tasks: where their labels come from, what is left out, and that nothing looks at
validation.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.ids import NONE
from clickprint.core.items import AttributeType
from clickprint.core.rng import RNG
from clickprint.core.time import DAY, Window, parse
from clickprint.data.adapters import challenge
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.log import EventLog
from clickprint.data.split import past_of, split
from clickprint.metrics.task_metrics import AUROC, Diversity, MacroAUROC, Novelty
from clickprint.tasks import TASKS, task_set
from clickprint.tasks.score import ask
from clickprint.tasks.task import Task, TaskSet
from clickprint.tasks.ubm25 import HIDDEN, NAMES, most_bought, price_edges, ubm25
from clickprint.testing.worlds import BUY, START, VIEW, memory_log

TRAIN = Window(START + 20 * DAY, START + 30 * DAY)
VALID = Window(START + 30 * DAY, START + 40 * DAY)
ITEMS = np.arange(12)


def arrays(rng: np.random.Generator, n: int = 300) -> dict[str, np.ndarray]:
    return {
        "time": START + rng.integers(0, 160, n) * (DAY // 4),
        "user": rng.integers(0, 20, n),
        "kind": np.where(rng.random(n) < 0.7, BUY, VIEW),
        "item": rng.integers(0, 14, n),  # 12 and 13 are in no catalogue
        "price": rng.integers(1, 40, n) / 4,
    }


def a_log(engine: Engine, columns: dict[str, np.ndarray], *attributes: str) -> EventLog:
    known = {"category": ITEMS % 5, "price_bucket": ITEMS % 3}
    return memory_log(
        engine, **columns, catalogue={"item": ITEMS, **{a: known[a] for a in attributes}}
    )


def made(
    engine: Engine, columns: dict[str, np.ndarray], *attributes: str, **options: object
) -> TaskSet:
    log = a_log(engine, columns, *attributes)
    return ubm25(past_of(log, TRAIN.start), log, TRAIN, **options)  # type: ignore[arg-type]


def by_name(tasks: TaskSet, name: str) -> Task:
    return next(t for t in tasks.tasks if t.name == name)


def popularity(task: Task) -> np.ndarray:
    mark = task.metrics["novelty"][1]
    assert isinstance(mark, Novelty)
    return np.array(mark.popularity)


def test_labels_are_the_most_bought_of_the_train_window() -> None:
    columns = arrays(np.random.default_rng(0))
    inside = (
        (columns["time"] >= TRAIN.start) & (columns["time"] < TRAIN.end) & (columns["kind"] == BUY)
    )
    past = (columns["time"] < TRAIN.start) & (columns["kind"] == BUY)
    bought = columns["item"][inside].tolist()
    counts = sorted(Counter(bought).items(), key=lambda c: (-c[1], c[0]))
    best = {
        i
        for i, _ in sorted(
            Counter(columns["item"][past].tolist()).items(), key=lambda c: (-c[1], c[0])
        )[:4]
    }
    new = [(i, c) for i, c in counts if i not in best]
    category = sorted(
        Counter(i % 5 for i in bought if i < 12).items(), key=lambda c: (-c[1], c[0])
    )
    with DuckDB(threads=1) as engine:
        tasks = made(engine, columns, "category", "price_bucket", top=4)
        assert [t.name for t in tasks.tasks] == list(NAMES)
        assert tasks.left_out == {}
        for name, expected, all_of in (
            ("propensity_sku", counts, len(bought)),
            ("propensity_new_sku", new, sum(c for _, c in new)),
            ("propensity_category", category, sum(c for _, c in category)),
        ):
            np.testing.assert_allclose(
                popularity(by_name(tasks, name)), [c / all_of for _, c in expected[:4]], rtol=1e-12
            )
        log, users = a_log(engine, columns, "category", "price_bucket"), np.arange(22)
        truth = by_name(tasks, "propensity_new_sku").target(log, VALID, users)
        rows = log.rows(("user", "item"), roles=(Role.BUY,), window=VALID)
        pairs = set(zip(rows["user"].tolist(), rows["item"].tolist(), strict=True))
        assert truth.tolist() == [[(u, i) in pairs for i, _ in new[:4]] for u in users.tolist()]


def test_marks_and_populations_are_the_challenges() -> None:
    with DuckDB(threads=1) as engine:
        columns = arrays(np.random.default_rng(1))
        columns["kind"][columns["user"] == 3] = VIEW
        log = a_log(engine, columns, "category", "price_bucket")
        past = past_of(log, TRAIN.start, np.array([3, 5, 99]))
        tasks = ubm25(past, log, TRAIN)
        for task in tasks.tasks:
            weights = {n: w for n, (w, _) in task.metrics.items()}
            kinds = {n: type(m) for n, (_, m) in task.metrics.items()}
            if task.name.startswith("propensity"):
                assert weights == {"auroc": 0.8, "novelty": 0.1, "diversity": 0.1}
                assert kinds == {"auroc": MacroAUROC, "novelty": Novelty, "diversity": Diversity}
            else:
                assert (weights, kinds) == ({"auroc": 1.0}, {"auroc": AUROC})
            expected = [u for u in range(20) if u != 3] if task.name == "churn" else [3, 5, 99]
            assert task.population(log, TRAIN).tolist() == expected
        given = ubm25(past, log, TRAIN, active=np.array([7, 1]))
        assert by_name(given, "churn").population(log, TRAIN).tolist() == [1, 7]


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_validation_changes_no_label(seed: int) -> None:
    """Whatever happens from the end of the train window on: labels, popularities, edges and train
    targets stay.
    """
    rng = np.random.default_rng(seed)
    columns = arrays(rng)
    late = columns["time"] >= TRAIN.end
    other = {
        c: np.where(late, rng.permutation(v), v) for c, v in columns.items() if c != "time"
    } | {"time": columns["time"]}
    gone = {c: v[~late] for c, v in columns.items()}
    with DuckDB(threads=1) as engine:
        for attributes in (("category", "price_bucket"), ()):
            found = []
            for variant in (columns, other, gone):
                log = a_log(engine, variant, *attributes)
                past = past_of(log, TRAIN.start, np.arange(20))
                tasks = ubm25(past, log, TRAIN, top=5)
                answers = {
                    t.name: t.target(log, TRAIN, np.arange(20)).tolist() for t in tasks.tasks
                }
                metrics = {t.name: repr(t.metrics) for t in tasks.tasks}
                found.append((answers, metrics, tasks.left_out, price_edges(past, 5).tolist()))
            assert found[0] == found[1] == found[2]


def test_a_price_of_the_events_is_cut_at_quantiles_of_the_past() -> None:
    columns = arrays(np.random.default_rng(2), 4_000)
    columns["price"][columns["time"] >= TRAIN.start] += 1_000  # prices rose: edges must not know
    columns["price"][columns["kind"] == VIEW] = 1e6
    with DuckDB(threads=1) as engine:
        log = a_log(engine, columns)
        past = past_of(log, TRAIN.start)
        edges = price_edges(past, 4)
        old = np.sort(columns["price"][(columns["time"] < TRAIN.start) & (columns["kind"] == BUY)])
        assert edges.tolist() == [
            old[round((len(old) - 1) * q + 0.499)] for q in (0.25, 0.5, 0.75)
        ]
        tasks = ubm25(past, log, TRAIN, top=4)
        assert tasks.left_out == {
            "propensity_category": "the catalogue has no category",
            "propensity_price": "1 label(s) in the train window, and a choice needs two",
        }
        wide = by_name(ubm25(past_of(log, VALID.end), log, TRAIN, top=4), "propensity_price")
        assert wide.target(log, TRAIN, np.arange(20)).any(axis=0).all()


def test_price_edges_of_little() -> None:
    with DuckDB(threads=1) as engine:
        for prices, expected in (
            ([], []),
            ([5.0] * 9, []),
            ([1.0, 1.0, 2.0], [2.0]),
            ([np.nan, 3.0, 4.0], [4.0]),
        ):
            n = len(prices)
            log = memory_log(
                engine,
                time=np.full(n, START),
                user=np.arange(n),
                kind=np.full(n, BUY),
                price=np.array(prices),
            )
            assert price_edges(past_of(log, TRAIN.start), 100).tolist() == expected


def test_what_the_log_does_not_have_is_left_out_with_a_reason() -> None:
    columns = arrays(np.random.default_rng(3))
    del columns["price"]
    with DuckDB(threads=1) as engine:
        tasks = made(engine, columns)
        assert [t.name for t in tasks.tasks] == ["churn", "conversion", "propensity_sku"]
        assert tasks.left_out == {
            "propensity_category": "the catalogue has no category",
            "propensity_new_sku": "0 label(s) in the train window, and a choice needs two",
            "propensity_price": (
                "neither does the catalogue have a price bucket nor the events a price"
            ),
        }
        nobody = {c: v[columns["kind"] == VIEW] for c, v in columns.items()}
        assert set(made(engine, nobody, "category").left_out) == {
            n for n in NAMES if n.startswith("propensity")
        }


def test_an_attribute_called_like_an_event_column_is_not_mixed_up() -> None:
    with DuckDB(threads=1) as engine:
        columns = arrays(np.random.default_rng(4))
        log = memory_log(
            engine,
            **columns,
            catalogue={"item": ITEMS, "price": ITEMS % 3},
            attributes={"price": AttributeType.PRICE_BUCKET},
        )
        past = past_of(log, TRAIN.start)
        tasks = ubm25(past, log, TRAIN)
        assert len(popularity(by_name(tasks, "propensity_price"))) > 3, (
            "the events' prices in quantiles, not the three buckets"
        )


def test_label_files_stand_where_they_are_given() -> None:
    files = {"propensity_sku": (np.array([9, 400, 2], np.int32), np.array([0.5, 0.1, 0.2]))}
    with DuckDB(threads=1) as engine:
        columns = arrays(np.random.default_rng(5), 1_500)
        tasks = made(engine, columns, "category", labels=files)
        task = by_name(tasks, "propensity_sku")
        assert popularity(task).tolist() == [0.5, 0.1, 0.2]
        truth = task.target(a_log(engine, columns), TRAIN, np.arange(20))
        assert truth.shape == (20, 3)
        assert truth.any(axis=0).tolist() == [True, False, True]
        other = made(engine, columns, "category")
        assert (
            popularity(by_name(tasks, "propensity_category")).tolist()
            == popularity(by_name(other, "propensity_category")).tolist()
        )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"churn": ([1, 2], [0.1, 0.2])}, "churn: found labels"),
        ({"propensity_sku": ([1, 2], [0.1])}, r"popularity \(1,\)"),
        ({"propensity_sku": ([1.5, 2.5], [0.1, 0.2])}, "float64"),
        ({"propensity_sku": ([[1, 2]], [[0.1, 0.2]])}, "two lists"),
        ({"propensity_sku": ([1, 1], [0.1, 0.2])}, "stands twice"),
        ({"propensity_sku": ([1, 2], [0.1, np.nan])}, "no number"),
        ({"propensity_sku": ([1, 2], [0.1, -0.2])}, "negative"),
        ({"propensity_sku": ([1, 1], [0.1, 0.2]), "propensity_price": ([1], [])}, "2 problems"),
    ],
)
def test_label_files_that_are_none(files: dict[str, tuple[list, list]], message: str) -> None:
    with DuckDB(threads=1) as engine, pytest.raises(DataError, match=message):
        made(
            engine,
            arrays(np.random.default_rng(0)),
            labels={
                k: (np.array(v, None if v else np.int64), np.array(p, np.float64))
                for k, (v, p) in files.items()
            },
        )


def test_most_bought_breaks_ties_by_the_smaller_value() -> None:
    labels = most_bought(np.array([7, 3, 7, 3, NONE, 9, 1, NONE]), 3)
    assert labels.values.tolist() == [3, 7, 1]
    np.testing.assert_allclose(labels.popularity, [2 / 6, 2 / 6, 1 / 6])
    assert len(most_bought(np.array([NONE]), 5).values) == 0


def test_sets_of_tasks_have_names() -> None:
    assert set(TASKS) == {"ubm25", "examples", "hidden"}
    assert set(HIDDEN.values()) == {"hidden1", "hidden2", "hidden3"}
    with DuckDB(threads=1) as engine:
        log = a_log(engine, arrays(np.random.default_rng(0)))
        with pytest.raises(ConfigError, match=r"'ubm'.*ubm25, examples, hidden"):
            task_set("ubm", past_of(log, TRAIN.start), log, TRAIN, rng=RNG())


def test_examples_are_left_out_where_they_have_one_answer() -> None:
    columns = arrays(np.random.default_rng(0))
    with DuckDB(threads=1) as engine:
        log = a_log(engine, columns)
        tasks = task_set("examples", past_of(log, TRAIN.start), log, TRAIN, rng=RNG())
        assert {t.name for t in tasks.tasks} >= {
            "spend_next_window",
            "buys_over_" + tasks.tasks[-1].name.rpartition("_")[2],
        }
        assert tasks.left_out.keys() <= {"returns_in_7_days", "buys_twice", "won_back"}
        del columns["price"]
        log = a_log(engine, columns)
        assert (
            task_set("examples", past_of(log, TRAIN.start), log, TRAIN, rng=RNG()).left_out[
                "spend_next_window"
            ]
            == "the events have no price"
        )


def test_the_reference_cases_labels_come_from_our_rule(golden: Path, tmp_path: Path) -> None:
    """Equal popularity, value by value; equal sets, but for values that tie with the hundredth."""
    with DuckDB(threads=1) as engine:
        dataset = challenge.read(golden / "log", tmp_path / "log", engine=engine)
        log = EventLog.open(dataset, engine)
        past, train, valid = split(log, users=dataset.population)
        own = ubm25(past, log, train)
        files = {n: challenge.labels(golden / "log", n) for n in NAMES[2:]}
        given = ubm25(past, log, train, labels=files)
        clients = np.load(golden / "expected" / "client_ids.npy")
        rows = log.rows(("item", "category", "price"), roles=(Role.BUY,), window=train)
        best = most_bought(past.log.rows(("item",), roles=(Role.BUY,))["item"], 100).values
        bought = {
            "category": rows["category"],
            "sku": rows["item"],
            "price": rows["price"],
            "new_sku": rows["item"][~np.isin(rows["item"], best)],
        }
        for name, (values, share) in files.items():
            kept = bought[name.removeprefix("propensity_")]
            assert len(values) == min(100, len(np.unique(kept)))
            np.testing.assert_allclose(share, [np.mean(kept == v) for v in values], rtol=1e-12)
            np.testing.assert_allclose(
                popularity(by_name(own, name)), np.sort(share)[::-1], rtol=1e-12
            )
            mine = most_bought(kept, 100).values
            last = min(np.sum(kept == v) for v in values)
            assert all(
                np.sum(kept == v) == last for v in set(values.tolist()) ^ set(mine.tolist())
            )
            truth = by_name(given, name).target(log, valid, clients)
            assert truth.shape == (1919, len(values))
        raw = pq.read_table(golden / "log" / "product_buy.parquet").to_pydict()
        properties = pq.read_table(golden / "log" / "product_properties.parquet").to_pydict()
        for name, column in (
            ("propensity_category", "category"),
            ("propensity_new_sku", "sku"),
            ("propensity_price", "price"),
        ):
            of = dict(zip(properties["sku"], properties[column], strict=True))
            for window in (train, valid):
                pairs = {
                    (client, of[sku])
                    for client, sku, text in zip(
                        raw["client_id"], raw["sku"], raw["timestamp"], strict=True
                    )
                    if window.start <= parse(str(text)) < window.end
                }
                question = ask(by_name(given, name), log, train, valid, clients)
                found = question.train if window == train else question.valid
                assert question.users.tolist() == clients.tolist(), "the file's order"
                assert found.tolist() == [
                    [(c, v) in pairs for v in files[name][0].tolist()] for c in clients.tolist()
                ]
        active = by_name(own, "churn").population(log, train)
        assert active.tolist() == sorted(challenge.active_clients(golden / "log").tolist())
