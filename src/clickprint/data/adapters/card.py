"""Source cards: what a public log is, where it is had, and what reading it leaves out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """What must be known of a source before reading it. Every reader's module has one, CARD.

    - `files`: what stands in the folder that is read → its columns, in words.
    - `dropped`: the rows that are left out, each with its reason, by which the manifest counts
      them.
    - `notes`: what was decided where the source leaves something open (zones, prices).

    `dropped` and `notes` are lists in words, an item from a dash at the start of a line on.
    """

    title: str
    files: Mapping[str, str]
    licence: str
    where: str
    dropped: str = ""
    notes: str = ""

    def text(self) -> str:
        """The card as lines for a terminal."""
        width = max(map(len, self.files), default=0)
        lines = [self.title, "", "files:"]
        lines += [f"  {file:<{width}}  {columns}" for file, columns in self.files.items()]
        lines += [f"licence: {self.licence}", f"get it:  {self.where}"]
        for head, items in (("left out and counted:", self.dropped), ("notes:", self.notes)):
            if items:
                lines += [head, *(f"  - {' '.join(i.split())}" for i in DASH.split(items)[1:])]
        return "\n".join(lines)


DASH = re.compile(r"^\s*- ", re.MULTILINE)
