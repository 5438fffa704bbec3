"""The parts of recipes that products share, and the file of a recipe."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clickprint.core.errors import ConfigError
from clickprint.core.options import Faults, OptionsError, plain
from clickprint.data import synthetic
from clickprint.data.engine import DuckDB
from clickprint.work.recipe import DataPart, Name, Seed, Seeds, load, parse


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    name: Name
    seed: Seed = 0
    seeds: Seeds = (0,)
    data: DataPart
    text: str = field(default="", repr=False, compare=False)


DATA = '[data]\nsource = "synthetic"\nusers = 20\n'


def faults_of(text: str) -> dict[str, str]:
    with pytest.raises(OptionsError) as caught:
        parse(Recipe, text)
    return dict(caught.value.faults)


def test_a_recipe_knows_its_text_but_is_compared_without(tmp_path: Path) -> None:
    text = f'# why\nname = "a-b.c"\n{DATA}'
    (tmp_path / "r.toml").write_text(text)
    found = load(Recipe, tmp_path / "r.toml", hint="")
    assert found.text == text
    assert found == parse(Recipe, text.replace("# why\n", ""))
    assert found.data == DataPart(source="synthetic", options={"users": 20})
    assert "text" not in plain(found)


@pytest.mark.parametrize(
    ("text", "path", "word"),
    [
        (DATA, "name", "missing"),
        (f'name = "a/b"\n{DATA}', "name", "letters, digits"),
        (f'name = "{"a" * 65}"\n{DATA}', "name", "64 at most"),
        (f'name = "a"\nseed = -1\n{DATA}', "seed", "0 to 2**63 - 1"),
        (f'name = "a"\nseed = {2**63}\n{DATA}', "seed", "0 to 2**63 - 1"),
        (f'name = "a"\nseeds = []\n{DATA}', "seeds", "at least one"),
        (f'name = "a"\nseeds = [1, 1]\n{DATA}', "seeds", "each once"),
        (f'name = "a"\nseeds = [1, -1]\n{DATA}', "seeds[1]", "0 to"),
        (f'name = "a"\ntext = "b"\n{DATA}', "text", "unknown"),
        (f'name = "a"\nnam = "b"\n{DATA}', "nam", "did you mean name?"),
        ('name = "a"', "data", "missing"),
        ('name = "a"\ndata = 3', "data", "a table"),
        ('name = "a"\n[data]', "data", "source"),
        ('name = "a"\n[data]\nsource = 3', "data.source", "a text"),
        ('name = "a"\n[data]\nsource = "x"\nfolder = "y"', "data", "either"),
        ('name = "a"\n[data]\nfolder = "x"\nusers = 3', "data.users", "unknown"),
        ('name = "a"\n[data]\nsource = "synthetik"', "data.source", "did you mean synthetic?"),
        ('name = "a"\n[data]\nsource = "synthetic"\npath = "x"', "data.path", "reads no files"),
        ('name = "a"\n[data]\nsource = "retailrocket"', "data.path", "missing"),
        (f'name = "a"\n{DATA}user = 3', "data.user", "did you mean users?"),
        (f'name = "a"\n{DATA}items = "x"', "data.items", "a whole number"),
        (f'name = "a"\n{DATA}items = 0', "data.items", "0"),
    ],
)
def test_a_fault_and_its_path(text: str, path: str, word: str) -> None:
    found = faults_of(text)
    assert list(found) == [path]
    assert word in found[path]


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="those are there"):
        load(Recipe, tmp_path / "r.toml", hint="those are there")
    (tmp_path / "r.toml").write_text("name = ")
    with pytest.raises(ConfigError, match=r"r\.toml: not TOML"):
        load(Recipe, tmp_path / "r.toml", hint="")


def test_data_in_a_folder_and_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = tmp_path / "shop"
    synthetic.read(shop, users=20, items=20, categories=3, days=20)
    monkeypatch.setenv("HERE", str(tmp_path))
    data = DataPart(folder="$HERE/shop")
    with DuckDB(threads=1) as engine:
        found = data.open(engine)
        assert found.folder == shop
        copied = data.open(engine, out=tmp_path / "copy")
        assert copied.folder == tmp_path / "copy"
        assert copied.manifest == found.manifest
        made = DataPart(source="synthetic", options={"users": 20, "items": 20, "categories": 3,
                        "days": 20}).open(engine, out=tmp_path / "made")  # fmt: skip
        assert made.manifest.fingerprint == found.manifest.fingerprint
    before = data.stamp()
    assert before
    (shop / "more").write_text("x")
    assert data.stamp() != before
    assert data.at(tmp_path / "copy") == DataPart(folder=str(tmp_path / "copy"))
    with pytest.raises(ConfigError, match="NOWHERE"):
        DataPart(folder="$NOWHERE/x").stamp()


def test_files_of_a_source(tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    file.write_text("1")
    data = DataPart(source="retailrocket", path=str(file))
    before = data.stamp()
    file.write_text("12")
    assert data.stamp() != before
    assert data.at(tmp_path) == DataPart(source="retailrocket", path=str(tmp_path))
    assert data.code() == ("clickprint.data.adapters.retailrocket:read",)
    assert DataPart(source="synthetic").stamp() is None
    assert DataPart(folder="x").code() == ("clickprint.core.dataset",)


def test_reading_collects(tmp_path: Path) -> None:
    faults = Faults()
    raw: dict[str, Any] = {"source": "synthetic", "usrs": 1, "items": "x"}
    assert DataPart.read_options(raw, "logs.a", faults) is None
    assert {f.path for f in faults} == {"logs.a.usrs", "logs.a.items"}
