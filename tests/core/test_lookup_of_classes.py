"""Registries: a name gives a class, an unknown one the known ones, a missing library its extra."""

import sys

import pytest

from clickprint.core.errors import ConfigError
from clickprint.core.registry import lookup
from clickprint.core.rng import RNG

KNOWN = {"random": "clickprint.core.rng:RNG", "lost": "clickprint.core.nowhere:RNG"}


def test_a_name_gives_a_class() -> None:
    assert lookup(KNOWN, "random", "number") is RNG


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"number 'randon'.*\blost, random\b"):
        lookup(KNOWN, "randon", "number")
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        lookup(KNOWN, "lost", "number")


def test_a_missing_library_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "clickprint.nn.device", raising=False)
    with pytest.raises(ConfigError, match=r"torch.*clickprint\[probe\]"):
        lookup({"device": "clickprint.nn.device:device"}, "device", "device")
