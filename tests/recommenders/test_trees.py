"""What LightGBM refuses is an error in words."""

import numpy as np
import pytest

from clickprint.core.errors import ConfigError
from clickprint.core.rng import RNG
from clickprint.recommenders.trees import Boosted, Trees


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ('a"b', {}, "JSON"),
        ("a", {"max_bin": 1}, "max_bin"),
    ],
)
def test_lightgbms_own_refusals(name: str, more: dict[str, object], said: str) -> None:
    matrix = np.arange(60, dtype=np.float32)[:, None]
    truth = matrix[:, 0] > 30
    with pytest.raises(ConfigError, match=f"LightGBM.*{said}"):
        Boosted.fit(Trees(trees=1), "binary", matrix, truth, [name], rng=RNG(0), **more)
