"""Every encoder that recommends keeps the contract, and the contract bites."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.past import Past
from clickprint.core.recommendations import Recommendations
from clickprint.core.recommender import Recommends
from clickprint.core.registry import lookup
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.encoders import ENCODERS
from clickprint.encoders.als import ALS
from clickprint.encoders.graph import TwHIN
from clickprint.encoders.gru4rec import GRU4Rec
from clickprint.encoders.hstu import HSTU
from clickprint.encoders.mamba4rec import Mamba4Rec
from clickprint.encoders.multitask import MultiTask
from clickprint.encoders.sasrec import SASRec
from clickprint.encoders.sequence import HistorySpec, NextItemEncoder
from clickprint.encoders.transformerpp import TransformerPP
from clickprint.nn.blocks import SASRecBlock
from clickprint.nn.multitask import MultiTaskLoss
from clickprint.nn.next_item import NextItem, NextItemLoss
from clickprint.nn.train import Training
from clickprint.testing.recommenders import CIRCLE, RecommenderContract, circle, items_of

SHORT = HistorySpec(length=10)
LEARN = Training(epochs=12, batch=20, lr=0.02)


class Sequential(RecommenderContract):
    """A network of histories; an unknown item's event keeps its place."""

    learns = 0.95
    skips_unknown = False

    def fit(self, histories: Histories, rng: RNG) -> Any:
        """In few epochs, but where it has to learn."""
        learning = len(histories) == len(circle()[0])
        training = LEARN if learning else Training(epochs=2, batch=8, lr=0.01)
        return replace(self.recipe, training=training).fit(self.past(histories), rng=rng)


class TestSASRec(Sequential):
    recipe = SASRec(width=16, history=SHORT)


class TestLiGR(Sequential):
    recipe = SASRec(
        width=16, block="ligr", history=SHORT, loss=NextItemLoss(name="sampled", negatives=20)
    )


class TestHSTU(Sequential):
    recipe = HSTU(
        width=16,
        layers=1,
        history=SHORT,
        loss=NextItemLoss(name="sampled", negatives=20, temperature=0.1),
    )


class TestGRU4Rec(Sequential):
    recipe = GRU4Rec(width=16, history=SHORT)


class TestMamba4Rec(Sequential):
    recipe = Mamba4Rec(width=16, state=4, history=SHORT)


class TestTransformerPP(Sequential):
    recipe = TransformerPP(width=16, layers=1, history=SHORT)


class TestMultiTask(Sequential):
    """It asks when requests come, and what its windows hold."""

    recipe = MultiTask(
        width=16,
        layers=1,
        heads=2,
        roles=(),
        counts=(1,),
        history=HistorySpec(length=10, all_events=True, fields=("kind",)),
        loss=MultiTaskLoss(
            targets={"item": 1.0}, windows=0.01, item=NextItemLoss(name="sampled", negatives=20)
        ),
    )


class TestALS(RecommenderContract):
    recipe = ALS(width=4, weights={})


class TestTwHIN(RecommenderContract):
    recipe = TwHIN(width=8, weights={}, training=Training(epochs=2, batch=32, lr=0.01))


def test_every_encoder_that_recommends_is_tested_here() -> None:
    tested = {type(c.recipe) for c in RecommenderContract.__subclasses__() if hasattr(c, "recipe")}
    tested |= {type(c.recipe) for c in Sequential.__subclasses__() if hasattr(c, "recipe")}
    for name in ENCODERS:
        form = lookup(ENCODERS, name, "encoder")
        if name != "saved" and isinstance(recipe := form(), Recommends) and recipe.recommends:
            assert form in tested, name


# -- recommenders that break a promise ------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Lists:
    """Recommendations that check nothing."""

    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Follows:
    """Counts what came after what, user by user, and is wrong in the way that `how` says."""

    how: str = ""
    calls: count = field(default_factory=count)

    recommends = True
    stochastic = False
    fields = ("item",)

    @property
    def items(self) -> np.ndarray:
        found: np.ndarray = self.learned[0]  # type: ignore[attr-defined]
        return found

    def fit(self, past: Past, *, rng: RNG, progress: Any = None, session: Any = None) -> "Follows":
        fitted, histories = replace(self), past.histories(("item",))
        items = items_of(histories)
        pairs, last = np.zeros((len(items), len(items))), {}
        for r, user in enumerate(histories.users):
            own = np.searchsorted(
                items, histories.fields["item"][histories.starts[r] : histories.starts[r + 1]]
            )
            for a, b in pairwise(own):
                pairs[(a, b) if self.how != "order" else (0, b)] += 1
            last[int(user)] = own[-1] if len(own) else -1
        popular = (
            np.bincount(np.searchsorted(items, histories.fields["item"]), minlength=len(items))
            / 1e3
        )
        object.__setattr__(fitted, "learned", (items, pairs, popular, last, next(self.calls)))
        return fitted

    def recommend(
        self, requests: Requests, k: int, *, include_seen: bool = True, allowed: Any = None
    ) -> Any:
        items, pairs, popular, last, turn = self.learned  # type: ignore[attr-defined]
        histories = requests.histories
        may = np.ones((len(histories), len(items)), bool)
        if allowed is not None and self.how != "allowed":
            may &= allowed
        k = k if self.how == "too long" else min(k, len(items))
        found, scores = (
            np.full((len(histories), k), NONE, np.int64),
            np.full((len(histories), k), -np.inf, np.float32),
        )
        for r, user in enumerate(histories.users):
            own = histories.fields["item"][histories.starts[r] : histories.starts[r + 1]]
            own = own[np.isin(own, items) | (self.how == "unknown")]
            after = int(np.searchsorted(items, own[-1])) % len(items) if len(own) else -1
            score = popular + (pairs[0 if self.how == "order" else after] if after >= 0 else 0)
            if self.how == "neighbours":
                score = score + histories.lengths.mean()
            elif self.how == "seed":
                score = score + turn
            elif self.how == "remembers" and int(user) in last:
                score = score + 9 * (np.arange(len(items)) == last[int(user)])
            tie = np.random.default_rng().random(len(items)) if self.how == "ties" else items
            out = np.isin(items, own) & (not include_seen) & (self.how != "seen")
            out |= ~may[r]
            order = np.lexsort((tie, -score, out))
            order = order[: min(k, int((~out).sum()))]
            order = order[::-1] if self.how == "worst first" else order
            found[r, : len(order)], scores[r, : len(order)] = items[order], score[order]
            if self.how == "twice" and len(order) > 1:
                found[r, 1] = found[r, 0]
            elif self.how == "strange items":
                found[r, 0] = 77_777
            elif self.how == "no number":
                scores[r, -1] = np.nan
        if self.how == "drops":
            some = histories.lengths > 0
            return Recommendations(histories.users[some], found[some], scores[some])
        return (
            Lists(histories.users, found, scores)
            if self.how in ("twice", "worst first", "no number")
            else Recommendations(histories.users, found, scores)
        )


