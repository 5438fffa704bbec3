"""A run: what a recipe says, stage by stage, in one folder that goes on where it stopped.

Every output knows the digest of what it was made from, and what has the same digest is not made
again, so an interrupted run ends with the same bytes. Only facts.json, and the report that quotes
it, tell what the stages cost.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from clickprint.apps.run.recipe import Recipe, load
from clickprint.core.dataset import Dataset
from clickprint.core.errors import ClickprintError
from clickprint.core.files import new_file, new_folder, write_text
from clickprint.core.profiles import problems
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.text import say
from clickprint.data.engine import Engine
from clickprint.data.log import EventLog
from clickprint.data.overview import overview
from clickprint.data.split import Split, anchored, split
from clickprint.report.board import show as show_board
from clickprint.tasks import task_set
from clickprint.tasks.board import Board, Without
from clickprint.tasks.rows import Rows
from clickprint.tasks.score import Probe
from clickprint.tasks.task import Task
from clickprint.work import listing
from clickprint.work.boards import (
    PROBES,
    board_file,
    log_facts,
    log_notes,
    of_runs,
    run_faults,
    write_board,
)
from clickprint.work.facts import Facts
from clickprint.work.folder import RECIPE, Workspace, digest, made_from, write_made_from
from clickprint.work.probes import named_devices
from clickprint.work.profiles import MadeProfiles
from clickprint.work.resources import Resources, Tables
from clickprint.work.scores import Scoring
from clickprint.work.stages import Graph, Stage
from clickprint.work.tasksets import open_tasks

GRAPH = Graph(
    (
        Stage(name="data", run="clickprint.work.source:dataset", keys=("data",)),
        Stage(
            name="profiles",
            run="clickprint.work.profiles:make",
            about="Fit an encoder and encode the users; one folder a profile.",
            reads=("data",),
            keys=("split", "seed"),
            parts=True,
        ),
        Stage(
            name="scores",
            run="clickprint.tasks.score:answer",
            about="Ask a probe; one file a profile and task.",
            reads=("profiles",),
            keys=("probes.resamples",),
            parts=True,
        ),
        Stage(name="report", run="clickprint.report.boards:write", reads=("scores",)),
    )
)
FACTS, REPORT = "facts.json", "report.html"
COUNTED = "ubm25"  # the set whose tasks are ranked; without it all open tasks are
FIRST = "the first board; hidden tasks and ablation follow where the recipe has them"
Show = Callable[[Board, Sequence[str]], None]  # a board, and footnotes to it


def run(
    recipe: Recipe | Path | str,
    folder: Path | str,
    *,
    fresh: bool = False,
    resources: Resources = Resources(),
    devices: str = "1",
    skip_official: bool = False,
    progress: Progress = silent,
    show: Show = lambda board, notes: None,
) -> Path:
    """Do what a recipe says in `folder`; what is there and still valid stays. The folder.

    - `fresh`: empty the folder of a run first.
    - `devices`: of the official probe, as probes.named_devices has it.
    - `skip_official`: leave the official probe out.
    - `show`: called with each board as soon as it is there; with the quick probe's twice, at
      first without hidden tasks and ablation.

    Raises DataError, and ConfigError where the folder holds something else, or where another
    process writes it.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load(recipe)
    wants_official = bool(recipe.probes.official) and not skip_official
    # A missing torch is told before the minutes, not after them.
    on = named_devices(resources.accelerator, devices) if wants_official else []
    work = Workspace(Path(folder), "run")
    with work.claim(recipe, load, fresh=fresh), work.spill() as spill:
        work.can_write(FACTS, REPORT, *(board_file(Path(), probe).name for probe in PROBES))
        new_folder(work.path("plots"), "", overwrite=True)
        file, command = work.path(FACTS), f"clickprint run {RECIPE}"
        facts = Facts.of(file, recipe=recipe.name, seed=recipe.seed, command=command)
        with resources.engine(spill) as engine:
            with facts.stage("data"):
                data, log, parts = _opened(recipe, engine, progress)
            facts.tell(**log_facts(data.manifest, parts))
            notes = [*log_notes(data.manifest, parts), f"seed {recipe.seed}"]
            boards: list[Board] = []
            read = {"data": data.manifest.fingerprint}
            made = MadeProfiles(
                work=work,
                parts=recipe.profiles,
                past=parts.past,
                rng=RNG(recipe.seed).child("profiles"),
                facts=facts,
                inputs=partial(GRAPH.digest, "profiles", recipe, read),
                accelerator=resources.accelerator,
                progress=progress,
            )
            for board, final in _boards(recipe, made, Rows(log), parts, on, resources.threads):
                show(board, notes if final else [FIRST, *notes])
                if final:
                    write_board(work.folder, board)
                    boards.append(board)
            _report(recipe, work, facts, log, parts, boards)
    return work.folder


def _opened(
    recipe: Recipe, engine: Engine, progress: Progress = silent
) -> tuple[Dataset, EventLog, Split]:
    """The data, the log as the recipe sees it, and its split."""
    data, days = recipe.data.open(engine, progress=progress), recipe.split.horizon_days
    log = EventLog.open(data, engine)
    for _ in range(recipe.split.shift):
        log = log.before(anchored(log, days)[0].start)
    return data, log, split(log, horizon_days=days, users=data.population)


