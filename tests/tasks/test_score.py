"""Questions and answers: who is asked, in which order, what is equal, and what is kept on disk."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from inspect import unwrap
from pathlib import Path

import numpy as np
import pytest

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Role
from clickprint.core.profiles import Profiles
from clickprint.core.rng import mix
from clickprint.core.time import DAY, Window
from clickprint.data.engine import DuckDB
from clickprint.data.log import EventLog
from clickprint.metrics.compare import Estimate, Gap, intervals
from clickprint.metrics.labels import macro_auroc
from clickprint.metrics.task_metrics import AUROC, MacroAUROC, Spearman
from clickprint.tasks import official, quick
from clickprint.tasks.populations import buyers, everyone
from clickprint.tasks.score import HALVES, Designs, Question, answer, ask, load, named, save, score
from clickprint.tasks.targets import activity, buys_any, comes_back, stays_away
from clickprint.tasks.task import Controls, Task, TaskScore, mse
from clickprint.testing.worlds import BUY, START, VIEW, clockwork, dice, memory_log

TRAIN, VALID = (
    Window(START + 20 * DAY, START + 30 * DAY),
    Window(START + 30 * DAY, START + 40 * DAY),
)
CHURN = Task(
    name="churn",
    population=buyers(),
    target=stays_away(Role.BUY),
    metrics={"auroc": (1.0, AUROC())},
    about="Who goes?",
)
CONVERSION = replace(CHURN, name="conversion", population=everyone())
ITEMS = replace(
    CHURN,
    name="items",
    population=everyone(),
    target=buys_any("item", [0, 1, 2, 900]),
    metrics={"auroc": (1.0, MacroAUROC())},
)
ACTIVITY = replace(
    CHURN,
    name="activity",
    population=everyone(),
    target=activity(),
    loss=mse,
    metrics={"spearman": (1.0, Spearman())},
)


@pytest.fixture
def log() -> Iterator[EventLog]:
    rng = np.random.default_rng(0)
    n = 900
    with DuckDB(threads=1) as engine:
        yield memory_log(
            engine,
            time=np.concatenate([START + rng.integers(0, 40 * DAY, n), START + np.arange(60)]),
            user=np.concatenate([rng.integers(0, 50, n) ** 2 // 40, np.arange(60)]),
            kind=np.concatenate([rng.choice([BUY, VIEW], n), np.full(60, VIEW)]),
            item=np.concatenate([rng.integers(0, 9, n), np.zeros(60)]),
        )


def profiles_of(users: np.ndarray, seed: int = 0, width: int = 5) -> Profiles:
    return Profiles(
        users, np.random.default_rng(seed).normal(size=(len(users), width)).astype(np.float16)
    )


def small(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The official probe with a small network; the list counts its trainings."""
    trained: list[int] = []
    real = official.train

    def train(*given: object, **named: object) -> official.Probed:
        trained.append(1)
        return real(*given, **named, shape=official.Shape(8, 16, 1))  # type: ignore[arg-type]

    monkeypatch.setattr(official, "train", train)
    return trained


def test_who_is_asked_keeps_the_order_given(log: EventLog) -> None:
    users = np.random.default_rng(1).permutation(np.arange(70))
    question = ask(CHURN, log, TRAIN, VALID, users)
    bought = set(log.users(roles=(Role.BUY,), window=Window(START, TRAIN.start)).tolist())
    assert question.users.tolist() == [u for u in users.tolist() if u in bought]
    assert 0 < len(question.users) < 60
    late = log.users(roles=(Role.BUY,), window=VALID)
    assert question.valid[:, 0].tolist() == [u not in late for u in question.users.tolist()]
    everyone_ = ask(
        replace(CONVERSION, population=everyone(np.arange(80))), log, TRAIN, VALID, users
    )
    assert everyone_.users.tolist() == users.tolist(), "also those whom the log has never seen"


