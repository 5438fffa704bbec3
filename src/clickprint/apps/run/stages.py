"""A run: what a recipe says, stage by stage, in one folder that goes on where it stopped.

Every output is written whole and knows the digest of what it was made from: its part of the recipe, the data's fingerprint, and the source
of the floors below it. What has the same digest is not made again, so a run that was killed ends with the same bytes. Only facts.json,
and the report that quotes it, tell what the stages cost, and so differ.
"""

import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from clickprint.apps.run.boards import board_file, of_run, write_board
from clickprint.apps.run.recipe import PROBES, Recipe, load
from clickprint.core.checkpoints import checkpoints
from clickprint.core.dataset import Dataset
from clickprint.core.errors import ClickprintError, ConfigError
from clickprint.core.profiles import Profiles, problems
from clickprint.core.progress import Progress, silent
from clickprint.core.rng import RNG
from clickprint.core.time import show as show_time
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.log import EventLog
from clickprint.data.overview import overview
from clickprint.data.split import Split, anchored, split
from clickprint.encoders import load as load_fitted
from clickprint.tasks import task_set
from clickprint.tasks.board import LEFT_OUT, Board
from clickprint.tasks.rows import Rows
from clickprint.tasks.score import Designs, Probe, Question, answer, ask, named
from clickprint.tasks.score import load as load_score
from clickprint.tasks.score import save as save_score
from clickprint.tasks.task import Task, TaskScore
from clickprint.work.facts import Facts, code
from clickprint.work.folder import (
    INPUTS,
    claimed,
    digest,
    made_from,
    make_folder,
    stamp,
    write_made_from,
)
from clickprint.work.probes import Job, named_devices, official
from clickprint.work.source import dataset
from clickprint.work.tasksets import tasks_of

RECIPE, FACTS, REPORT, LOCK, SPILL, TRAINING, FITTED = (
    "recipe.toml",
    "facts.json",
    "report.html",
    ".lock",
    ".spill",
    "training",
    "fitted",
)
COUNTED = "ubm25"  # the set whose tasks are summed and ranked; where a recipe does not have it, all open tasks are
FIRST = "the first board; hidden tasks and ablation follow where the recipe has them"
Show = Callable[[Board, Sequence[str]], None]  # a board, and footnotes to it
Scores = dict[str, list[TaskScore]]  # profile → its scores


def hide(board: Board, notes: Sequence[str]) -> None:
    """Shows nothing."""


