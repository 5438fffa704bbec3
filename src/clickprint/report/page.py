"""A report as one HTML file that opens without a network; sections of it are slides too."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clickprint.core.files import whole, write_text
from clickprint.core.text import printable
from clickprint.report.figure import Drawn, draw
from clickprint.report.table import Grid

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Words:
    """Sentences, each of them one point of a list."""

    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Note:
    """A paragraph in a paler colour: what a table or a picture rests on."""

    text: str


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """A text to copy, as it is."""

    text: str
    heading: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with a heading; `name` is its anchor in the page and a part of its file's name."""

    name: str
    heading: str
    drawn: Drawn


Block = Words | Note | Heading | Code | Picture | Grid


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report. `id` is its anchor in the page."""

    id: str
    heading: str
    blocks: Sequence[Block]

    @property
    def pictures(self) -> list[Picture]:
        """The pictures among its blocks."""
        return [b for b in self.blocks if isinstance(b, Picture)]


def pictures(
    makers: Mapping[str, tuple[str, "Callable[[], Figure | None]"]], of: str
) -> list[Picture]:
    """Draw pictures, given as name → (heading, function); those that show nothing are left out.

    `of` says what is shown, for screen readers; with the heading it must be unique on a page.
    """
    drawn = {name: draw(make, f"{said or name} of {of}") for name, (said, make) in makers.items()}
    return [Picture(name, makers[name][0], d) for name, d in drawn.items() if d is not None]


def pngs(sections: Iterable[Section]) -> dict[str, bytes]:
    """All pictures as files: `SECTION-PICTURE.png` → its bytes."""
    return {f"{s.id}-{p.name}.png": p.drawn.png for s in sections for p in s.pictures}


def page(
    title: str,
    sections: Sequence[Section],
    *,
    lead: Sequence[str] = (),
    cards: Sequence[tuple[str, str]] = (),
) -> str:
    """The report as HTML. Equal input gives equal bytes, and every text is escaped.

    `lead` stands below the title; `cards` are the numbers that matter most, each with its name.
    """
    from markupsafe import Markup  # a picture is made by matplotlib, which escapes texts

    shown = [{"id": s.id, "heading": s.heading, "blocks": _typed(s, Markup)} for s in sections]
    template = _environment().get_template("page.html.j2")
    return template.render(title=title, lead=lead, cards=cards, sections=shown)


def _typed(section: Section, markup: Callable[[str], str]) -> list[tuple[str, dict[str, Any]]]:
    """Each block's name and what the template shows of it."""
    out: list[tuple[str, dict[str, Any]]] = []
    for block in section.blocks:
        match block:
            case Grid():
                sides = ["text" if block.left(c) else "" for c in range(len(block.heads))]
                shown = {"grid": block, "sides": sides}
            case Picture(name, heading, drawn):
                anchor = f"{section.id}-{name}"
                shown = {"id": anchor, "heading": heading, "svg": markup(drawn.svg)}
            case Words(lines):
                shown = {"lines": lines}
            case Code(text, heading):
                shown = {"text": text, "heading": heading}
            case Note(text) | Heading(text):
                shown = {"text": text}
        out.append((type(block).__name__.lower(), shown))
    return out


def write_page(
    file: Path,
    title: str,
    sections: Sequence[Section],
    *,
    lead: Sequence[str] = (),
    cards: Sequence[tuple[str, str]] = (),
    plots: Path | None = None,
) -> None:
    """Write the page, and its pictures as PNG files into a folder `plots`, each whole."""
    if plots is not None:
        with whole(plots) as folder:
            folder.mkdir()
            for name, content in pngs(sections).items():
                (folder / name).write_bytes(content)
    write_text(file, page(title, sections, lead=lead, cards=cards))


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("clickprint.report"),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A name may break after an underscore.
    environment.filters["breakable"] = lambda name: Markup("_<wbr>").join(name.split("_"))
    return environment
