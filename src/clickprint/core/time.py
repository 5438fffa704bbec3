"""Time is an int: microseconds since 1970-01-01 UTC. Windows are half-open."""

from dataclasses import dataclass
from datetime import UTC, datetime

from clickprint.core.errors import ConfigError

Time = int
SECOND: Time = 1_000_000
HOUR: Time = 3_600 * SECOND
DAY: Time = 86_400 * SECOND


def midnight(time: Time) -> Time:
    """The start of the UTC day that holds `time`."""
    return time - time % DAY


def parse(text: str) -> Time:
    """The time that an ISO 8601 text names; without an offset it is UTC. Raises ConfigError."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"found {text!r}, expected a date or time such as 2022-09-04 or 2022-09-04 13:30:00"
        ) from None
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds


def show(time: Time) -> str:
    """`2022-09-17 22:54:32`, in UTC; the inverse of `parse` to the second."""
    return datetime.fromtimestamp(time // SECOND, UTC).replace(tzinfo=None).isoformat(" ")


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """start ≤ time < end, in microseconds UTC. Raises ConfigError when it would be empty."""

    start: Time
    end: Time

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ConfigError(
                f"a window must end after it starts: found {show(self.start)} to {show(self.end)}"
            )

    def __str__(self) -> str:
        return f"{show(self.start)} ≤ t < {show(self.end)}"

    def first(self, days: int | float) -> "Window":
        """The first `days` of this window (all of it when it is shorter)."""
        return Window(self.start, min(self.end, self.start + round(days * DAY)))