def test_the_digest_is_of_what_is_asked_not_of_names_or_order(log: EventLog) -> None:
    users = np.arange(60)
    question = ask(ITEMS, log, TRAIN, VALID, users)
    mixed = np.random.default_rng(0).permutation(users)
    assert (
        ask(replace(ITEMS, name="other", about="", version=2), log, TRAIN, VALID, mixed).digest
        == question.digest
    )
    others = [
        ask(ITEMS, log, TRAIN, VALID, users[1:]),
        ask(ITEMS, log, TRAIN, Window(VALID.start, VALID.end - DAY), users),
        ask(ITEMS, log, Window(TRAIN.start, TRAIN.end - DAY), VALID, users),
        ask(replace(ITEMS, target=buys_any("item", [1, 0, 2, 900])), log, TRAIN, VALID, users),
        ask(replace(ITEMS, metrics={"auroc": (0.5, MacroAUROC())}), log, TRAIN, VALID, users),
        ask(replace(ITEMS, metrics={"other": (1.0, MacroAUROC())}), log, TRAIN, VALID, users),
        ask(ACTIVITY, log, TRAIN, VALID, users),
    ]
    assert len({q.digest for q in [question, *others]}) == 8


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            replace(CHURN, population=everyone(np.array([777]))),
            "none of the 60 users is in its population",
        ),
        (
            replace(CHURN, target=lambda t, w, u: np.zeros(len(u), bool)),
            r"2 problems[\s\S]*found shape",
        ),
        (replace(CHURN, target=lambda t, w, u: np.zeros((len(u), 0), bool)), "at least one label"),
        (
            replace(CHURN, target=lambda t, w, u: np.zeros((len(u) - 1, 1), bool)),
            "users × at least one",
        ),
        (replace(CHURN, target=lambda t, w, u: np.zeros((len(u), 1))), "float64, expected bool"),
        (replace(CHURN, loss=mse), "bool, expected floats"),
        (
            replace(ACTIVITY, target=lambda t, w, u: np.full((len(u), 1), np.nan)),
            "no finite numbers",
        ),
        (
            replace(CHURN, target=lambda t, w, u: np.zeros((len(u), 1 + (w == VALID)), bool)),
            "1 labels in the train window and 2",
        ),
    ],
)
def test_a_task_that_cannot_be_asked(log: EventLog, task: Task, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ask(task, log, TRAIN, VALID, np.arange(60))


def test_windows_must_not_overlap(log: EventLog) -> None:
    with pytest.raises(ConfigError, match="before the train window ends"):
        ask(CHURN, log, TRAIN, Window(TRAIN.end - 1, VALID.end), np.arange(60))


def test_a_user_without_a_profile_is_an_error(log: EventLog) -> None:
    question = ask(CONVERSION, log, TRAIN, VALID, np.arange(60))
    with pytest.raises(DataError, match=r"1 of 60 users.*\b7$"):
        answer(question, profiles_of(np.delete(np.arange(60), 7)), "quick")
    found = answer(question, profiles_of(np.arange(100)), "quick", resamples=2)
    assert found.users == 60, "who is not in the population is left out"


@pytest.mark.parametrize("task", [CHURN, ITEMS, ACTIVITY], ids=lambda t: t.name)
@pytest.mark.parametrize("probe", ["quick", "official"])
def test_an_answer_is_the_marks_of_the_probes_prediction(
    log: EventLog, task: Task, probe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    question = ask(task, log, TRAIN, VALID, np.arange(60))
    profiles = profiles_of(np.random.default_rng(3).permutation(np.arange(65)))
    found = answer(question, profiles, probe, resamples=300)  # type: ignore[arg-type]
    vectors = profiles.of(question.users)
    if probe == "quick":
        prediction = quick.fit_predict(vectors, question.train, loss=task.loss)
        assert (found.epochs, found.best_epoch) == ((), -1)
    else:
        probed = official.train(
            vectors,
            question.train,
            loss=task.loss,
            evaluate=lambda p: task.score(question.valid, p),
        )
        prediction = probed.prediction
        assert found.epochs == probed.epochs
        assert found.best_epoch == int(np.argmax([e["score"] for e in found.epochs]))
        assert found.score == max(e["score"] for e in found.epochs)
    metrics = task.score(question.valid, prediction)
    assert {**found.metrics, "score": found.score} == metrics
    assert {**found.live_metrics, "score": found.live} == task.score(
        question.valid, prediction, live=True
    )
    assert (found.task, found.probe, found.users, found.labels) == (
        task.name,
        probe,
        len(question.users),
        question.valid.shape[1],
    )
    assert found.replicates.shape == found.live_replicates.shape == (300,)
    assert abs(np.median(found.replicates) - found.score) < 0.1
    assert found.replicates.std() > 0
    if task is ITEMS:
        assert found.degenerate == 1, "nobody buys item 900"
        assert found.live == pytest.approx(found.score * 4 / 3)
    else:
        assert found.degenerate == 0


def test_resamples_depend_on_seed_and_user_alone(log: EventLog) -> None:
    users = np.arange(60)
    question, mixed = (ask(CONVERSION, log, TRAIN, VALID, u) for u in (users, users[::-1].copy()))
    profiles = profiles_of(users)
    first, again = answer(question, profiles, "quick"), answer(mixed, profiles, "quick")
    np.testing.assert_allclose(again.replicates, first.replicates, atol=1e-6)
    assert not np.array_equal(
        answer(question, profiles, "quick", seed=1).replicates, first.replicates
    )
    none = answer(question, profiles, "quick", resamples=0)
    assert none.replicates.shape == (0,)
    assert none.score == first.score


def test_equal_questions_are_trained_once(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = small(monkeypatch)
    everybody = replace(CHURN, population=everyone())
    profiles = profiles_of(np.arange(60))
    found = score(
        profiles, log, [everybody, CONVERSION, CHURN], TRAIN, VALID, probe="official", resamples=3
    )
    assert len(trained) == 2
    assert [f.task for f in found] == ["churn", "conversion", "churn"]
    assert found[0].score == found[1].score
    assert found[0].question == found[1].question != found[2].question
    question = ask(CONVERSION, log, TRAIN, VALID, profiles.users, hidden=True)
    assert named(found[0], question).hidden
    with pytest.raises(AssertionError, match="equal questions only"):
        named(found[2], question)


def test_score_asks_in_the_order_of_the_profiles_or_of_the_users_given(log: EventLog) -> None:
    mixed = np.random.default_rng(0).permutation(np.arange(60))
    profiles = profiles_of(mixed)
    one, few = (
        score(profiles, log, [ITEMS], TRAIN, VALID, users=u, resamples=2)[0]
        for u in (None, np.arange(30))
    )
    assert (one.users, few.users) == (60, 30)
    direct = answer(ask(ITEMS, log, TRAIN, VALID, mixed), profiles, "quick", resamples=2)
    assert (one.score, one.question) == (direct.score, direct.question)


def test_dice_and_clockwork() -> None:
    """Chance where nothing can be known, certainty where all can: past purchases as the profile,
    the next window as the task.
    """
    with DuckDB(threads=1) as engine:
        for make, low, high in (
            (
                lambda e: dice(e, np.random.default_rng(5), users=1_500, days=56, horizon=14),
                0.45,
                0.55,
            ),
            (lambda e: clockwork(e, users=200), 0.99, 1.0),
        ):
            world = make(engine)
            cut = world.past.cutoff - 14 * DAY
            train = Window(cut, world.past.cutoff)
            rows = world.log.before(cut).rows(("user", "time"), roles=(Role.BUY,))
            users = world.past.users
            recent = rows["time"] > cut - 28 * DAY
            counts = np.stack(
                [
                    np.bincount(rows["user"][kept], minlength=len(users))
                    for kept in (recent, ~recent)
                ],
                axis=1,
            )
            returns = replace(
                CONVERSION, name="returns", population=everyone(users), target=comes_back(Role.BUY)
            )
            profiles = Profiles(users, counts.astype(np.float16))
            found = score(profiles, world.log, [returns], train, world.window, resamples=50)[0]
            assert low <= found.score <= high, world.name


def test_a_design_is_made_once_a_population(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    real = quick.design

    def design(*given: object, **named: object) -> quick.Design:
        made.append(1)
        return real(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(quick, "design", design)
    profiles = profiles_of(np.arange(60))
    first = score(profiles, log, [CONVERSION, CHURN, ITEMS, ACTIVITY], TRAIN, VALID, resamples=2)
    # Two populations: the profiles, three draws of random vectors, and half of the users.
    assert len(made) == 10
    fresh = answer(ask(ITEMS, log, TRAIN, VALID, np.arange(60)), profiles, "quick", resamples=2)
    assert fresh.score == first[2].score
    designs = Designs(keep=1)
    for seed in (0, 1, 0):
        designs.of(profiles_of(np.arange(9), seed), np.arange(9), "", lambda *_: None)
    assert len(designs._kept) == 1


def test_intervals_of_a_log_with_rare_labels_hold_their_estimates() -> None:
    """Thirty items that a handful of users buys: raw percentiles, not moved to the estimate."""
    draw = np.random.default_rng(0)
    n, users = 4_000, 150
    rare = buys_any("item", list(range(30)))
    task = replace(ITEMS, target=rare)
    with DuckDB(threads=1) as engine:
        log = memory_log(
            engine,
            time=START + draw.integers(0, 40 * DAY, n),
            user=draw.integers(0, users, n),
            kind=draw.choice([BUY, VIEW], n, p=[0.2, 0.8]),
            item=(30 * draw.random(n) ** 0.4).astype(np.int64),
        )
        made = ask(task, log, TRAIN, VALID, np.arange(users))
        positives = made.valid.sum(axis=0)
        assert ((positives > 0) & (positives < 4)).sum() > 3
        for seed in range(6):
            vectors = draw.normal(size=(users, 8)) + made.valid[:, :8] * 2
            profiles = Profiles(np.arange(users), vectors.astype(np.float16))
            found = answer(made, profiles, "quick", resamples=100, seed=seed)
            assert found.controls is not None
            held_out = found.controls.held_out, found.controls.held_out_replicates
            rows = (found.score, found.replicates), (found.live, found.live_replicates), held_out
            for value, replicates in rows:
                low, high = intervals(replicates)
                assert low <= value <= high


def habits(users: int, seed: int = 0) -> tuple[Question, np.ndarray]:
    """Who goes in one window goes in the next: what a user is, a probe can learn by heart."""
    draw = np.random.default_rng(seed)
    habit = draw.choice([0.1, 0.9], users)
    train, valid = (draw.random((users, 1)) < habit[:, None] for _ in range(2))
    return Question(CHURN, np.arange(users), train, valid, "digest"), habit


def test_width_is_rewarded_and_the_controls_say_so() -> None:
    """Noise is above chance, no better than noise of its width, and nothing on other users."""
    question, habit = habits(500)
    wide = answer(question, profiles_of(question.users, width=400), "quick").controls
    found = answer(question, profiles_of(question.users, width=400), "quick")
    assert wide is not None
    assert found.score > 0.6
    gap = Gap.of(found.score, wide.floor, found.replicates, wide.floor_replicates)
    assert gap.shown == 0
    held_out = Estimate.of(wide.held_out, wide.held_out_replicates)
    assert held_out.low < 0.5 < held_out.high
    vectors = np.random.default_rng(1).normal(size=(500, 400))
    vectors[:, 0] = habit * 9
    known = answer(question, Profiles(question.users, vectors.astype(np.float16)), "quick")
    assert known.controls is not None
    assert (
        Gap.of(
            known.score,
            known.controls.floor,
            known.replicates,
            known.controls.floor_replicates,
        ).shown
        == 1
    )
    assert known.controls.floor == wide.floor  # of the width alone
    assert known.controls.held_out > 0.65


def test_held_out_users_are_scored_by_what_others_taught() -> None:
    """The learning half's next window and the other half's first one change nothing."""
    question, _ = habits(300)
    profiles = profiles_of(question.users, width=8)
    place = mix(question.users.astype(np.uint64) ^ np.uint64(HALVES)) / 2.0**64
    learn = place < 0.5
    assert 100 < learn.sum() < 200
    wanted = quick.design(profiles.of(question.users[learn])).fit_predict(
        question.train[learn], loss=CHURN.loss, others=profiles.of(question.users[~learn])
    )
    turned = replace(
        question,
        train=np.where(learn[:, None], question.train, ~question.train),
        valid=np.where(learn[:, None], ~question.valid, question.valid),
    )
    for asked in (question, turned):
        found = answer(asked, profiles, "quick", resamples=5).controls
        assert found is not None
        assert found.held_out == macro_auroc(question.valid[~learn], wanted)


def test_controls_of_a_large_profile_and_of_few_users(monkeypatch: pytest.MonkeyPatch) -> None:
    question, _ = habits(300)
    monkeypatch.setattr("clickprint.tasks.score.CELLS", 300 * 8 // 2)
    large = answer(question, profiles_of(question.users, width=8), "quick").controls
    assert large is not None
    assert np.isnan(large.floor)
    assert 0 < large.held_out < 1
    lonely = replace(question, users=question.users[:1], train=question.train[:1],
                     valid=question.valid[:1])  # fmt: skip
    alone = answer(lonely, profiles_of(question.users, width=8), "quick", resamples=3).controls
    assert alone is not None
    assert np.isnan([alone.held_out, *alone.held_out_replicates]).all()
    assert answer(question, profiles_of(question.users), "quick", controls=False).controls is None


def test_the_official_probe_has_controls_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two more networks: of noise, and of half of the users, who are not among the scored."""
    trained = small(monkeypatch)
    question, _ = habits(300)
    profiles = profiles_of(question.users, width=6)
    assert answer(question, profiles, "official", resamples=4).controls is None
    found = answer(question, profiles, "official", resamples=4, controls=True).controls
    assert len(trained) == 4
    assert found is not None
    learn = mix(question.users.astype(np.uint64) ^ np.uint64(HALVES)) / 2.0**64 < 0.5
    wanted = official.train(
        profiles.of(question.users[learn]),
        question.train[learn],
        loss=CHURN.loss,
        others=profiles.of(question.users[~learn]),
        evaluate=lambda p: CHURN.score(question.valid[~learn], p),
    )
    assert found.held_out == max(e["score"] for e in wanted.epochs)
    assert wanted.prediction.shape == ((~learn).sum(), 1)
    assert 0 < found.floor < 1


def test_an_unknown_probe_or_no_torch(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    question, profiles = ask(CHURN, log, TRAIN, VALID, np.arange(60)), profiles_of(np.arange(60))
    with pytest.raises(ConfigError, match=r"probe: .*'slow'.*official, quick"):
        unwrap(answer)(question, profiles, "slow")
    monkeypatch.delitem(sys.modules, "clickprint.tasks.official")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigError, match="install clickprint\\[probe\\]"):
        answer(question, profiles, "official")


def a_score(**changes: object) -> TaskScore:
    rng = np.random.default_rng(0)
    plain = TaskScore(
        task="any_buy_h7.5",
        probe="official",
        question="ab" * 16,
        users=9,
        labels=3,
        degenerate=3,
        score=1 / 3,
        live=float("nan"),
        metrics={"auroc": 0.1, "novelty": 2 / 3},
        live_metrics={"auroc": float("nan"), "novelty": 2 / 3},
        epochs=(
            {"auroc": 0.1, "score": 1 / 3, "loss": 0.7},
            {"auroc": float("nan"), "score": 0.2, "loss": 0.6},
        ),
        best_epoch=0,
        hidden=True,
        about="Who? × – ≤",
        replicates=rng.random(20),
        live_replicates=np.full(20, np.nan),
    )
    return replace(plain, **changes)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "any_buy_h7.5.json"
    for found in (
        a_score(),
        a_score(controls=Controls(0.5, float("nan"), np.ones(20), np.full(20, np.nan))),
        a_score(
            epochs=(),
            best_epoch=-1,
            probe="quick",
            replicates=np.zeros(0),
            live_replicates=np.zeros(0),
        ),
    ):
        save(found, path)
        again = load(path)
        np.testing.assert_equal(asdict(again), asdict(found))
        assert {p.name for p in path.parent.iterdir()} == {"any_buy_h7.5.json", "any_buy_h7.5.npy"}
        json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_equal_scores_give_equal_bytes(tmp_path: Path, log: EventLog) -> None:
    files = []
    for turn in range(2):
        found = score(profiles_of(np.arange(60)), log, [ITEMS], TRAIN, VALID, resamples=20)[0]
        path = tmp_path / str(turn) / "items.json"
        save(found, path)
        files.append((path.read_bytes(), path.with_suffix(".npy").read_bytes()))
    assert files[0] == files[1]


def test_a_real_score_comes_back_from_disk(tmp_path: Path, log: EventLog) -> None:
    found = score(profiles_of(np.arange(60)), log, [CHURN], TRAIN, VALID)[0]
    save(found, tmp_path / "churn.json")
    assert load(tmp_path / "churn.json").score == found.score


def _edit(change: Callable[[dict], object]) -> Callable[[Path], object]:
    def edit(path: Path) -> None:
        raw = json.loads(path.read_text())
        change(raw)
        path.write_text(json.dumps(raw))

    return edit


@pytest.mark.parametrize(
    "damage",
    [
        lambda p: p.unlink(),
        lambda p: p.write_text(""),
        lambda p: p.write_text("[1, 2]"),
        lambda p: p.write_text(p.read_text()[:100]),
        lambda p: p.write_bytes(b"\xff\xfe\x00"),
        lambda p: p.with_suffix(".npy").unlink(),
        lambda p: p.with_suffix(".npy").write_bytes(b""),
        lambda p: p.with_suffix(".npy").write_bytes(p.with_suffix(".npy").read_bytes()[:-8]),
        lambda p: np.save(p.with_suffix(".npy"), np.zeros((2, 20))),
        lambda p: np.save(p.with_suffix(".npy"), np.array([{"a": 1}]), allow_pickle=True),
        _edit(lambda raw: raw.update(format=99)),
        _edit(lambda raw: raw.pop("score")),
        _edit(lambda raw: raw.update(score="high")),
        _edit(lambda raw: raw.update(metrics=[1])),
        _edit(lambda raw: raw.update(more=1)),
        _edit(lambda raw: raw.update(epochs=3)),
    ],
)
def test_a_damaged_score_is_named(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = tmp_path / "churn.json"
    save(a_score(task="churn"), path)
    damage(path)
    with pytest.raises(DataError, match="score again") as fault:
        load(path)
    assert str(tmp_path) in fault.value.where


def test_a_question_shows_itself_without_its_arrays(log: EventLog) -> None:
    text = repr(ask(CHURN, log, TRAIN, VALID, np.arange(60)))
    assert "churn" in text
    assert "array" not in text
    assert isinstance(ask(CHURN, log, TRAIN, VALID, np.arange(60)), Question)
