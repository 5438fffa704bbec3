"""Next purchase where several users are one person: candidates and features are of the person."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from clickprint.core.errors import ConfigError
from clickprint.core.rng import RNG
from clickprint.core.time import DAY, Window
from clickprint.data.links import linked, people
from clickprint.data.log import EventLog
from clickprint.data.split import LogPast, past_of
from clickprint.recommenders.funnel import (
    LINKED,
    FittedNext,
    NextPurchase,
    candidates,
    example,
    fit,
)
from clickprint.recommenders.propensity import Propensity
from clickprint.recommenders.ranker import LambdaMART
from clickprint.recommenders.windows import bought
from clickprint.testing.funnel import audit, made_by
from clickprint.testing.worlds import START

RECIPE = NextPurchase(
    days=5,
    list_length=3,
    max_users=4,
    retrievers={
        "history": {"k": 6},
        "popular": {"retriever": "popularity", "roles": ["buy"], "half_life": 7, "k": 4},
    },
    ranker=LambdaMART(trees=8, leaves=4, min_leaf=2),
    propensity=Propensity(trees=8, leaves=4, min_leaf=2),
    linked=True,
)
ALONE = replace(RECIPE, linked=False)


@pytest.fixture(scope="module")
def linked_log(log: EventLog) -> EventLog:
    """Users 2n and 2n + 1 are one person, some from the first day on and some from day 20 on."""
    users = log.users()
    known = np.where(np.arange(len(users)) // 2 % 2 == 0, START - DAY, START + 20 * DAY)
    table = pa.table({"user": users, "person": np.arange(len(users)) // 2, "known_from": known})
    return replace(log, links=log.engine.keep(table))


@pytest.fixture(scope="module")
def both(linked_log: EventLog) -> LogPast:
    return past_of(linked_log, START + 15 * DAY)


def test_candidates_are_of_the_person(both: LogPast) -> None:
    found, alone = (candidates(both, r, rng=RNG(1)) for r in (RECIPE, ALONE))
    mates = {int(u): {int(u)} for u in both.users}
    for user, other in people(both.log).tolist():
        mates[user].add(other)
    assert (
        0 < sum(len(m) > 1 for m in mates.values()) < len(mates)
    )  # some are linked by now, some not yet

    def items(pairs, user: int) -> set[int]:
        row = int(np.searchsorted(pairs.users, user))
        at = slice(pairs.starts[row], pairs.starts[row + 1])
        return set(pairs.items[at][~np.isnan(pairs.columns["history_rank"][at])].tolist())

    more = 0
    for user, theirs in mates.items():
        if len(theirs) < 2:
            assert items(found, user) == items(alone, user)
            continue
        one, two = theirs
        assert items(found, one) == items(found, two)
        union = items(alone, one) | items(alone, two)
        assert items(found, user) <= union
        assert len(items(found, user)) == min(6, len(union))
        more += items(found, user) > items(alone, user)
    assert more > 0
    few = candidates(both, RECIPE, rng=RNG(1), users=both.users[3:9])
    assert all(
        items(few, u) == (items(found, u) if u in both.users[3:9] else set())
        for u in both.users.tolist()
    )


def test_features_of_the_person_stand_beside_the_users_own(both: LogPast) -> None:
    pairs = candidates(both, RECIPE, rng=RNG(1))
    found, users = example(both, RECIPE, pairs)
    own, theirs = example(both, ALONE, pairs)
    for name, column in own.columns.items():
        assert found.columns[name].tobytes() == column.tobytes()  # items count each purchase once
    features = RECIPE.features.fit(both)
    joined = features.add(linked(both).histories(features.fields), pairs)
    added = {n for n in found.columns if n.startswith(LINKED)}
    assert added == {f"{LINKED}{n}" for n in own.columns if n.startswith(("user_", "pair_"))}
    for name in added:
        assert found.columns[name].tobytes() == joined.columns[name.removeprefix(LINKED)].tobytes()
    assert users.keys() == theirs.keys() | {f"{LINKED}{n}" for n in theirs}
    assert (users["linked_user_buys"] >= users["user_buys"]).all()
    assert (users["linked_user_buys"] > users["user_buys"]).any()


def test_nothing_of_the_future(linked_log: EventLog) -> None:
    """A link that becomes known later is none yet."""
    for day in (15, 25):
        assert (
            audit(linked_log, START + day * DAY, made_by(RECIPE, START + day * DAY, rng=RNG(3)))
            == []
        )


def test_learned_saved_and_asked_again(linked_log: EventLog, both: LogPast, tmp_path) -> None:
    taught = []
    for day in (5, 10):
        past, truth = (
            past_of(linked_log, START + day * DAY),
            bought(linked_log, Window(START + day * DAY, START + (day + 5) * DAY)),
        )
        taught.append((*example(past, RECIPE, candidates(past, RECIPE, rng=RNG(1))), truth))
    fitted = fit(RECIPE, taught, rng=RNG(2))
    pairs = candidates(both, RECIPE, rng=RNG(1))
    fitted.save(tmp_path / "m")
    again = FittedNext.load(tmp_path / "m")
    assert again.recipe.linked
    one, two = fitted.plan(both, pairs), again.plan(both, pairs)
    assert one.propensity.tobytes() == two.propensity.tobytes()
    assert one.lists.items.tobytes() == two.lists.items.tobytes()
    made, users = example(both, RECIPE, pairs)
    assert fitted.recommend(made, users).lists.items.tobytes() == one.lists.items.tobytes()


def test_a_log_that_does_not_say_is_refused(past: LogPast) -> None:
    with pytest.raises(ConfigError, match=rf"^{past.log.manifest.name} .*`linked`"):
        candidates(past, RECIPE, rng=RNG(1))
