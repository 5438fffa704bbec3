"""The promises of what recommends, as tests. Needs pytest and torch.

Subclass RecommenderContract in a test module, with `recipe = …`.
"""

from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64

from clickprint import encoders
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.past import Past
from clickprint.core.ragged import starts_of
from clickprint.core.recommendations import Recommendations
from clickprint.core.recommender import HasItemVectors, Recommender, Recommends
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.data.split import HistoriesPast
from clickprint.encoders.sequence import Trained
from clickprint.nn.next_item import ITEM, TIME, Batch
from clickprint.testing.worlds import START

# Items, in the order in which everyone goes round.
CIRCLE = np.array([7, -3, 1000, 42, 5, 11, 900, 8], np.int64)
UNKNOWN = np.array([123_456, -99, 31], np.int64)  # items that no history of these tests has
CUTOFF = START + 40 * DAY
ALL = 1000  # more items than there are


@runtime_checkable
class Saves(Protocol):
    """A fitted thing that can be kept."""

    def save(self, folder: Path) -> None: ...


@runtime_checkable
class HasUserVectors(Protocol):
    """A fitted thing that compares its user vectors with its item vectors."""

    def user_vectors(self, requests: Requests) -> np.ndarray: ...


class RecommenderContract:
    """What everything promises that recommends.

    - `learns`: the recall@1 of the next item that it must reach on `circle`, where the item after
      the newest one is certain and which items a user had says nothing; 0 where order is not what
      it reads.
    - `tolerance`: how far a score may move where only the order of sums changed.
    - `skips_unknown`: items that were not there at fit change nothing; False where such an event
      still has a place in the history.
    - `complete`: everyone's longest list holds every item; False where items are left out, so that
      lists may be short or empty.
    """

    recipe: ClassVar[Any]
    learns: ClassVar[float] = 0.0
    tolerance: ClassVar[float] = 1e-4
    skips_unknown: ClassVar[bool] = True
    complete: ClassVar[bool] = True

    def past(self, histories: Histories) -> Past:
        """What it is fitted on; a subclass that reads a log or a catalogue makes them here."""
        return HistoriesPast(histories)

    def fit(self, histories: Histories, rng: RNG) -> Recommender:
        fitted: Recommender = self.recipe.fit(self.past(histories), rng=rng)
        return fitted

    def load(self, folder: Path) -> Any:
        """What reads back what `save` wrote, for what can be saved."""
        return encoders.load(folder)

    def fitted(self) -> tuple[Recommender, Histories]:
        """Fitted once for most of the promises, and on what."""
        kind = type(self)
        if "_fitted" not in vars(kind):
            histories = random_histories(0)
            kind._fitted = self.fit(histories, RNG(0)), histories  # type: ignore[attr-defined]
        found: tuple[Recommender, Histories] = kind._fitted  # type: ignore[attr-defined]
        return found

    def ask(
        self, fitted: Recommender, histories: Histories, k: int = ALL, **options: Any
    ) -> Any:  # a test of this contract gives lists that check nothing
        """Its lists for these histories, with the fields that it reads and no others."""
        return fitted.recommend(Requests(histories.only(*fitted.fields)), k, **options)

    # -- promises ---------------------------------------------------------------------------------
    def test_it_says_what_it_is(self) -> None:
        """The recipe recommends, the fitted thing is a recommender; its items are sorted."""
        fitted, histories = self.fitted()
        assert isinstance(self.recipe, Recommends), "the recipe has no `recommends`, `stochastic`"
        assert self.recipe.recommends
        assert isinstance(self.recipe.stochastic, bool)
        assert isinstance(fitted, Recommender), "no fields, items or recommend"
        assert set(fitted.fields) <= set(histories.fields), "it reads other fields"
        assert np.array_equal(fitted.items, np.unique(fitted.items)), "items are not sorted"
        assert np.isin(fitted.items, items_of(histories)).all(), "items that were not there at fit"

    def test_a_list_of_known_items_for_everyone(self) -> None:
        """Users in their order, each with a list, also without an event; each item once."""
        fitted, histories = self.fitted()
        lists = self.ask(fitted, histories, 4)
        assert np.array_equal(lists.users, histories.users), "a list for each user, in their order"
        assert lists.items.shape == lists.scores.shape, "a score for each item"
        assert lists.items.shape[1] <= 4, f"found lists of {lists.items.shape[1]}, asked for 4"
        known = set(fitted.items.tolist())
        for user, row, scores in zip(lists.users, lists.items, lists.scores, strict=True):
            shown = [i for i in row.tolist() if i != NONE]
            assert set(shown) <= known, f"user {user} is given an item that was not there at fit"
            assert len(shown) == 4 or not self.complete, f"user {user} is given too few items"
            assert len(set(shown)) == len(shown), f"user {user} is given an item twice"
            finite = np.isfinite(scores[row != NONE]).all()
            assert finite, f"user {user} is given a score that is no number"

    def test_more_than_there_are(self) -> None:
        """A k beyond the catalogue gives all of it, once; a smaller k the head of the list."""
        fitted, histories = self.fitted()
        every, few = self.ask(fitted, histories), self.ask(fitted, histories, 3)
        if self.complete:
            assert every.items.shape == (len(histories), len(fitted.items)), (
                "a list is as long as the catalogue, not longer"
            )
            assert (np.sort(every.items, 1) == fitted.items).all(), "the longest list has all"
        head = np.pad(every.items, ((0, 0), (0, 3)), constant_values=NONE)[:, :3]
        given = np.pad(few.items, ((0, 0), (0, 3)), constant_values=NONE)[:, :3]
        assert np.array_equal(head, given), "a longer list begins in another way"

    def test_best_first_and_equal_scores_by_item(self) -> None:
        """Scores fall; where they are equal the smaller item comes first."""
        histories = twins()
        lists = self.ask(self.fit(histories, RNG(0)), histories)
        there = lists.items[:, 1:] != NONE
        shown = np.where(lists.items == NONE, 0, lists.scores)
        fall, rise = np.diff(shown, axis=1), np.diff(lists.items, axis=1)
        assert (fall[there] <= 0).all(), "scores rise inside a list"
        level = there & (fall == 0)
        assert (rise[level] > 0).all(), "items of equal scores are not in the order of their ids"

    def test_seen_items_are_left_out(self) -> None:
        """Without seen items a list is the same but for the user's own; with them it has all."""
        fitted, histories = self.fitted()
        every = self.ask(fitted, histories)
        others = self.ask(fitted, histories, include_seen=False)
        for r, user in enumerate(histories.users):
            own = set(histories.ragged(ITEM)[r].tolist())
            shown = [i for i in others.items[r].tolist() if i != NONE]
            assert not own & set(shown), f"user {user} is given an item of their history"
            wanted = [i for i in every.items[r].tolist() if i != NONE and i not in own]
            assert shown == wanted, f"user {user}: leaving items out changed the others' order"

    def test_only_allowed_items(self) -> None:
        """A list of allowed items is the whole list without the others, for all or for each."""
        fitted, histories = self.fitted()
        every = self.ask(fitted, histories)
        random = np.random.default_rng(0)
        for shape in ((len(fitted.items),), (len(histories), len(fitted.items))):
            allowed = random.random(shape) < 0.5
            found = self.ask(fitted, histories, allowed=allowed)
            for r, user in enumerate(histories.users):
                row = allowed if allowed.ndim == 1 else allowed[r]
                may = set(fitted.items[row].tolist())
                shown = [i for i in found.items[r].tolist() if i != NONE]
                assert set(shown) <= may, f"user {user} is given an item that is not allowed"
                wanted = [i for i in every.items[r].tolist() if i in may]
                assert shown == wanted, f"user {user}: what is allowed changed the others' order"

    def test_same_seed_same_bytes(self) -> None:
        histories = random_histories(1)
        first, second = self.fit(histories, RNG(5)), self.fit(histories, RNG(5))
        wanted = self.ask(first, histories, 5)
        same(self.ask(first, histories, 5), wanted, 0.0, "recommend gave other lists the 2nd time")
        same(self.ask(second, histories, 5), wanted, 0.0, "another fit with the same seed differs")

    def test_one_at_a_time(self) -> None:
        """A list does not depend on who else asks, nor on the order in which they do."""
        fitted, histories = self.fitted()
        wanted = self.ask(fitted, histories)
        for r in range(len(histories)):
            rows = np.array([r])
            alone = self.ask(fitted, histories.take(rows))
            what = f"user {histories.users[r]} alone has another list"
            same(alone, rows_of(wanted, rows), self.tolerance, what)
        order = np.random.default_rng(0).permutation(len(histories))
        found = self.ask(fitted, histories.take(order))
        same(found, rows_of(wanted, order), self.tolerance, "another order, other lists")

    def test_names_of_users_say_nothing(self) -> None:
        """A list is made of the history that is given, not of who has it or did later, at fit."""
        fitted, histories = self.fitted()
        earlier = histories.but_last(2)  # as in leave-one-out: what comes after was seen at fit
        stranger = Histories(
            histories.users[::-1] * 1_000_003 + 17, earlier.starts, earlier.fields, earlier.cutoff
        )
        wanted, found = self.ask(fitted, earlier), self.ask(fitted, stranger)
        assert np.array_equal(found.users, stranger.users)
        renamed = Recommendations(wanted.users, found.items, found.scores)
        same(renamed, wanted, self.tolerance, "the same histories under other ids: other lists")

    def test_unknown_items(self) -> None:
        """Items that were not there at fit are never given, and which they are says nothing."""
        fitted, histories = self.fitted()
        one, other = (with_unknown(histories, UNKNOWN[some]) for some in ([0], [1, 2]))
        wanted = self.ask(fitted, one)
        shown = wanted.items[wanted.items != NONE]
        assert np.isin(shown, fitted.items).all(), "an item that was not there at fit is given"
        what = "other unknown items give other lists"
        same(self.ask(fitted, other), wanted, self.tolerance, what)
        if self.skips_unknown:
            known = self.ask(fitted, histories)
            same(wanted, known, self.tolerance, "unknown items change a list")

    def test_vectors_rank_as_lists_do(self) -> None:
        """For what has vectors of users and items: their products are the scores."""
        fitted, histories = self.fitted()
        if not isinstance(fitted, HasItemVectors) or not isinstance(fitted, HasUserVectors):
            return
        items, vectors = fitted.item_vectors()
        assert np.array_equal(items, fitted.items), "vectors of other items than it ranks"
        scores = fitted.user_vectors(Requests(histories.only(*fitted.fields))) @ vectors.T
        lists = self.ask(fitted, histories)
        place = np.searchsorted(items, lists.items)
        apart = np.abs(np.take_along_axis(scores, place, 1) - lists.scores).max()
        assert apart <= max(self.tolerance, 1e-5), f"products and scores differ by {apart:.2g}"

    def test_the_future_changes_no_state(self) -> None:
        """What a network knows after an event does not depend on which items come later."""
        fitted: Any = self.fitted()[0]
        if not isinstance(fitted, Trained):
            return
        network: Any = fitted.network
        size, many = min(8, network.length), len(self.fitted()[0].items)
        items = torch.from_numpy(np.random.default_rng(0).integers(1, many + 1, (6, size)))
        fields = {name: torch.ones_like(items) for name in fitted.values}  # type: ignore[attr-defined]
        fields |= {TIME: torch.arange(size).expand(6, size) * 3600}
        lengths = torch.full((6,), size)
        with torch.no_grad():
            wanted = network(Batch({**fields, ITEM: items}, lengths))
            for cut in range(1, size):
                later = torch.where(torch.arange(size) < cut, items, items % many + 1)
                found = network(Batch({**fields, ITEM: later}, lengths))
                apart = float((found - wanted)[:, :cut].abs().max())
                assert apart <= self.tolerance, (
                    f"other items from event {cut} on move earlier states by {apart:.2g}:"
                    " the network sees the future"
                )
                moved = many < 2 or not torch.equal(found, wanted)
                assert moved, "the states do not depend on the items"

    def test_saved_and_loaded_is_the_same(self, tmp_path: Path) -> None:
        fitted, histories = self.fitted()
        if not isinstance(fitted, Saves):
            return
        fitted.save(tmp_path / "fitted")
        loaded = self.load(tmp_path / "fitted")
        for seen in (True, False):
            found, wanted = (
                self.ask(f, histories, 5, include_seen=seen) for f in (loaded, fitted)
            )
            same(found, wanted, 0.0, "what was loaded gives other lists")

    def test_learns_what_comes_next(self) -> None:
        if not self.learns:
            return
        histories, following = circle()
        asked, wanted = circle(seed=1)
        lists = self.ask(self.fit(histories, RNG(1)), asked, 3)
        assert len(following) == len(histories)
        recall = float((lists.items[:, 0] == wanted).mean())
        assert recall >= self.learns, (
            f"the next item of a circle is first for {recall:.3f} of the users,"
            f" promised {self.learns}"
        )


