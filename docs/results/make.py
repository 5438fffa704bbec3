"""The published numbers, from run folders and benchmarks; nothing in this folder is written by hand.

python docs/results/make.py runs/complete-journey     # docs/results/complete-journey.md, and the README's picture
python docs/results/make.py ranking runs/beauty         # docs/results/ranking-beauty.md and its picture: `clickprint rank`'s tables
python docs/results/make.py scaling runs/scaling-beauty # docs/results/scaling-….md and its picture, of `clickprint scale`
python docs/results/make.py next runs/next-uci          # docs/results/next-uci.md and its picture, of `clickprint next evaluate`
python docs/results/make.py benchmarks                # docs/results/benchmarks.md: runs every benchmark, about half an hour
python docs/results/make.py benchmarks size bootstrap # the same page, but only these are run again
"""

import json
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clickprint.apps.run.boards import board_file

from clickprint.apps.next.recipe import load
from clickprint.core.dataset import Dataset
from clickprint.core.files import whole, write_text
from clickprint.core.options import plain
from clickprint.core.text import figure
from clickprint.report.board import cover
from clickprint.report.figure import draw
from clickprint.tasks.board import Board
from clickprint.work.track import flattened

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PARAMS = ROOT / "recipes" / "next" / "params.toml"


def board(found: Board) -> list[str]:
    """A board as Markdown: scores with half-intervals, live scores where labels are dead, places, words."""
    lines = [f"## {found.probe.capitalize()} probe", "", *(f"- {v}" for v in found.verdicts()), ""]
    order = [s.profile for s in found.standings()]
    lines += [
        "| task | users | labels (dead) | " + " | ".join(order) + " |",
        "|---|---|---|" + "---|" * len(order),
    ]
    for task in found.tasks:
        about = found.about(task)
        cells = []
        for profile in order:
            mine, live = found.score(profile, task), found.live(profile, task)
            cells.append(
                f"{figure(mine.value)} [{figure(mine.low)}, {figure(mine.high)}]"
                + (f" · live {figure(live.value)}" if about.degenerate else "")
            )
        lines.append(
            f"| {task} | {about.users:,} | {about.labels} ({about.degenerate}) | "
            + " | ".join(cells)
            + " |"
        )
    total = [found.total(p) for p in order]
    lines.append(
        "| **sum** of counted tasks | | | "
        + " | ".join(f"{t.value:.4f} [{t.low:.4f}, {t.high:.4f}]" for t in total)
        + " |"
    )
    lines.append(
        "| **Borda** points (place) | | | "
        + " | ".join(f"{s.points:g} ({s.place:g})" for s in found.standings())
        + " |"
    )
    if found.hidden:
        spreads = [found.spread(p) for p in order]
        lines.append(
            f"| mean of {len(found.hidden)} hidden tasks (sd) | | | "
            + " | ".join(f"{s.mean.value:.4f} ({s.deviation:.3f})" if s else "–" for s in spreads)
            + " |"
        )
    return [*lines, ""]


def run(folder: Path) -> None:
    facts = json.loads((folder / "facts.json").read_text("utf-8"))
    name = facts["recipe"]
    data, machine = facts["data"], facts["machine"]
    rejected = (
        "; ".join(f"{rows:,} ({reason})" for reason, rows in data["rejected"].items()) or "none"
    )
    lines = [
        f"# {name}",
        "",
        f"Made by `clickprint run recipes/{name}.toml`, written by `python docs/results/make.py runs/{name}`. Brackets: 95 % intervals, paired bootstrap over users.",
        "",
        f"- Data: {data['name']}, fingerprint `{data['fingerprint']}`, {data['users']:,} users, {data['items']:,} items, {data['events']:,} events. Rejected rows: {rejected}.",
        f"- Past before {facts['split']['cutoff']}; train {facts['split']['train']}; validation {facts['split']['valid']}.",
        f"- Seed {facts['seed']}, commit `{facts['commit']}`, {machine['system']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        + ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
        + ".",
        "- No item is filtered as seen. Ties in time break by (time, kind, item, row), ties between labels by the smaller value.",
        "",
    ]
    for probe in ("official", "quick"):
        if board_file(folder, probe).is_file():
            lines += board(Board.from_json(board_file(folder, probe).read_text("utf-8")))
    lines += ["## What it took", "", "| stage | seconds | peak memory, MiB |", "|---|---|---|"]
    lines += [
        f"| {stage} | {took['seconds']:.1f} | {took['peak_mib']:.0f} |"
        for stage, took in facts["stages"].items()
    ]
    write_text(HERE / f"{name}.md", "\n".join(lines) + "\n")
    quick = Board.from_json(board_file(folder, "quick").read_text("utf-8"))
    line = f"{facts['data']['name']}: {facts['data']['users']:,} users, {facts['data']['events']:,} events, {len(quick.counted)} tasks, {len(quick.hidden)} hidden tasks, quick probe"
    drawn = draw(lambda: cover(quick, line), "board")
    assert drawn is not None, "a board without a counted task"
    with whole(HERE / f"{name}.png") as part:
        part.write_bytes(drawn.png)


