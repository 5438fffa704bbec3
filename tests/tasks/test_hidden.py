"""The sampler of hidden tasks: enough, distinct, not degenerate, the same again, and blind to
validation.
"""

import ast
from pathlib import Path

import numpy as np
import pytest

import clickprint
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.rng import RNG
from clickprint.core.time import DAY, Window
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.log import EventLog
from clickprint.data.split import LogPast, past_of
from clickprint.tasks import task_set
from clickprint.tasks.hidden import LIKE, PEOPLE, sample
from clickprint.tasks.rows import Rows
from clickprint.tasks.score import ask
from clickprint.tasks.task import Task
from clickprint.testing.worlds import BUY, CART, START, VIEW, memory_log

TRAIN = Window(START + 40 * DAY, START + 54 * DAY)
VALID = Window(START + 54 * DAY, START + 68 * DAY)


def arrays(seed: int = 0, users: int = 400, n: int = 12_000) -> dict[str, np.ndarray]:
    """Users of different zeal, items of different renown."""
    rng = np.random.default_rng(seed)
    kind = rng.choice([BUY, CART, VIEW], n, p=[0.3, 0.2, 0.5])
    return {
        "time": START + rng.integers(0, 68 * DAY, n),
        "user": (users * rng.random(n) ** 2).astype(np.int64),
        "kind": kind,
        "item": (60 * rng.random(n) ** 2).astype(np.int64),
        "url": np.where(
            kind == VIEW, (80 * rng.random(n) ** 3).astype(np.int64), np.iinfo(np.int64).min
        ),
        "price": rng.integers(1, 200, n) / 4,
    }


def world(engine: Engine, columns: dict[str, np.ndarray]) -> tuple[EventLog, LogPast]:
    items = np.arange(60)
    log = memory_log(
        engine,
        **columns,
        catalogue={"item": items, "category": items % 12, "price_bucket": items % 9},
    )
    return log, past_of(log, TRAIN.start)


def test_fifty_tasks_all_distinct_and_none_degenerate() -> None:
    with DuckDB(threads=1) as engine:
        log, past = world(engine, arrays())
        tasks = sample(past, log, TRAIN, rng=RNG(3)).tasks
        assert len(tasks) == 50
        assert len({t.name for t in tasks}) == 50
        rows = Rows(log)
        questions = [ask(t, rows, TRAIN, VALID, past.users, hidden=True) for t in tasks]
        assert len({q.digest for q in questions}) == 50
        answers: dict[bytes, list[np.ndarray]] = {}
        for q in questions:
            users = len(q.users)
            least = min(max(users // 100, 5), 20)
            assert users >= PEOPLE
            assert q.hidden
            if q.train.dtype == bool and q.train.shape[1] == 1:
                assert least <= q.train.sum() <= users - least
            elif q.train.dtype == bool:
                assert (q.train.sum(axis=0) >= 3).all()
                assert ((~q.train).sum(axis=0) >= 3).all()
                assert q.train.any(axis=1).sum() >= least
            else:
                assert np.count_nonzero(q.train) >= least
            if q.train.shape[1] == 1:
                answers.setdefault(q.users.tobytes(), []).append(q.train[:, 0].astype(float))
        for same_users in answers.values():
            together = np.abs(np.corrcoef(same_users)) if len(same_users) > 1 else np.eye(1)
            assert np.triu(np.atleast_2d(together), 1).max() <= LIKE + 1e-9
        assert len({q.users.tobytes() for q in questions}) >= 5, "populations differ"
        assert len({t.name.split("_")[0] for t in tasks}) >= 6, "kinds of question differ"
        assert (
            len({w for t in tasks for w in t.name.split("_") if w[0] == "h" and w[1:].isdigit()})
            >= 6
        ), "horizons differ"
        assert any(t.loss.name == "mse" for t in tasks)
        assert all(t.about for t in tasks)


def said(
    tasks: tuple[Task, ...], log: EventLog, past: LogPast
) -> list[tuple[str, str, bytes, bytes]]:
    rows = Rows(log)
    found = []
    for t in tasks:
        users = np.intersect1d(past.users, t.population(rows, TRAIN))
        found.append((t.name, t.about, users.tobytes(), t.target(rows, TRAIN, users).tobytes()))
    return found


def test_same_seed_same_tasks_whatever_validation_holds() -> None:
    columns = arrays()
    late = columns["time"] >= TRAIN.end
    rng = np.random.default_rng(9)
    other = {
        c: np.where(late, rng.permutation(v), v) if c != "time" else v for c, v in columns.items()
    }
    shuffled = rng.permutation(len(late))
    with DuckDB(threads=1) as engine:
        log, past = world(engine, columns)
        first = said(sample(past, log, TRAIN, count=12, rng=RNG(1)).tasks, log, past)
        for variant in (
            columns,
            {c: v[shuffled] for c, v in columns.items()},
            other,
            {c: v[~late] for c, v in columns.items()},
        ):
            again, past_again = world(engine, variant)
            assert (
                said(
                    sample(past_again, again, TRAIN, count=12, rng=RNG(1)).tasks, again, past_again
                )
                == first
            )
        names = [name for name, *_ in first]
        assert [
            t.name for t in task_set("hidden", past, log, TRAIN, rng=RNG(1), count=12).tasks
        ] == names
        assert [t.name for t in sample(past, log, TRAIN, count=5, rng=RNG(1)).tasks] == names[
            :5
        ], "more tasks do not change the first"
        assert [t.name for t in sample(past, log, TRAIN, count=12, rng=RNG(2)).tasks] != names


def test_a_log_of_purchases_alone_yields_fifty_too() -> None:
    columns = arrays()
    bought = columns["kind"] == BUY
    with DuckDB(threads=1) as engine:
        log, past = world(
            engine,
            {c: v[bought] for c, v in columns.items() if c in ("time", "user", "kind", "item")},
        )
        tasks = sample(past, log, TRAIN).tasks
        assert len(tasks) == 50
        assert not any(t.name.startswith(("spend", "over")) for t in tasks), "there is no price"


def test_a_log_that_cannot_yield_them_says_how_many_and_why() -> None:
    columns = {c: v[:600] for c, v in arrays(users=40).items()}
    with DuckDB(threads=1) as engine:
        log, past = world(engine, columns)
        with pytest.raises(
            DataError,
            match=(
                r"found 0 distinct hidden tasks, expected 50 \(\d+ draws refused: fewer than 50"
                r" users"
            ),
        ):
            sample(past, log, TRAIN)
        with pytest.raises(DataError, match=r"nothing.*train window"):
            sample(past, log, Window(VALID.end, VALID.end + DAY))
        with pytest.raises(ConfigError, match="at least 1"):
            sample(past, log, TRAIN, count=0)


def test_no_encoder_can_see_them() -> None:
    """Encoders import nothing of tasks, so no recipe's code can be designed for hidden tasks."""
    for file in (Path(clickprint.__file__).parent / "encoders").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [a.name for a in getattr(node, "names", []) if isinstance(node, ast.Import)]
            )
            assert not any(n.startswith("clickprint.tasks") for n in names), file
