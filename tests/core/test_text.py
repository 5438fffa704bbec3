"""Numbers and names as text, and the way to JSON and CSV and back."""

import csv
import io
import json

import numpy as np
import pytest

from clickprint.core.text import (
    count,
    csv_text,
    figure,
    finite,
    json_text,
    listed,
    number,
    printable,
    short,
)

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("value", "digits", "sign", "text"),
    [
        (0.71234, 4, False, ".7123"),
        (1.2, 4, False, "1.2000"),
        (-0.0041, 4, True, "−.0041"),
        (0.0123, 4, True, "+.0123"),
        (-0.00001, 3, True, "+.000"),
        (-0.00001, 3, False, ".000"),
        (NAN, 4, True, "–"),
        (12.5, 1, False, "12.5"),
    ],
)
def test_figures(value: float, digits: int, sign: bool, text: str) -> None:
    assert figure(value, digits, sign=sign) == text


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0"),
        (950, "950"),
        (9_999, "9,999"),
        (12_345, "12.3 k"),
        (123_456, "123 k"),
        (1_500_000, "1.5 M"),
        (2.5e9, "2.5 G"),
    ],
)
def test_counts(n: float, text: str) -> None:
    assert count(n) == text


def test_names() -> None:
    assert printable("a\x1b[2J\nb\x07") == "a\\x1b[2J\nb\\x07"
    assert printable("\u202eevil\udc80") == "\\u202eevil\\udc80"
    assert printable("bücher – 書") == "bücher – 書"
    assert short("a\nb", 5) == "a b"
    assert short("abcdef", 4) == "abc…"
    assert [listed(w) for w in (["a"], ["a", "b"], ["a", "b", "c"])] == [
        "a",
        "a and b",
        "a, b and c",
    ]


def test_json_is_strict_and_plain() -> None:
    value = {"a": NAN, "b": [1, (np.float32(0.5), -INF)], "c": np.array([1.0, NAN]), "d": None}
    plain = {"a": None, "b": [1, [0.5, None]], "c": [1.0, None], "d": None}
    assert finite(value) == plain
    text = json_text(value)
    assert json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} is not JSON")) == plain
    assert text.endswith("}\n")
    assert np.isnan(number(None))
    assert number(0.5) == 0.5


def test_csv_reads_back() -> None:
    rows = [{"name": "a,b", "x": 1 / 3}, {"name": "c", "y": NAN}]
    read = list(csv.DictReader(io.StringIO(csv_text(rows))))
    assert list(read[0]) == ["name", "x", "y"]
    assert float(read[0]["x"]) == 1 / 3
    assert read[1] == {"name": "c", "x": "", "y": ""}
    assert csv_text([], ["a"]) == "a\n"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-x", "@SUM(A1)"])
def test_a_spreadsheet_does_not_compute_a_text(text: str) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_text([{"name": text, "x": -1.5, "y": "a=b"}])))
    assert row == {"name": f"'{text}", "x": "-1.5", "y": "a=b"}


def test_a_csv_holds_no_control_characters() -> None:
    assert csv_text([{"name": "\x1b[2J\t=1"}]) == "name\n\\x1b[2J\\t=1\n"
