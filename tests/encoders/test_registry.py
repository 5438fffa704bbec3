"""Encoders by name, and what they learned on disk."""

import numpy as np
import pytest

from clickprint import encoders
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.options import OptionsError
from clickprint.core.past import Encoder
from clickprint.core.profiles import Profiles
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.data.engine import DuckDB
from clickprint.data.split import past_of
from clickprint.encoders.controls import Random
from clickprint.encoders.counts import Counts
from clickprint.encoders.saved import Saved
from clickprint.testing.worlds import START, random_log


@pytest.fixture(scope="module")
def past():
    with DuckDB(threads=1) as engine:
        yield past_of(random_log(engine, np.random.default_rng(0)), START + 30 * DAY)


def test_names_and_options():
    assert encoders.encoder("counts", days=[1, 2], top=3) == Counts(days=(1, 2), top=3)
    assert encoders.encoder("decay", half_lives=[1, 2.5]).half_lives == (1, 2.5)
    assert encoders.encoder("joined", blocks=["counts"]).blocks == ("counts",)
    assert all(isinstance(encoders.encoder(n), Encoder) for n in encoders.ENCODERS if n != "saved")


@pytest.mark.parametrize(
    ("name", "options", "paths"),
    [
        ("counts", {"tops": 3}, ["tops"]),
        ("constant", {"width": 3}, ["width"]),
        ("counts", {"top": "3"}, ["top"]),
        ("counts", {"top": True}, ["top"]),
        ("counts", {"top": 2.5}, ["top"]),
        ("counts", {"top": None}, ["top"]),
        ("counts", {"days": 7}, ["days"]),
        ("counts", {"days": [7, "8"]}, ["days[1]"]),
        ("counts", {"top": 0}, ["top"]),
        ("counts", {"top": "x", "more": 1}, ["more", "top"]),
        ("decay", {"half_lives": ["week"]}, ["half_lives[0]"]),
        ("joined", {"rows": 1}, ["rows"]),
        ("joined", {"blocks": "counts"}, ["blocks"]),
        ("joined", {"normalise": 3}, ["normalise"]),
        ("saved", {}, ["folder"]),
        ("saved", {"folder": ""}, ["folder"]),
        ("saved", {"folder": "x", "missing": "zero"}, ["missing"]),
        ("random", {"width": 0}, ["width"]),
        ("random", {"width": 4000}, ["width"]),
    ],
)
def test_what_cannot_be(name, options, paths):
    with pytest.raises(OptionsError, match=f"^{name}: ") as fault:
        encoders.encoder(name, **options)
    assert [f.path for f in fault.value.faults] == paths


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"encoder 'count'.* als, .*, counts, "):
        encoders.encoder("count")


@pytest.mark.parametrize("name", ["counts", "decay", "joined", "random", "constant"])
def test_loaded_by_the_registry(past, tmp_path, name):
    fitted = encoders.encoder(name).fit(past, rng=RNG(3))
    fitted.save(tmp_path / "fitted")
    assert (
        encoders.load(tmp_path / "fitted").encode(past).vectors.tobytes()
        == fitted.encode(past).vectors.tobytes()
    )
    assert not list(tmp_path.glob(".*"))


def test_saving_again_replaces(past, tmp_path):
    encoders.encoder("random", width=3).fit(past, rng=RNG(0)).save(tmp_path / "f")
    encoders.encoder("random", width=5).fit(past, rng=RNG(0)).save(tmp_path / "f")
    assert encoders.load(tmp_path / "f").encode(past).vectors.shape[1] == 5


def test_random_is_normal_and_a_users_own(past):
    with DuckDB(threads=1) as engine:
        many = past_of(
            random_log(engine, np.random.default_rng(0)), START + 30 * DAY, np.arange(4_000)
        )
        x = Random(width=16).fit(many, rng=RNG(0)).encode(many).vectors.astype(float)
        other = Random(width=16).fit(many, rng=RNG(1)).encode(many).vectors.astype(float)
    assert abs(x.mean()) < 0.02
    assert abs(x.std() - 1) < 0.02
    assert np.abs(np.corrcoef(x.T) - np.eye(16)).max() < 0.08
    assert np.abs(np.corrcoef(x[:-1].ravel(), x[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(x.ravel(), other.ravel())[0, 1]) < 0.02


def test_saved_gives_rows_back_and_fills_what_is_missing(past, tmp_path):
    users = past.users[1:][::-1].copy()
    vectors = np.random.default_rng(0).normal(size=(len(users), 3)).astype(np.float16)
    Profiles(users, vectors, (("a", 3),)).save(tmp_path)
    with pytest.raises(DataError, match=f"1 of {len(past.users)} users.* {past.users[0]}$"):
        Saved(folder=tmp_path).fit(past).encode(past)
    fitted = Saved(folder=tmp_path, missing="mean").fit(past)
    found = fitted.encode(past)
    assert np.array_equal(found.vectors[1:], vectors[::-1])
    assert np.allclose(found.vectors[0], vectors.astype(float).mean(0), atol=1e-3)
    assert found.blocks == (("a", 3),)
    fitted.save(tmp_path / "fitted")
    assert (
        encoders.load(tmp_path / "fitted").encode(past).vectors.tobytes()
        == found.vectors.tobytes()
    )
    Profiles(users[:0], vectors[:0]).save(tmp_path / "none")
    with pytest.raises(DataError, match="no row"):
        Saved(folder=tmp_path / "none", missing="mean").fit(past).encode(past)
    with pytest.raises(DataError, match=r"client_ids\.npy: not found"):
        Saved(folder=tmp_path / "nowhere").fit(past)
