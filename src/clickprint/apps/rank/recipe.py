"""The recipes of `clickprint rank`; their parts are in recommenders.table."""

from pathlib import Path

from clickprint.recommenders.table import RankingRecipe
from clickprint.work import recipe


def load(path: Path | str) -> RankingRecipe:
    """The recipe in a TOML file. Raises ConfigError with every fault."""
    hint = "the tables that come with clickprint are in recipes/ranking/"
    return recipe.load(RankingRecipe, path, hint=hint)


def parse(text: str, *, where: str = "recipe") -> RankingRecipe:
    """The recipe in a TOML text. Raises ConfigError with every fault; `where` names the file."""
    return recipe.parse(RankingRecipe, text, where=where)
