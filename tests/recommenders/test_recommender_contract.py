"""What recommends without a network keeps the contract."""

from clickprint.recommenders.baselines import EASE, ItemKNN, OwnItems, Popularity
from clickprint.testing.recommenders import RecommenderContract


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
