"""Malformed inputs, drawn by seed (fuzz.py): all end well."""

from collections.abc import Iterator

import pytest

import fuzz


@pytest.fixture(scope="module")
def shop() -> Iterator[fuzz.World]:
    with fuzz.world() as found:
        yield found


@pytest.mark.parametrize("group", sorted(fuzz.GROUPS))
def test_some_cases(shop: fuzz.World, group: str) -> None:
    _, _, few = fuzz.GROUPS[group]
    count, ill = fuzz.faults_of(shop, group, range(few))
    assert not ill, "\n".join(ill)
    assert count.total() == few


@pytest.mark.slow
@pytest.mark.parametrize("group", sorted(fuzz.GROUPS))
def test_all_cases(shop: fuzz.World, group: str) -> None:
    _, cases, _ = fuzz.GROUPS[group]
    _, ill = fuzz.faults_of(shop, group, range(cases))
    assert not ill, "\n".join(ill)


def test_a_case_that_ends_ill_is_told() -> None:
    case = fuzz.Case(lambda: 0, must="refuse")
    how = [
        fuzz.judged(case, 0, "", "", "", 0.0, []).how,
        fuzz.judged(case, 1, "", "no", "", 0.0, ["notes.txt"]).how,
        fuzz.judged(case, 1, "", "no", "Traceback", 0.0, []).how,
        fuzz.judged(case, 1, "\x1b[2J", "no", "", 0.0, []).how,
        fuzz.judged(case, 1, "", "no", "", 99.0, []).how,
        fuzz.judged(case, 1, "", "", "", 0.0, []).how,
        fuzz.judged(fuzz.Case(lambda: 0, kept=lambda: "2 events"), 0, "", "", "", 0.0, []).how,
    ]
    assert how == ["wrongly accepted", "silent loss", "traceback", "silent loss", "hang",
                   "traceback", "silent loss"]  # fmt: skip
