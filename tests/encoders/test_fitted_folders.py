"""Folders of fitted encoders: damaged or made up, they are refused; what is taken works.

Each spoilt folder is sealed again, so that its schema has to refuse it and not its digests.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clickprint import encoders
from clickprint.core.errors import ClickprintError, DataError
from clickprint.core.files import MARK
from clickprint.core.past import Past
from clickprint.core.profiles import Profiles
from clickprint.core.rng import RNG
from clickprint.core.seal import seal
from clickprint.core.time import DAY
from clickprint.data.engine import DuckDB
from clickprint.data.split import past_of
from clickprint.testing.worlds import START, random_log

ONCE = {"epochs": 1}
RECIPES: dict[str, dict[str, Any]] = {
    "counts": {"top": 2},
    "decay": {"half_lives": [3], "taste_half_lives": [7]},
    "als": {"width": 3, "iterations": 1},
    "twhin": {"width": 3, "training": ONCE},
    "sasrec": {"width": 8, "layers": 1, "heads": 1, "training": ONCE},
    "multitask": {"width": 8, "training": ONCE},
    "random": {"width": 3},
    "constant": {},
    "joined": {"blocks": {"counts": {"top": 1}, "constant": {}}, "normalise": "quantile"},
    "saved": {"missing": "mean"},
}


@pytest.fixture(scope="module")
def past() -> Iterator[Past]:
    with DuckDB(threads=1) as engine:
        yield past_of(random_log(engine, np.random.default_rng(0)), START + 30 * DAY)


@pytest.fixture(scope="module", params=RECIPES)
def fitted(
    request: pytest.FixtureRequest, past: Past, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a fitted encoder."""
    folder, options = tmp_path_factory.mktemp(request.param), RECIPES[request.param]
    if request.param == "saved":
        Profiles(past.users, np.ones((len(past.users), 2), np.float16), (("a", 2),)).save(folder)
        options = {**options, "folder": folder}
    encoders.encoder(request.param, **options).fit(past, rng=RNG(0)).save(folder / "fitted")
    return folder / "fitted"


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy", dirs_exist_ok=True))


def test_a_part_that_is_cut_changed_or_gone_is_refused(fitted: Path, tmp_path: Path) -> None:
    for path in [p for p in fitted.rglob("*") if p.is_file() and p.name != MARK]:
        content = path.read_bytes()
        for spoilt in (None, b"", content[: len(content) // 2], content[:-1] + b"\xff"):
            spoilt_path = copied(fitted, tmp_path) / path.relative_to(fitted)
            spoilt_path.unlink()
            if spoilt is not None:
                spoilt_path.write_bytes(spoilt)
            with pytest.raises(DataError):
                encoders.load(tmp_path / "copy")
            shutil.rmtree(tmp_path / "copy")


ARRAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "no number": lambda a: np.full_like(a, np.nan) if a.dtype.kind == "f" else a.astype(float),
    "texts": lambda a: a.astype("S3"),
    "a dimension more": lambda a: a[..., None],
    "one less": lambda a: a[:-1],
}


@pytest.mark.parametrize("how", ARRAYS)
def test_an_array_of_another_form_is_refused(
    fitted: Path, past: Past, tmp_path: Path, how: str
) -> None:
    for path in fitted.glob("*.npy"):
        array = np.load(path)
        if not array.size:
            continue
        copy = copied(fitted, tmp_path)
        np.save(copy / path.name, ARRAYS[how](array))
        seal(copy)
        with pytest.raises(DataError):
            encoders.load(copy).encode(past)


WRONG: tuple[Any, ...] = (None, True, -1, 0, 1.5, 10**15, "", "x", [], [[]], {}, {"array": "x"})


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a JSON value."""
    yield path
    for key in value if isinstance(value, dict) else range(isinstance(value, list) and len(value)):
        yield from leaves(value[key], (*path, key))


def test_a_state_with_another_value_is_refused_or_works(
    fitted: Path, past: Past, tmp_path: Path
) -> None:
    """Some values may be others (a seed, a half-life); what is taken makes profiles."""
    copy, raw = copied(fitted, tmp_path), json.loads((fitted / "fitted.json").read_text())
    refused, told, rng = 0, list[str](), np.random.default_rng(0)
    cases = [(path, n) for path in leaves(raw) if path for n in range(len(WRONG) + 2)]
    for path, n in (cases[i] for i in rng.permutation(len(cases))[:30]):
        spoilt = json.loads(json.dumps(raw))
        inner = spoilt
        for key in path[:-1]:
            inner = inner[key]
        if n < len(WRONG):
            inner[path[-1]] = WRONG[n]
        elif isinstance(inner, dict) and n > len(WRONG):
            inner["colour"] = "red"
        else:
            del inner[path[-1]]
        (copy / "fitted.json").write_text(json.dumps(spoilt))
        seal(copy)
        try:
            encoders.load(copy).encode(past)
        except ClickprintError as fault:
            refused += 1
            told.append(str(fault))
    assert refused > 10
    assert not [said for said in told if "Type-check" in said]


def test_an_encoder_or_array_outside_the_folder_is_refused(fitted: Path, tmp_path: Path) -> None:
    copy, raw = copied(fitted, tmp_path), json.loads((fitted / "fitted.json").read_text())
    np.save(tmp_path / "out.npy", np.arange(3))
    for name in ("../out.npy", str(tmp_path / "out.npy"), ".hidden", "", "a/b"):
        raw["state"]["more"] = {"array": name}
        (copy / "fitted.json").write_text(json.dumps(raw))
        seal(copy)
        with pytest.raises(DataError):
            encoders.load(copy)


def test_another_encoders_folder_is_refused(past: Past, tmp_path: Path) -> None:
    encoders.encoder("random").fit(past, rng=RNG(0)).save(tmp_path / "r")
    with pytest.raises(DataError):
        encoders.encoder("counts").load(tmp_path / "r")  # type: ignore[attr-defined]
    with pytest.raises(DataError):
        encoders.load(tmp_path)
