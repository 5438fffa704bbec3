"""A page of boards: what was found in words, the boards, the log, and what they rest on."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clickprint.data.overview import Overview
from clickprint.report.board import section
from clickprint.report.facts import fact_blocks
from clickprint.report.log import log_blocks
from clickprint.report.page import Block, Heading, Note, Section, Words, write_page
from clickprint.tasks.board import Board


def write(
    file: Path,
    title: str,
    facts: Mapping[str, Any],
    found: Overview,
    boards: Sequence[Board],
    *,
    plots: Path | None = None,
) -> None:
    """Write the page, and its pictures into a folder `plots`."""
    lead, cards = [f"{found.name} · log {found.fingerprint}"], _cards(found, boards)
    write_page(file, title, sections(facts, found, boards), lead=lead, cards=cards, plots=plots)


def sections(facts: Mapping[str, Any], found: Overview, boards: Sequence[Board]) -> list[Section]:
    """The report's sections. Boards of one probe may be several; they are never merged."""
    words: list[Block] = [] if boards else [Note("No board yet: no profile has been scored.")]
    shown = []
    for id, heading, board in _named(boards):
        words += [Heading(heading), Words(board.verdicts())]
        shown.append(section(board, id, heading))
    if len({b.probe for b in boards}) > 1:
        said = "The two probes are different learners, so they never share a board."
        words.append(Note(said))
    return [
        Section("words", "In words", words),
        *shown,
        Section("log", "The log", log_blocks(found)),
        Section("run", "What was run", fact_blocks(facts)),
    ]


def _named(boards: Sequence[Board]) -> Iterator[tuple[str, str, Board]]:
    for n, board in enumerate(boards):
        same = sum(b.probe == board.probe for b in boards[:n])
        more = (f"-{same + 1}", f", {same + 1}") if same else ("", "")
        yield f"board-{board.probe}{more[0]}", f"Board of the {board.probe} probe{more[1]}", board


def _cards(found: Overview, boards: Sequence[Board]) -> list[tuple[str, str]]:
    tasks, hidden, profiles = (
        len({name for b in boards for name in getattr(b, what)})
        for what in ("tasks", "hidden", "profiles")
    )
    counts = {"events": found.events, "users": found.users, "items": found.items}
    counts |= {"tasks": tasks, "hidden tasks": hidden, "profiles": profiles}
    return [(f"{n:,}", what) for what, n in counts.items() if n]
