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

EMPTY = re.compile(r"--[\w-]+=")
NO_TEXT = re.compile("[\\0\ud800-\udfff]")  # what no file of ours could name
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

# Forms of options. The flags of OnTables and OnMachine are the fields of these classes.
Many = Parameter(consume_multiple=True, negative=())
Flag = Annotated[bool, Parameter(negative=())]
Words = Annotated[tuple[str, ...], Many]
Numbers = Annotated[tuple[int, ...], Many]
Paths = Annotated[tuple[Path, ...], Many]
Folder = Annotated[Path, Parameter(name="DIR")]
OnTables = Annotated[Tables, Parameter(name="*")]
OnMachine = Annotated[Resources, Parameter(name="*")]


def bad_word(words: Sequence[str]) -> str:
    """What is wrong with words of which one is empty, or no text; "" where none is.

    An empty path would stand for the present folder.
    """
    before = ""
    for word in words:
        if not word or EMPTY.fullmatch(word):
            return f"{word or before or 'a word'}: found nothing, expected a value; is it set?"
        if NO_TEXT.search(word):
            return f"{word!r}: found bytes that are not UTF-8; call the file otherwise"
        before = word
    return ""
