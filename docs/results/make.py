"""The published numbers, from run folders and benchmarks; nothing in this folder is by hand.

python docs/results/make.py runs/complete-journey       # …/complete-journey.md and its picture
python docs/results/make.py ranking runs/ranking/beauty # …/ranking-beauty.md: `clickprint rank`
python docs/results/make.py scaling runs/scaling-beauty # …/scaling-….md: `clickprint scale`
python docs/results/make.py next runs/next-uci          # …/next-uci.md: `clickprint next evaluate`
python docs/results/make.py tests                       # in each ranking page: tests.jsonl
python docs/results/make.py benchmarks                  # every benchmark, about half an hour
python docs/results/make.py benchmarks size bootstrap   # only these; the others stay as they are
"""

import json
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clickprint.apps.next.recipe import load
from clickprint.core.dataset import Dataset
from clickprint.core.files import whole, write_text
from clickprint.core.options import plain
from clickprint.core.text import figure
from clickprint.report.board import control_grids, cover
from clickprint.report.figure import draw
from clickprint.report.table import Grid
from clickprint.tasks.board import Board
from clickprint.work import ledger
from clickprint.work.boards import PROBES, board_file, of_run
from clickprint.work.ledger import Scored
from clickprint.work.track import flattened

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TESTS = HERE / "tests.jsonl"
PARAMS = ROOT / "recipes" / "next" / "params.toml"
Facts = Mapping[str, Any]


# -- parts of a page -------------------------------------------------------------------------


def write(name: str, parts: Iterable[str]) -> None:
    """A page of parts with an empty line between them; empty parts are left out."""
    write_text(HERE / name, "\n\n".join(p.strip("\n") for p in parts if p) + "\n")


def listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def read(file: Path) -> Any:
    return json.loads(file.read_text("utf-8"))


def made_on(facts: Facts) -> str:
    """The commit, the machine and the versions that numbers were made with."""
    machine = facts["machine"]
    memory = f", {machine['memory_gib']} GiB" if "memory_gib" in machine else ""
    versions = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
    on = f"{machine['system']}, {machine['cores']} cores{memory}"
    return f"commit `{facts['commit']}`, {on}; {versions}"


def data_line(data: Facts) -> str:
    counts = ", ".join(f"{data[k]:,} {k}" for k in ("users", "items", "events"))
    rejected = [f"{n:,} ({reason})" for reason, n in sorted(data["rejected"].items()) if n]
    return (
        f"Data: {data['name']}, fingerprint `{data['fingerprint']}`, {counts}."
        f" Rejected rows: {'; '.join(rejected) or 'none'}."
    )


def costs(facts: Iterable[Facts]) -> str:
    """What each stage took."""
    rows = [
        (stage, f"{took['seconds']:.1f}", f"{took['peak_mib']:.0f}")
        for told in facts
        for stage, took in told["stages"].items()
    ]
    grid = Grid("", ("stage", "seconds", "peak memory, MiB"), rows)
    return "## What it took\n\n" + grid.to_markdown()


def picture(file: Path, name: str) -> None:
    write_text(HERE / name, file.read_text("utf-8"))


# -- products --------------------------------------------------------------------------------


def board(found: Board) -> str:
    """A board: scores with intervals, live scores where labels are dead, places, words."""
    standings = found.standings()
    order = [s.profile for s in standings]
    rows = []
    for task in found.tasks:
        about = found.about(task)
        cells = []
        for profile in order:
            live = f" · live {figure(found.live(profile, task).value)}" if about.degenerate else ""
            cells.append(found.score(profile, task).text() + live)
        labels = f"{about.labels} ({about.degenerate})"
        rows.append([task, f"{about.users:,}", labels, *cells])
    rows.append(["**sum** of counted tasks", "", "", *(found.total(p).text() for p in order)])
    places = (f"{s.points:g} ({s.place:g})" for s in standings)
    rows.append(["**Borda** points (place)", "", "", *places])
    if found.hidden:
        spreads = [found.spread(p) for p in order]
        means = (f"{s.mean.value:.4f} ({s.deviation:.3f})" if s else "–" for s in spreads)
        rows.append([f"mean of {len(found.hidden)} hidden tasks (sd)", "", "", *means])
    grid = Grid("", ("task", "users", "labels (dead)", *order), rows, align="l")
    head = f"## {found.probe.capitalize()} probe"
    grids = [grid, *control_grids(found)]
    return "\n\n".join([head, listed(found.verdicts()), *(g.to_markdown() for g in grids)])


