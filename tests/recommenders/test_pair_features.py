"""Features against their definitions, event by event in plain Python; none knows the future."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from clickprint.core.ids import NONE
from clickprint.core.rng import RNG
from clickprint.core.time import DAY, Window
from clickprint.data.engine import DuckDB
from clickprint.data.log import EventLog
from clickprint.data.split import LogPast, past_of
from clickprint.recommenders import blocks
from clickprint.recommenders.features import OWN, SHRINK, FeatureSpec
from clickprint.recommenders.funnel import POPULAR, NextPurchase
from clickprint.recommenders.pairs import Pairs, union
from clickprint.recommenders.retrievers.history import History
from clickprint.recommenders.windows import bought
from clickprint.testing.encoders import at_rows
from clickprint.testing.funnel import ask, audit, made_by
from clickprint.testing.worlds import BUY, START, memory_log

CUTOFF = START + 30 * DAY
SPEC = FeatureSpec()
NAN = math.nan


def some_pairs(past: LogPast) -> Pairs:
    return union(
        {
            "history": ask(History(roles=()), past, 6),
            "popular": ask(POPULAR, past, 5),
        }
    )


def with_features(past: LogPast, pairs: Pairs) -> Pairs:
    fitted = SPEC.fit(past)
    return fitted.add(past.histories(fitted.fields).of(pairs.users), pairs)


def of_users(past: LogPast) -> dict[str, np.ndarray]:
    fitted = SPEC.fit(past)
    return fitted.users(past.histories(fitted.fields))


class Plain:
    """The past as lists of dicts."""

    def __init__(self, past: LogPast, catalogue: dict[int, int]) -> None:
        rows = past.log.rows(("user", "time", "kind", "item", "session", "price"))
        self.events: dict[int, list[dict]] = {int(u): [] for u in past.users}
        for values in zip(
            *(rows[c].tolist() for c in ("user", "time", "kind", "item", "session", "price")),
            strict=True,
        ):
            event = dict(
                zip(("user", "time", "kind", "item", "session", "price"), values, strict=True)
            )
            event |= {"age": (CUTOFF - event["time"]) / DAY, "day": event["time"] // DAY}
            self.events[event["user"]].append(event)
        self.category = catalogue
        self.all = [e for own in self.events.values() for e in own]
        every = [
            self.gaps([e["day"] for e in own if e["kind"] == BUY and e["item"] == i])
            for own in self.events.values()
            for i in range(30)
        ]
        flat = [g for gaps in every for g in gaps]
        self.everywhere = sum(flat) / max(len(flat), 1)

    @staticmethod
    def gaps(days: list[int]) -> list[int]:
        days = sorted(set(days))
        return [b - a for a, b in itertools.pairwise(days)]

    @staticmethod
    def asked(day: int) -> bool:
        return (day - CUTOFF // DAY) % 7 < 3

    @staticmethod
    def baskets(buys: list[dict]) -> list[list[dict]]:
        found: list[list[dict]] = []
        for e in buys:
            if not found or found[-1][-1]["session"] != e["session"]:
                found.append([])
            found[-1].append(e)
        return found

    def user(self, user: int) -> dict[str, float]:
        own = self.events[user]
        out: dict[str, float] = {}
        for role, name in enumerate(("buy", "cart", "remove", "view")):
            mine = [e for e in own if e["kind"] == role]
            out[f"user_{name}s"] = len(mine)
            out |= {f"user_{name}s_{d}d": sum(e["age"] <= d for e in mine) for d in (7, 30, 90)}
            out[f"user_{name}_age"] = min((e["age"] for e in mine), default=NAN)
        out |= {
            "user_age": min((e["age"] for e in own), default=NAN),
            "user_since": max((e["age"] for e in own), default=NAN),
        }
        buys = [e for e in own if e["kind"] == BUY and e["item"] != NONE]
        days, baskets = sorted({e["day"] for e in buys}), self.baskets(buys)
        gaps = self.gaps(days)
        sizes = [len({e["item"] for e in b}) for b in baskets]
        mean = sum(gaps) / len(gaps) if gaps else NAN
        return out | {
            "user_baskets": len(baskets),
            "user_buy_days": len(days),
            "user_gap": mean,
            "user_gap_spread": float(np.std(gaps)) if len(gaps) > 1 else NAN,
            "user_turn": (CUTOFF / DAY - days[-1]) / mean if gaps else NAN,
            "user_basket_size": float(np.mean(sizes)) if sizes else NAN,
            "user_last_size": sizes[-1] if sizes else NAN,
            "user_items": len({e["item"] for e in buys}),
            "user_repeats": 1 - len({e["item"] for e in buys}) / sum(sizes) if sizes else NAN,
            "user_weekdays": float(np.mean([self.asked(d) for d in days])) if days else NAN,
            "user_spend": sum(e["price"] for e in buys),
            "user_basket_spend": sum(e["price"] for e in buys) / len(baskets) if baskets else NAN,
            "user_price": float(np.mean([e["price"] for e in buys])) if buys else NAN,
        }

    def item(self, item: int) -> dict[str, float]:
        out: dict[str, float] = {}
        for role, name in enumerate(("buy", "cart", "remove", "view")):
            for h in (3, 14, 60) if name == "buy" else (14,):
                out[f"item_{name}s_{h}d"] = sum(
                    0.5 ** (e["age"] / h)
                    for e in self.all
                    if e["kind"] == role and e["item"] == item
                )
        buys = [e for e in self.all if e["kind"] == BUY and e["item"] == item]
        buyers = {
            u: sorted({e["day"] for e in buys if e["user"] == u})
            for u in {e["user"] for e in buys}
        }
        gaps = [g for days in buyers.values() for g in self.gaps(days)]
        self.gap = (sum(gaps) + SHRINK * self.everywhere) / (len(gaps) + SHRINK)
        out |= {
            "item_buyers": len(buyers),
            "item_repeats": float(np.mean([len(d) > 1 for d in buyers.values()]))
            if buyers
            else NAN,
            "item_buys_a_buyer": len(buys) / len(buyers) if buyers else NAN,
            "item_weekdays": float(np.mean([self.asked(e["day"]) for e in buys])) if buys else NAN,
            "item_gap": self.gap if gaps else NAN,
            "item_since": max((e["age"] for e in self.all if e["item"] == item), default=NAN),
            "item_trend": out["item_buys_3d"] / out["item_buys_60d"] if buys else NAN,
            "item_price": float(np.mean([e["price"] for e in buys])) if buys else NAN,
        }
        group = self.category.get(item)
        total = sum(
            0.5 ** (e["age"] / 60)
            for e in self.all
            if e["kind"] == BUY and self.category.get(e["item"]) == group
        )
        out["item_category_popularity"] = total if group is not None else NAN
        out["item_category_share"] = (
            out["item_buys_60d"] / total if group is not None and total else NAN
        )
        return out

    def pair(self, user: int, item: int) -> dict[str, float]:
        own = self.events[user]
        out: dict[str, float] = {}
        for role, name in enumerate(("buy", "cart", "remove", "view")):
            mine = [e for e in own if e["kind"] == role and e["item"] == item]
            out |= {
                f"pair_{name}s": len(mine),
                f"pair_{name}_age": min((e["age"] for e in mine), default=NAN),
            }
            if name != "buy":
                out[f"pair_{name}s_7d"] = sum(e["age"] <= 7 for e in mine)
        buys = [e for e in own if e["kind"] == BUY and e["item"] != NONE]
        mine = [e for e in buys if e["item"] == item]
        baskets = self.baskets(buys)
        has = [n for n, b in enumerate(baskets) if any(e["item"] == item for e in b)]
        days = sorted({e["day"] for e in mine})
        gaps = self.gaps(days)
        gap = (sum(gaps) + OWN * self.gap) / (len(gaps) + OWN)
        out |= {f"pair_weight_{h}d": sum(0.5 ** (e["age"] / h) for e in mine) for h in (3, 14, 60)}
        out |= {
            "pair_days": len(days),
            "pair_gap": gap if mine else NAN,
            "pair_turn": (CUTOFF / DAY - days[-1]) / max(gap, 0.5) if mine else NAN,
            "pair_basket_share": len(has) / len(baskets) if mine else 0,
            "pair_share_since": len(has) / (len(baskets) - has[0]) if mine else 0,
            "pair_baskets_ago": len(baskets) - 1 - has[-1] if mine else NAN,
            "pair_in_last": float(mine != [] and has[-1] == len(baskets) - 1),
            "pair_first_age": max((e["age"] for e in mine), default=NAN),
            "pair_weekdays": float(np.mean([self.asked(e["day"]) for e in mine])) if mine else NAN,
        }
        group = self.category.get(item)
        for name, of in (("", buys), ("_any", [e for e in own if e["item"] != NONE])):
            of = [e for e in of if e["item"] in self.category]
            some = [e for e in of if self.category[e["item"]] == group]
            whole = sum(0.5 ** (e["age"] / 60) for e in of)
            out[f"pair_category{name}_share"] = (
                sum(0.5 ** (e["age"] / 60) for e in some) / whole if some else 0
            )
            out[f"pair_category{name}s"] = len(some)
            out[f"pair_category{name}_age"] = min((e["age"] for e in some), default=NAN)
        out["pair_in_category"] = (
            out["pair_buys"] / out["pair_categorys"] if out["pair_categorys"] else NAN
        )
        return out


def test_every_feature_is_its_definition(
    past: LogPast, arrays: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = dict(
        zip(
            arrays["catalogue"]["item"].tolist(),
            arrays["catalogue"]["category"].tolist(),
            strict=True,
        )
    )
    plain, pairs = Plain(past, catalogue), some_pairs(past)
    found = with_features(past, pairs)
    users = of_users(past)
    assert len(pairs) > 60
    names: set[str] = set(pairs.columns)
    for at, (user, item) in enumerate(
        zip(pairs.users[pairs.rows].tolist(), pairs.items.tolist(), strict=True)
    ):
        wanted = {**plain.user(user), **plain.item(item), **plain.pair(user, item)}
        wanted["pair_price"] = wanted["item_price"] / wanted["user_price"]
        names |= set(wanted)
        for name, value in wanted.items():
            assert found.columns[name][at] == pytest.approx(
                value, rel=1e-5, abs=1e-6, nan_ok=True
            ), (name, user, item)
    assert names == set(found.columns)  # none is left out
    for row, user in enumerate(past.users.tolist()):
        assert {n: float(c[row]) for n, c in users.items()} == pytest.approx(
            plain.user(user), rel=1e-5, abs=1e-6, nan_ok=True
        )
    monkeypatch.setattr(blocks, "EVENTS", 1)  # a user at a time
    again = with_features(past, pairs)
    for name, column in found.columns.items():
        assert np.allclose(again.columns[name], column, rtol=1e-6, equal_nan=True), name
    few = pairs.take(np.array([1, 4, 5]))  # some of the users
    for name, column in with_features(past, few).columns.items():
        assert np.array_equal(
            column,
            with_features(past, pairs).take(np.array([1, 4, 5])).columns[name],
            equal_nan=True,
        ), name


# -- leaks ----------------------------------------------------------------------------------------
def test_the_future_changes_no_byte(arrays: dict[str, Any]) -> None:
    users = np.unique(arrays["user"])
    before = at_rows(arrays, np.flatnonzero(arrays["time"] < CUTOFF))
    with DuckDB(threads=1) as engine:
        made = []
        for one in (arrays, before):
            past = past_of(memory_log(engine, **one), CUTOFF, users)
            made.append((with_features(past, some_pairs(past)), of_users(past)))
    (whole, of_whole), (cut, of_cut) = made
    assert whole.items.tobytes() == cut.items.tobytes()
    assert {n: c.tobytes() for n, c in whole.columns.items()} == {
        n: c.tobytes() for n, c in cut.columns.items()
    }
    assert {n: c.tobytes() for n, c in of_whole.items()} == {
        n: c.tobytes() for n, c in of_cut.items()
    }


def test_the_audit_finds_planted_leaks(log: EventLog) -> None:
    recipe = NextPurchase(retrievers={"history": {"k": 10}, "popularity": {"k": 5}})
    honest = made_by(recipe, CUTOFF, rng=RNG(0))
    assert audit(log, CUTOFF, honest) == []
    window = Window(CUTOFF, CUTOFF + 3 * DAY)

    def leaky(some: EventLog) -> tuple[Pairs, dict[str, np.ndarray]]:
        pairs, users = honest(some)
        later = bought(some, window)
        seen = np.isin(pairs.users, later.users)
        return pairs.also({"pair_soon": later.of(pairs)}), {
            **users,
            "user_buys_7d": users["user_buys_7d"] + seen.astype(np.float32),
        }

    assert audit(log, CUTOFF, leaky) == ["pair/pair_soon", "user/user_buys_7d"]

    def other(some: EventLog) -> tuple[Pairs, dict[str, np.ndarray]]:
        pairs, users = honest(some)
        return (
            (pairs.where(bought(some, window).of(pairs)), users)
            if some.end is None
            else (pairs, users)
        )

    assert "candidates" in audit(log, CUTOFF, other)

    def names(some: EventLog) -> tuple[Pairs, dict[str, np.ndarray]]:
        pairs, users = honest(some)
        return pairs, users if some.end is None else {**users, "user_more": users["user_buys"]}

    assert audit(log, CUTOFF, names) == ["user/user_more"]