# -- histories ------------------------------------------------------------------------------------
def random_histories(seed: int, users: int = 24) -> Histories:
    """Histories of 0 to 12 events on 15 items, some of one user only; users in no order."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 13, users)
    lengths[[0, 5]] = 0, 12
    items = np.sort(rng.choice(2_000, 15, replace=False)) - 500
    item = items[np.minimum(rng.geometric(0.2, lengths.sum()) - 1, 14)]
    time = START + np.concatenate([np.sort(rng.integers(0, 30, n)) for n in lengths]) * DAY
    return histories_of(
        rng.permutation(users).astype(np.int64) * 11 - 40, starts_of(lengths), item, time
    )


def histories_of(
    users: Int64[np.ndarray, "U"],
    starts: Int64[np.ndarray, "U+1"],
    item: Int64[np.ndarray, "L"],
    time: Int64[np.ndarray, "L"],
) -> Histories:
    """Histories with a cutoff, all events of kind 0."""
    fields = {ITEM: item, TIME: time, "kind": np.zeros(len(item), np.int16)}
    return Histories(users, starts, fields, CUTOFF)


def twins(users: int = 12) -> Histories:
    """Items that occur equally often, two always together, so that many scores are equal.

    Some users have no event.
    """
    pairs = np.array([[30, 4], [8, 71], [15, 2]], np.int64)
    rows = [pairs[u % 3].tolist() * 2 if u % 4 else [] for u in range(users)]
    starts = starts_of(np.array([len(r) for r in rows]))
    item = np.array([i for r in rows for i in r], np.int64)
    return histories_of(np.arange(users), starts, item, START + np.arange(len(item)) * DAY)


def circle(seed: int = 0, users: int = 60) -> tuple[Histories, Int64[np.ndarray, "U"]]:
    """Everyone goes round CIRCLE at least once from a start of their own, and their next item."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(8, 17, users)
    first = rng.integers(0, 8, users)
    starts = starts_of(lengths)
    place = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths) + np.repeat(first, lengths)
    time = START + np.arange(starts[-1]) * DAY // 24
    histories = histories_of(np.arange(users) * 3, starts, CIRCLE[place % 8], time)
    return histories, CIRCLE[(first + lengths) % 8]


