"""The verbs in Python: the README's twelve lines, and what they refuse."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clickprint
from clickprint import api
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.profiles import Profiles
from clickprint.data.adapters.complete_journey import NEEDS
from clickprint.data.log import EventLog
from clickprint.data.split import Split
from clickprint.tasks.examples import RETURNS, SPEND

DIALS: dict[str, Any] = {"users": 150, "items": 120, "categories": 6, "days": 45, "rate": 1.5}


pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def shop(cache: Path) -> Iterator[EventLog]:
    log = clickprint.read("synthetic", **DIALS)
    yield log
    log.engine.close()


@pytest.fixture(scope="module")
def parts(shop: EventLog) -> Split:
    return clickprint.split(shop, horizon_days=7)


def made(parts: Split, name: str, **options: Any) -> Profiles:
    return (
        clickprint.encoder(name, **options)
        .fit(parts.past, rng=clickprint.RNG(0))
        .encode(parts.past)
    )


def test_from_a_log_to_a_board(shop: EventLog, parts: Split) -> None:
    past, train, valid = parts
    profiles = {"counts": made(parts, "counts", top=2), "random": made(parts, "random", width=8)}
    board = clickprint.score(profiles, shop, train=train, valid=valid, resamples=5)
    assert board.profiles == ("counts", "random")
    assert (board.probe, board.resamples, len(board.hidden)) == ("quick", 5, 0)
    assert board.about("conversion").users == len(past.users)
    again = clickprint.score(profiles, shop, train=train, valid=valid, resamples=5)
    assert again.rows() == board.rows()
    told = str(board).splitlines()
    assert told[0] == "quick probe"
    assert told[1].split() == [s.profile for s in board.standings()]
    assert [line.split()[0] for line in told[2:9]] == [*board.tasks, "sum"]
    assert told[-1].startswith("- ")


def test_other_tasks(shop: EventLog, parts: Split) -> None:
    profiles = {"counts": made(parts, "counts", top=2)}
    rest: dict[str, Any] = {"train": parts.train, "valid": parts.valid, "resamples": 2}
    assert clickprint.score(profiles, shop, tasks=SPEND, **rest).tasks == ("spend_next_window",)
    assert clickprint.score(profiles, shop, tasks=[RETURNS, SPEND], **rest).tasks == (
        "returns_in_7_days",
        "spend_next_window",
    )
    assert "won_back" in clickprint.score(profiles, shop, tasks="examples", **rest).tasks
    hidden = clickprint.score(profiles, shop, tasks=RETURNS, hidden=2, **rest).hidden
    assert len(hidden) == 2
    assert hidden == clickprint.score(profiles, shop, tasks=RETURNS, hidden=2, **rest).hidden


def test_what_was_read_is_kept(shop: EventLog, cache: Path, tmp_path: Path) -> None:
    folders = sorted((cache / "datasets").glob("synthetic-*/"))
    written = [(f / "manifest.json").stat().st_mtime_ns for f in folders]
    again = clickprint.read("synthetic", **DIALS)
    assert again.manifest == shop.manifest
    again.engine.close()
    assert [
        (f / "manifest.json").stat().st_mtime_ns
        for f in sorted((cache / "datasets").glob("synthetic-*/"))
    ] == written
    other = clickprint.read("synthetic", **{**DIALS, "seed": 1}, out=tmp_path / "other")
    assert other.manifest.fingerprint != shop.manifest.fingerprint
    other.engine.close()
    opened = clickprint.read(tmp_path / "other")
    assert opened.manifest == other.manifest
    opened.engine.close()


def test_a_fitted_encoder_can_be_kept(parts: Split, tmp_path: Path) -> None:
    fitted = clickprint.encoder("counts", top=2).fit(parts.past, rng=clickprint.RNG(0))
    fitted.save(tmp_path / "fitted")
    np.testing.assert_array_equal(
        clickprint.load(tmp_path / "fitted").encode(parts.past).vectors,
        fitted.encode(parts.past).vectors,
    )


REFUSED: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    (("nowhere",), {}, "'nowhere'"),
    (("synthetic",), {"user": 3}, "synthetic.user: unknown; known:"),
    (("synthetic",), {"users": "3"}, "synthetic.users: found '3'"),
    (("synthetic",), {"users": -3}, "users: found -3"),
    (("synthetic",), {"users": 2, "items": 1, "categories": 5}, "items: found 1"),
    (("synthetic", "x"), {}, "synthetic reads no files"),
    (("challenge",), {}, "challenge reads files"),
    (("challenge", "nowhere"), {}, "nowhere"),
    (("synthetic",), {"resources": clickprint.Tables(memory="lots")}, "memory: found 'lots'"),
    (("synthetic",), {"start": "yesterday"}, "start: found 'yesterday'"),
]


@pytest.mark.parametrize(("words", "options", "fact"), REFUSED, ids=[m for *_, m in REFUSED])
def test_read_refuses(words: tuple[Any, ...], options: dict[str, Any], fact: str) -> None:
    with pytest.raises(ConfigError) as fault:
        clickprint.read(*words, **options)
    assert fact in str(fault.value)


def test_what_was_fetched_once_is_not_fetched_again(cache: Path) -> None:
    """Fetched files that are no Parquet are read, not replaced, and refused."""
    folder = cache / "sources" / "complete_journey"
    folder.mkdir(parents=True)
    for file in NEEDS:
        (folder / f"{file}.parquet").write_bytes(b"junk")
    with pytest.raises(DataError) as fault:
        clickprint.read("complete_journey")
    assert len(fault.value.problems) >= len(NEEDS)
    assert not list((cache / "datasets").glob("complete_journey-*/"))


def test_a_dataset_takes_no_options(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ConfigError, match="is a dataset already"):
        clickprint.read(tmp_path, users=3)
    with pytest.raises(DataError, match="not a clickprint manifest"):
        clickprint.read(tmp_path)


def test_score_refuses(
    shop: EventLog, parts: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, train, valid = parts
    with pytest.raises(ConfigError, match="no profiles to score"):
        clickprint.score({}, shop, train=train, valid=valid)
    all_, few = made(parts, "random", width=2), made(parts, "random", width=2)
    few = Profiles(few.users[:-1], few.vectors[:-1])
    with pytest.raises(DataError, match="profile few: found"):
        clickprint.score({"all": all_, "few": few}, shop, train=train, valid=valid)
    with pytest.raises(ConfigError, match="expected one of"):
        clickprint.score({"all": all_}, shop, train=train, valid=valid, tasks="ubm26")
    with pytest.raises(ConfigError, match="before the train window ends"):
        clickprint.score({"all": all_}, shop, train=valid, valid=train, tasks=RETURNS)


def test_import_is_light_and_typed() -> None:
    code = (
        "import clickprint, sys; clickprint.__version__\n"
        "assert not {'numpy', 'pyarrow', 'duckdb', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert clickprint.__all__ == api.__all__
    assert set(clickprint.__all__) <= set(dir(clickprint))
    assert all(getattr(clickprint, name) for name in clickprint.__all__)
    with pytest.raises(AttributeError, match=r"'foresee'.*\bscore\b"):
        clickprint.foresee  # type: ignore[attr-defined]  # noqa: B018