def machines(folder: Path) -> list[str]:
    """What the units of a folder were made with, one line a machine, commit and set of versions."""
    found: dict[str, int] = {}
    for file in sorted(folder.rglob("*.json")):
        facts = json.loads(file.read_text("utf-8"))
        machine, versions = (
            facts["machine"],
            ", ".join(f"{p} {v}" for p, v in facts["versions"].items()),
        )
        line = f"commit `{facts['commit']}`, {machine['system']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {versions}"
        found[line] = found.get(line, 0) + 1
    return [f"- {n} units: {line}." for line, n in found.items()]


def ranking(folder: Path) -> None:
    """The tables of a folder of `clickprint rank`: the test, if it was scored, then the validation."""
    name = tomllib.loads((folder / "recipe.toml").read_text("utf-8"))["name"]
    lines = [
        f"# Ranking: {name}",
        "",
        f"Made by `clickprint rank recipes/ranking/{name}.toml --out runs/{name}` and then the same with `--test`; written by "
        f"`python docs/results/make.py ranking runs/{name}`. Half-intervals: 95 %, bootstrap over users.",
        "",
        *machines(folder / "facts"),
        "",
    ]
    stages = [s for s in ("test", "validation") if (folder / f"{s}.md").is_file()]
    for stage in stages:
        _, _, body = (folder / f"{stage}.md").read_text("utf-8").partition("\n")
        picture = f"ranking-{name}.svg"
        lines += [
            f"## {stage.capitalize()}",
            "",
            *([f"![{stage}]({picture})", ""] if stage == stages[0] else []),
            body.strip(),
            "",
        ]
    write_text(HERE / f"ranking-{name}.svg", (folder / f"{stages[0]}.svg").read_text("utf-8"))
    write_text(HERE / f"ranking-{name}.md", "\n".join(lines))


def scaling(folder: Path) -> None:
    """The study in a folder of `clickprint scale`."""
    found, facts = (
        json.loads((folder / f).read_text("utf-8")) for f in ("scaling.json", "facts.json")
    )
    name, measure = found["name"], found["measure"]
    lines = [
        f"# Scaling: {name}",
        "",
        f"Made by `clickprint scale recipes/scaling/{name}.toml --out runs/{name}`, written by `python docs/results/make.py scaling runs/{name}`. Brackets: 95 %, bootstrap over users.",
        "",
        f"- Commit `{facts['commit']}`, {facts['machine']['system']}, {facts['machine']['cores']} cores; "
        + ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
        + ".",
        *(f"- {note}" for note in found["notes"]),
        *(f"- {word}" for word in found["words"]),
        "",
        f"![{measure} against parameters and compute](scaling-{name}.svg)",
        "",
        f"| size | share of the users | seed | width | layers | parameters | training FLOPs | epochs | seconds | {measure} | loss |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {r['size']:g} | {r['fraction']:g} | {r['seed']} | {r['width']} | {r['layers']} | {r['parameters']:,} | {r['flops']:.1e} | {r['epochs']} | "
            f"{r['seconds']:,.0f} | {r[measure]:.4f} [{r[f'{measure} low']:.4f}, {r[f'{measure} high']:.4f}] | {r['loss']:.3f} |"
            for r in found["rungs"]
        ),
        "",
    ]
    write_text(HERE / f"scaling-{name}.svg", (folder / "scaling.svg").read_text("utf-8"))
    write_text(HERE / f"scaling-{name}.md", "\n".join(lines))