def contract_of(recipe: Any, base: type = RecommenderContract, **more: Any) -> Any:
    return type("Contract", (base,), {"recipe": recipe, **more})()


def promises() -> list[str]:
    return [name for name in dir(RecommenderContract) if name.startswith("test_")]


@pytest.mark.parametrize("promise", promises())
def test_an_honest_one_passes(promise: str, tmp_path: Path) -> None:
    contract = contract_of(Follows(), learns=1.0, tolerance=0.0)
    getattr(contract, promise)(*([tmp_path] if "saved" in promise else []))


@pytest.mark.parametrize(
    ("how", "promise", "said"),
    [
        ("seen", "test_seen_items_are_left_out", "given an item of their history"),
        ("ties", "test_best_first_and_equal_scores_by_item", "not in the order of their ids"),
        ("worst first", "test_best_first_and_equal_scores_by_item", "scores rise"),
        ("drops", "test_a_list_of_known_items_for_everyone", "a list for each user"),
        ("twice", "test_a_list_of_known_items_for_everyone", "given an item twice"),
        ("strange items", "test_a_list_of_known_items_for_everyone", "not there at fit"),
        ("no number", "test_a_list_of_known_items_for_everyone", "no number"),
        ("too long", "test_more_than_there_are", "as long as the catalogue"),
        ("allowed", "test_only_allowed_items", "not allowed"),
        ("seed", "test_same_seed_same_bytes", "another fit with the same seed"),
        ("neighbours", "test_one_at_a_time", "alone has another list"),
        ("remembers", "test_names_of_users_say_nothing", "under other ids"),
        ("unknown", "test_unknown_items", "unknown items"),
        ("order", "test_learns_what_comes_next", "promised 0.95"),
    ],
)
def test_the_contract_bites(how: str, promise: str, said: str) -> None:
    contract = contract_of(Follows(how), learns=0.95)
    with pytest.raises(AssertionError, match=said):
        getattr(contract, promise)()


class SeesAll(SASRecBlock):
    """Attends to what comes later: no causal mask."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(x, mask=torch.ones(1, x.shape[1], x.shape[1], dtype=torch.bool))


class CountsPadding(nn.Module):
    """Divides by how long the batch is, as HSTU would whose n were the padded length."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x.cumsum(1) / x.shape[1] ** 2 * 9


class Bag(nn.Module):
    """The mean of all items so far, in any order."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokenNetwork(NextItemEncoder):
    name = "broken"
    layer: Callable[[], nn.Module]
    history: HistorySpec = HistorySpec(length=20)
    length_buckets: int = 1

    def model(self, sizes: Mapping[str, int]) -> NextItem:
        return NextItem(
            sizes,
            16,
            self.history.length,
            [self.layer()],
            positions="none",
            dropout=0.0,
            deviation=0.5,
        )


@pytest.mark.parametrize(
    ("layer", "promise", "said"),
    [
        (
            lambda: SeesAll(16, 1, dropout=0.0),
            "test_the_future_changes_no_state",
            "the network sees the future",
        ),
        (CountsPadding, "test_one_at_a_time", "alone has another list"),
        (Bag, "test_learns_what_comes_next", "promised 0.95"),
    ],
    ids=["sees the future", "counts padding", "ignores order"],
)
def test_the_contract_bites_on_networks(
    layer: Callable[[], nn.Module], promise: str, said: str
) -> None:
    with pytest.raises(AssertionError, match=said):
        getattr(contract_of(BrokenNetwork(layer=layer), Sequential), promise)()


def test_the_contract_bites_on_what_is_loaded(tmp_path: Path) -> None:
    class Forgets(Sequential):
        recipe = SASRec(width=16, history=SHORT)

        def load(self, folder: Path) -> Any:
            fitted = super().load(folder)
            fitted.network.embed["item"].weight.data[1:3] = 0
            return fitted

    with pytest.raises(AssertionError, match="what was loaded"):
        Forgets().test_saved_and_loaded_is_the_same(tmp_path)


def test_the_circle_is_as_it_says() -> None:
    histories, following = circle()
    for r in range(len(histories)):
        own = histories.fields["item"][histories.starts[r] : histories.starts[r + 1]]
        assert set(own.tolist()) == set(CIRCLE.tolist())
        place = {int(i): p for p, i in enumerate(CIRCLE)}
        assert [place[int(b)] for b in own[1:]] == [(place[int(a)] + 1) % 8 for a in own[:-1]]
        assert following[r] == CIRCLE[(place[int(own[-1])] + 1) % 8]
