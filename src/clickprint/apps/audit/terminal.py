"""An audit on the terminal: what was found, the gravest first, in lines that fit 100 columns."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from clickprint.apps.audit.stages import SAID, Audit
from clickprint.apps.run.terminal import COLUMNS, _clean

STYLES = {"leak": "bold red", "warning": "yellow", "note": "dim"}


def show(found: Audit, console: Console | None = None) -> None:
    """Prints an audit (on standard output by default), in colour where that is a terminal."""
    console = console or Console(highlight=False)
    if console.width > COLUMNS or not console.is_terminal:
        console.width = COLUMNS
    for section in found.sections:
        console.print(Text(_clean(section.about), style="bold"))
        table = Table.grid(padding=(0, 1, 0, 0))
        for finding in section.findings:
            table.add_row(
                Text(SAID[finding.severity], style=STYLES[finding.severity]),
                Text(_clean(f"{finding.name}: {finding.said}")),
            )
        if not section.findings:
            table.add_row(Text("nothing found", style="dim"))
        console.print(table)
        if section.fingerprint:
            console.print(Text(f"fingerprint {section.fingerprint['split']}", style="dim"))
        console.print()
    console.print(Text(found.verdict, style="bold red" if found.count("leak") else "bold"))
