"""What a report says of the machine, the libraries and the cost of each stage."""

from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

from clickprint.report.page import Block, Words
from clickprint.report.table import Grid
from clickprint.work.facts import Facts, commit, machine, versions


def stack_blocks(purposes: Mapping[str, str], facts: Path, stages: Iterable[str]) -> list[Block]:
    """Machine, versions and costs.

    `purposes`: library → what it is for; those that are not installed are left out. `facts`: the
    folder with a file for each of the stages.
    """
    on = machine()
    words = [
        f"Python {versions()['python']} on {on['system']}, {on['cores']} cores,"
        f" {on['memory_gib']} GiB of memory."
    ]
    words += [f"clickprint's commit: {commit()}."] if commit() else []
    libraries = [(name, _version(name), purpose) for name, purpose in purposes.items()]
    found = [row for row in libraries if row[1]]
    costs = []
    for stage in stages:
        told = Facts.read(facts / f"{stage}.json").get("stages", {})
        if cost := told.get(stage):
            costs.append((stage, f"{cost['seconds']:,.1f}", f"{cost['peak_mib']:,.0f}"))
    return [
        Words(words),
        Grid("libraries", ("library", "version", "for"), found, align="l"),
        Grid("what each stage took", ("stage", "seconds", "peak MiB"), costs),
    ]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