def run(
    recipe: Recipe | Path | str,
    folder: Path | str,
    *,
    fresh: bool = False,
    memory: str | None = None,
    threads: int | None = None,
    accelerator: str = "auto",
    devices: str = "1",
    skip_official: bool = False,
    progress: Progress = silent,
    show: Show = hide,
) -> Path:
    """Does what a recipe says, in `folder`; what is there and still valid stays. The folder.

    `fresh` empties the folder of a run first. `memory` and `threads` are the engine's (`threads` the official probe's too), `devices` as
    probes.named_devices has it. `show` is called with each board as soon as it is there: with the quick probe's twice, at first without
    hidden tasks and ablation. Raises DataError, and ConfigError where the folder holds another recipe's run, or something else, or is
    being written.
    """
    recipe, folder = recipe if isinstance(recipe, Recipe) else load(recipe), Path(folder)
    wants_official = bool(recipe.probes.official) and not skip_official
    on = (
        named_devices(accelerator, devices) if wants_official else []
    )  # a missing torch is told before the minutes, not after them
    with ExitStack() as stack:
        stack.enter_context(_claimed(folder, recipe, fresh))
        facts = Facts.of(
            folder / FACTS,
            recipe=recipe.name,
            seed=recipe.seed,
            command=f"clickprint run {RECIPE}",
        )
        engine = stack.enter_context(DuckDB(memory=memory, threads=threads, spill=folder / SPILL))
        with facts.stage("data"):
            data = _data(recipe, engine, progress)
            log, parts = _cut(recipe, EventLog.open(data, engine), data.population)
        facts.tell(**_data_facts(data, parts))
        work = _Work(recipe, folder, data, Rows(log), parts, facts, progress)
        notes = work.notes()

        work.make_profiles(wants_official)
        tasks = work.open_tasks()
        counted = [t.name for t in tasks.get(COUNTED, ())] or None
        every = [t for of_set in tasks.values() for t in of_set]
        scores: Scores = {name: [] for name in recipe.probes.quick or recipe.profiles}
        with facts.stage("quick probe"):
            work.ask_quick("quick probe", every, scores)
        if recipe.tasks.hidden or recipe.probes.ablation:
            show(work.board(scores, counted), [FIRST, *notes])
        if recipe.tasks.hidden:
            with facts.stage("hidden tasks"):
                work.ask_quick("hidden tasks", work.hidden_tasks(), scores, hidden=True)
        with facts.stage("ablation"):
            ablation = work.ablation([t for t in every if counted is None or t.name in counted])
        boards = [work.board(scores, counted, ablation)]
        write_board(folder, boards[0])
        show(boards[0], notes)

        if wants_official:
            asked = [t for name in recipe.probes.official_sets or tasks for t in tasks[name]]
            with facts.stage("official probe"):
                trained = work.ask_official(asked, on, threads)
            both = [n for n in counted or () if any(t.name == n for t in asked)]
            boards.append(work.board(trained, both or None))
            write_board(folder, boards[1])
            show(boards[1], notes)
        _report(folder, recipe, facts, log, parts, boards)
    return folder


# -- the folder -------------------------------------------------------------------------------------------------------------------


def _claimed(folder: Path, recipe: Recipe, fresh: bool) -> AbstractContextManager[None]:
    """Holds the folder for this process; comments and order aside, its recipe must be this one."""
    return claimed(
        folder,
        recipe=RECIPE,
        lock=LOCK,
        what="run",
        text=recipe.text,
        same=lambda file: load(file) == recipe,
        fresh=fresh,
        spill=SPILL,
        spare=TRAINING,
    )


def check_run(folder: Path) -> list[str]:
    """Every fault of a run folder: its recipe, profiles, boards. Empty when there is none."""
    faults: list[str] = []
    checks: list[Callable[[], object]] = [partial(load, folder / RECIPE)]
    checks += [
        partial(of_run, folder, probe) for probe in PROBES if board_file(folder, probe).is_file()
    ]
    checks += [
        partial(load_score, file)
        for file in sorted(folder.glob("scores/*/*/*.json"))
        if file.name != INPUTS
    ]
    for check in checks:
        try:
            check()
        except ClickprintError as fault:
            faults.append(str(fault))
    for profiles in sorted(
        p for p in folder.glob("profiles/*") if p.is_dir() and not p.name.startswith(".")
    ):
        faults += [f"{profiles.relative_to(folder)}/{fault}" for fault in problems(profiles, None)]
    return (
        faults
        if board_file(folder, "quick").is_file()
        else [*faults, "no board yet: the run is not finished"]
    )


# -- the stages -------------------------------------------------------------------------------------------------------------------


def _data(recipe: Recipe, engine: Engine, progress: Progress) -> Dataset:
    part = recipe.data
    if part.folder:
        return Dataset.open(part.folder)
    return dataset(
        part.source,
        Path(part.path) if part.path else None,
        part.options,
        engine=engine,
        progress=progress,
    )


def _data_facts(data: Dataset, parts: Split) -> dict[str, Any]:
    m = data.manifest
    counts = {"users": m.users, "items": m.items, "events": m.events, "rejected": m.rejected}
    return {
        "data": {"name": m.name, "fingerprint": m.fingerprint, **counts},
        "split": {
            "cutoff": show_time(parts.past.cutoff),
            "train": str(parts.train),
            "valid": str(parts.valid),
            "users": len(parts.past.users),
        },
    }


