"""Which devices the official probe trains on."""

import pytest

from clickprint.core.errors import ConfigError
from clickprint.work.probes import named_devices


def test_devices_by_number_and_by_name() -> None:
    assert named_devices("cpu", "1") == ["cpu"]
    assert named_devices("cpu", "2") == ["cpu", "cpu"]
    assert named_devices("cpu", "0,3") == ["cpu", "cpu"]
    assert named_devices("cpu", "1,") == ["cpu"]


@pytest.mark.parametrize("wanted", ["0,999", "999,", "999", "0,00", "\u00b2", "9" * 50, "-1", ""])
def test_devices_that_do_not_exist_are_refused(wanted: str) -> None:
    with pytest.raises(ConfigError, match=r"^--devices: "):
        named_devices("cpu", wanted)


@pytest.mark.parametrize(
    ("cores", "gib", "processes"),
    [(1, 64, 1), (2, 64, 2), (2, 4, 1), (64, 64, 8), (4, 0, 1), (16, 17, 4)],
)
def test_auto_on_cpu_is_bounded_by_memory(
    monkeypatch: pytest.MonkeyPatch, cores: int, gib: int, processes: int
) -> None:
    monkeypatch.setattr("clickprint.work.probes.cores", lambda: cores)
    monkeypatch.setattr("clickprint.work.probes.memory", lambda: gib << 30)
    assert named_devices("cpu", "auto") == ["cpu"] * processes
