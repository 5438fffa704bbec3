"""What a log, a split and profiles have wrong, in words, as JSON, and as a page."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from clickprint.core.files import new_file, write_text
from clickprint.core.progress import Progress, silent
from clickprint.core.text import say
from clickprint.data.audit.examine import SEVERITIES, Audit, Examined, Section, examine
from clickprint.data.audit.finding import Finding
from clickprint.data.overview import overview
from clickprint.report import terminal
from clickprint.report.log import log_pictures
from clickprint.report.page import Block, Heading, Note, Picture, page
from clickprint.report.page import Section as Part
from clickprint.report.shape import shape_pictures
from clickprint.report.table import Cell, Grid, Tone
from clickprint.work.resources import Tables

PICTURES = ("timeline", "days", "kinds", "activity")
SAID: dict[str, tuple[str, Tone]] = {
    "leak": ("LEAK", "best"),
    "warning": ("warning", ""),
    "note": ("note", "dim"),
}


def audit(
    source: Path,
    *,
    splits: Sequence[str] = (),
    profiles: Sequence[Path] = (),
    out: Path | None = None,
    json_file: Path | None = None,
    overwrite: bool = False,
    resources: Tables = Tables(),
    progress: Progress = silent,
) -> int:
    """Audit, print what was found, and write audit.html in `out` and the JSON.

    1 where there is a leak, else 0. Raises DataError, and ConfigError where one of the two files
    is there and not to `overwrite`.
    """
    page_file = None if out is None else out / "audit.html"
    for file in filter(None, (json_file, page_file)):
        new_file(file, overwrite=overwrite, sources=[source, *profiles, *map(Path, splits)])
    with resources.engine() as engine, TemporaryDirectory(prefix="clickprint-") as scratch:
        found = examine(source, splits, profiles, engine, Path(scratch), progress=progress)
        text = audit_page(found, progress) if page_file else ""
    show(found.audit)
    if json_file:
        write_text(json_file, found.audit.to_json())
        say(json_file)
    if page_file:
        write_text(page_file, text)
        say(page_file)
    return int(found.audit.count("leak") > 0)


def show(found: Audit) -> None:
    """Print an audit."""
    blocks: list[Block] = []
    for section in found.sections:
        blocks += [Heading(section.about), *_blocks(section, ())]
    terminal.show([*blocks, Heading(found.verdict)])


def audit_page(found: Examined, progress: Progress = silent) -> str:
    """One HTML file that opens without a network. Equal input, equal bytes."""
    progress("pictures", 0, 0)
    about, drawn = found.audit.source, list[Picture]()
    if found.log is not None and found.shape is not None:
        whole = overview(found.log, found.split)
        drawn = [*log_pictures(whole, PICTURES), *shape_pictures(found.shape, whole.name)]
    counts = {f"{severity}s": found.audit.count(severity) for severity in SEVERITIES}
    counts |= {k: about[k] for k in ("events", "users", "items") if k in about}
    names = [p.name for p in drawn]
    parts = [
        Part(f"s{n}", section.about, _blocks(section, names))
        for n, section in enumerate(found.audit.sections, 1)
    ]
    return page(
        f"Audit of {about['name']}",
        [*parts, *([Part("pictures", "Pictures", drawn)] if drawn else [])],
        lead=[*(f"log {about[k]}" for k in ("fingerprint",) if k in about), found.audit.verdict],
        cards=[(f"{n:,}", what) for what, n in counts.items()],
    )


def _blocks(section: Section, pictures: Sequence[str]) -> list[Block]:
    """The findings as a table; a finding that has a picture links to it."""

    def row(finding: Finding) -> list[Cell]:
        said, tone = SAID[finding.severity]
        link = f"pictures-{finding.picture}" if finding.picture in pictures else ""
        return [Cell(said, tone=tone), Cell(finding.name, link=link), Cell(finding.said)]

    rows = [row(f) for f in section.findings]
    heads = ("severity", "finding", "what was found")
    found: Block = Grid("", heads, rows, align="l") if rows else Note("Nothing found.")
    prints = section.fingerprint.get("split")
    return [found, *([Note(f"fingerprint {prints}")] if prints else [])]
