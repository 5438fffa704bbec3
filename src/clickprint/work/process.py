"""The process of a command: how a signal stops it, and what becomes of words nobody takes.

Light to import: a signal during the imports of a command is answered too.
"""

import errno
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import Any

from clickprint.core.text import say

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EMPTY = re.compile(r"--[\w-]+=")
NO_TEXT = re.compile("[\\0\ud800-\udfff]")  # what no file of ours could name
AGAIN = 0.05  # seconds until a signal that came at a bad moment is tried once more
IMPORTS = 10.0  # seconds that imports may take before a signal breaks into them
# What leaves nothing behind only when it runs to its end, by name: here nothing is imported.
CLEANING = {
    "stoppable",
    "rmtree",
    "TemporaryDirectory.__init__",
    "TemporaryDirectory.__exit__",
    "_GeneratorContextManager.__exit__",
    "ExitStack.__exit__",
}


class Stop:
    """Whether a signal has come: `code` is the exit code that it asks for, or else 0."""

    __slots__ = ("code", "since")

    def __init__(self) -> None:
        self.code, self.since = 0, 0.0


@contextmanager
def stoppable(*, last: bool) -> Iterator[Stop]:
    """SIGINT, SIGTERM and SIGHUP end the block with one KeyboardInterrupt.

    - A signal that comes while the block cleans up, or imports, is answered right afterwards.
    - One that a library swallowed is raised again; further ones do not disturb the way out.
    - `last`: nothing follows but the end of the process, during which signals are ignored.

    A signal that was ignored when the block began (nohup, a job in the background) stays so; one
    that was blocked is answered at once. Outside the main thread nothing is changed.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def come(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGALRM and not stop.code:
            stop.code, stop.since = 128 + number, monotonic()
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
        if not _leaving() and not _busy(frame, monotonic() - stop.since):
            raise KeyboardInterrupt

    def lost(fault: "sys.UnraisableHookArgs") -> None:
        if not issubclass(fault.exc_type, KeyboardInterrupt):  # else it is raised again
            told(fault)

    told = sys.unraisablehook
    before = {n: signal.getsignal(n) for n in SIGNALS if signal.getsignal(n) != signal.SIG_IGN}
    before[signal.SIGALRM] = signal.getsignal(signal.SIGALRM)
    sys.unraisablehook = lost
    try:
        for number in before:
            signal.signal(number, come)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        yield stop
    finally:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = told
        for number, handler in before.items() if not last else ():
            signal.signal(number, handler)


def _leaving() -> bool:
    """Whether an interrupt is on its way out already."""
    fault = sys.exc_info()[1]
    while fault is not None and not isinstance(fault, KeyboardInterrupt):
        fault = fault.__context__
    return fault is not None


def _busy(frame: FrameType | None, waited: float) -> bool:
    """Whether an interrupt here would leave a half-removed folder or a half-imported module."""
    while frame is not None:
        code = frame.f_code
        importing = code.co_filename.startswith("<frozen importlib") and waited < IMPORTS
        if importing or code.co_qualname in CLEANING:
            return True
        frame = frame.f_back
    return False


class Output(io.FileIO):
    """A standard stream that takes every word; `fault` is why some did not arrive."""

    fault: OSError | None = None

    def write(self, data: Any, /) -> int:
        if self.fault is None:
            try:
                return super().write(data)
            except OSError as fault:
                self.fault = fault
        return memoryview(data).nbytes


def open_streams() -> Output:
    """Makes stdout and stderr such that no command fails for want of a reader; stdout's file.

    A stream that was closed when the process began is nowhere, so that no file takes its number.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    files = [Output(number, "w", closefd=False) for number in (1, 2)]
    for name, file in zip(("stdout", "stderr"), files, strict=True):
        there = getattr(sys, name)
        encoding = there.encoding if there is not None else "utf-8"
        words = io.TextIOWrapper(
            io.BufferedWriter(file),
            encoding=encoding,
            errors="backslashreplace",
            line_buffering=name == "stderr" or file.isatty(),
        )
        setattr(sys, name, words)
    return files[0]


def bad_word(words: Sequence[str]) -> str:
    """What is wrong with words of which one is empty, or no text; "" where none is.

    An empty path would stand for the present folder.
    """
    before = ""
    for word in words:
        if not word or EMPTY.fullmatch(word):
            return f"{word or before or 'a word'}: found nothing, expected a value; is it set?"
        if NO_TEXT.search(word):
            return f"{word!r}: found bytes that are not UTF-8; call the file otherwise"
        before = word
    return ""


def until_stopped(run: Callable[[], int], *, last: bool) -> int:
    """The exit code of a command, or that of the signal which stopped it; see `stoppable`."""
    code = 0
    with stoppable(last=last) as stop:
        try:
            code = run()
        except BaseException:
            if not stop.code:
                raise
    if stop.code:  # whatever it ended with, the signal is why
        return refuse("interrupted; the same command again goes on from here", stop.code)
    return code


def as_process(run: Callable[[], int]) -> int:
    """The exit code of a command after which the process ends."""
    out = open_streams()
    code = until_stopped(run, last=True)
    sys.stdout.flush()
    if out.fault is not None and out.fault.errno != errno.EPIPE:  # `| head` is no fault
        return code or refuse(f"stdout: {out.fault.strerror}", 1)
    return code


def refuse(message: str, code: int) -> int:
    """Tells on stderr why a command ends, and gives its exit code."""
    say(f"clickprint: {message}", file=sys.stderr)
    return code
