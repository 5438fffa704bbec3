"""Our ItemKNN beside the library implicit's: equal neighbours and sums without ties or shrink."""

import numpy as np
import pytest
from scipy import sparse

pytest.importorskip("implicit", reason="the extra `als` is not installed")

from clickprint.core.histories import Histories
from clickprint.core.ragged import starts_of
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.data.split import HistoriesPast
from clickprint.recommenders.baselines import ItemKNN


def test_item_knn_is_the_librarys() -> None:
    from implicit.nearest_neighbours import CosineRecommender

    random = np.random.default_rng(0)
    rows = [random.choice(30, random.integers(2, 12), replace=False).tolist() for _ in range(200)]
    had = np.array([[i in row for i in range(30)] for row in rows], float)
    theirs = CosineRecommender(K=31)  # an item is its own nearest there
    theirs.fit(sparse.csr_matrix(had), show_progress=False)
    similar = theirs.similarity.toarray()
    np.fill_diagonal(similar, 0)
    item = np.concatenate(rows).astype(np.int64)
    fields = {"item": item, "time": np.arange(len(item))}
    given = Histories(np.arange(200), starts_of(np.array([len(r) for r in rows])), fields)
    fitted = ItemKNN(neighbours=30, shrink=0).fit(HistoriesPast(given), rng=RNG(0))
    found = fitted.recommend(Requests(given), 30)
    for u in range(200):
        wanted = similar[rows[u]].sum(0)
        assert found.scores[u] == pytest.approx(wanted[found.items[u]], abs=1e-5)
        assert found.scores[u] == pytest.approx(np.sort(wanted)[::-1], abs=1e-5)
