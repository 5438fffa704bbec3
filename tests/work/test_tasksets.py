"""Tasks of a user's own module: a fault is told with its line; names that collide are refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clickprint.core.errors import ConfigError
from clickprint.core.rng import RNG
from clickprint.core.time import Window
from clickprint.data.engine import DuckDB
from clickprint.data.split import past_of
from clickprint.tasks.score import ask
from clickprint.tasks.task import Task, TaskSet
from clickprint.testing.worlds import memory_log
from clickprint.work.tasksets import open_tasks, tasks_of


@pytest.fixture(scope="module")
def given() -> Iterator[dict[str, Any]]:
    with DuckDB(memory="300MB", threads=1) as engine:
        log = memory_log(engine, time=[0, 1], user=[1, 2], kind=[0, 0])
        yield {"past": past_of(log, 1), "log": log, "train": Window(1, 2), "rng": RNG(0)}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a = 1\ndef tasks(:\n", 2, "SyntaxError"),
        ("a = 1\n\nraise ValueError('no')\n", 3, "ValueError: no"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"),
        ("import nothing_of_the_kind\n", 1, "nothing_of_the_kind"),
        ("\ndef tasks(past):\n    return []\n", 2, "TypeError"),
        ("def tasks(past, log, train, *, rng):\n    return 1 / 0\n", 2, "ZeroDivisionError"),
        ("from json import loads\ntasks = loads('{')\n", 2, "JSONDecodeError"),
    ],
    ids=["syntax", "raises", "exits", "import", "arguments", "inside", "in a library"],
)
def test_a_fault_is_told_with_its_line(
    text: str,
    line: int,
    said: str,
    given: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = f"own_tasks_{abs(hash(text))}"
    file = tmp_path / f"{module}.py"
    file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as found:
        tasks_of(f"{module}:tasks", **given)
    assert str(found.value).startswith(f"{module}:tasks: {file}, line {line}: ")
    assert said in str(found.value)


def test_a_module_or_name_that_is_not_there(given: dict[str, Any]) -> None:
    for name in ("no_such_module:tasks", "math:tasks", "math:pi"):
        with pytest.raises(ConfigError, match=rf"^{name}: "):
            tasks_of(name, **given)


@pytest.mark.parametrize("part", ["population", "target"])
def test_a_fault_of_a_task_itself_is_told_with_its_line(part: str, given: dict[str, Any]) -> None:
    def wrong(*_: object) -> Any:
        raise KeyError("no such column")

    def everybody(table: object, window: Window) -> np.ndarray:
        return np.arange(3)

    parts: dict[str, Any] = {"population": everybody, "target": wrong} | {part: wrong}
    task = Task(name="mine", metrics={}, **parts)
    with pytest.raises(ConfigError, match=r"^task mine: .*test_tasksets\.py, line \d+: KeyError"):
        ask(task, given["log"], given["train"], Window(2, 3), np.arange(3))


@pytest.mark.parametrize(
    "names", [("a/b", "a:b"), ("Churn", "churn")], ids=["what a file cannot hold", "case"]
)
def test_tasks_whose_files_would_be_one_are_refused(
    names: tuple[str, ...], given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(name: str, *_: object, **__: object) -> TaskSet:
        task = Task(name=name, population=max, target=max, metrics={})
        return TaskSet((task,), {})

    monkeypatch.setattr("clickprint.work.tasksets.tasks_of", made)
    with pytest.raises(ConfigError, match=r"^tasks\.sets: "):
        open_tasks((*names, "other"), **given)
    assert set(open_tasks(("one", "two"), **given)[0]) == {"one", "two"}