@dataclass(slots=True)
class _Work:
    """What the stages of one run share."""

    recipe: Recipe
    folder: Path
    data: Dataset
    log: Rows
    parts: Split
    facts: Facts
    progress: Progress
    made: dict[str, str] = field(
        default_factory=dict
    )  # profile → the digest of what it was made from
    loaded: dict[str, Profiles] = field(default_factory=dict)
    left_out: dict[str, str] = field(
        default_factory=dict
    )  # task → why this log cannot be asked it

    def notes(self) -> list[str]:
        users = f"{len(self.parts.past.users):,} users, {self.data.manifest.events:,} events, seed {self.recipe.seed}"
        return [
            f"{self.data.manifest.name}, fingerprint {self.data.manifest.fingerprint}: {users}",
            f"past before {show_time(self.parts.past.cutoff)}; train {self.parts.train}; validation {self.parts.valid}",
        ]

    # -- profiles

    def make_profiles(self, with_official: bool) -> None:
        """Every profile that a probe asks for."""
        probes = self.recipe.probes
        wanted = [
            *(probes.quick or self.recipe.profiles),
            *(probes.official if with_official else ()),
            probes.ablation,
        ]
        for name in self._blocks_first(n for n in wanted if n):
            made = digest(
                self.data.manifest.fingerprint,
                self.recipe.split.horizon_days,
                *([self.recipe.split.back] if self.recipe.split.back else ()),
                self.recipe.seed,
                name,
                self._settings(name),
                code("profiles"),
            )
            self.made[name] = made
            if made_from(self._profiles(name)) == {"folder": made}:
                continue
            with self.facts.stage(f"profiles {name}"):
                make_folder(self._profiles(name), made, partial(self._make, name))
        shutil.rmtree(self.folder / TRAINING, ignore_errors=True)

    def _settings(self, name: str) -> list[Any]:
        """What an encoder is made from: its options, its blocks' options, and the state of files that it reads."""
        part = self.recipe.profiles[name]
        blocks = [
            self._settings(b) if b in self.recipe.profiles else b
            for b in part.options.get("blocks", ())
            if isinstance(b, str)
        ]
        files = [stamp(v) for v in part.options.values() if isinstance(v, Path)]
        return [part.encoder, dict(part.options), blocks, files]

    def _own_blocks(self, name: str) -> list[str]:
        """The blocks of a joined profile that are profiles of this recipe."""
        return [
            b
            for b in self.recipe.profiles[name].options.get("blocks", ())
            if b in self.recipe.profiles
        ]

    def _blocks_first(self, names: Iterable[str]) -> list[str]:
        """The names and all of their blocks, each once, a block before what is joined of it: so nothing is fitted twice."""
        return list(
            dict.fromkeys(
                n for name in names for n in (*self._blocks_first(self._own_blocks(name)), name)
            )
        )

    def _make(self, name: str, folder: Path) -> None:
        self.progress(f"profiles {name}", 0, 1)
        rng = RNG(self.recipe.seed).child("profiles").child(name)
        with checkpoints(self.folder / TRAINING / self.made[name]):  # a killed training goes on
            blocks = {b: load_fitted(self._profiles(b) / FITTED) for b in self._own_blocks(name)}
            fitted = self.recipe.encoder(name, blocks).fit(
                self.parts.past, rng=rng, progress=self.progress
            )
        fitted.encode(self.parts.past).save(folder)
        fitted.save(folder / FITTED)
        self.progress(f"profiles {name}", 1, 1)

    def _profiles(self, name: str) -> Path:
        return self.folder / "profiles" / name

    def profiles(self, name: str) -> Profiles:
        """A profile, or one of its ablations, loaded once."""
        if name not in self.loaded:
            whole, _, block = name.partition(LEFT_OUT)
            found = (
                Profiles.load(self._profiles(whole))
                if not block
                else self.profiles(whole).without(block)
            )
            self.loaded[name] = found
        return self.loaded[name]

    # -- tasks

    def open_tasks(self) -> dict[str, list[Task]]:
        """Set → its tasks. Raises ConfigError where two have one name, or there is none."""
        rng = RNG(self.recipe.seed).child("tasks")
        found: dict[str, list[Task]] = {}
        for name in self.recipe.tasks.sets:
            made = tasks_of(name, self.parts.past, self.log, self.parts.train, rng=rng)
            found[name] = list(made.tasks)
            self.left_out.update(made.left_out)
        names = [t.name for tasks in found.values() for t in tasks]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ConfigError(
                f"tasks.sets: {', '.join(twice)} stands in more than one set; leave one of them out"
            )
        self.facts.tell(tasks_left_out=self.left_out)
        return found

    def hidden_tasks(self) -> list[Task]:
        self.progress("draw hidden tasks", 0, 0)
        rng = RNG(self.recipe.seed).child("tasks")
        return list(
            task_set(
                "hidden",
                self.parts.past,
                self.log,
                self.parts.train,
                rng=rng,
                count=self.recipe.tasks.hidden,
            ).tasks
        )

    def _ask(self, task: Task, hidden: bool = False) -> Question:
        return ask(
            task,
            self.log,
            self.parts.train,
            self.parts.valid,
            self.parts.past.users,
            hidden=hidden,
        )

    # -- scores

    def _inputs(self, probe: Probe, profile: str, question: Question) -> str:
        """What a score is made from."""
        made = self.made[profile.partition(LEFT_OUT)[0]], profile.partition(LEFT_OUT)[2]
        return digest(
            made,
            question.task.name,
            question.digest,
            question.hidden,
            probe,
            self.recipe.probes.resamples,
            code("scores"),
        )

    def _kept(self, probe: Probe, profile: str, question: Question) -> TaskScore | None:
        """The score from an earlier call, if it is still the answer to the same question."""
        folder = self._scores(probe, profile)
        if made_from(folder).get(question.task.name) != self._inputs(probe, profile, question):
            return None
        try:
            return load_score(folder / _file(question.task.name))
        except ClickprintError:
            return None  # its file was lost or damaged: made again

    def _keep(self, probe: Probe, profile: str, question: Question, found: TaskScore) -> None:
        folder = self._scores(probe, profile)
        save_score(found, folder / _file(question.task.name))
        write_made_from(
            folder,
            {**made_from(folder), question.task.name: self._inputs(probe, profile, question)},
        )

    def _scores(self, probe: Probe, profile: str) -> Path:
        return self.folder / "scores" / probe / profile

    def ask_quick(
        self, stage: str, tasks: Sequence[Task], scores: Scores, *, hidden: bool = False
    ) -> None:
        """Adds each profile's score on each task. A question is asked once, and an equal one is answered once."""
        designs = Designs(keep=2 * len(scores))
        known: dict[tuple[str, str], TaskScore] = {}
        for done, task in enumerate(tasks):
            self.progress(stage, done, len(tasks))
            question = self._ask(task, hidden)
            for profile, row in scores.items():
                found = self._kept("quick", profile, question)
                if found is None:
                    found = known.get((profile, question.digest)) or answer(
                        question,
                        self.profiles(profile),
                        "quick",
                        resamples=self.recipe.probes.resamples,
                        designs=designs,
                    )
                    found = named(found, question)
                    self._keep("quick", profile, question, found)
                known[profile, question.digest] = found
                row.append(found)
        self.progress(stage, len(tasks), len(tasks))

    def ablation(self, tasks: Sequence[Task]) -> Scores:
        """The scores of the recipe's joined profile without each of its blocks; empty where the recipe wants none."""
        whole = self.recipe.probes.ablation
        if not whole:
            return {}
        scores: Scores = {
            f"{whole}{LEFT_OUT}{block}": [] for block, _ in self.profiles(whole).blocks
        }
        if len(scores) > 1:  # without its only block nothing is left
            self.ask_quick("ablation", tasks, scores)
            return scores
        return {}

    def ask_official(
        self, tasks: Sequence[Task], on: Sequence[str], threads: int | None
    ) -> Scores:
        """Each profile's score on each task, trained on the devices, each kept as soon as it is there."""
        questions = [self._ask(task) for task in tasks]
        scores: dict[tuple[str, str], TaskScore] = {}
        jobs: dict[tuple[str, str], Job] = {}
        for profile in self.recipe.probes.official:
            for question in questions:
                found = self._kept("official", profile, question)
                if found is not None:
                    scores[profile, question.task.name] = found
                elif (profile, question.digest) not in jobs:
                    jobs[profile, question.digest] = Job(
                        f"{profile} {question.task.name}", question, self._profiles(profile)
                    )
        owners = {id(job): profile for (profile, _), job in jobs.items()}
        for job, found in official(
            list(jobs.values()),
            on,
            resamples=self.recipe.probes.resamples,
            threads=threads,
            progress=self.progress,
        ):
            profile = owners[id(job)]
            for question in questions:
                if (
                    question.digest == job.question.digest
                    and (profile, question.task.name) not in scores
                ):
                    scores[profile, question.task.name] = named(found, question)
                    self._keep("official", profile, question, scores[profile, question.task.name])
        return {p: [scores[p, t.name] for t in tasks] for p in self.recipe.probes.official}

    # -- boards

    def board(
        self, scores: Scores, counted: Sequence[str] | None, ablation: Scores | None = None
    ) -> Board:
        reference, control = (
            named_
            or next((n for n, p in self.recipe.profiles.items() if p.encoder == encoder), encoder)
            for named_, encoder in (
                (self.recipe.probes.reference, "counts"),
                (self.recipe.probes.control, "random"),
            )
        )
        return Board.of(
            scores, reference=reference, control=control, ablation=ablation, counted=counted
        )


