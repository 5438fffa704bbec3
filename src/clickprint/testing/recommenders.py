"""The promises of what ranks items, as tests: subclass RankerContract in a test module, with `ranker = …`. Needs pytest and torch."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int64

from clickprint import encoders
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.ragged import starts_of
from clickprint.core.recommendations import Recommendations
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.encoders import sequence
from clickprint.nn.next_item import ITEM, TIME, Batch, NextItem
from clickprint.recommenders.baselines import Ranks, fit_baseline
from clickprint.testing.worlds import START

CIRCLE = np.array(
    [7, -3, 1000, 42, 5, 11, 900, 8], np.int64
)  # items, in the order in which everyone goes round
UNKNOWN = np.array([123_456, -99, 31], np.int64)  # items that no history of these tests has


class RankerContract:
    """What everything promises that ranks items: a recipe of a sequence encoder, or a bar.

    `learns`: the recall@1 of the next item that it must reach on `circle`, where the item after the newest one is certain and which items
    a user had says nothing; 0 where order is not what it reads. `tolerance`: how far a score may move where only the order of sums
    changed. `skips_unknown`: items that were not there at fit change nothing; False where such an event still has a place in the history.
    """

    ranker: ClassVar[Any]
    learns: ClassVar[float] = 0.0
    tolerance: ClassVar[float] = 1e-4
    skips_unknown: ClassVar[bool] = True

    def fit(self, histories: Histories, rng: RNG) -> Ranks:
        """The ranker fitted on histories; a subclass says how, where it is neither a recipe nor a bar."""
        if isinstance(self.ranker, sequence.Recipe):
            return sequence.fit(self.ranker, name_of(self.ranker), histories, rng=rng)
        return fit_baseline(self.ranker, histories, rng=rng)

    def load(self, folder: Path) -> Ranks:
        """What reads back what `save` wrote, for what can be saved."""
        fitted: Any = encoders.load(folder)
        found: Ranks = fitted
        return found

    def fitted(self) -> tuple[Ranks, Histories]:
        """Fitted once for most of the promises, and on what."""
        kind = type(self)
        if "_fitted" not in vars(kind):
            histories = random_histories(0)
            kind._fitted = self.fit(histories, RNG(0)), histories  # type: ignore[attr-defined]
        found: tuple[Ranks, Histories] = kind._fitted  # type: ignore[attr-defined]
        return found

    # ------------------------------------------------------------------------------------------------------------ promises
    def test_a_list_of_known_items_for_everyone(self) -> None:
        """Users in their order, each with a list, also who has no event; no item twice, none that was not there, no number missing."""
        fitted, histories = self.fitted()
        lists = fitted.recommend(histories, 4)
        assert np.array_equal(lists.users, histories.users), "a list for each user, in their order"
        assert lists.items.shape == lists.scores.shape == (len(histories), 4), (
            f"found {lists.items.shape}, expected 4 items for each user"
        )
        known = set(items_of(histories).tolist())
        for user, row, scores in zip(lists.users, lists.items, lists.scores, strict=True):
            assert set(row.tolist()) <= known, (
                f"user {user} is given an item that was not there at fit, or too few"
            )
            assert len(set(row.tolist())) == len(row), f"user {user} is given an item twice"
            assert np.isfinite(scores).all(), f"user {user} is given a score that is no number"

    def test_more_than_there_are(self) -> None:
        """A k beyond the catalogue gives all of it, once; a smaller k gives the head of the same list."""
        fitted, histories = self.fitted()
        every, few = fitted.recommend(histories, 1000), fitted.recommend(histories, 3)
        known = items_of(histories)
        assert every.items.shape == (len(histories), len(known)), (
            "a list is as long as the catalogue, not longer"
        )
        assert (np.sort(every.items, 1) == known).all(), "the longest list holds every item once"
        assert np.array_equal(every.items[:, :3], few.items), "a longer list begins in another way"

    def test_best_first_and_equal_scores_by_item(self) -> None:
        """Scores fall; where they are equal the smaller item comes first. Some users have no event, some items the same events."""
        histories = twins()
        lists = self.fit(histories, RNG(0)).recommend(histories, 1000)
        fall, rise = np.diff(lists.scores, axis=1), np.diff(lists.items, axis=1)
        assert (fall <= 0).all(), "scores rise inside a list"
        assert (rise[fall == 0] > 0).all(), (
            "items of equal scores are not in the order of their ids"
        )

    def test_seen_items_are_left_out(self) -> None:
        """With seen=False a list is the same without the user's own items; with seen=True none is left out."""
        fitted, histories = self.fitted()
        every, others = (
            fitted.recommend(histories, 1000),
            fitted.recommend(histories, 1000, seen=False),
        )
        for r, user in enumerate(histories.users):
            own = set(
                histories.fields[ITEM][histories.starts[r] : histories.starts[r + 1]].tolist()
            )
            shown = [i for i in others.items[r].tolist() if i != NONE]
            assert not own & set(shown), f"user {user} is given an item of his history"
            assert shown == [i for i in every.items[r].tolist() if i not in own], (
                f"user {user}: leaving items out changed the others' order"
            )

    def test_same_seed_same_bytes(self) -> None:
        histories = random_histories(1)
        first, second = self.fit(histories, RNG(5)), self.fit(histories, RNG(5))
        wanted = first.recommend(histories, 5)
        same(
            first.recommend(histories, 5),
            wanted,
            0.0,
            "recommend gave other lists the second time",
        )
        same(
            second.recommend(histories, 5),
            wanted,
            0.0,
            "another fit with the same seed gave other lists",
        )

    def test_one_at_a_time(self) -> None:
        """A user's list does not depend on who else is asked for, nor on the order in which they are."""
        fitted, histories = self.fitted()
        wanted = fitted.recommend(histories, 1000)
        for r in range(len(histories)):
            alone = fitted.recommend(histories.take(np.array([r])), 1000)
            same(
                alone,
                rows_of(wanted, np.array([r])),
                self.tolerance,
                f"user {histories.users[r]} alone has another list",
            )
        order = np.random.default_rng(0).permutation(len(histories))
        same(
            fitted.recommend(histories.take(order), 1000),
            rows_of(wanted, order),
            self.tolerance,
            "users in another order have other lists",
        )

    def test_names_of_users_say_nothing(self) -> None:
        """A list is made of the history that is given: who has it, and what he did later, at fit, is not looked up."""
        fitted, histories = self.fitted()
        earlier = histories.but_last(
            2
        )  # as in leave-one-out: the ranker has seen what comes after
        stranger = Histories(
            histories.users[::-1] * 1_000_003 + 17, earlier.starts, earlier.fields
        )
        wanted, found = fitted.recommend(earlier, 1000), fitted.recommend(stranger, 1000)
        assert np.array_equal(found.users, stranger.users)
        same(
            Recommendations(wanted.users, found.items, found.scores),
            wanted,
            self.tolerance,
            "the same histories under other ids have other lists",
        )

    def test_unknown_items(self) -> None:
        """Items that were not there at fit are never given, and it says nothing which ones they are."""
        fitted, histories = self.fitted()
        known = items_of(histories)
        one, other = (with_unknown(histories, UNKNOWN[some]) for some in ([0], [1, 2]))
        wanted = fitted.recommend(one, 1000)
        assert np.isin(wanted.items, known).all(), (
            "an item that was not there at fit is given, or none"
        )
        same(
            fitted.recommend(other, 1000),
            wanted,
            self.tolerance,
            "other unknown items give other lists",
        )
        if self.skips_unknown:
            same(
                wanted,
                fitted.recommend(histories, 1000),
                self.tolerance,
                "unknown items change a list",
            )

    def test_the_future_changes_no_state(self) -> None:
        """What a network knows after an event does not depend on which items come later. For those that show their states."""
        fitted: Any = self.fitted()[0]
        if not isinstance(getattr(fitted, "network", None), NextItem):
            return
        size = min(8, fitted.network.length)
        items = torch.from_numpy(
            np.random.default_rng(0).integers(1, len(fitted.values[ITEM]) + 1, (6, size))
        )
        fields = {name: torch.ones_like(items) for name in fitted.values} | {
            TIME: torch.arange(size).expand(6, size) * 3600
        }
        lengths = torch.full((6,), size)
        with torch.no_grad():
            wanted = fitted.network(Batch({**fields, ITEM: items}, lengths))
            for cut in range(1, size):
                later = torch.where(
                    torch.arange(size) < cut, items, items % len(fitted.values[ITEM]) + 1
                )
                found = fitted.network(Batch({**fields, ITEM: later}, lengths))
                apart = float((found - wanted)[:, :cut].abs().max())
                assert apart <= self.tolerance, (
                    f"other items from event {cut} on move earlier states by {apart:.2g}: the model sees the future"
                )
                assert len(fitted.values[ITEM]) < 2 or not torch.equal(found, wanted), (
                    "the states do not depend on the items"
                )

    def test_saved_and_loaded_is_the_same(self, tmp_path: Path) -> None:
        kept, histories = self.fitted()
        fitted: Any = kept
        if not hasattr(fitted, "save"):
            return
        fitted.save(tmp_path / "fitted")
        for seen in (True, False):
            found, wanted = (
                f.recommend(histories, 5, seen=seen)
                for f in (self.load(tmp_path / "fitted"), fitted)
            )
            same(found, wanted, 0.0, "what was loaded gives other lists")

    def test_learns_what_comes_next(self) -> None:
        if not self.learns:
            return
        histories, following = circle()
        asked, wanted = circle(seed=1)
        lists = self.fit(histories, RNG(1)).recommend(asked, 3)
        assert len(following) == len(histories)
        recall = float((lists.items[:, 0] == wanted).mean())
        assert recall >= self.learns, (
            f"the next item of a circle is first for {recall:.3f} of the users, promised {self.learns}"
        )


