"""The mutation run itself: what it changes, and that a change is seen."""

import ast

import pytest

import mutations

TEXT = """
LARGEST = 3

def f(a: int = 3) -> int:
    if a < 2 and not a:
        return max(a, -1)
    raise ValueError(1 + 2)
"""


def test_each_point_is_one_change_that_compiles() -> None:
    changed = set()
    for number in range(len(mutations.points(ast.parse(TEXT)))):
        tree = ast.parse(TEXT)
        mutations.points(tree)[number].change()
        changed.add(ast.unparse(ast.fix_missing_locations(tree)))
        compile(tree, "", "exec")
    assert ast.unparse(ast.parse(TEXT)) not in changed
    assert len(changed) == len(mutations.points(ast.parse(TEXT))) == 8
    assert all("raise ValueError(1 + 2)" in text for text in changed)


def test_every_module_and_its_tests_are_there() -> None:
    for module, tests in mutations.MODULES.items():
        assert (mutations.SOURCE / f"{module}.py").is_file()
        assert all((mutations.TESTS / f"{name}.py").is_file() for name in tests.split())


@pytest.mark.slow
def test_a_sample_of_800() -> None:
    found = mutations.sampled(800)
    assert sum(v == "survived" for v in found.values()) <= 0.1 * len(found)