def _cut(
    recipe: Recipe, log: EventLog, users: Int64[np.ndarray, "U"] | None
) -> tuple[EventLog, Split]:
    """The log as the recipe sees it, and its split."""
    for _ in range(recipe.split.back):
        log = log.before(anchored(log, recipe.split.horizon_days)[0].start)
    return log, split(log, horizon_days=recipe.split.horizon_days, users=users)


def _file(task: str) -> str:
    """A task's file: its name, with what a file system may not take replaced."""
    return re.sub(r"[^\w.+-]", "_", task) + ".json"


def report_of(runs: Sequence[Path], board: Board) -> str:
    """A page with one board of several runs, the facts of each, and the log of the first."""
    from clickprint.apps.run.page import report

    recipe = load(runs[0] / RECIPE)
    with DuckDB() as engine:
        data = _data(recipe, engine, silent)
        log, parts = _cut(recipe, EventLog.open(data, engine), data.population)
        facts = {run.resolve().name: Facts.read(run / FACTS) for run in runs}
        page, _ = report(
            title=" and ".join(facts), facts=facts, overview=overview(log, parts), boards=[board]
        )
    return page


def _report(
    folder: Path,
    recipe: Recipe,
    facts: Facts,
    log: EventLog,
    parts: Split,
    boards: Sequence[Board],
) -> None:
    """Writes the report, unless it shows these boards already."""
    made = digest(
        [digest(board_file(folder, b.probe).read_text("utf-8")) for b in boards], code("report")
    )
    if (
        made_from(folder).get("report") == made
        and (folder / REPORT).is_file()
        and (folder / "plots").is_dir()
    ):
        return
    from clickprint.apps.run.page import write_report  # matplotlib: only where it is needed

    with facts.stage("report"):
        told = {
            **facts.told,
            "recipe file": recipe.text,
        }  # what the report itself took stands in facts.json only
        write_report(
            folder, title=recipe.name, facts=told, overview=overview(log, parts), boards=boards
        )
    write_made_from(folder, {"report": made})
