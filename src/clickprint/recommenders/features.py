"""What is known of a candidate at a cutoff: columns of the user, the item, and both together."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32, Float64, Int64, Num

from clickprint.core.events import Role
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.items import AttributeType
from clickprint.core.lookup import pair_keys, pairs_of_keys
from clickprint.core.options import Between, NotEmpty, check
from clickprint.core.past import Past
from clickprint.core.time import DAY, Time
from clickprint.data.engine import to_numpy
from clickprint.recommenders.blocks import (
    Positive,
    Roles,
    baskets_of,
    blocks,
    counts_of,
    ends_of,
    pairs_of,
    sums,
)
from clickprint.recommenders.pairs import Pairs, match

SHRINK = 5.0  # gaps of an item that its mean is drawn to the mean of all with
OWN = 2.0  # gaps of a pair that its mean is drawn to the item's with
PARTS = 2**30  # weights are whole parts of it: they add up the same in any order


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureSpec:
    """Which features there are.

    - `days`: windows before the cutoff in which a user's events are counted.
    - `half_lives`: in days, of the decayed counts.
    - `by`: attributes of the catalogue that group items.
    - `roles`: the roles of events that are counted.
    - `horizon_days`: days of the window asked, whose weekdays a user may prefer.

    What the log lacks (a role, an attribute, prices) is left out, so the names of features depend
    on the log's form alone.
    """

    days: Annotated[tuple[Annotated[int, Between(1, 36_500)], ...], NotEmpty()] = (7, 30, 90)
    half_lives: Annotated[tuple[Positive, ...], NotEmpty()] = (3, 14, 60)
    by: tuple[str, ...] = ("category", "department", "shop")
    roles: Roles = (Role.VIEW, Role.CART, Role.REMOVE, Role.LIKE, Role.BUY)
    horizon_days: Annotated[int, Between(1, 36_500)] = 3

    def __post_init__(self) -> None:
        check(self)

    def fit(self, past: Past) -> "FittedFeatures":
        """What holds for all users, from two scans of the histories, a block of users at a time.

        Memory: some tens of numbers an item.
        """
        manifest = past.log.manifest
        codes = {r: its for r in self.roles if (its := manifest.codes(Role(r)))}
        fields = (
            "item",
            "time",
            "kind",
            *(c for c in ("session", "price", "quantity") if c in manifest.columns),
        )
        asked = past.histories(fields)
        catalogue = past.catalogue
        listed = catalogue.table.column("item").to_numpy().astype(np.int64)
        items = np.unique(
            np.concatenate([listed, *(np.unique(e.fields["item"]) for e in blocks(asked))])
        )
        items = items[items != NONE]
        found = FittedFeatures(
            self, past.cutoff, codes, fields, items, {}, np.zeros(len(items)), {}
        )
        counts, gap = _counted(found, asked)
        of_catalogue, groups = _listed(found, catalogue.table, catalogue.attributes, listed)
        if "item_price" in of_catalogue:
            counts.pop("item_price", None)
        columns = {**counts, **of_catalogue}
        for by, group in groups.items():
            names, place = np.unique(group, return_inverse=True)
            total = np.bincount(
                place, counts[_popularity(self.half_lives[-1])].astype(np.float64), len(names)
            )[place]
            own = counts[_popularity(self.half_lives[-1])]
            none = group == NONE
            columns[f"item_{by}_popularity"] = np.where(none, np.nan, total)
            columns[f"item_{by}_share"] = np.where(
                none | (total == 0), np.nan, own / np.maximum(total, 1e-30)
            )
        return replace(
            found,
            columns={n: np.asarray(c, np.float32) for n, c in columns.items()},
            gap=gap,
            groups=groups,
        )


@dataclass(frozen=True, slots=True)
class FittedFeatures:
    """What holds for all users: the items that are known, and columns of them."""

    spec: FeatureSpec
    cutoff: Time
    codes: Mapping[str, tuple[int, ...]]  # role → codes, of the roles that the log has
    fields: tuple[str, ...]
    items: Int64[np.ndarray, "V"]
    columns: Mapping[str, Float32[np.ndarray, "_"]] = field(repr=False)
    gap: Float64[np.ndarray, "V"] = field(
        repr=False
    )  # mean days between two purchases by one user
    groups: Mapping[str, Int64[np.ndarray, "_"]] = field(
        repr=False
    )  # attribute → each item's group

    def add(self, histories: Histories, pairs: Pairs) -> Pairs:
        """The pairs of known items with all columns; `histories` are of the pairs' users."""
        known = np.isin(pairs.items, self.items)
        pairs = pairs if known.all() else pairs.where(known)
        place = np.searchsorted(self.items, pairs.items)
        columns: dict[str, np.ndarray] = {n: c[place] for n, c in self.columns.items()}
        per_user: list[dict[str, np.ndarray]] = []
        per_pair: list[dict[str, np.ndarray]] = []
        row = 0
        for events in blocks(histories):
            block = _Block.of(self, events)
            per_user.append(self._users(block))
            per_pair.append(self._pairs(block, pairs.take(np.arange(row, row + len(events)))))
            row += len(events)
        rows = pairs.rows
        for name in per_user[0] if per_user else ():
            columns[name] = np.concatenate([p[name] for p in per_user])[rows]
        for name in per_pair[0] if per_pair else ():
            columns[name] = np.concatenate([p[name] for p in per_pair])
        if "item_price" in columns and "user_price" in columns:
            columns["pair_price"] = columns["item_price"] / columns["user_price"]
        return pairs.also(columns)

    def users(self, histories: Histories) -> dict[str, Float32[np.ndarray, "_"]]:
        """The columns of users alone, a row a history."""
        parts = [self._users(_Block.of(self, events)) for events in _some_blocks(histories)]
        return {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}

    # -- users ----------------------------------------------------------------------------------
    def _users(self, b: "_Block") -> dict[str, np.ndarray]:
        size = len(b.events)
        out: dict[str, np.ndarray] = {}
        for role, codes in self.codes.items():
            keep = np.isin(b.kind, codes)
            out[f"user_{role}s"] = np.bincount(b.row[keep], minlength=size)
            for days in self.spec.days:
                out[f"user_{role}s_{days}d"] = np.bincount(
                    b.row[keep & (b.age <= days)], minlength=size
                )
            out[f"user_{role}_age"] = _least(b.age[keep], b.row[keep], size)
        out["user_age"] = _least(b.age, b.row, size)
        out["user_since"] = -_least(-b.age, b.row, size)
        return {n: np.asarray(c, np.float32) for n, c in {**out, **self._baskets(b)}.items()}

    def _baskets(self, b: "_Block") -> dict[str, np.ndarray]:
        """Of purchases: baskets, their sizes, gaps, weekdays, spend."""
        size = len(b.events)
        if "buy" not in self.codes:
            return {}
        day = b.time[b.at] // DAY
        row = b.row[b.at]
        new = np.append(True, (row[1:] != row[:-1]) | (day[1:] != day[:-1]))[: len(row)]
        row_of_day, of_day = row[new], day[new]
        days = np.bincount(row_of_day, minlength=size)
        same = np.append(False, row_of_day[1:] == row_of_day[:-1])[: len(of_day)]
        gaps = np.diff(of_day, prepend=0)[same]
        total, squares = (
            np.bincount(row_of_day[same], gaps.astype(np.float64) ** p, size) for p in (1, 2)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = total / (days - 1)
            baskets, distinct = np.diff(b.begins), np.bincount(b.bought.rows, minlength=size)
            content = np.bincount(b.basket_row, minlength=size)
            last = -_least(-of_day, row_of_day, size)
            since = self.cutoff / DAY - last
            out = {
                "user_baskets": baskets,
                "user_buy_days": days,
                "user_gap": np.where(days > 1, mean, np.nan),
                "user_gap_spread": np.where(
                    days > 2, np.sqrt(np.maximum(squares / (days - 1) - mean**2, 0)), np.nan
                ),
                "user_turn": np.where(days > 1, since / mean, np.nan),
                "user_basket_size": content / baskets,
                "user_last_size": np.where(baskets > 0, b.last_size, np.nan),
                "user_items": distinct,
                "user_repeats": np.where(content > 0, 1 - distinct / content, np.nan),
                "user_weekdays": np.bincount(row_of_day, self._asked_weekday(of_day), size) / days,
            }
            if b.price is not None:
                paid = np.nan_to_num(b.price[b.at])
                spend = np.bincount(row, np.round(paid * b.quantity[b.at] * 2**20) / 2**20, size)
                out |= {"user_spend": spend, "user_basket_spend": spend / baskets}
                prices = ~np.isnan(b.price[b.at])
                out["user_price"] = np.bincount(
                    row[prices], np.round(paid[prices] * 2**20) / 2**20, size
                ) / np.bincount(row[prices], minlength=size)
        return out

    def _asked_weekday(self, day: Int64[np.ndarray, "N"]) -> Bool[np.ndarray, "N"]:
        """Whether a day is of a weekday that the window asked holds."""
        return (day - self.cutoff // DAY) % 7 < self.spec.horizon_days

    # -- pairs ----------------------------------------------------------------------------------
    def _pairs(self, b: "_Block", pairs: Pairs) -> dict[str, np.ndarray]:
        out: dict[str, np.ndarray] = {}
        rows = pairs.rows
        for role, codes in self.codes.items():
            own, order, first = pairs_of(b.events, b.about & np.isin(b.kind, codes))
            at = match(own, rows, pairs.items)
            newest = order[ends_of(first, order)]
            out[f"pair_{role}s"] = _taken(counts_of(first, order), at, 0)
            out[f"pair_{role}_age"] = _taken(b.age[newest], at)
            if role != "buy":
                out[f"pair_{role}s_7d"] = _taken(_sums(b.age[order] <= 7, first), at, 0)
        if "buy" not in self.codes:
            return {n: np.asarray(c, np.float32) for n, c in out.items()}
        out |= self._again(b, pairs)
        place = np.searchsorted(self.items, pairs.items)
        for by, group in self.groups.items():
            theirs, asked = np.append(group, NONE)[b.place], group[place]
            of = Histories(b.events.users, b.events.starts, {"item": theirs})
            for name, keep in (("", np.isin(b.kind, self.codes["buy"])), ("_any", b.about)):
                if name and len(self.codes) == 1:
                    continue  # the same
                liked, order, first = pairs_of(of, keep & b.about & (theirs != NONE))
                at = match(liked, rows, asked)
                weight = _sums(
                    np.round(0.5 ** (b.age[order] / self.spec.half_lives[-1]) * PARTS), first
                )
                whole = np.bincount(liked.rows, weight, len(of))[liked.rows]
                out[f"pair_{by}{name}_share"] = _taken(weight / np.maximum(whole, 1), at, 0)
                out[f"pair_{by}{name}s"] = _taken(counts_of(first, order), at, 0)
                newest = order[ends_of(first, order)]
                out[f"pair_{by}{name}_age"] = _taken(b.age[newest], at)
            with np.errstate(divide="ignore", invalid="ignore"):
                out[f"pair_in_{by}"] = np.where(
                    out[f"pair_{by}s"] > 0, out["pair_buys"] / out[f"pair_{by}s"], np.nan
                )
        return {n: np.asarray(c, np.float32) for n, c in out.items()}

    def _again(self, b: "_Block", pairs: Pairs) -> dict[str, np.ndarray]:
        """Of the pair's purchases: how much, how regular, how long ago beside its cycle."""
        own, order, first = b.bought, b.bought_order, b.bought_first
        at = match(own, pairs.rows, pairs.items)
        age, day = b.age[order], b.time[order] // DAY
        out = {
            f"pair_weight_{h:g}d": _taken(_sums(0.5 ** (age / h), first), at, 0)
            for h in self.spec.half_lives
        }
        days = _runs(day, first)
        ends = ends_of(first, order)
        last, begin = day[ends], day[first]
        gaps = np.maximum(days - 1, 0)
        mean = ((last - begin) + OWN * self.gap[np.searchsorted(self.items, own.items)]) / (
            gaps + OWN
        )
        since = self.cutoff / DAY - last
        basket = b.basket[order]
        had = _runs(basket, first)
        baskets = np.diff(b.begins)[own.rows]
        number = (
            basket[ends] - b.begins[own.rows]
        )  # the place of the pair's last basket among the user's
        with np.errstate(divide="ignore", invalid="ignore"):
            out |= {
                "pair_days": _taken(days, at, 0),
                "pair_gap": _taken(mean, at),
                "pair_turn": _taken(since / np.maximum(mean, 0.5), at),
                "pair_basket_share": _taken(had / baskets, at, 0),
                "pair_share_since": _taken(
                    had / (baskets - (basket[first] - b.begins[own.rows])), at, 0
                ),
                "pair_baskets_ago": _taken(baskets - 1 - number, at),
                "pair_in_last": _taken(number == baskets - 1, at, 0),
                "pair_first_age": _taken(age[first], at),
                "pair_weekdays": _taken(
                    _sums(self._asked_weekday(day), first) / counts_of(first, order),
                    at,
                ),
            }
        return out


@dataclass(frozen=True, slots=True)
class _Block:
    """The events of some users, and what several features need of them."""

    events: Histories
    row: np.ndarray
    place: np.ndarray  # in FittedFeatures.items; their number where an event is about no item
    about: np.ndarray
    kind: np.ndarray
    time: np.ndarray
    age: np.ndarray  # days before the cutoff
    price: np.ndarray | None
    quantity: np.ndarray
    at: np.ndarray  # the purchases
    basket: np.ndarray  # of each event, the number of its basket; −1 where it is no purchase
    begins: np.ndarray  # each user's first basket, and one more
    basket_row: np.ndarray  # the user of each (basket, item)
    last_size: np.ndarray
    bought: Pairs
    bought_order: np.ndarray
    bought_first: np.ndarray

    @staticmethod
    def of(facts: FittedFeatures, events: Histories) -> "_Block":
        item, kind, time = (np.asarray(events.fields[f]) for f in ("item", "kind", "time"))
        row = np.repeat(np.arange(len(events)), events.lengths)
        about = item != NONE
        place = np.where(about, np.searchsorted(facts.items, item), len(facts.items))
        at = np.flatnonzero(about & np.isin(kind, facts.codes.get("buy", ())))
        _, number, begins = baskets_of(events, at)
        basket = np.full(len(item), -1, np.int64)
        basket[at] = number
        once, _ = pairs_of_keys(
            np.unique(pair_keys(number, place[at], len(facts.items) + 1)), len(facts.items) + 1
        )
        sizes = np.bincount(once, minlength=1)
        bought, order, start = pairs_of(events, about & np.isin(kind, facts.codes.get("buy", ())))
        return _Block(
            events,
            row,
            place,
            about,
            kind,
            time,
            (facts.cutoff - time) / DAY,
            np.asarray(events.fields["price"], np.float64) if "price" in events.fields else None,
            np.nan_to_num(np.asarray(events.fields["quantity"], np.float64), nan=1.0)
            if "quantity" in events.fields
            else np.ones(len(item)),
            at,
            basket,
            begins,
            np.searchsorted(begins, once, side="right") - 1,
            sizes[np.maximum(begins[1:] - 1, 0)],
            bought,
            order,
            start,
        )


def _some_blocks(histories: Histories) -> list[Histories]:
    """The blocks, of which there is one even where there is no user."""
    return [*blocks(histories)] or [histories]


def _taken(
    values: Num[np.ndarray, "N"] | Bool[np.ndarray, "N"],
    at: Int64[np.ndarray, "P"],
    other: int | float = np.nan,
) -> np.ndarray:
    """values[at], and `other` where at is −1."""
    return np.append(values, other).astype(np.float64)[at]


def _sums(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    return sums(values.astype(np.float64), first)


def _runs(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """How many runs of equal values each group has; groups begin at `first`."""
    fresh = np.append(True, values[1:] != values[:-1])[: len(values)]
    fresh[first] = True
    return _sums(fresh, first)


def _least(values: np.ndarray, row: np.ndarray, size: int) -> np.ndarray:
    """The least value of each row; NaN where it has none."""
    out = np.full(size, np.inf)
    np.minimum.at(out, row, values)
    return np.where(np.isinf(out), np.nan, out)


def _popularity(half_life: int | float) -> str:
    return f"item_buys_{half_life:g}d"


def _counted(facts: FittedFeatures, asked: Histories) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Of items, from events."""
    size, spec = len(facts.items), facts.spec
    totals: dict[str, np.ndarray] = {}
    first = np.full(size, np.inf)

    def plus(name: str, place: np.ndarray, weight: np.ndarray | None = None) -> None:
        totals[name] = totals.get(name, np.zeros(size)) + np.bincount(place, weight, size)

    nothing = np.zeros(0, np.int64)
    roles = {"buy": (), **facts.codes}
    for events in _some_blocks(asked):
        b = _Block.of(facts, events)
        np.minimum.at(first, b.place[b.about], -b.age[b.about])
        for role, codes in roles.items():
            keep = b.about & np.isin(b.kind, codes)
            for half_life in (
                spec.half_lives
                if role == "buy"
                else spec.half_lives[-2:-1] or spec.half_lives[-1:]
            ):
                plus(
                    f"item_{role}s_{half_life:g}d",
                    b.place[keep],
                    np.round(0.5 ** (b.age[keep] / half_life) * PARTS) / PARTS,
                )
        plus("buys", b.place[b.at])
        plus("asked", b.place[b.at], facts._asked_weekday(b.time[b.at] // DAY).astype(np.float64))
        if b.price is not None:
            paid = b.at[~np.isnan(b.price[b.at])]
            plus("paid", b.place[paid], np.round(b.price[paid] * 2**20) / 2**20)
            plus("priced", b.place[paid])
        own, order, start = b.bought, b.bought_order, b.bought_first
        day = b.time[order] // DAY
        days = _runs(day, start)
        place = np.searchsorted(facts.items, own.items) if len(own) else nothing
        ends = ends_of(start, order)
        plus("buyers", place)
        plus("again", place, (days > 1).astype(np.float64))
        plus("gaps", place, days - 1)
        plus("between", place, (day[ends] - day[start]).astype(np.float64))
    t = totals
    everywhere = t["between"].sum() / max(t["gaps"].sum(), 1)
    gap = (t["between"] + SHRINK * everywhere) / (t["gaps"] + SHRINK)
    with np.errstate(divide="ignore", invalid="ignore"):
        out = {
            **{n: v for n, v in t.items() if n.startswith("item_")},
            "item_buyers": t["buyers"],
            "item_repeats": t["again"] / t["buyers"],
            "item_buys_a_buyer": t["buys"] / t["buyers"],
            "item_weekdays": t["asked"] / t["buys"],
            "item_gap": np.where(t["gaps"] > 0, gap, np.nan),
            "item_since": np.where(np.isinf(first), np.nan, -first),
        }
        short, long = (t[_popularity(h)] for h in (spec.half_lives[0], spec.half_lives[-1]))
        out["item_trend"] = np.where(long > 0, short / long, np.nan)
        if "paid" in t:
            out["item_price"] = t["paid"] / t["priced"]
    return out, gap


def _listed(
    facts: FittedFeatures,
    table: pa.Table,
    attributes: Mapping[str, AttributeType],
    listed: np.ndarray,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Of items, from the catalogue: prices, days since the row is known, and groups."""
    place = np.searchsorted(facts.items, listed)
    out, groups = {}, {}
    for name in ("price", "old_price", "discount"):
        if attributes.get(name) is AttributeType.NUMBER:
            out[f"item_{name}"] = np.full(len(facts.items), np.nan)
            out[f"item_{name}"][place] = to_numpy(table.column(name))
    if table.column("known_from").null_count < len(table):
        known = to_numpy(table.column("known_from"))
        out["item_known"] = np.full(len(facts.items), np.nan)
        out["item_known"][place] = np.where(known == NONE, np.nan, (facts.cutoff - known) / DAY)
    for by in facts.spec.by:
        if attributes.get(by) in (AttributeType.CATEGORY, AttributeType.PRICE_BUCKET):
            groups[by] = np.full(len(facts.items), NONE, np.int64)
            groups[by][place] = to_numpy(table.column(by))
    return out, groups
