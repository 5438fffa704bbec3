"""The dials of a synthetic shop, and the constants of how its users behave."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from clickprint.core.errors import ConfigError
from clickprint.core.events import Kind, Role
from clickprint.core.options import Between, check
from clickprint.core.rng import RNG
from clickprint.core.time import DAY, Time, midnight, parse

KINDS = (
    Kind("expose", Role.EXPOSE),
    Kind("click", Role.CLICK),
    Kind("page_visit", Role.VIEW),
    Kind("search_query", Role.SEARCH),
    Kind("add_to_cart", Role.CART),
    Kind("remove_from_cart", Role.REMOVE),
    Kind("product_buy", Role.BUY),
)
EXPOSE, CLICK, VIEW, SEARCH, CART, REMOVE, BUY = range(len(KINDS))

# How a user lives. Each day someone who is still a customer leaves for good with a chance of their
# own, else changes mood and focus.
ASLEEP, BROWSING, HUNTING, GONE = range(4)  # moods; only the first three are left again
# From yesterday's mood (row) to today's (column).
MOODS = np.array([[0.95, 0.04, 0.01], [0.05, 0.89, 0.06], [0.03, 0.11, 0.86]])
PACE = np.array([0.0, 1.0, 2.0])  # sessions, relative, in each mood
# Median expected stay of a user, and the deviation of its logarithm.
LIFE_DAYS, LIFE_SPREAD = 200.0, 0.8
PACE_SPREAD = 0.7  # deviation of the logarithm of a user's own pace
NEWCOMERS = (
    0.2  # share of the users who arrive during the log; the others were there before it began
)

# What a user likes. SLOTS categories (they may repeat), the first most; one of them is today's
# focus.
SLOTS = 6
# Chance of each slot to become the focus.
TASTE = 0.75 ** np.arange(SLOTS) / (0.75 ** np.arange(SLOTS)).sum()
KEEP_FOCUS = 1 - 1 / 40  # the focus is drawn again every 40 days on average
# A session is about the focus, or about a slot drawn by TASTE, or about any category.
AT_FOCUS, AT_TASTE = 0.28, 0.30
FAVOURITE = 0.25  # chance that a look within a slot is at the user's favourite item of that slot
# Categories come in departments; a slot is in the user's home department with this chance.
DEPARTMENTS, AT_HOME = 12, 0.6
# Levels of price; how far from their level users look, as a share of all items ranked by price.
TIERS, TIER_WIDTH = 5, 0.18

# What happens in a session: 1 + Poisson(LOOKS) looks at items.
LOOKS = 2.0
# Chance that a look ends in the cart, by mood, before the user's own readiness.
CARTS = np.array([0.0, 0.08, 0.30])
READY = np.array([0.4, 0.8, 1.2, 1.8])  # readiness to buy, a quarter of the users each
# What is in the cart is bought with this chance; what is not bought is taken out with this chance.
BUYS, REMOVES = 0.6, 0.3
# Looks that follow an exposure; looks that follow a click on it (a part of the former).
EXPOSED, CLICKED = 0.40, 0.25
EXPOSURES = 1.5  # mean number of further exposures in a session, which nobody follows
HOME_PAGE, CATEGORY_PAGE, SEARCHES = 0.5, 0.5, 0.3  # chance of each in a session
DWELL = (8, 90)  # seconds on an item, from, below

MISC_PAGES, QUERIES = 50, 8  # pages that say nothing; queries a category
WEEK = np.array([0.9, 0.9, 0.9, 0.9, 0.9, 1.25, 1.25])  # Monday first; mean 1
# How busy the hours of a day are, midnight first.
HOURS = np.array(
    [2, 1, 1, 1, 1, 2, 3, 5, 7, 8, 8, 9, 9, 8, 8, 8, 9, 10, 12, 14, 15, 14, 10, 5], dtype=float
)

# A day is made in parts of about so many events, at most so many parts.
PART_EVENTS, PARTS = 400_000, 96
MOST_RATE, MOST_A_DAY = 1_000, 100_000_000  # events a user and day; events a day
EARLIEST, LATEST = parse("1900-01-01"), parse("2200-01-01")
COLUMNS = ("session", "scenario", "query", "url", "price", "quantity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A shop that can be generated.

    Equal dials give equal bytes. Raises ConfigError naming every dial that cannot be honoured.

    `rate` is the number of events a user and day, averaged over everybody and the whole log,
    newcomers and leavers included.
    """

    users: Annotated[int, Between(1, 100_000_000)] = 5_000
    items: Annotated[int, Between(2, 20_000_000)] = 800
    categories: Annotated[int, Between(2, 100_000)] = 120
    days: Annotated[int, Between(1, 10_000)] = 120
    rate: Annotated[float, Between(0, MOST_RATE, low_open=True)] = 0.9
    start: str = "2022-06-20"
    seed: Annotated[int, Between(0, 2**63 - 1)] = 0

    def __post_init__(self) -> None:
        check(self, self.problems())

    def problems(self) -> Iterator[tuple[str, str]]:
        """What the dials cannot be together."""
        if self.items < self.categories:
            wanted = f"at least one item for each of the {self.categories} categories"
            yield "items", f"found {self.items}, expected {wanted}"
        if self.users * self.rate > MOST_A_DAY:
            found = f"found {self.users * self.rate:.0f} events a day"
            yield "users, rate", f"{found}, expected at most {MOST_A_DAY}; lower one of them"
        try:
            first = parse(self.start)
        except ConfigError as fault:
            yield "start", str(fault)
        else:
            if not EARLIEST <= first <= LATEST - self.days * DAY:
                found = f"found {self.days} days from {self.start}"
                yield "start, days", f"{found}, expected a log between 1900 and 2200"

    @property
    def first(self) -> Time:
        """Midnight of the first day."""
        return midnight(parse(self.start))

    def day(self, time: Time) -> int:
        """The number of the day that holds `time`; the log's first day is 0."""
        return (time - self.first) // DAY

    @property
    def rng(self) -> RNG:
        return RNG(self.seed).child("synthetic shop")


def weekday_pace(shop: Shop, day: int) -> float:
    """How busy a day is; 1 on average."""
    return float(WEEK[(shop.first // DAY + day + 3) % 7])  # 1970-01-01 was a Thursday
