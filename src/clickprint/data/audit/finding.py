"""One thing that an audit found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["leak", "warning", "note"]
LISTED = 10  # ids named in a finding, at most


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, how bad it is, and its numbers.

    A `leak` makes every score that rests on it worthless, a `warning` can mislead, a `note` is
    good to know. `said` is one or two plain sentences; `numbers` are JSON values that `said` rests
    on; `picture` names the picture of the report that shows it.
    """

    name: str
    severity: Severity
    said: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    picture: str = ""


def share(part: int | float, whole: int | float) -> str:
    """`12 %`, `0.4 %`, `less than 0.1 %`."""
    percent = 100 * part / max(whole, 1)
    return (
        "less than 0.1 %"
        if 0 < percent < 0.1
        else f"{percent:.2g} %"
        if percent < 10
        else f"{percent:.0f} %"
    )


def count(n: int, one: str, many: str = "") -> str:
    """`1 event`, `12,345 events`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
