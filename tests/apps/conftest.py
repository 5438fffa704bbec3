"""A cache for a module's tests, and the tiny shop whose next purchases were predicted once."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from next_shop import Place


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """CLICKPRINT_CACHE while the module runs."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLICKPRINT_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def next_shop(tmp_path_factory: pytest.TempPathFactory) -> "Place":
    """A log and parameters; nothing is made yet."""
    from next_shop import Place, write_log, write_params

    folder = tmp_path_factory.mktemp("next")
    write_log(folder / "shop")
    return Place(
        folder / "shop", write_params(folder / "params.toml", folder / "shop"), folder / "out"
    )


@pytest.fixture(scope="session")
def next_made(next_shop: "Place") -> "Place":
    """All stages of it, by the command line. Tests must not change it: `copy` it."""
    for package in ("lightgbm", "mlflow", "pptx"):
        pytest.importorskip(package, reason="next purchase needs clickprint[recommend,track]")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert next_shop.command("all") == 0
    return next_shop


@pytest.fixture
def next_copy(next_made: "Place", tmp_path: Path) -> "Place":
    """All stages, in a folder of its own."""
    return next_made.copy(tmp_path)
