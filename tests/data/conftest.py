"""What the tests of readers share."""

from collections.abc import Iterator

import pytest

from clickprint.data.engine import DuckDB


@pytest.fixture
def engine() -> Iterator[DuckDB]:
    """A small engine: what a reader holds in it has to be bounded."""
    with DuckDB(memory="300MB", threads=1) as engine:
        yield engine