def _boards(
    recipe: Recipe,
    made: MadeProfiles,
    log: Rows,
    parts: Split,
    devices: Sequence[str],
    threads: int | None,
) -> Iterator[tuple[Board, bool]]:
    """Each board as soon as it is there, and whether it is final.

    The official probe is asked where it has devices.
    """
    probes, facts, progress = recipe.probes, made.facts, made.progress
    rows = list(probes.quick or recipe.profiles)
    made.make([*rows, *(probes.official if devices else ()), *filter(None, [probes.ablation])])
    past, train, rng = parts.past, parts.train, RNG(recipe.seed).child("tasks")
    sets, left_out = open_tasks(recipe.tasks.sets, past, log, train, rng=rng)
    facts.tell(tasks_left_out=left_out)
    every: list[Task] = [t for tasks in sets.values() for t in tasks]
    counted = [t.name for t in sets.get(COUNTED, ())] or None
    board = partial(
        Board.of,
        reference=probes.reference or recipe.first("counts"),
        control=probes.control or recipe.first("random"),
    )
    scoring = Scoring(
        profiles=made,
        log=log,
        train=train,
        valid=parts.valid,
        inputs=partial(GRAPH.digest, "scores", recipe),
        resamples=probes.resamples,
        progress=progress,
    )
    with facts.stage("quick probe"):
        scores = scoring.quick("quick probe", rows, every)
    if recipe.tasks.hidden or probes.ablation:
        yield board(scores, counted=counted), False
    if recipe.tasks.hidden:
        with facts.stage("hidden tasks"):
            progress("draw hidden tasks", 0, 0)
            count = recipe.tasks.hidden
            drawn = task_set("hidden", past, log, train, rng=rng, count=count)
            found = scoring.quick("hidden tasks", rows, drawn.tasks, hidden=True)
            scores = {row: [*scores[row], *found[row]] for row in scores}
    with facts.stage("ablation"):
        blocks = [b for b, _ in made[probes.ablation].blocks] if probes.ablation else []
        # Without its only block nothing is left.
        left = [Without(probes.ablation, b) for b in blocks if len(blocks) > 1]
        asked = [t for t in every if counted is None or t.name in counted]
        ablation = scoring.quick("ablation", left, asked) if left else {}
    yield board(scores, counted=counted, ablation=ablation), True
    if devices:
        asked = [t for name in probes.official_sets or sets for t in sets[name]]
        with facts.stage("official probe"):
            controls = probes.official_controls
            trained = scoring.official(probes.official, asked, devices, threads, controls=controls)
        both = [n for n in counted or () if any(t.name == n for t in asked)]
        yield board(trained, counted=both or None), True


# -- the report ------------------------------------------------------------------------------


def _report(
    recipe: Recipe,
    work: Workspace,
    facts: Facts,
    log: EventLog,
    parts: Split,
    boards: Sequence[Board],
) -> None:
    """Write the report, unless it shows these boards already."""
    shown = [board_file(work.folder, b.probe).read_text("utf-8") for b in boards]
    made = GRAPH.digest("report", recipe, {"scores": digest(*shown)})
    file = work.path(REPORT)
    plots = work.path("plots")
    there = file.is_file() and plots.is_dir()
    if there and made_from(work.folder).get("report") == made:
        return
    from clickprint.report.boards import write

    with facts.stage("report"):
        # What the report itself took stands in facts.json only.
        told = {**facts.told, "recipe file": recipe.text}
        write(file, recipe.name, told, overview(log, parts), boards, plots=plots)
    write_made_from(work.folder, {"report": made})


def report_of(runs: Sequence[Path], board: Board, file: Path) -> None:
    """Write a page with one board of several runs, the facts of each, and the first one's log."""
    from clickprint.report.boards import write

    with Tables().engine() as engine:
        _, log, parts = _opened(load(runs[0] / RECIPE), engine)
        facts = {run.resolve().name: Facts.read(run / FACTS) for run in runs}
        write(file, " and ".join(facts), facts, overview(log, parts), [board])


def board_of(
    runs: Sequence[Path], probe: Probe, files: Mapping[str, Path | None], *, overwrite: bool
) -> None:
    """Shows one board of several runs, and writes it as `csv`, `json` and `html`."""
    wanted = {form: file for form, file in files.items() if file}
    for file in wanted.values():
        new_file(file, overwrite=overwrite)
    found = of_runs(runs, probe)
    show_board(found)
    for form, file in wanted.items():
        if form == "html":
            report_of(runs, found, file)
        else:
            write_text(file, found.to_csv() if form == "csv" else found.to_json())
        say(file)


def check_run(folder: Path) -> list[str]:
    """Every fault of a run folder: its recipe, profiles, scores, boards."""
    try:
        load(folder / RECIPE)
    except ClickprintError as fault:
        return [str(fault), *run_faults(folder)]
    return run_faults(folder)


def validate(folder: Path) -> int:
    """Prints every fault of a dataset, of profiles or of a run, a line each; 1 if there is one."""
    try:
        if (folder / RECIPE).is_file():
            faults = check_run(folder)
        elif not (folder / "manifest.json").is_file():
            faults = problems(folder, None)
        else:
            found, faults = Dataset.open(folder), []
            found.check()
            say(listing.dataset(found))
    except ClickprintError as fault:
        faults = [str(fault)]
    say("\n".join(faults) or f"{folder}: valid")
    return int(bool(faults))
