"""A fork ends as the interpreter would: words, folder, environment, streams, code, signals."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from forks import python

TOLD = (
    "import os, sys; print(sys.argv, os.getcwd(), os.environ['MINE'], sys.stdin.read());"
    " print('torch' in sys.modules, __name__, file=sys.stderr); sys.exit(7)"
)


def test_it_ends_as_the_interpreter_does(tmp_path: Path) -> None:
    done = subprocess.run(
        [python(), "-c", TOLD, "a b"], cwd=tmp_path, env={"MINE": "x"}, input="in",
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 7
    assert done.stdout == f"['-c', 'a b'] {tmp_path} x in\n"
    assert done.stderr == "True __main__\n"


def test_a_file_and_what_stands_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("WORD = 'beside'\n")
    (tmp_path / "a.py").write_text(
        "import sys, beside\nprint(beside.WORD, sys.argv[1:])\nboom()\n"
    )
    done = subprocess.run(
        [python(), str(tmp_path / "a.py"), "x"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "beside ['x']\n")
    assert "NameError" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_signals_reach_it_and_the_killed_are_gone(tmp_path: Path, number: int) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with subprocess.Popen(
        [python(), "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        pid = int(process.stdout.readline())
        process.send_signal(number)
        assert process.wait(timeout=30) == -number
    assert subprocess.run([python(), "-c", ""]).returncode == 0
    assert not os.path.exists(f"/proc/{pid}")


def test_a_signal_that_it_sends_itself() -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run([python(), "-c", code]).returncode == -signal.SIGKILL


@pytest.mark.parametrize("interpreter", [sys.executable, python()], ids=["installed", "forked"])
def test_the_command_line(interpreter: str) -> None:
    command = Path(interpreter).parent / "clickprint"
    done = subprocess.run([command, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "0.1.0", "")
