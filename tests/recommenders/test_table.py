"""The recipe of a ranking table: models of the one registry, and every fault with its key."""

from pathlib import Path

import pytest

from clickprint.apps.rank.recipe import load, parse
from clickprint.core.options import OptionsError
from clickprint.recommenders.baselines import Popularity
from clickprint.recommenders.table import RankingRecipe

ROOT = Path(__file__).resolve().parents[2]
DATA = '\n[data]\nsource = "amazon_sequences"\npath = "x_sequences.parquet"\n'
LEFT_OUT = '\n[ranking]\nprotocol = "leave-one-out"\n'
WINDOW = '\n[ranking]\nprotocol = "window"\n'


def faults(text: str) -> dict[str, str]:
    """Path → problem."""
    with pytest.raises(OptionsError) as caught:
        parse(text, where="here.toml")
    assert caught.value.where == "here.toml"
    return dict(caught.value.faults)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "recipes" / "ranking").glob("*.toml")), ids=lambda p: p.stem
)
def test_ours_parse_and_are_named_after_their_file(path: Path) -> None:
    recipe = load(path)
    assert recipe.name == path.stem
    assert recipe.seeds in ((0,), (0, 1, 2))
    assert recipe.ranking.ks == (5, 10, 20)
    assert recipe.text == path.read_text()


def test_what_a_recipe_says() -> None:
    found = parse(
        'name = "n"\nseeds = [3, 1]'
        + DATA
        + WINDOW
        + 'horizon_days = 7\nroles = ["buy", "cart"]\nks = [2]\ninclude_seen = true\n'
        'metric = "mrr@2"\n[models.sasrec]\nwidth = 8\nrefit = false\n'
        "[models.mine]\nrecommender = 'popularity'\nhalf_life = 3\n[models.als]\n"
        "[models.tifu-knn]\n[models.'a.b']\nrecommender = 'ease'\n"
    )
    assert found.seeds == (3, 1)
    part = found.ranking
    assert (part.horizon_days, part.roles, part.include_seen) == (7, ("buy", "cart"), True)
    assert part.metrics == ("recall@2", "ndcg@2", "mrr@2")
    assert {n: (m.recommender, m.refit, m.stochastic) for n, m in found.models.items()} == {
        "sasrec": ("sasrec", False, True),
        "mine": ("popularity", True, False),
        "als": ("als", True, True),
        "tifu-knn": ("tifu-knn", True, False),
        "a.b": ("ease", True, False),
    }
    assert [m.name for m in found.models.values()] == list(found.models)
    assert found.models["sasrec"].config.width == 8
    assert found.models["mine"].config == Popularity(half_life=3)


def test_a_search_has_its_own_faults() -> None:
    head = 'name = "n"' + DATA + LEFT_OUT
    found = parse(head + "[models.ease]\nsearch = { l2 = [1, 2.5] }\n").models["ease"]
    assert found.search == {"l2": (1, 2.5)}
    assert found.chosen({"l2": 2.5}).l2 == 2.5
    assert found.asked != parse(head + "[models.ease]\n").models["ease"].asked
    for search, path in (
        ("{ l2 = [] }", "models.ease.search.l2"),
        ("{ l2 = [1, 1] }", "models.ease.search.l2"),
        ("{ l2 = [1, -1] }", "models.ease.search.l2"),
        ("{ l3 = [1] }", "models.ease.search.l3"),
        (f"{{ items = {list(range(1, 102))} }}", "models.ease.search"),
        ("3", "models.ease.search"),
    ):
        assert list(faults(head + f"[models.ease]\nsearch = {search}\n")) == [path]
    drawn = faults(head + "[models.sasrec]\nsearch = { width = [8, 16] }\n")
    assert list(drawn) == ["models.sasrec.search"]


def test_every_fault_is_told_at_once() -> None:
    found = faults(
        """
        name = "a b"
        seeds = [1, 1]
        colour = 3
        [data]
        [ranking]
        protocol = "leave-one-out"
        horizon_days = 0
        ks = [0, 1]
        [models.sasrec]
        widht = 3
        dropout = "much"
        refit = 1
        [models.ease]
        neighbours = "much"
        [models.what]
        """
    )
    assert found.keys() == {
        "colour",
        "name",
        "seeds",
        "data",
        "ranking.ks[0]",
        "ranking.horizon_days",
        "models.sasrec.refit",
        "models.sasrec.widht",
        "models.sasrec.dropout",
        "models.ease.neighbours",
        "models.what.recommender",
    }
    assert "width" in found["models.sasrec.widht"]
    assert "popularity" in found["models.what.recommender"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (LEFT_OUT, "models"),
        (LEFT_OUT + "[models]\n", "models"),
        (LEFT_OUT + "[models]\nx = 3", "models.x"),
        (LEFT_OUT + '[models.x]\nrecommender = "eas"', "models.x.recommender"),
        (LEFT_OUT + "[models.x]\nrecommender = 3", "models.x.recommender"),
        (LEFT_OUT + '[models.x]\nencoder = "sasrec"', "models.x.recommender"),
        (LEFT_OUT + "[models.counts]", "models.counts.recommender"),
        (LEFT_OUT + '[models.als]\ncolumn = "category"', "models.als.recommender"),
        (
            LEFT_OUT + "[models.sasrec]\nhistory = { all_events = true }",
            "models.sasrec.history.all_events",
        ),
        (LEFT_OUT + '[models."a/b"]\nrecommender = "ease"', "models.a/b"),
        (LEFT_OUT + "[models.sasrec]\nheads = 3", "models.sasrec.heads"),
        (LEFT_OUT + "[models.tifu-knn]", "models.tifu-knn"),
        (LEFT_OUT + "[models.als]", "models.als"),
        (LEFT_OUT + "[models.multitask]", "models.multitask"),
        (LEFT_OUT + '[models.popularity]\nroles = ["buy"]', "models.popularity"),
        (LEFT_OUT + 'roles = ["view"]\n[models.ease]', "ranking.roles"),
        ("[ranking]\n[models.ease]", "ranking.protocol"),
        (LEFT_OUT + "ks = [5]\n[models.ease]", "ranking.metric"),
        (LEFT_OUT + "depth = 3\n[models.ease]", "ranking.depth"),
    ],
)
def test_a_fault_names_its_key(text: str, path: str) -> None:
    assert path in faults(f'name = "n"\n{DATA}{text}')


def test_what_reads_the_log_has_a_place_under_the_window_protocol() -> None:
    found = parse(f'name = "n"\n{DATA}{WINDOW}[models.tifu-knn]\n[models.co-visits]')
    assert isinstance(found, RankingRecipe)
    assert list(found.models) == ["tifu-knn", "co-visits"]