def run(folder: Path) -> None:
    """The boards of a folder of `clickprint run`, and the README's picture."""
    facts = read(folder / "facts.json")
    name, data, split = facts["recipe"], facts["data"], facts["split"]
    boards = {p: of_run(folder, p) for p in reversed(PROBES) if board_file(folder, p).is_file()}
    write(
        f"{name}.md",
        [
            f"# {name}",
            f"Made by `clickprint run recipes/{name}.toml`, written by `python"
            f" docs/results/make.py runs/{name}`. Brackets: 95 % intervals, paired bootstrap over"
            " users.",
            listed(
                [
                    data_line(data),
                    f"Past before {split['cutoff']}; train {split['train']}; validation"
                    f" {split['valid']}.",
                    f"Seed {facts['seed']}, {made_on(facts)}.",
                    "No item is filtered as seen. Ties in time break by (time, kind, item, row),"
                    " ties between labels by the smaller value.",
                ]
            ),
            *map(board, boards.values()),
            costs([facts]),
        ],
    )
    quick = boards["quick"]
    line = (
        f"{data['name']}: {data['users']:,} users, {data['events']:,} events,"
        f" {len(quick.counted)} tasks, {len(quick.hidden)} hidden tasks, quick probe"
    )
    drawn = draw(lambda: cover(quick, line), "board")
    assert drawn is not None, "a board without a counted task"
    with whole(HERE / f"{name}.png") as part:
        part.write_bytes(drawn.png)


def ranking(folder: Path) -> None:
    """The tables of a folder of `clickprint rank`: the test, if it was scored, then validation."""
    name = tomllib.loads((folder / "recipe.toml").read_text("utf-8"))["name"]
    made: dict[str, int] = {}
    for file in sorted((folder / "facts").rglob("*.json")):
        line = made_on(read(file))
        made[line] = made.get(line, 0) + 1
    stages = [s for s in ("test", "validation") if (folder / f"{s}.md").is_file()]
    parts = []
    for stage in stages:
        _, _, body = (folder / f"{stage}.md").read_text("utf-8").partition("\n")
        shown = f"![{stage}](ranking-{name}.svg)" if stage == stages[0] else ""
        parts += [f"## {stage.capitalize()}", shown, body]
    picture(folder / f"{stages[0]}.svg", f"ranking-{name}.svg")
    write(
        f"ranking-{name}.md",
        [
            f"# Ranking: {name}",
            f"Made by `clickprint rank recipes/ranking/{name}.toml --out runs/{name}` and then the"
            f" same with `--test`; written by `python docs/results/make.py ranking runs/{name}`."
            " Half-intervals: 95 %, bootstrap over users and seeds.",
            listed(f"{n} units: {line}." for line, n in made.items()),
            *parts,
        ],
    )
    publish(ledger.entries(ledger.file()), name)
    tests()


def publish(some: Sequence[Scored], name: str) -> None:
    """Add what this machine's ledger knows of a recipe to the published one."""
    known = ledger.entries(TESTS)
    more = [s for s in some if s.recipe == name and s not in known]
    write_text(TESTS, "".join(map(ledger.line, [*known, *more])))


def tests() -> None:
    """Each ranking page's last section: how often its test items were scored, by tests.jsonl."""
    known, head = ledger.entries(TESTS), "## How often this test was scored"
    for page in sorted(HERE.glob("ranking-*.md")):
        name = page.stem.removeprefix("ranking-")
        asked = dict.fromkeys((s.fingerprint, s.protocol) for s in known if s.recipe == name)
        lines = [line for items in asked for line in ledger.words(*items, known)]
        body = page.read_text("utf-8").partition(head)[0]
        write(page.name, [body, *([head, listed(lines)] if lines else [])])