def with_unknown(histories: Histories, unknown: Int64[np.ndarray, "N"]) -> Histories:
    """The histories with an event about one of these items after every event.

    Users without an event have three now.
    """
    lengths = np.where(histories.lengths > 0, 2 * histories.lengths, 3)
    starts = starts_of(lengths)
    turn = np.arange(starts[-1])
    within = turn - np.repeat(starts[:-1], lengths)
    old = (within % 2 == 0) & np.repeat(histories.lengths > 0, lengths)
    item, time = unknown[turn % len(unknown)], np.full(len(turn), START, np.int64)
    item[old], time[old] = histories.fields[ITEM], histories.fields[TIME]
    after = np.flatnonzero(~old & np.repeat(histories.lengths > 0, lengths))
    time[after] = time[after - 1]
    return histories_of(histories.users, starts, item, time)


def items_of(histories: Histories) -> Int64[np.ndarray, "V"]:
    """The items that occur, sorted."""
    found = np.unique(histories.fields[ITEM])
    return found[found != NONE]


def rows_of(lists: Recommendations, rows: Int64[np.ndarray, "B"]) -> Recommendations:
    """These rows, in this order."""
    return Recommendations(lists.users[rows], lists.items[rows], lists.scores[rows])


def same(found: Recommendations, wanted: Recommendations, tolerance: float, what: str) -> None:
    """Asserts that two sets of lists are one: equal bytes, or with a tolerance scores that near.

    Items whose scores are that near may have changed places.
    """
    assert np.array_equal(found.users, wanted.users), f"{what}: other users, or in another order"
    shapes = found.items.shape, wanted.items.shape
    assert shapes[0] == shapes[1], f"{what}: found {shapes[0]}, expected {shapes[1]}"
    if not tolerance:
        equal = (
            found.items.tobytes() == wanted.items.tobytes()
            and found.scores.tobytes() == wanted.scores.tobytes()
        )
        differ = (found.items != wanted.items).any(1).sum()
        assert equal, f"{what} ({differ} of {len(found.items)} lists differ)"
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
