"""The catalogue as it was known at a time."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from clickprint.core.items import ARROW, AttributeType, Catalogue

KINDS = {"shelf": AttributeType.CATEGORY, "name": AttributeType.TEXT}


def catalogue(rows) -> Catalogue:
    """(item, known_from or None, shelf), as stored: by item, what was always known first."""
    rows = sorted(rows, key=lambda r: (r[0], -1 if r[1] is None else r[1]))
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    table = pa.table(
        {
            "item": pa.array(columns[0], pa.int64()),
            "known_from": pa.array(columns[1], pa.int64()),
            "shelf": pa.array(columns[2], ARROW[AttributeType.CATEGORY]),
            "name": pa.array(["x"] * len(rows), ARROW[AttributeType.TEXT]),
        }
    )
    return Catalogue(table, KINDS)


ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.none() | st.integers(0, 9), st.integers(0, 99)),
    max_size=12,
    unique_by=lambda r: r[:2],
)


@given(ROWS, st.integers(0, 11))
def test_latest_row_known_before_the_time(rows, time):
    found = catalogue(rows).at(time).table
    wanted = {}
    for item, known, shelf in sorted(rows, key=lambda r: -1 if r[1] is None else r[1]):
        if known is None or known < time:
            wanted[item] = shelf
    assert (
        dict(zip(found.column("item").to_pylist(), found.column("shelf").to_pylist(), strict=True))
        == wanted
    )
    assert found.column("item").to_pylist() == sorted(wanted)


def test_what_is_known_from_a_time_is_not_known_at_it():
    log = catalogue([(1, 5, 10), (1, None, 20)])
    assert log.at(5).table.column("shelf").to_pylist() == [20]
    assert log.at(6).table.column("shelf").to_pylist() == [10]


def test_first_attribute_of_a_kind():
    assert catalogue([]).first(AttributeType.CATEGORY) == "shelf"
    assert catalogue([]).first(AttributeType.NUMBER) is None
    assert np.array_equal(catalogue([]).at(3).table.column("item").to_numpy(), [])
