"""One thing that an audit found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["leak", "warning", "note"]
LISTED = 10  # ids named in a finding, at most


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, how bad it is, and its numbers.

    - `severity`: a `leak` makes every score that rests on it worthless, a `warning` can mislead, a
      `note` is good to know.
    - `said`: one or two plain sentences.
    - `numbers`: JSON values that `said` rests on.
    - `picture`: the picture of the report that shows it.
    """

    name: str
    severity: Severity
    said: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    picture: str = ""


def warning_if(bad: bool) -> Severity:
    """A warning, or else a note."""
    return "warning" if bad else "note"


def share(part: int | float, whole: int | float) -> str:
    """`12 %`, `0.4 %`, `less than 0.1 %`."""
    percent = 100 * part / max(whole, 1)
    if 0 < percent < 0.1:
        return "less than 0.1 %"
    return f"{percent:.2g} %" if percent < 10 else f"{percent:.0f} %"


def count(n: int, one: str, many: str = "") -> str:
    """`1 event`, `12,345 events`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def first_few(ids: list[int]) -> str:
    """The first ids of a list, separated by commas."""
    return ", ".join(map(str, ids[:LISTED])) + (", …" if len(ids) > LISTED else "")
