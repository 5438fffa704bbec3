"""A training that was broken off goes on in its session's folder to the same bytes."""

import sys

import numpy as np
import pytest

from clickprint.core.errors import ConfigError
from clickprint.core.rng import RNG
from clickprint.core.session import Session
from clickprint.core.time import DAY
from clickprint.data.engine import DuckDB
from clickprint.data.split import past_of
from clickprint.encoders import encoder
from clickprint.testing.worlds import START, random_log

TRAINING = {"epochs": 3, "batch": 8, "lr": 0.01}
RECIPES = {
    "sasrec": {"width": 8, "history": {"length": 6}, "training": TRAINING},
    "twhin": {"width": 8, "training": TRAINING},
}


@pytest.fixture(scope="module")
def past():
    with DuckDB(threads=1) as engine:
        yield past_of(random_log(engine, np.random.default_rng(0)), START + 30 * DAY)


class Broken(Exception): ...


def fit(past, name, folder, until=10**9):
    """The vectors, and the steps that were made here; Broken after `until` steps."""
    steps = []

    def progress(stage, done, total):
        if stage.startswith("train"):
            steps.append(stage)
            if len(steps) > until:
                raise Broken

    session = Session(checkpoints=folder)
    fitted = encoder(name, **RECIPES[name]).fit(
        past, rng=RNG(1), progress=progress, session=session
    )
    return fitted.encode(past).vectors, len(steps)


@pytest.mark.parametrize("name", RECIPES)
def test_what_was_broken_off_goes_on(past, tmp_path, name):
    whole, steps = fit(past, name, tmp_path / "whole")
    with pytest.raises(Broken):
        fit(past, name, tmp_path / "broken", until=steps - 1)
    resumed, left = fit(past, name, tmp_path / "broken")
    assert 0 < left < steps
    assert resumed.tobytes() == whole.tobytes()


def test_a_block_of_a_joined_one_goes_on_too(past, tmp_path):
    session = Session(checkpoints=tmp_path, key="both")
    joined = encoder("joined", blocks={"sasrec": RECIPES["sasrec"], "twhin": RECIPES["twhin"]})
    joined.fit(past, rng=RNG(1), session=session)
    assert len(list(tmp_path.iterdir())) == 2, "a checkpoint each"
    steps = []
    joined.fit(past, rng=RNG(1), session=session, progress=lambda s, *_: steps.append(s))
    assert not [s for s in steps if s.startswith("train")]


def test_another_training_takes_none_of_it(past, tmp_path):
    fit(past, "sasrec", tmp_path)
    assert fit(past, "sasrec", tmp_path)[1] == 0  # all done
    earlier = past.at(past.cutoff - 5 * DAY)
    assert fit(earlier, "sasrec", tmp_path)[1] > 0


def test_without_its_library_an_encoder_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit", None)
    monkeypatch.delitem(sys.modules, "clickprint.encoders.als", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "clickprint.encoders.gru4rec", raising=False)
    monkeypatch.delitem(sys.modules, "clickprint.encoders.sequence", raising=False)
    with pytest.raises(
        ConfigError, match=r"gru4rec needs torch.*pip install 'clickprint\[probe\]'"
    ):
        encoder("gru4rec")
