"""The benchmark of training steps does what it says, on a small scale; times are not looked at."""

from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from clickprint.core.errors import ConfigError
from clickprint.encoders.sasrec import SASRec
from clickprint.encoders.sequence import HistorySpec


@pytest.fixture(scope="module")
def bench(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("train_step")


def test_a_whole_command_and_its_table(
    bench: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {
        "width": 8,
        "layers": 1,
        "length": 6,
        "mean": 5,
        "items": 40,
        "batch": 4,
        "steps": 2,
        "product": 16,
        "threads": 1,
    }
    bench.main(
        [
            "--accelerator",
            "cpu",
            "--models",
            "sasrec",
            "hstu",
            *(w for n, v in small.items() for w in (f"--{n}", str(v))),
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    rows = [
        [c.strip() for c in line.strip("|").split("|")] for line in lines if line.startswith("| ")
    ][1:]
    assert [r[:2] for r in rows] == [
        ["sasrec", "32"],
        ["sasrec", "bf16"],
        ["hstu", "32"],
        ["hstu", "bf16"],
    ]
    for cells in rows:
        assert all(float(c.replace(",", "").rstrip("%")) >= 0 for c in cells[2:])
    assert rows[0][2:4] == rows[1][2:4]  # precision changes neither parameters nor operations
    learned = len(set(bench.histories(20, 5, 40, 0).fields["item"].tolist()))
    network = SASRec(width=8, layers=1, history=HistorySpec(length=6)).model({"item": learned})
    assert rows[0][2] == f"{sum(p.numel() for p in network.parameters()):,}"


def test_a_device_that_is_not_here(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"accelerator: .*'cuda'.*torch"):
        bench.main(["--accelerator", "cuda"])
