"""Numbers and names as text: one format each for boards, tables, files and messages."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NAME = 22  # letters of a name where there is little room
EMPTY = "–"  # stands for a number that is not known


def figure(value: float | int, digits: int = 4, *, sign: bool = False) -> str:
    """A score as text: `.7123`, `1.2000`, `−.0041`, `+.0123` with `sign`; – for NaN.

    A zero in front of the point is left out, and the minus is a real minus.
    """
    if not math.isfinite(value):
        return EMPTY
    text = f"{abs(value):.{digits}f}"
    negative = value < 0 and float(text) != 0
    return ("−" if negative else "+" if sign else "") + text.removeprefix("0")


def count(n: int | float) -> str:
    """A count with three figures: 950, 9,999, 12.3 k, 1.5 M."""
    for unit, letter in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if n >= max(unit, 10**4):
            return f"{n / unit:,.0f}{letter}" if n >= 99.95 * unit else f"{n / unit:.3g}{letter}"
    return f"{n:,.0f}"


def printable(text: str) -> str:
    """The text with characters that could steer a terminal written as \\x1b: names are others'."""
    if text.isprintable():
        return text
    return "".join(
        c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def say(*words: object, file: Any = None) -> None:
    """Print for people: what could steer a terminal is escaped."""
    print(printable(" ".join(map(str, words))), file=file)


def short(text: str, most: int = NAME) -> str:
    """The text on one line of at most `most` letters, cut with an ellipsis."""
    text = printable(text).replace("\n", " ")
    return text if len(text) <= most else text[: most - 1] + "…"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


# -- JSON and CSV ----------------------------------------------------------------------------


def finite(value: Any) -> Any:
    """The value as JSON can hold it: arrays are lists, and a number that is not finite is None."""
    if isinstance(value, Mapping):
        return {key: finite(v) for key, v in value.items()}
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(value: float | int | None) -> float:
    """The number that `finite` wrote: None is NaN."""
    return math.nan if value is None else float(value)


def json_text(value: Any, *, indent: int | None = 1) -> str:
    """The value as strict JSON with a newline at the end; what `finite` makes of it."""
    return json.dumps(finite(value), indent=indent, ensure_ascii=False, allow_nan=False) + "\n"


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """The rows as CSV, numbers in full; a number that is not finite, or a missing key, is empty.

    `columns` are the keys of all rows, in the order of their first row, where they are left out.
    A spreadsheet would compute a text that begins with = + - or @: it is written after a '.
    """
    rows = [{key: _cell(value) for key, value in finite(row).items()} for row in rows]
    heads = columns or list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, heads, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
