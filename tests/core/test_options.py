"""Options are read by annotations: types, ranges, nesting, and every fault with its path."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from clickprint.core.errors import ConfigError
from clickprint.core.events import Role
from clickprint.core.forms import toml_of
from clickprint.core.options import (
    AtLeast,
    Between,
    Distinct,
    Fault,
    Faults,
    Matches,
    NotEmpty,
    OneOf,
    OptionsError,
    check,
    plain,
    read,
    read_text,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    betas: tuple[Annotated[float, Between(0, 1, high_open=True)], ...] = (0.9, 0.99)
    patience: Annotated[int, AtLeast(0)] = 0
    pair: tuple[int, str] = (1, "a")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    width: Annotated[int, Between(1, 64)] = 64
    heads: Annotated[int, AtLeast(1)] = 1
    block: Annotated[str, OneOf("post", "pre")] = "post"
    mode: Literal["fast", "slow"] = "fast"
    dropout: Annotated[float, Between(0, 1, high_open=True)] = 0.2
    k: Annotated[int, AtLeast(1)] | None = None
    roles: Annotated[tuple[Role, ...], NotEmpty(), Distinct()] = (Role.BUY,)
    file: Path | None = None
    training: Training = Training()
    each: Mapping[str, Training] = field(default_factory=dict)
    either: Training | tuple[str, ...] = ()
    on: bool = False

    def __post_init__(self) -> None:
        check(self, self.problems())

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.width % self.heads:
            yield "heads", f"{self.heads} do not divide {self.width}"


def faults_of(options: Mapping[str, Any], form: Callable[..., Any] = Model) -> dict[str, str]:
    with pytest.raises(OptionsError) as caught:
        read(form, options, where="recipe.toml")
    assert caught.value.where == "recipe.toml"
    assert isinstance(caught.value, ConfigError)
    return dict(caught.value.faults)


@pytest.mark.parametrize(
    ("options", "path", "words"),
    [
        ({"width": 0}, "width", ["0", "1 to 64"]),
        ({"width": 65}, "width", ["65", "1 to 64"]),
        ({"width": 6.0}, "width", ["6.0", "a whole number"]),
        ({"width": True}, "width", ["True", "a whole number"]),
        ({"dropout": 1}, "dropout", ["1", "0 to below 1"]),
        ({"dropout": "0.1"}, "dropout", ["'0.1'", "a number"]),
        ({"dropout": float("nan")}, "dropout", ["nan", "a number"]),
        ({"dropout": float("inf")}, "dropout", ["inf", "a number"]),
        ({"block": "mid"}, "block", ["'mid'", "post, pre"]),
        ({"block": 3}, "block", ["3", "a text"]),
        ({"mode": "medium"}, "mode", ["'medium'", "'fast', 'slow'"]),
        ({"k": 0}, "k", ["0", "at least 1"]),
        ({"k": "all"}, "k", ["'all'", "a whole number or nothing"]),
        ({"roles": ["by"]}, "roles[0]", ["'by'", "'buy'"]),
        ({"roles": []}, "roles", ["[]", "at least one"]),
        ({"roles": ["buy", "buy"]}, "roles", ["each once"]),
        ({"roles": "buy"}, "roles", ["'buy'", "a list"]),
        ({"file": 3}, "file", ["3", "a path or nothing"]),
        ({"file": ""}, "file", ["a path"]),
        ({"on": 1}, "on", ["1", "true or false"]),
        ({"training": 3}, "training", ["3", "a table"]),
        ({"training": {"betas": [0, 2]}}, "training.betas[1]", ["2", "0 to below 1"]),
        ({"training": {"patience": -1}}, "training.patience", ["-1", "at least 0"]),
        ({"training": {"pair": [1]}}, "training.pair", ["[1]", "a list of 2"]),
        ({"training": {"pair": [1, 2]}}, "training.pair[1]", ["2", "a text"]),
        ({"each": {"a": {"patience": -1}}}, "each.a.patience", ["-1"]),
        ({"each": {"a": 3}}, "each.a", ["3", "a table"]),
        ({"either": {"patience": -1}}, "either.patience", ["-1"]),
        ({"either": [1]}, "either[0]", ["1", "a text"]),
        ({"either": 3}, "either", ["3", "a table or a list"]),
        ({"heads": 3}, "heads", ["3", "64"]),
    ],
)
def test_a_fault_names_its_path_what_was_found_and_what_was_expected(
    options: dict[str, Any], path: str, words: list[str]
) -> None:
    found = faults_of(options)
    assert list(found) == [path]
    assert all(word in found[path] for word in words), found


def test_all_faults_at_once_with_their_file() -> None:
    wrong = {"width": 0, "dropout": 2, "training": {"betas": [3], "patience": "x"}, "droput": 1}
    found = faults_of(wrong)
    assert set(found) == {
        "width",
        "dropout",
        "training.betas[0]",
        "training.patience",
        "droput",
    }
    with pytest.raises(OptionsError) as caught:
        read(Model, wrong, where="recipe.toml")
    message = str(caught.value)
    assert message.startswith("recipe.toml: 5 faults")
    assert all(path in message for path in found)


def test_an_unknown_key_names_the_nearest_and_all() -> None:
    problem = faults_of({"droput": 0.1})["droput"]
    assert "did you mean dropout" in problem
    assert "width" in problem
    assert "did you mean" not in faults_of({"zzzzzz": 1})["zzzzzz"]


def test_what_was_read_has_its_types() -> None:
    made = read(
        Model,
        {
            "dropout": 0,
            "roles": ["buy", "cart"],
            "file": "a/b",
            "training": {"betas": [0, 0.5]},
            "each": {"x": {}},
            "either": ["a"],
            "k": 3,
        },
    )
    assert made.roles == (Role.BUY, Role.CART)
    assert made.file == Path("a/b")
    assert made.training.betas == (0.0, 0.5)
    assert isinstance(made.dropout, float)
    assert made.each == {"x": Training()}
    assert made.either == ("a",)
    assert read(Model, {}) == Model()


def test_the_way_back() -> None:
    made = Model(
        roles=(Role.CART,), file=Path("a"), each={"x": Training(patience=2)}, either=Training()
    )
    assert read(Model, json.loads(json.dumps(plain(made)))) == made
    assert plain(np.int64(3)) == 3
    assert plain({Role.BUY: (1, Path("a"))}) == {"buy": [1, "a"]}


def test_a_text_that_does_not_compare_is_no_option_and_not_in_the_way_back() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Recipe:
        name: str
        text: str = field(default="", compare=False)

    made = read(Recipe, {"name": "a"}, text="all of it")
    assert made.text == "all of it"
    assert plain(made) == {"name": "a"}
    with pytest.raises(OptionsError):
        read(Recipe, {"name": "a", "text": "b"}, text="c")


def test_python_callers_get_the_same_faults() -> None:
    with pytest.raises(OptionsError) as caught:
        Model(width=0, dropout=1.0, training=Training(patience=0))
    assert [f.path for f in caught.value.faults] == ["width", "dropout"]
    with pytest.raises(ConfigError, match="heads"):
        Model(heads=3)
    Model(width=np.int64(8))  # numpy's numbers are numbers


def test_problems_are_asked_only_of_fields_that_are_right() -> None:
    with pytest.raises(OptionsError) as caught:
        Model(heads=0)  # width % 0 is not computed
    assert [f.path for f in caught.value.faults] == ["heads"]


def test_a_missing_option_is_told() -> None:
    @dataclass(frozen=True)
    class Needs:
        name: str
        count: int

    assert set(faults_of({}, Needs)) == {"name", "count"}
    assert "a whole number" in faults_of({"name": "a"}, Needs)["count"]


def test_a_callable_is_called_with_what_was_read() -> None:
    def shop(out: Path, *, users: Annotated[int, AtLeast(1)] = 3, rate: float = 1.0) -> list[Any]:
        return [out, users, rate]

    assert read(shop, {"rate": 2}, out=Path("x")) == [Path("x"), 3, 2.0]
    with pytest.raises(OptionsError) as caught:
        read(shop, {"users": 0, "out": "a"}, skip=("out",))
    assert {f.path for f in caught.value.faults} == {"users", "out"}


def test_a_class_may_read_itself() -> None:
    @dataclass(frozen=True)
    class Part:
        name: str
        options: Mapping[str, Any]

        @classmethod
        def read_options(cls, raw: Any, path: str, faults: Faults) -> "Part | None":
            if not faults.known(raw.get("type"), ("a", "b"), f"{path}.type"):
                return None
            return cls(path.rpartition(".")[2], {k: v for k, v in raw.items() if k != "type"})

    @dataclass(frozen=True)
    class Whole:
        parts: Mapping[str, Part]

    assert read(Whole, {"parts": {"x": {"type": "a", "n": 1}}}).parts["x"] == Part("x", {"n": 1})
    assert "known: a, b" in faults_of({"parts": {"x": {"type": "c"}}}, Whole)["parts.x.type"]


def test_faults_of_what_is_made_keep_their_path() -> None:
    faults = Faults()
    assert faults.read(Model, {"heads": 3}, "models.sasrec") is None
    assert [f.path for f in faults] == ["models.sasrec.heads"]

    def refuses() -> None:
        raise ConfigError("no")

    assert faults.read(refuses, {}, "here") is None
    assert list(faults)[1] == Fault("here", "no")
    with pytest.raises(OptionsError):
        faults.refuse("file")


def test_names() -> None:
    faults = Faults()
    assert faults.known("a", ("a",), "top.name")
    assert not faults.known(3, ("a",), "top.name", "; see there")
    (fault,) = faults
    assert fault.path == "top.name"
    assert fault.problem.endswith("known: a; see there")


@pytest.mark.parametrize(
    ("rule", "good", "bad", "words"),
    [
        (AtLeast(1), 1, 0, "at least 1"),
        (AtLeast(2.5), 2.5, 2.4, "at least 2.5"),
        (Between(0, 1), 1, 1.1, "0 to 1"),
        (Between(0, 1, low_open=True), 1, 0, "above 0, at most 1"),
        (Between(0, 1, low_open=True, high_open=True), 0.5, 1, "above 0, below 1"),
        (Between(0, 2**63 - 1), 5, -1, "0 to 2**63 - 1"),
        (Matches(re.compile("a+"), "some a"), "aa", "ab", "some a"),
    ],
)
def test_ranges(rule: Any, good: Any, bad: Any, words: str) -> None:
    assert rule.holds(good)
    assert not rule.holds(bad)
    assert rule.expected.endswith(words)


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("x = 1")
    assert toml_of(read_text(tmp_path / "a.toml", ""), "a.toml") == {"x": 1}
    with pytest.raises(ConfigError, match=r"b\.toml.*the others"):
        read_text(tmp_path / "b.toml", "the others are there")
    with pytest.raises(ConfigError, match=r"a\.toml"):
        toml_of("x = ", "a.toml")
    (tmp_path / "c.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_text(tmp_path / "c.toml", "")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_text(tmp_path, "")


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("found", "hint", "value"),
    [
        ("red", Colour, Colour.RED),
        (Colour.RED, Colour, Colour.RED),
        ([1, "a"], tuple[int, str], (1, "a")),
        ({"a": 1}, dict[str, float], {"a": 1.0}),
        ({"a": {"b": [1]}}, Mapping[str, Any], {"a": {"b": [1]}}),
        ([1, 2], Sequence[int], (1, 2)),
        ("x", Literal["x", 1], "x"),
        ("x", Path, Path("x")),
        ([1], int | tuple[int, ...], (1,)),
        (2, float | None, 2.0),
    ],
)
def test_values_by_annotation(found: Any, hint: Any, value: Any) -> None:
    faults = Faults()
    made = faults.value(found, hint, "here")
    assert (made, len(faults)) == (value, 0)
    assert type(made) is type(value)


@pytest.mark.parametrize(
    ("found", "hint", "path", "word"),
    [
        ("blue", Colour, "here", "'red'"),
        ([1], tuple[int, str], "here", "a list of 2"),
        ([1, 2], tuple[int, str], "here[1]", "a text"),
        (3, dict[str, float], "here", "a table"),
        ({"a": "b"}, dict[str, float], "here.a", "a number"),
        (True, Literal["x", 1], "here", "'x', 1"),
        ("", Path, "here", "a path"),
        ("a", int | None, "here", "a whole number or nothing"),
        ("a" * 99, int, "here", "aaa..."),
    ],
)
def test_values_of_another_type(found: Any, hint: Any, path: str, word: str) -> None:
    faults = Faults()
    faults.value(found, hint, "here")
    (fault,) = faults
    assert fault.path == path
    assert word in fault.problem
    assert len(str(fault)) < 120


@dataclass(frozen=True, kw_only=True)
class Forms:
    pairs: tuple[tuple[int, int], ...] = ()
    either: tuple[int | str, ...] = ()
    words: tuple[Literal["a", "b"], ...] = ()
    named: tuple[Annotated[str, OneOf("x", "y")], ...] = ()
    things: tuple[object, ...] = ()


def test_what_is_expected_in_lists_is_said() -> None:
    with pytest.raises(OptionsError) as fault:
        read(Forms, {"pairs": 3, "either": 2.5, "words": 1, "named": 1, "things": 1})
    faults = {f.path: f.problem for f in fault.value.faults}
    assert list(faults) == ["pairs", "either", "words", "named", "things"]
    assert "2 values" in faults["pairs"]
    assert " or " in faults["either"]
    assert "'a'" in faults["words"]
    assert "x" in faults["named"]
    assert "object" in faults["things"]
    assert plain(np.float32(0.5)) == 0.5
    assert plain(np.int64(3)) == 3
