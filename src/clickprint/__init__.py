"""One log of what shoppers did, one profile per shopper, every prediction a shop needs.

The public names are those of `clickprint.api`. They are imported when they are first asked for,
so that `import clickprint` is light.
"""

from clickprint.core.version import VERSION

__version__ = VERSION

__all__ = [
    "RNG",
    "Board",
    "ClickprintError",
    "ConfigError",
    "DataError",
    "EventLog",
    "Profiles",
    "Resources",
    "Tables",
    "Task",
    "encoder",
    "load",
    "prepare",
    "read",
    "run",
    "score",
    "split",
]

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from clickprint.api import (
        RNG,
        Board,
        ClickprintError,
        ConfigError,
        DataError,
        EventLog,
        Profiles,
        Resources,
        Tables,
        Task,
        encoder,
        load,
        prepare,
        read,
        run,
        score,
        split,
    )


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(
            f"module 'clickprint' has no attribute {name!r}; it has {', '.join(__all__)}"
        )
    from clickprint import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
