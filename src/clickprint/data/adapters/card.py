"""Source cards: what a public log is, where it is had, and what reading it leaves out."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """What must be known of a source before reading it. Every reader's module has one, CARD.

    - `files`: what stands in the folder that is read → its columns, in words.
    - `dropped`: the rows that are left out, each with its reason, by which the manifest counts
      them.
    - `notes`: what was decided where the source leaves something open (zones, prices).
    """

    title: str
    files: Mapping[str, str]
    licence: str
    where: str
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def text(self) -> str:
        """The card as lines for a terminal."""
        width = max(map(len, self.files), default=0)
        lines = [self.title, "", "files:"]
        lines += [f"  {file:<{width}}  {columns}" for file, columns in self.files.items()]
        lines += [f"licence: {self.licence}", f"get it:  {self.where}"]
        for head, said in (("left out and counted:", self.dropped), ("notes:", self.notes)):
            lines += [head, *(f"  - {line}" for line in said)] if said else []
        return "\n".join(lines)