def name_of(recipe: Any) -> str:
    """The name under which the registry knows a recipe's class; the class's own where it does not."""
    target = f"{type(recipe).__module__}:{type(recipe).__qualname__}"
    return next(
        (name for name, known in encoders.ENCODERS.items() if known == target),
        type(recipe).__qualname__,
    )


# -------------------------------------------------------------------------------------------------------------- histories
def random_histories(seed: int, users: int = 24) -> Histories:
    """Histories of 0 to 12 events on 15 items, some of which are bought by one user only; users in no order."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 13, users)
    lengths[[0, 5]] = 0, 12
    items = np.sort(rng.choice(2_000, 15, replace=False)) - 500
    item = items[np.minimum(rng.geometric(0.2, lengths.sum()) - 1, 14)]
    time = START + np.concatenate([np.sort(rng.integers(0, 30, n)) for n in lengths]) * DAY
    return Histories(
        rng.permutation(users).astype(np.int64) * 11 - 40,
        starts_of(lengths),
        {ITEM: item.astype(np.int64), TIME: time},
    )


def twins(users: int = 12) -> Histories:
    """Items that occur equally often, two always together, and users without an event: many scores are equal."""
    pairs = np.array([[30, 4], [8, 71], [15, 2]], np.int64)
    rows = [pairs[u % 3].tolist() * 2 if u % 4 else [] for u in range(users)]
    starts = starts_of(np.array([len(r) for r in rows]))
    item = np.array([i for r in rows for i in r], np.int64)
    return Histories(
        np.arange(users), starts, {ITEM: item, TIME: START + np.arange(len(item)) * DAY}
    )


def circle(seed: int = 0, users: int = 60) -> tuple[Histories, Int64[np.ndarray, "U"]]:
    """Everyone goes round CIRCLE at least once from a start of his own, so all have the same items; and each user's next item."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(8, 17, users)
    first = rng.integers(0, 8, users)
    starts = starts_of(lengths)
    place = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths) + np.repeat(first, lengths)
    histories = Histories(
        np.arange(users) * 3,
        starts,
        {ITEM: CIRCLE[place % 8], TIME: START + np.arange(starts[-1]) * DAY // 24},
    )
    return histories, CIRCLE[(first + lengths) % 8]


def with_unknown(histories: Histories, unknown: Int64[np.ndarray, "N"]) -> Histories:
    """The histories with an event about one of these items after every event; who had none has some now."""
    lengths = np.where(histories.lengths > 0, 2 * histories.lengths, 3)
    starts = starts_of(lengths)
    turn = np.arange(starts[-1])
    within = turn - np.repeat(starts[:-1], lengths)
    old = (within % 2 == 0) & np.repeat(histories.lengths > 0, lengths)
    item, time = unknown[turn % len(unknown)], np.full(len(turn), START, np.int64)
    item[old], time[old] = histories.fields[ITEM], histories.fields[TIME]
    after = np.flatnonzero(~old & np.repeat(histories.lengths > 0, lengths))
    time[after] = time[after - 1]
    return Histories(histories.users, starts, {ITEM: item, TIME: time})


def items_of(histories: Histories) -> Int64[np.ndarray, "V"]:
    """The items that occur, sorted."""
    found = np.unique(histories.fields[ITEM])
    return found[found != NONE]


def rows_of(lists: Recommendations, rows: Int64[np.ndarray, "B"]) -> Recommendations:
    """These rows, in this order."""
    return Recommendations(lists.users[rows], lists.items[rows], lists.scores[rows])


def same(found: Recommendations, wanted: Recommendations, tolerance: float, what: str) -> None:
    """Asserts that two sets of lists are one: equal bytes, or where there is a tolerance scores that near, item by item.

    Items whose scores are that near may have changed places.
    """
    assert np.array_equal(found.users, wanted.users), f"{what}: other users, or in another order"
    assert found.items.shape == wanted.items.shape, (
        f"{what}: found {found.items.shape}, expected {wanted.items.shape}"
    )
    if not tolerance:
        equal = (
            found.items.tobytes() == wanted.items.tobytes()
            and found.scores.tobytes() == wanted.scores.tobytes()
        )
        assert equal, (
            f"{what} ({(found.items != wanted.items).any(1).sum()} of {len(found.items)} lists differ)"
        )
        return
    for user, items, scores, true_items, true_scores in zip(
        found.users, found.items, found.scores, wanted.items, wanted.scores, strict=True
    ):
        mine, theirs = (
            dict(zip(i.tolist(), s.tolist(), strict=True))
            for i, s in ((items, scores), (true_items, true_scores))
        )
        assert mine.keys() == theirs.keys(), f"{what}: user {user} has other items"
        apart = max((abs(mine[i] - theirs[i]) for i in mine if i != NONE), default=0.0)
        assert apart <= tolerance, f"{what}: user {user}'s scores differ by {apart:.2g}"