def scaling(folder: Path) -> None:
    """The study in a folder of `clickprint scale`."""
    found, facts = read(folder / "scaling.json"), read(folder / "facts.json")
    name, metric = found["name"], found["metric"]
    heads = ("size", "share of the users", "seed", "width", "layers", "parameters")
    rows = [
        (
            *(f"{r[key]:g}" for key in ("size", "fraction", "seed", "width", "layers")),
            f"{r['parameters']:,}",
            f"{r['flops']:.1e}",
            str(r["epochs"]),
            f"{r['seconds']:,.0f}",
            f"{r[metric]:.4f} [{r[f'{metric} low']:.4f}, {r[f'{metric} high']:.4f}]",
            f"{r['loss']:.3f}",
        )
        for r in found["rungs"]
    ]
    more = ("training FLOPs", "epochs", "seconds", metric, "loss")
    picture(folder / "scaling.svg", f"scaling-{name}.svg")
    write(
        f"scaling-{name}.md",
        [
            f"# Scaling: {name}",
            f"Made by `clickprint scale recipes/scaling/{name}.toml --out runs/{name}`, written by"
            f" `python docs/results/make.py scaling runs/{name}`. Brackets: 95 %, bootstrap over"
            " users.",
            listed([f"Made with {made_on(facts)}.", *found["notes"], *found["words"]]),
            f"![{metric} against parameters and compute](scaling-{name}.svg)",
            Grid("", (*heads, *more), rows).to_markdown(),
        ],
    )


def following(folder: Path) -> None:
    """The rolling evaluation of next purchase in a folder of `clickprint next evaluate`."""
    found = read(folder / "evaluate" / "results.json")
    facts = [read(folder / "facts" / f"{stage}.json") for stage in ("read", "evaluate")]
    data, log = Dataset.open(folder / "data").manifest, found["log"]
    known = log in tomllib.loads(PARAMS.read_text("utf-8"))["logs"]
    published = plain(load(PARAMS, log=log).purchase) if known else {}
    others = differing(found["recipe"], published)
    but = f", but {', '.join(others)}" if others else ""
    asked = f"clickprint next evaluate --log {log} --windows {len(found['windows'])}"
    _, _, body = (folder / "evaluate" / "table.md").read_text("utf-8").partition("\n")
    words, _, tables = body.strip().partition("\n\n")
    counts = {k: getattr(data, k) for k in ("name", "fingerprint", "users", "items", "events")}
    picture(folder / "evaluate" / "recall.svg", f"next-{log}.svg")
    write(
        f"next-{log}.md",
        [
            f"# Next purchase, rolling: {log}",
            f"Made by `{asked} --out runs/next-{log}`, written by"
            f" `python docs/results/make.py next runs/next-{log}`. Brackets: 95 %,"
            " bootstrap over users and windows,"
            f" {found['resamples']:,} resamples; differences are paired.",
            listed(
                [
                    data_line({**counts, "rejected": data.rejected}),
                    f"Seed {found['recipe']['seed']},"
                    f" {made_on({**facts[1], 'commit': found['commit']})}.",
                    f"Parameters: those of `recipes/next/params.toml`{but}.",
                ]
            )
            + f"\n{words}",
            f"![Recall of every list](next-{log}.svg)",
            tables,
            costs(facts),
        ],
    )


def differing(made: dict[str, Any], published: dict[str, Any]) -> list[str]:
    """`key = value` of each parameter that differs from the published file's.

    Machines differ in their threads; these are left out.
    """
    one, other = flattened(made), flattened(published)
    names = [
        n for n in {**one, **other} if one.get(n) != other.get(n) and not n.endswith("threads")
    ]
    return [f"`{n} = {one[n]}`" if n in one else f"no `{n}`" for n in names]


# -- benchmarks ------------------------------------------------------------------------------


def benchmarks(some: Sequence[str]) -> None:
    """Run the benchmarks, or `some` of them; the others keep what stands of them on the page."""
    page = HERE / "benchmarks.md"
    section = r"^## `python benchmarks/(\w+)\.py`\n\n(.*?)\n*(?=^## |\Z)"
    known = dict(re.findall(section, page.read_text("utf-8"), re.M | re.S)) if some else {}
    parts = [
        "# Benchmarks",
        f"Written by `python docs/results/make.py benchmarks` on {platform.machine()},"
        f" {platform.system()}, Python {platform.python_version()}.",
    ]
    for script in sorted((ROOT / "benchmarks").glob("*.py")):
        if not some or script.stem in some:
            done = subprocess.run(
                [sys.executable, str(script)], cwd=ROOT, capture_output=True, text=True, check=True
            )
            known[script.stem] = done.stdout.strip()
            print(done.stdout, flush=True)
        if script.stem in known:
            parts += [f"## `python benchmarks/{script.name}`", known[script.stem]]
    write("benchmarks.md", parts)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "benchmarks":
        benchmarks(rest)
    elif what == "tests":
        tests()
    elif what in ("ranking", "scaling", "next"):
        {"ranking": ranking, "scaling": scaling, "next": following}[what](Path(rest[0]))
    else:
        run(Path(what))
