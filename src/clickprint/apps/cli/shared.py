"""The application, and what its verb groups share.

Only this package imports the command line library.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

from cyclopts import App, Group, Parameter, Token, convert

from clickprint.core.version import VERSION
from clickprint.work.resources import Resources, Tables

WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


def _exact(hint: Any, tokens: Sequence[Token]) -> Any:
    """The value of words, whole numbers as they are written: 1.5 is none, and is not rounded."""
    if hint is int or int in get_args(hint):
        for token in tokens:
            if not WHOLE.fullmatch(token.value):
                at = f"{token.keyword}: " if len(tokens) > 1 else ""  # else it is told anyway
                raise ValueError(f"{at}found {token.value!r}, expected a whole number")
    return convert(hint, tokens)


app = App(
    name="clickprint",
    version=VERSION,
    help="One log of what shoppers did, one profile per shopper, every prediction a shop needs.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(converter=_exact),
)
DATA = Group("Logs", sort_key=1)
PROFILES = Group("Profiles", sort_key=2)
RANKING = Group("Ranking", sort_key=3)
PRODUCTS = Group("More", sort_key=4)


def group_of(name: str, group: Group, about: str) -> App:
    """A new group of commands."""
    made = App(name=name, group=group, help=about)
    app.command(made)
    return made


# Forms of options. The flags of OnTables and OnMachine are the fields of these classes.
Many = Parameter(consume_multiple=True, negative=())
Flag = Annotated[bool, Parameter(negative=())]
Words = Annotated[tuple[str, ...], Many]
Numbers = Annotated[tuple[int, ...], Many]
Paths = Annotated[tuple[Path, ...], Many]
Folder = Annotated[Path, Parameter(name="DIR")]
Shop = Annotated[Path, Parameter(help="The folder of a dataset, as `clickprint read` writes it.")]
Challenge = Annotated[Path, Parameter(help="The challenge's directory.")]
Vectors = Annotated[
    Path, Parameter(name="DIR", help="The folder of client_ids.npy and embeddings.npy.")
]
Overwrite = Annotated[bool, Parameter(negative=(), help="Replace what is there.")]
Devices = Annotated[
    tuple[str, ...],
    Parameter(
        consume_multiple=True,
        negative=(),
        help="How many devices, their indices (0 2 or 0,2), or auto: all. Tasks are shared out,"
        " one network a device; on CPU that is a process.",
    ),
]
OnTables = Annotated[Tables, Parameter(name="*")]
OnMachine = Annotated[Resources, Parameter(name="*")]
