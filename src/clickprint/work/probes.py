"""The official probe over many questions: one network at a time on each device."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from signal import SIG_BLOCK, SIG_SETMASK, SIGINT, pthread_sigmask
from typing import Any

import numpy as np

from clickprint.core.errors import ConfigError
from clickprint.core.profiles import Profiles
from clickprint.core.progress import Progress, silent
from clickprint.tasks.score import Question, answer
from clickprint.tasks.task import TaskScore
from clickprint.work.facts import cores, memory


@dataclass(frozen=True, slots=True)
class Job:
    """One network to train: a question, and the folder of the profiles that answer it.

    `controls`: train two more, on random vectors and on half of the users.
    """

    name: str
    question: Question
    profiles: Path
    controls: bool = False


def named_devices(accelerator: str, wanted: str) -> list[str]:
    """torch's names of the devices that are wanted.

    `wanted`: how many ("2"), which ("0,2", or "1," for that one alone), or "auto" for all. On CPU
    a device is a process; auto is one a core, while there are 4 GiB for each, and at most 8.
    Raises ConfigError for a device that is not there, and where torch is not installed.
    """
    if find_spec("torch") is None:
        raise ConfigError(
            "the official probe needs torch, which is not installed:"
            " pip install 'clickprint[probe]' (or --skip-official)"
        )
    import torch

    from clickprint.nn.device import device

    first = device(accelerator)
    there = torch.cuda.device_count() if first.startswith("cuda") else 1
    words = [w for w in wanted.replace(" ", "").split(",") if w]
    if wanted.strip() == "auto" and first == "cpu":
        # One thread each: two threads of one network wait for each other, on a busy machine for
        # longer than they compute.
        return [first] * max(1, min(cores(), 8, memory() // (4 << 30)))
    if wanted.strip() == "auto":
        return [device(accelerator, i) for i in range(there)]
    numbers = [int(w) for w in words if re.fullmatch("[0-9]{1,4}", w)]
    if not words or len(set(numbers)) < len(words):
        raise ConfigError(
            f"--devices: found {wanted!r}, expected how many (2), which (0,2), or auto"
        )
    most, where = 4 * cores() if first == "cpu" else there, first.partition(":")[0]
    if "," not in wanted:
        many = numbers[0]
        if not 1 <= many <= most:
            raise ConfigError(f"--devices: found {many}, expected 1 to {most} on {where}")
        return [first] * many if first == "cpu" else [device(accelerator, i) for i in range(many)]
    if max(numbers) >= most:
        raise ConfigError(f"--devices: found {max(numbers)}, expected 0 to {most - 1} on {where}")
    return [first] * len(numbers) if first == "cpu" else [device(accelerator, n) for n in numbers]


def official(
    jobs: Sequence[Job],
    on: Sequence[str],
    *,
    resamples: int,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress = silent,
) -> Iterator[tuple[Job, TaskScore]]:
    """Yields each job with its score, as they are done.

    With one device they train in this process; else there is a process a device, which takes the
    next job. `threads` are torch's on CPU, shared out among the processes; their number can move
    the last digits of a score. Raises ConfigError where a process died.
    """
    import torch

    threads = threads or cores()
    if len(on) == 1 or len(jobs) < 2:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            for job in jobs:
                yield job, _train(job, on[0], resamples, seed, progress)
        finally:
            torch.set_num_threads(before)  # the caller's own work keeps what it had
        return
    yield from _shared(jobs, on, resamples, seed, max(1, threads // len(on)), progress)


def _shared(
    jobs: Sequence[Job],
    on: Sequence[str],
    resamples: int,
    seed: int,
    threads: int,
    progress: Progress,
) -> Iterator[tuple[Job, TaskScore]]:
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import active_children, get_context

    # A forked process cannot use CUDA, and OpenMP's threads do not survive a fork.
    context = get_context("spawn")
    free: Any = context.Queue()
    for device in on:
        free.put(device)
    done = 0
    progress("official probe", done, len(jobs))
    others = set(active_children())
    with ProcessPoolExecutor(len(on), context, _settle, (free, threads)) as pool:
        # Ctrl-C reaches every process of a terminal; these are ended by this one.
        before = pthread_sigmask(SIG_BLOCK, {SIGINT})
        try:
            waiting = {pool.submit(_work, _portable(job), resamples, seed): job for job in jobs}
        finally:
            pthread_sigmask(SIG_SETMASK, before)
        try:
            for future in as_completed(waiting):
                job, found = waiting[future], future.result()
                done += 1
                progress("official probe", done, len(jobs))
                yield job, found
        except BrokenProcessPool:
            raise ConfigError(
                "a process that trained died, perhaps for want of memory; use fewer --devices"
            ) from None
        except BaseException:  # nobody waits for what they train
            for process in set(active_children()) - others:
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_mine: dict[str, str] = {}  # a worker process's own device


def _settle(free: Any, threads: int) -> None:
    import torch

    _mine["device"] = free.get()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)


def _work(job: Job, resamples: int, seed: int) -> TaskScore:
    return _train(job, _mine["device"], resamples, seed, silent)


def _train(job: Job, device: str, resamples: int, seed: int, progress: Progress) -> TaskScore:
    def named(stage: str, done: int, total: int) -> None:
        progress(job.name, done, total)

    return answer(
        job.question,
        _profiles(job.profiles),
        "official",
        resamples=resamples,
        seed=seed,
        device=device,
        controls=job.controls,
        progress=named,
    )


@lru_cache(maxsize=1)
def _profiles(folder: Path) -> Profiles:
    return Profiles.load(folder)


def _portable(job: Job) -> Job:
    """A job that can be sent to another process: how the question was asked stays here."""
    return replace(
        job,
        question=replace(
            job.question, task=replace(job.question.task, population=_asked, target=_asked)
        ),
    )


def _asked(*given: object) -> np.ndarray:
    raise AssertionError("the question was asked already")
