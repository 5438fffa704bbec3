"""What recommends without a network keeps the contract."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from clickprint.core.dataset import Manifest
from clickprint.core.events import Kind, Role
from clickprint.core.histories import Histories
from clickprint.core.items import Catalogue
from clickprint.core.past import Past
from clickprint.data.split import HistoriesPast
from clickprint.recommenders import RECOMMENDERS
from clickprint.recommenders.baselines import EASE, ItemKNN, OwnItems, Popularity
from clickprint.recommenders.retrievers.baskets import TIFUKNN, UPCF
from clickprint.recommenders.retrievers.covisits import CoVisits
from clickprint.recommenders.retrievers.history import History, OpenBaskets
from clickprint.recommenders.retrievers.repurchase import Repurchase
from clickprint.recommenders.retrievers.vectors import Nearest
from clickprint.testing.recommenders import RecommenderContract, items_of


class TestPopularity(RecommenderContract):
    recipe = Popularity()


class TestOwnItems(RecommenderContract):
    recipe = OwnItems()


class TestLately(RecommenderContract):
    recipe = OwnItems(by="recency")
    skips_unknown = False  # a score is a place in the history, and an unknown item has one


class TestItemKNN(RecommenderContract):
    recipe = ItemKNN()


class TestEASE(RecommenderContract):
    recipe = EASE()


class TestHistory(RecommenderContract):
    recipe = History(roles=())
    complete = False


class TestHistoryLately(TestHistory):
    recipe = History(roles=(), half_life=3)


class TestCoVisits(RecommenderContract):
    recipe = CoVisits(first=(), then=())
    complete = False


@dataclass(frozen=True)
class Log:
    """A manifest, and vectors of the items."""

    manifest: Manifest
    item_vectors: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Logged:
    """A past of given histories that has a log, too."""

    given: HistoriesPast
    log: Any
    catalogue: Catalogue

    @property
    def cutoff(self) -> int:
        return self.given.cutoff

    @property
    def users(self) -> np.ndarray:
        return self.given.users

    def histories(self, fields: Any) -> Histories:
        return self.given.histories(fields)

    def at(self, earlier: int) -> Past:
        raise AssertionError("nothing here is cut earlier")


class WithLog(RecommenderContract):
    """For what asks which kinds of events there are. All events of the contract are of one."""

    complete = False
    role = Role.BUY

    def past(self, histories: Histories) -> Past:
        manifest = Manifest(
            name="contract",
            kinds=(Kind("it", self.role),),
            columns=(),
            attributes={},
            users=len(histories),
            items=len(items_of(histories)),
            events=histories.events,
        )
        items = items_of(histories)
        vectors = np.random.default_rng(0).normal(size=(len(items), 3)).astype(np.float32)
        catalogue = Catalogue(pa.table({"item": items}), {})
        return Logged(HistoriesPast(histories), Log(manifest, (items, vectors)), catalogue)


class TestPopularPurchases(WithLog):
    recipe = Popularity(roles=("buy",), half_life=7)
    complete = True


class TestOpenBaskets(WithLog):
    recipe = OpenBaskets()
    role = Role.CART


class TestRepurchase(WithLog):
    recipe = Repurchase()


class TestTIFUKNN(WithLog):
    recipe = TIFUKNN(neighbours=5)


class TestUPCF(WithLog):
    recipe = UPCF()


class TestNearest(WithLog):
    recipe = Nearest(roles=(), search="exact")


def test_everything_that_is_registered_here_is_tested() -> None:
    """But what reads a category, and an encoder within: their fitted classes are tested above."""
    tested = {type(c.recipe).__name__ for c in globals().values() if hasattr(c, "recipe")}
    ours = {t.split(":")[1] for t in RECOMMENDERS.values() if ".recommenders." in t}
    assert ours - tested == {"PopularIn", "Encoded"}
