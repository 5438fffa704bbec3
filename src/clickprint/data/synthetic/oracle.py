"""The best that any profile can know: each user's true chance of each label in a window, given all
that is hidden before a cutoff.

A user's sessions are a Poisson process whose rate depends on mood and focus, which change once a
day. For a label (a set of items) the sessions with at least one buy of it are such a process too,
with rate

    pace · PACE[mood] · weekday · Σ over slots  P(slot | focus) · (1 − (1 − p) · exp(−LOOKS · p)),
                                                p = P(a look ends in such a buy)

so the chance of none on a day, given mood and focus, is exp(−rate), and that of none in the window
is a sum over all ways that mood and focus can go from the cutoff on: a backward recursion over the
days, exact up to rounding (float32).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int, Int64

from clickprint.core.errors import ConfigError
from clickprint.core.lookup import positions, positions_in_any_order
from clickprint.core.time import Time, Window, midnight, show
from clickprint.data.synthetic.latent import Latent, State, resting_moods
from clickprint.data.synthetic.shop import (
    AT_FOCUS,
    AT_TASTE,
    BUYS,
    CARTS,
    FAVOURITE,
    GONE,
    KEEP_FOCUS,
    LOOKS,
    MOODS,
    PACE,
    READY,
    SLOTS,
    TASTE,
    TIERS,
    weekday_pace,
)

BLOCK = 2_000_000  # numbers in one array of the recursion


@dataclass(frozen=True, slots=True)
class Oracle:
    """The shop's state at the end of the day before `cutoff`.

    It knows the state of every user, and nothing of what happens after.
    """

    latent: Latent
    state: State
    day: int  # the cutoff's

    @staticmethod
    def at(latent: Latent, cutoff: Time) -> "Oracle":
        """Raises ConfigError unless the cutoff is a midnight after the log's first day."""
        day = latent.shop.day(cutoff)
        if midnight(cutoff) != cutoff or not 1 <= day <= latent.shop.days:
            raise ConfigError(
                f"cutoff: found {show(cutoff)}, expected a midnight after the first and up to the"
                " end of the log's last day"
            )
        return Oracle(latent, latent.state(day - 1), day)

    def buys(self, window: Window, users: Int64[np.ndarray, "U"]) -> Float32[np.ndarray, "U"]:
        """The chance that each user buys anything; churn and conversion are its complement."""
        return self._chances(window, users, np.zeros(self.latent.shop.items, np.int64), 1)[:, 0]

    def buys_of(
        self,
        window: Window,
        users: Int64[np.ndarray, "U"],
        attribute: str,
        values: Sequence[int] | Int64[np.ndarray, "L"],
    ) -> Float32[np.ndarray, "U L"]:
        """The probability that each user buys an item with the label's value of an attribute.

        `attribute`: item, category or price_bucket.
        """
        items = self.latent.items
        columns = {
            "item": items.id,
            "category": items.category_id[items.category],
            "price_bucket": items.bucket,
        }
        if attribute not in columns:
            raise ConfigError(f"attribute: found {attribute!r}, expected {', '.join(columns)}")
        values = np.asarray(values, np.int64)
        if not len(values) or len(np.unique(values)) < len(values):
            raise ConfigError(
                f"values: found {len(values)} of which {len(np.unique(values))} are different,"
                " expected different ones"
            )
        label = positions_in_any_order(values, columns[attribute])
        return self._chances(window, users, label, len(values))

    def _chances(
        self, window: Window, users: np.ndarray, label: Int[np.ndarray, "V"], labels: int
    ) -> Float32[np.ndarray, "U L"]:
        """`label` is each item's label, or -1.

        The window's last day counts in full: a log ends with its last event.
        """
        shop = self.latent.shop
        days = range(shop.day(window.start), shop.day(window.end - 1) + 1)
        if midnight(window.start) != window.start or days[0] < self.day:
            raise ConfigError(
                f"window: found {window}, expected one that starts at a midnight, on the cutoff or"
                " after it"
            )
        rows = positions(self.latent.users.id, users)
        strangers = int((rows < 0).sum())
        if strangers:
            raise ConfigError(
                f"users: {strangers} of {len(users)} are no users of this shop; ask about users of"
                " its log"
            )
        shelf = self._shelves(label, labels)
        anywhere = self._anywhere(shelf)
        out = np.empty((len(rows), labels), np.float32)
        step = max(1, BLOCK // (labels * 2 * SLOTS))
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            out[start : start + step] = self._block(block, days, shelf, anywhere, label, labels)
        return out

    def _shelves(self, label: np.ndarray, labels: int) -> Float32[np.ndarray, "shelf L"]:
        """P(label | a look at a category and tier): the cells of the lookup table, counted."""
        table = self.latent.items.by_tier
        sizes = np.diff(table.starts)
        owner = np.repeat(np.arange(len(sizes)), sizes)
        metric = label[table.cells]  # of each cell
        counts = np.bincount(
            owner[metric >= 0] * labels + metric[metric >= 0], minlength=len(sizes) * labels
        )
        return (counts.reshape(len(sizes), labels) / sizes[:, None]).astype(np.float32)

    def _anywhere(self, shelf: np.ndarray) -> Float[np.ndarray, "T R M L"]:
        """P(a session about any category has such a buy), by tier, readiness and mood."""
        table = self.latent.items.categories
        cells = table.cells[table.starts[0] : table.starts[1]]
        share = np.bincount(cells, minlength=len(shelf) // TIERS) / len(cells)
        by_tier = shelf.reshape(-1, TIERS, shelf.shape[1])
        out = np.empty((TIERS, len(READY), 3, shelf.shape[1]))
        for ready, readiness in enumerate(READY):
            for mood, cart in enumerate(CARTS):
                out[:, ready, mood] = np.einsum(
                    "c,ctl->tl", share, in_session(by_tier * np.float32(cart * readiness * BUYS))
                )
        return out

    def _block(
        self,
        rows: np.ndarray,
        days: range,
        shelf: np.ndarray,
        anywhere: np.ndarray,
        label: np.ndarray,
        labels: int,
    ) -> Float32[np.ndarray, "U L"]:
        users, shop = self.latent.users, self.latent.shop
        moods = np.flatnonzero(PACE > 0)  # the others have no sessions
        # A look in a slot: the favourite, or the shelf.
        at_slot = (1 - FAVOURITE) * shelf[
            users.slots[rows].astype(np.int64) * TIERS + users.tier[rows, None]
        ]
        metric = label[users.favourites[rows]]
        u, k = np.nonzero(metric >= 0)
        at_slot[u, k, metric[u, k]] += FAVOURITE
        rate = np.empty((len(moods), len(rows), SLOTS, labels), np.float32)
        for place, mood in enumerate(moods):
            cart = (CARTS[mood] * READY[users.ready[rows]]).astype(np.float32)
            q = in_session(at_slot * (cart * np.float32(BUYS))[:, None, None])
            rest = AT_TASTE * np.einsum("k,ukl->ul", TASTE.astype(np.float32), q)
            rest += (1 - AT_FOCUS - AT_TASTE) * anywhere[users.tier[rows], users.ready[rows], mood]
            rate[place] = (users.pace[rows] * np.float32(PACE[mood]))[:, None, None] * (
                AT_FOCUS * q + rest[:, None, :]
            )
        none = {p: np.exp(rate * np.float32(-p)) for p in {weekday_pace(shop, d) for d in days}}
        stays = (1 - users.leaves[rows])[:, None, None]
        arrives = users.arrives[rows]
        rest_moods, taste = resting_moods().astype(np.float32), TASTE.astype(np.float32)
        out = np.ones((len(rows), labels), np.float32)  # those who arrive after the window
        # Chance of no buy from tomorrow on, given tomorrow's mood and focus.
        beta = np.ones((3, len(rows), SLOTS, labels), np.float32)
        for day in reversed(days):
            if day != days[-1]:
                beta = _yesterday(beta, 1, stays)
            for place, mood in enumerate(moods):
                beta[mood] *= none[weekday_pace(shop, day)][place]
            new = arrives == day
            if new.any() and day >= self.day:
                out[new] = np.einsum("m,mukl,k->ul", rest_moods, beta[:, new], taste)
        # Who arrives after the cutoff and before the window: moods and focus are at rest from the
        # start.
        between = np.flatnonzero((arrives >= self.day) & (arrives < days[0]))
        staying = stays[between, 0] ** (days[0] - arrives[between])[:, None]
        out[between] = (
            1 - staying + staying * np.einsum("m,mukl,k->ul", rest_moods, beta[:, between], taste)
        )
        # The others: from the first day of the window back to the last day before the cutoff, in
        # one step.
        beta = _yesterday(beta, days[0] - self.day + 1, stays)
        mood, focus = self.state.mood[rows], self.state.focus[rows]
        out[arrives < self.day] = 1.0
        here = np.flatnonzero(mood != GONE)
        out[here] = beta[mood[here], here, focus[here]]
        return 1 - out


def in_session(p: np.ndarray) -> np.ndarray:
    """P(a session has at least one such look).

    Each of 1 + Poisson(LOOKS) looks is one with probability p.
    """
    return -np.expm1(np.log1p(-p) - LOOKS * p)


def _yesterday(beta: np.ndarray, days: int, stays: np.ndarray) -> np.ndarray:
    """Expected value of beta, `days` days later, given mood and focus now.

    Users who have left buy no more (value 1).
    """
    moods = np.linalg.matrix_power(MOODS, days).astype(np.float32)
    keep, stay = np.float32(KEEP_FOCUS**days), stays**days
    mixed = np.tensordot(moods, beta, 1)
    mixed = (
        keep * mixed
        + (1 - keep) * np.einsum("mukl,k->mul", mixed, TASTE.astype(np.float32))[:, :, None, :]
    )
    return (1 - stay) + stay * mixed
