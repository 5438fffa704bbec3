"""Fields that are made of an event's columns: small whole numbers that can be embedded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from clickprint.core.errors import ConfigError
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.time import DAY

HOUR = DAY // 24


def columns(fields: Sequence[str]) -> tuple[str, ...]:
    """What histories must have, so that these fields can be made or taken."""
    return tuple(dict.fromkeys(DERIVED[f][0] if f in DERIVED else f for f in fields))


def derive(events: Histories, fields: Sequence[str]) -> Histories:
    """The histories with these fields."""
    made = {f: DERIVED[f][1](events) for f in fields if f in DERIVED}
    return replace(events, fields={**events.fields, **made}) if made else events


def _hour(events: Histories) -> Int64[np.ndarray, "L"]:
    """0 … 23, UTC."""
    return events.fields["time"] % DAY // HOUR


def _weekday(events: Histories) -> Int64[np.ndarray, "L"]:
    """0 … 6, Monday first, UTC."""
    return (events.fields["time"] // DAY + 3) % 7  # 1970 began on a Thursday


def _gap(events: Histories) -> Int64[np.ndarray, "L"]:
    """⌊log2(1 + hours since the user's event before)⌋; nothing for the first one."""
    time = events.fields["time"]
    gaps = np.full(len(time), NONE, np.int64)
    gaps[1:] = np.log2(1 + np.maximum(np.diff(time), 0) / HOUR).astype(np.int64)
    gaps[events.starts[:-1][events.lengths > 0]] = NONE
    return gaps


def _age(events: Histories) -> Int64[np.ndarray, "L"]:
    """⌊2 · log2(1 + days before the histories' cutoff)⌋.

    Raises ConfigError where they have none.
    """
    if events.cutoff is None:
        raise ConfigError(
            "age: these histories have no cutoff to count from;"
            " cut the log first, or leave the field out"
        )
    return np.floor(
        2 * np.log2(1 + np.maximum(events.cutoff - events.fields["time"], 0) / DAY)
    ).astype(np.int64)


def _price_band(events: Histories) -> Int64[np.ndarray, "L"]:
    """⌊4 · log2(price)⌋: four bands to each doubling; nothing where there is no price above 0."""
    price = events.fields["price"]
    known = np.isfinite(price) & (price > 0)
    return np.where(known, np.floor(4 * np.log2(np.where(known, price, 1))), NONE).astype(np.int64)


# name → the column it is made of, and how
DERIVED: Mapping[str, tuple[str, Callable[[Histories], Int64[np.ndarray, "L"]]]] = {
    "hour": ("time", _hour),
    "weekday": ("time", _weekday),
    "gap": ("time", _gap),
    "age": ("time", _age),
    "price_band": ("price", _price_band),
}
