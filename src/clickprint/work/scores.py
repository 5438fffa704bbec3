"""Scores of profiles in a folder: what is there and still true is not asked again."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from clickprint.core.errors import ClickprintError
from clickprint.core.profiles import Profiles
from clickprint.core.progress import Progress, silent
from clickprint.core.time import Window
from clickprint.tasks.board import Without
from clickprint.tasks.rows import Rows
from clickprint.tasks.score import Designs, Probe, Question, answer, ask, load, named, save
from clickprint.tasks.task import Task, TaskScore
from clickprint.work.folder import made_from, write_made_from
from clickprint.work.probes import Job, official
from clickprint.work.profiles import MadeProfiles

Row = str | Without  # of a board: a profile, or one without a block
R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """How profiles are asked, and where their scores are kept: scores/PROBE/PROFILE/TASK.json.

    `inputs`: the digest of what a score is made from, as stages.Graph.digest gives it.
    """

    profiles: MadeProfiles
    log: Rows
    train: Window
    valid: Window
    inputs: Callable[..., str]
    resamples: int
    progress: Progress = silent

    def quick(
        self, stage: str, rows: Sequence[R], tasks: Sequence[Task], *, hidden: bool = False
    ) -> dict[R, list[TaskScore]]:
        """Each row's score on each task, by the quick probe.

        A question is made once for all rows, and an equal question is answered once. Tasks of one
        population come after each other, so that what is prepared for its users is still there.
        """
        designs, loaded = Designs(keep=6 * len(rows)), dict[Row, Profiles]()
        known: dict[tuple[R, str], TaskScore] = {}
        scores: dict[R, dict[str, TaskScore]] = {row: {} for row in rows}
        turn = {task.population: n for n, task in reversed(list(enumerate(tasks)))}
        for done, task in enumerate(sorted(tasks, key=lambda task: turn[task.population])):
            self.progress(stage, done, len(tasks))
            question = self._ask(task, hidden)
            for row in rows:
                found = self._kept("quick", row, question)
                if found is None:
                    found = known.get((row, question.digest)) or answer(
                        question,
                        self._vectors(row, loaded),
                        "quick",
                        resamples=self.resamples,
                        designs=designs,
                        controls=isinstance(row, str),
                    )
                    found = self._keep("quick", row, question, found)
                known[row, question.digest] = scores[row][task.name] = found
        self.progress(stage, len(tasks), len(tasks))
        return {row: [found[task.name] for task in tasks] for row, found in scores.items()}

    def official(
        self,
        profiles: Sequence[str],
        tasks: Sequence[Task],
        devices: Sequence[str],
        threads: int | None,
        *,
        controls: bool = False,
    ) -> dict[str, list[TaskScore]]:
        """Each profile's score on each task, trained on the devices.

        Each score is kept as soon as it is there, and an equal question is one network, or three
        with `controls`.
        """
        questions = [self._ask(task) for task in tasks]
        scores: dict[tuple[str, str], TaskScore] = {}
        jobs: dict[tuple[str, str], Job] = {}
        for profile in profiles:
            folder = self.profiles.folder(profile)
            for question in questions:
                name = question.task.name
                found = self._kept("official", profile, question)
                if found is not None and (found.controls or not controls):
                    scores[profile, name] = found
                elif (profile, question.digest) not in jobs:
                    made = Job(f"{profile} {name}", question, folder, controls)
                    jobs[profile, question.digest] = made
        owners = {id(job): profile for (profile, _), job in jobs.items()}
        for job, found in official(
            list(jobs.values()),
            devices,
            resamples=self.resamples,
            threads=threads,
            progress=self.progress,
        ):
            profile = owners[id(job)]
            for question in questions:
                key = profile, question.task.name
                if question.digest == job.question.digest and key not in scores:
                    scores[key] = self._keep("official", profile, question, found)
        return {p: [scores[p, t.name] for t in tasks] for p in profiles}

    def _ask(self, task: Task, hidden: bool = False) -> Question:
        users = self.profiles.past.users
        return ask(task, self.log, self.train, self.valid, users, hidden=hidden)

    def _vectors(self, row: Row, loaded: dict[Row, Profiles]) -> Profiles:
        """A profile, or one without a block."""
        if isinstance(row, str):
            return self.profiles[row]
        if row not in loaded:
            loaded[row] = self.profiles[row.profile].without(row.block)
        return loaded[row]

    def _inputs(self, probe: Probe, row: Row, question: Question) -> str:
        profile, block = row if isinstance(row, Without) else (row, "")
        metrics = {type(m).__module__ for _, m in question.task.metrics.values()}
        network = {"clickprint.tasks.official"} if probe == "official" else set()
        asked = [question.task.name, question.digest, question.hidden]
        made = {"profiles": self.profiles.work.made(f"profiles/{profile}")}
        return self.inputs(made, roots=sorted(metrics | network), more=[probe, block, *asked])

    def _folder(self, probe: Probe, row: Row) -> Path:
        return self.profiles.work.path(f"scores/{probe}/{row}")

    def _kept(self, probe: Probe, row: Row, question: Question) -> TaskScore | None:
        """The score from an earlier call, if it is still the answer to the same question."""
        folder = self._folder(probe, row)
        if made_from(folder).get(question.task.name) != self._inputs(probe, row, question):
            return None
        try:
            return load(folder / score_file(question.task.name))
        except ClickprintError:
            return None  # its file was lost or damaged: made again

    def _keep(self, probe: Probe, row: Row, question: Question, found: TaskScore) -> TaskScore:
        folder, name = self._folder(probe, row), question.task.name
        found = named(found, question)
        save(found, folder / score_file(name))
        write_made_from(folder, {**made_from(folder), name: self._inputs(probe, row, question)})
        return found


def score_file(task: str) -> str:
    """A task's file: its name, with what a file system may not take replaced."""
    return re.sub(r"[^\w.+-]", "_", task) + ".json"
