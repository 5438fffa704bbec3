"""Processes that start at once: forked from one that has imported everything.

A command of ours needs two seconds to import its libraries, and the suite starts eighty of them.
`python -m …`, `python -c …`, `python FILE …` and `clickprint …` do the same here in a fork.

- `Forks` is the process that forks; pytest's first process starts it, all workers share it, and it
  imports nothing before it is asked for the first time.
- `CALL` is what stands in the place of the interpreter: it hands its own words, folder,
  environment and streams over, passes SIGINT and SIGTERM on, and ends as the fork ends. When it
  is killed, so is the fork, before another one starts.

Nothing of a test's process is in a fork. What a process imports cannot be tested with it.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

WHERE = "CLICKPRINT_TEST_FORKS"  # the folder with the socket, `python` and `clickprint`
CALL = """#!{python} -ISE
import json, os, signal, socket, sys
name = os.path.basename(sys.argv[0])
words = (["-m", "clickprint.apps.cli.main"] if name == "clickprint" else []) + sys.argv[1:]
mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
with socket.socket(socket.AF_UNIX) as there:
    there.connect(os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "socket"))
    told = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(there, [len(told).to_bytes(8, "little")], [0, 1, 2])
    there.sendall(told)
    answers = there.makefile()
    pid = int(answers.readline())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number in (0, 1, 2):
        os.close(number)
    status = int(answers.readline())
if status < 0:
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


class Forks:
    """The process that forks, and the folder in which `python` and `clickprint` call it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="forks-"))
        for name in ("python", "clickprint"):
            (self.folder / name).write_text(CALL.format(python=sys.executable))
            (self.folder / name).chmod(0o755)
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), str(self.folder)],
            stdin=subprocess.PIPE,  # closed when this process ends, however it ends
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == b"listens\n"

    def __enter__(self) -> "Forks":
        os.environ[WHERE] = str(self.folder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=30)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.environ.pop(WHERE, None)


def python() -> str:
    """What to write for `sys.executable` where a process does not test what it imports."""
    folder = os.environ.get(WHERE)
    return sys.executable if folder is None else f"{folder}/python"


# -- the process that forks -------------------------------------------------------------------

LIBRARIES = "lightgbm matplotlib.pyplot pandas pyarrow.dataset scipy.stats sklearn torch jinja2"
# Two are run as __main__, one is not needed.
APART = {"clickprint.__main__", "clickprint.apps.cli.main", "clickprint.data.spark"}


def import_all() -> None:
    """What a command may need, but what an installation lacks."""
    import importlib
    import pkgutil

    import clickprint

    ours = (m.name for m in pkgutil.walk_packages(clickprint.__path__, "clickprint."))
    for name in [*LIBRARIES.split(), *ours]:
        if name not in APART:
            with contextlib.suppress(Exception):  # its own tests tell
                importlib.import_module(name)


def serve(folder: Path) -> tuple[list[str], str, dict[str, str], list[int]] | None:
    """Fork for each caller; in a fork, what it was asked, and None at the end of it all."""
    import json
    import selectors
    import signal
    import socket

    events = selectors.DefaultSelector()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(64)
    os.write(1, b"listens\n")
    for number in (signal.SIGINT, signal.SIGTERM):  # the callers' and pytest's affair
        signal.signal(number, signal.SIG_IGN)
    events.register(0, selectors.EVENT_READ, None)
    events.register(listener, selectors.EVENT_READ, None)
    running: dict[int, tuple[int, socket.socket]] = {}  # by the fork's file descriptor

    def ended(handle: int) -> None:
        pid, caller = running.pop(handle)
        _, status = os.waitpid(pid, 0)
        for one in (handle, caller):
            events.unregister(one)
        os.close(handle)
        with contextlib.suppress(OSError):  # nobody waits any more
            caller.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        caller.close()

    while True:
        ready = {key.fileobj: key.data for key, _ in events.select()}
        for one, handle in ready.items():  # the ends first, so that the killed are gone
            if handle is not None and handle in running:
                if one is running[handle][1]:  # the caller said nothing more: it was killed
                    os.kill(running[handle][0], signal.SIGKILL)
                ended(handle)
        if 0 in ready:
            for pid, _ in running.values():
                os.kill(pid, signal.SIGKILL)
            return None
        if listener not in ready:
            continue
        caller, _ = listener.accept()
        size, handles, _, _ = socket.recv_fds(caller, 8, 3)
        told, got = b"", b"more"
        while got and len(told) < int.from_bytes(size, "little"):
            told += (got := caller.recv(1 << 20))
        if not (size and got):  # killed before it had asked
            for one in handles:
                os.close(one)
            caller.close()
            continue
        words, where, environment = json.loads(told)
        if "clickprint" not in sys.modules:
            import_all()
        pid = os.fork()
        if not pid:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            events.close()
            listener.close()
            caller.close()
            for handle, (_, other) in running.items():
                other.close()
                os.close(handle)
            return words, where, environment, list(handles)
        for one in handles:
            os.close(one)
        with contextlib.suppress(OSError):  # killed meanwhile: its fork goes the next time round
            caller.sendall(f"{pid}\n".encode())
        handle = os.pidfd_open(pid)
        running[handle] = pid, caller
        events.register(handle, selectors.EVENT_READ, handle)
        events.register(caller, selectors.EVENT_READ, handle)


def as_python(
    words: list[str], where: str, environment: dict[str, str], handles: list[int]
) -> None:
    """What the interpreter does with its words; ends as it would."""
    import runpy

    for number, handle in enumerate(handles):
        os.dup2(handle, number)
        os.close(handle)
    os.chdir(where)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.append(sys.path[0])  # a test's module may import this one
    sys.path[0] = ""
    sys.path[1:1] = [p for p in environment.get("PYTHONPATH", "").split(os.pathsep) if p]
    if words[0] == "-m":
        sys.argv = ["", *words[2:]]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        import types

        module = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), module.__dict__)
    else:
        sys.argv = words
        sys.path[0] = str(Path(words[0]).resolve().parent)
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    if (asked := serve(Path(sys.argv[1]))) is not None:
        as_python(*asked)
