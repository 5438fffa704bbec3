"""The application, and what its verb groups share.

Only this package imports the command line library.
"""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Group, Parameter

from clickprint.core.version import VERSION
from clickprint.work.resources import Resources, Tables

app = App(
    name="clickprint",
    version=VERSION,
    help="One log of what shoppers did, one profile per shopper, every prediction a shop needs.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
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
