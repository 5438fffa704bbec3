"""A command that is told to stop, at any moment; and streams that nobody reads."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from threading import Timer

import pytest

from clickprint.apps.cli.main import main
from clickprint.data.engine import DuckDB
from clickprint.work.process import Output

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
PYTHON = [sys.executable, "-m", "clickprint.apps.cli.main"]


@pytest.fixture(autouse=True)
def not_ignored() -> Iterator[None]:
    """A shell starts what runs behind it with SIGINT ignored, and nohup with SIGHUP."""
    before = {number: signal.getsignal(number) for number in CODES}
    for number in CODES:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], int]:
    """Runs a function as if it were a command; its exit code."""

    def run(work: Callable[[], object]) -> int:
        monkeypatch.setattr("clickprint.work.listing.card", lambda name: str(work()))
        return main(["datasets", "table"])

    return run


Command = Callable[[Callable[[], object]], int]


def wait() -> None:
    """Longer than any signal has to wait."""
    time.sleep(30)


@pytest.mark.parametrize("number", CODES)
def test_a_signal_has_its_code_and_one_message(
    number: signal.Signals, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    assert command(lambda: signal.raise_signal(number)) == CODES[number]
    assert signal.getsignal(number) == before
    said = capsys.readouterr().err
    assert said.count("interrupted") == 1
    assert said.count("\n") == 1


def test_a_swallowed_signal_comes_again(command: Command) -> None:
    def swallow() -> None:
        with suppress(BaseException):
            signal.raise_signal(signal.SIGTERM)
        wait()

    assert command(swallow) == 143

    def another() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ValueError from None

    assert command(another) == 130


def test_no_second_signal_disturbs_the_way_out(command: Command, tmp_path: Path) -> None:
    @contextmanager
    def temporary() -> Iterator[None]:
        (tmp_path / "part").touch()
        try:
            yield
        finally:
            for number in CODES:
                signal.raise_signal(number)
            time.sleep(0.2)  # longer than until a swallowed one is raised again
            (tmp_path / "part").unlink()

    def twice() -> None:
        with temporary():
            signal.raise_signal(signal.SIGTERM)

    assert command(twice) == 143
    assert not (tmp_path / "part").exists()


def test_the_message_is_not_disturbed(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(message: str, code: int) -> int:
        time.sleep(0.2)  # longer than until a swallowed signal is raised again
        return code

    monkeypatch.setattr("clickprint.work.process.refuse", slow)
    assert command(lambda: signal.raise_signal(signal.SIGTERM)) == 143


def test_cleaning_runs_to_its_end(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[str]()

    @contextmanager
    def leaving(name: str) -> Iterator[None]:
        yield
        signal.raise_signal(signal.SIGINT)
        seen.append(name)

    def with_block() -> None:
        with leaving("with"):
            pass
        wait()

    assert command(with_block) == 130

    def removing() -> None:
        (tmp_path / "spill").mkdir()
        (tmp_path / "spill" / "a").touch()
        rmtree(tmp_path / "spill")
        wait()

    rmdir = os.rmdir

    def interrupted(*given: object, **more: object) -> None:
        signal.raise_signal(signal.SIGINT)
        rmdir(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rmdir", interrupted)
    assert command(removing) == 130
    assert seen == ["with"]
    assert not (tmp_path / "spill").exists()


def test_an_import_runs_to_its_end(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import signal\nsignal.raise_signal(signal.SIGINT)\nvalue = 1\n"
    (tmp_path / "half_imported.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)

    def bring() -> None:
        __import__("half_imported")
        wait()

    assert command(bring) == 130
    assert sys.modules.pop("half_imported").value == 1


PRODUCT = "SELECT SUM(SQRT(a.range * b.range)) FROM range(90000) a, range(90000) b"


def test_a_query_is_stopped_and_its_folder_goes(command: Command, tmp_path: Path) -> None:
    def ask() -> None:
        with DuckDB(spill=tmp_path, threads=1) as engine:
            Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
            engine.one(PRODUCT)

    assert command(ask) == 143
    assert not list(tmp_path.iterdir())


def test_without_the_command_line_a_query_ends_in_an_interrupt_too() -> None:
    with DuckDB(threads=1) as engine:
        Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            engine.table(PRODUCT)


def test_an_engine_that_nobody_closes_leaves_no_folder(tmp_path: Path) -> None:
    engine = DuckDB(spill=tmp_path, threads=1)
    assert engine.scratch().is_dir()
    assert len(list(tmp_path.iterdir())) == 1
    del engine
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_words_that_nobody_takes_are_no_error(tmp_path: Path) -> None:
    full = Output("/dev/full", "w")
    assert full.write(b"words") == 5
    assert full.fault is not None
    assert full.write(b"more") == 4


@pytest.mark.parametrize(
    ("where", "code", "said"), [(">/dev/full", 1, "stdout: "), (">&- 2>&-", 2, "")]
)
def test_a_full_or_closed_stream(where: str, code: int, said: str, tmp_path: Path) -> None:
    words = "--version" if code == 1 else "--nonsense"
    line = f"{' '.join(PYTHON)} {words} {where}"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.count("\n") == (code == 1)
