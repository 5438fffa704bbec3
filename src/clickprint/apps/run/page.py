"""The report of a run: one HTML file that opens without a network, and its pictures as PNG files."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clickprint.core.files import whole, write_text
from clickprint.core.time import show
from clickprint.data.overview import Overview, overview
from clickprint.report import figure as plots
from clickprint.tasks.board import LEFT_OUT, Board, Estimate, Gap, Standing, figure

__all__ = ["Overview", "overview", "report", "write_report"]

LOG_HEADINGS = {
    "timeline": "The split",
    "days": "Events over time",
    "kinds": "Kinds of event",
    "activity": "How uneven it is",
    "sizes": "Sizes",
    "week": "Through the week",
}
BESIDE = 7  # tasks of one table


def report(
    *, title: str, facts: Mapping[str, Any], overview: Overview, boards: Sequence[Board]
) -> tuple[str, dict[str, bytes]]:
    """The page, and the PNG files by name. Equal input, equal bytes; every text is escaped, whoever wrote it.

    `facts` are shown as they are: nested ones flat, those with `seconds` as a table of stages, `command` and texts of several lines
    under "How to remake it". Boards of one probe may be several; they are never merged.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def pictured(drawn: plots.Drawn, **more: str) -> dict[str, Any]:
        return {
            "svg": Markup(drawn.svg),
            "caption": "",
            **more,
        }  # made by matplotlib, which escapes texts

    files: dict[str, bytes] = {}
    log, shown = [], []
    for name, picture in plots.LOG_PICTURES.items():
        drawn = plots.draw(partial(picture, overview), f"{LOG_HEADINGS[name]} of {overview.name}")
        if drawn:
            files[f"log-{name}.png"] = drawn.png
            log.append(pictured(drawn, name=name, heading=LOG_HEADINGS[name]))
    for number, board in enumerate(boards):
        same = [b for b in boards[:number] if b.probe == board.probe]
        name = f"{board.probe}-{len(same) + 1}" if same else board.probe
        pictures: dict[str, Any] = dict.fromkeys(plots.BOARD_PICTURES)
        for kind, picture_of in plots.BOARD_PICTURES.items():
            drawn = plots.draw(partial(picture_of, board), f"{kind} of board {name}")
            if drawn:
                files[f"{name}-{kind}.png"] = drawn.png
                pictures[kind] = pictured(drawn)
        heading = f"Board of the {board.probe} probe" + (f", {len(same) + 1}" if same else "")
        shown.append(
            {"id": f"board-{name}", "heading": heading, "pictures": pictures, **_board(board)}
        )

    def breakable(name: str) -> Markup:
        """A task's name as a column's head: it may break after an underscore."""
        return Markup("_<wbr>").join(name.split("_"))

    environment = Environment(
        loader=PackageLoader("clickprint.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    stage_heads, stages, plain, texts = _facts(facts)
    page = environment.get_template("report.html.j2").render(
        title=title,
        overview=overview,
        boards=shown,
        cards=_cards(overview, boards),
        log=log,
        spans=[
            {
                "name": s.name,
                "start": show(s.start),
                "end": show(s.end),
                "events": f"{s.events:,}",
                "users": f"{s.users:,}",
            }
            for s in overview.spans
        ],
        rejected=[(reason, f"{n:,}") for reason, n in sorted(overview.rejected.items())],
        stage_heads=stage_heads,
        stages=stages,
        facts=plain,
        texts=texts,
    )
    return page, files


def write_report(
    folder: Path,
    *,
    title: str,
    facts: Mapping[str, Any],
    overview: Overview,
    boards: Sequence[Board],
) -> Path:
    """Writes folder/plots/*.png and folder/report.html, each whole or not at all; the path of the page."""
    page, files = report(title=title, facts=facts, overview=overview, boards=boards)
    with whole(folder / "plots") as part:
        part.mkdir()
        for name, content in files.items():
            (part / name).write_bytes(content)
    write_text(folder / "report.html", page)
    return folder / "report.html"


def _cards(found: Overview, boards: Sequence[Board]) -> list[tuple[str, str]]:
    cards = [
        (f"{found.events:,}", "events"),
        (f"{found.users:,}", "users"),
        (f"{found.items:,}", "items"),
    ]
    if boards:
        tasks = len({t for b in boards for t in b.tasks})
        hidden = len({t for b in boards for t in b.hidden})
        cards.append(
            (
                f"{tasks}" + (f" + {hidden}" if hidden else ""),
                "tasks" + (" + hidden tasks" if hidden else ""),
            )
        )
        cards.append((f"{len({p for b in boards for p in b.profiles})}", "profiles"))
    return cards


# -- a board for the template -----------------------------------------------------------------------------------------------------


def _board(board: Board) -> dict[str, Any]:
    order = board.standings() or [
        Standing(p, np.nan, np.nan, np.nan, np.nan) for p in board.profiles
    ]
    costs = board.costs()
    return {
        "verdicts": board.verdicts(),
        "counted": len(board.counted),
        "resamples": board.resamples,
        "reference": board.reference,
        "hidden": bool(board.hidden),
        "standings": _standings(board, order),
        "tables": _tables(board, [s.profile for s in order]),
        "cost_heads": [*board.counted, f"sum of {len(board.counted)}"],
        "costs": [
            {
                "name": whole + LEFT_OUT + block,
                "cells": [
                    {**_estimate(g, sign=True), "shown": g.shown}
                    for g in (*by_task.values(), total)
                ],
            }
            for whole, block, total, by_task in costs
        ],
        "questions": [
            {
                "task": t,
                "about": s.about,
                "users": f"{s.users:,}",
                "labels": s.labels,
                "degenerate": s.degenerate,
            }
            for t in board.tasks
            for s in [board.about(t)]
        ],
    }


def _standings(board: Board, order: Sequence[Standing]) -> list[dict[str, Any]]:
    totals = {s.profile: board.total(s.profile) for s in order}
    spreads = {s.profile: board.spread(s.profile) for s in order}
    best_total = _best(t.value for t in totals.values())
    best_hidden = _best(s.mean.value for s in spreads.values() if s)
    rows = []
    for s in order:
        spread = spreads[s.profile]
        row = {
            "profile": s.profile,
            "control": s.profile == board.control,
            "place": (f"{s.place:g}" if np.isfinite(s.place) else "–")
            + (f" [{s.low:g}, {s.high:g}]" if np.isfinite(s.low) else ""),
            "points": f"{s.points:g}" if np.isfinite(s.points) else "–",
            "total": _estimate(totals[s.profile]),
            "best": totals[s.profile].value == best_total,
            "hidden": spread
            and {
                "mean": _estimate(spread.mean),
                "best": spread.mean.value == best_hidden,
                "deviation": figure(spread.deviation),
                "quartiles": " ".join(
                    figure(v) for v in (spread.lower, spread.median, spread.upper)
                ),
            },
        }
        rows.append(row)
    return rows


def _tables(board: Board, order: Sequence[str]) -> list[dict[str, Any]]:
    """Scores of the counted tasks, of the others, then live scores where labels are dead; tasks across, a few at a time."""
    others = [t for t in board.tasks if t not in board.counted]
    dead = [t for t in board.tasks if board.about(t).degenerate]
    out = []
    for name, tasks, of in (
        ("profile", board.counted, board.score),
        ("not in the sum", others, board.score),
        ("over live labels", dead, board.live),
    ):
        for start in range(0, len(tasks), BESIDE):
            part = tasks[start : start + BESIDE]
            found = {t: [of(p, t) for p in order] for t in part}
            best = {t: _best(f.value for f in found[t]) for t in part}
            abouts = [board.about(t) for t in part]
            live = of == board.live
            feet = [
                f"{s.labels - s.degenerate if live else s.degenerate} of {s.labels}"
                for s in abouts
            ]
            rows = [
                {
                    "name": p,
                    "control": p == board.control,
                    "cells": [
                        {**_estimate(found[t][row]), "best": found[t][row].value == best[t]}
                        for t in part
                    ],
                }
                for row, p in enumerate(order)
            ]
            out.append(
                {
                    "name": name,
                    "heads": part,
                    "rows": rows,
                    "foot_name": "live labels" if live else "dead labels",
                    "foot": feet,
                }
            )
    return out


def _estimate(found: Estimate | Gap, *, sign: bool = False) -> dict[str, str]:
    bounds = f"{figure(found.low)} to {figure(found.high)}" if np.isfinite(found.low) else ""
    return {"value": figure(found.value, sign=sign), "bounds": bounds}


def _best(values: Iterable[float]) -> float:
    return max((v for v in values if np.isfinite(v)), default=float("nan"))


# -- facts ------------------------------------------------------------------------------------------------------------------------


def _facts(
    facts: Mapping[str, Any],
) -> tuple[list[str], list[tuple[str, list[str]]], list[tuple[str, str]], list[tuple[str, str]]]:
    """Heads and rows of the table of stages, what else is one line, and what is a text to copy."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    plain: list[tuple[str, str]] = []
    texts: list[tuple[str, str]] = []

    def walk(raw: Mapping[str, Any], path: tuple[str, ...]) -> None:
        for key, value in raw.items():
            here = (*path, str(key))
            if (
                isinstance(value, Mapping)
                and "seconds" in value
                and not any(isinstance(v, Mapping) for v in value.values())
            ):
                found.append((here[-1] if len(here) < 3 else " · ".join(here[1:]), value))
            elif isinstance(value, Mapping):
                walk(value, here)
            elif key == "command":
                texts.insert(
                    0,
                    (
                        "",
                        " ".join(map(str, value))
                        if isinstance(value, list | tuple)
                        else str(value),
                    ),
                )
            elif isinstance(value, str) and "\n" in value.strip():
                texts.append((_said(here), value.strip("\n")))
            else:
                plain.append((_said(here), _value(value)))

    walk(facts, ())
    heads = list(dict.fromkeys(k for _, row in found for k in row))
    return (
        [h.replace("peak_mib", "peak MiB") for h in heads],
        [(n, [_value(row.get(h, "")) for h in heads]) for n, row in found],
        plain,
        texts,
    )


def _said(path: Sequence[str]) -> str:
    return " · ".join(p.replace("_", " ") for p in path)


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(_value(v) for v in value)
    return str(value)
