"""What a number rests on, as tables of a report: facts.json for readers."""

from collections.abc import Mapping, Sequence
from typing import Any

from clickprint.core.text import EMPTY
from clickprint.report.page import Block, Code
from clickprint.report.table import Grid

HEADS = {"peak_mib": "peak MiB"}


def fact_blocks(facts: Mapping[str, Any]) -> list[Block]:
    """Facts as a table of stages, a table of single facts, and texts to copy.

    Nested facts are shown flat. What has `seconds` is a stage; `command` and texts of several
    lines are there to copy.
    """
    stages: list[tuple[str, Mapping[str, Any]]] = []
    plain: list[tuple[str, str]] = []
    texts: list[Code] = []
    _sort(facts, (), stages, plain, texts)
    keys = list(dict.fromkeys(k for _, row in stages for k in row))
    rows = [[name, *(_value(row.get(k, "")) for k in keys)] for name, row in stages]
    blocks: list[Block] = []
    if rows:
        heads = [HEADS.get(k, k) for k in keys]
        blocks.append(Grid("What it took", ("stage", *heads), rows))
    if plain:
        blocks.append(Grid("What it rests on", ("fact", "value"), plain, align="l"))
    return [*blocks, *texts]


def _sort(
    raw: Mapping[str, Any],
    path: tuple[str, ...],
    stages: list[tuple[str, Mapping[str, Any]]],
    plain: list[tuple[str, str]],
    texts: list[Code],
) -> None:
    for key, value in raw.items():
        here = (*path, str(key))
        if isinstance(value, Mapping):
            nested = any(isinstance(v, Mapping) for v in value.values())
            if "seconds" in value and not nested:
                stages.append((here[-1] if len(here) < 3 else " · ".join(here[1:]), value))
            else:
                _sort(value, here, stages, plain, texts)
        elif key == "command":
            words = value if isinstance(value, str) else " ".join(map(str, value))
            texts.insert(0, Code(words, "How to remake it"))
        elif isinstance(value, str) and "\n" in value.strip():
            texts.append(Code(value.strip("\n"), _name(here)))
        else:
            plain.append((_name(here), _value(value)))


def _name(path: Sequence[str]) -> str:
    return " · ".join(p.replace("_", " ") for p in path)


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: EMPTY}[value]
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(_value(v) for v in value)
    return str(value)