def following(folder: Path) -> None:
    """The rolling evaluation of next purchase in a folder of `clickprint next evaluate`."""
    found = json.loads((folder / "evaluate" / "results.json").read_text("utf-8"))
    facts = {
        stage: json.loads((folder / "facts" / f"{stage}.json").read_text("utf-8"))
        for stage in ("read", "evaluate")
    }
    manifest = Dataset.open(folder / "data").manifest
    log, machine = found["log"], facts["evaluate"]["machine"]
    asked = f"clickprint next evaluate --log {log} --windows {len(found['windows'])} --out runs/next-{log}"
    rejected = (
        "; ".join(
            f"{rows:,} ({reason})" for reason, rows in sorted(manifest.rejected.items()) if rows
        )
        or "none"
    )
    other = differing(
        found["recipe"],
        plain(load(PARAMS, log=log).purchase)
        if log in tomllib.loads(PARAMS.read_text("utf-8"))["logs"]
        else {},
    )
    _, _, body = (folder / "evaluate" / "table.md").read_text("utf-8").partition("\n")
    words, _, tables = body.strip().partition("\n\n")
    lines = [
        f"# Next purchase, rolling: {log}",
        "",
        f"Made by `{asked}`, written by `python docs/results/make.py next runs/next-{log}`. Brackets: 95 %, bootstrap over users and windows, "
        f"{found['resamples']:,} resamples; differences are paired.",
        "",
        f"- Data: {manifest.name}, fingerprint `{manifest.fingerprint}`, {manifest.users:,} users, {manifest.items:,} items, "
        f"{manifest.events:,} events. Rejected rows: {rejected}.",
        f"- Seed {found['recipe']['seed']}, commit `{found['commit']}`, {machine['system']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        + ", ".join(
            f"{package} {version}" for package, version in facts["evaluate"]["versions"].items()
        )
        + ".",
        f"- Parameters: those of `recipes/next/params.toml`{', but ' + ', '.join(other) if other else ''}.",
        words,
        "",
        f"![Recall of every list](next-{log}.svg)",
        "",
        tables,
        "",
        "## What it took",
        "",
        "| stage | seconds | peak memory, MiB |",
        "|---|---|---|",
        *(
            f"| {stage} | {took['seconds']:.1f} | {took['peak_mib']:.0f} |"
            for told in facts.values()
            for stage, took in told["stages"].items()
        ),
        "",
    ]
    write_text(HERE / f"next-{log}.svg", (folder / "evaluate" / "recall.svg").read_text("utf-8"))
    write_text(HERE / f"next-{log}.md", "\n".join(lines))


def differing(made: dict[str, Any], published: dict[str, Any]) -> list[str]:
    """`key = value` of each parameter that an evaluation had and the published file has otherwise; machines differ in their threads."""
    one, other = flattened(made), flattened(published)
    names = [
        n for n in {**one, **other} if one.get(n) != other.get(n) and not n.endswith("threads")
    ]
    return [f"`{n} = {one[n]}`" if n in one else f"no `{n}`" for n in names]


def benchmarks(some: Sequence[str]) -> None:
    """Runs the benchmarks, or `some` of them; what is not run keeps what stands of it on the page."""
    page = HERE / "benchmarks.md"
    known = (
        dict(
            re.findall(
                r"^## `python benchmarks/(\w+)\.py`\n\n(.*?)\n*(?=^## |\Z)",
                page.read_text("utf-8"),
                re.M | re.S,
            )
        )
        if some
        else {}
    )
    lines = [
        "# Benchmarks",
        "",
        f"Written by `python docs/results/make.py benchmarks` on {platform.machine()}, {platform.system()}, Python {platform.python_version()}.",
        "",
    ]
    for script in sorted((ROOT / "benchmarks").glob("*.py")):
        if not some or script.stem in some:
            done = subprocess.run(
                [sys.executable, str(script)], cwd=ROOT, capture_output=True, text=True, check=True
            )
            known[script.stem] = done.stdout.strip()
            print(done.stdout, flush=True)
        if script.stem in known:
            lines += [f"## `python benchmarks/{script.name}`", "", known[script.stem], ""]
    write_text(page, "\n".join(lines))


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "benchmarks":
        benchmarks(rest)
    elif what in ("ranking", "scaling", "next"):
        {"ranking": ranking, "scaling": scaling, "next": following}[what](Path(rest[0]))
    else:
        run(Path(what))
