"""Blocks side by side."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickprint.core.options import OptionsError
from clickprint.core.profiles import Profiles
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.data.engine import DuckDB
from clickprint.data.split import past_of
from clickprint.encoders import encoder
from clickprint.encoders.controls import Constant, Random
from clickprint.encoders.counts import Counts
from clickprint.encoders.joined import Joined, Scale, shares
from clickprint.encoders.saved import Saved
from clickprint.testing.worlds import START, random_log


@pytest.fixture(scope="module")
def past():
    with DuckDB(threads=1) as engine:
        log = random_log(engine, np.random.default_rng(0), users=30, events=400)
        yield past_of(log, START + 30 * DAY, np.append(log.users(), 10**9))


@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.integers(1, 100))
def test_shares_are_fair(wanted, width):
    given = shares(wanted, width)
    assert sum(given) == min(sum(wanted), width)
    assert all(g <= w for g, w in zip(given, wanted, strict=True))
    short = [g for g, w in zip(given, wanted, strict=True) if g < w]
    assert (
        not short or max(given) - min(short) <= 1
    )  # who gets less than wanted gets as much as anybody, but for the odd column


def test_standard_columns_and_a_mean_for_the_unknown():
    raw = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float16)
    raw[:, 1] = 7
    raw[:4] = 0
    scale = Scale.fit(raw, "standard")
    x = scale.apply(raw)
    assert x.shape == (
        200,
        3,
    )  # the column that never differs is out, one that tells the unknown is in
    assert np.allclose(x[4:, :2].mean(0), 0, atol=1e-9)
    assert np.allclose(x[4:, :2].std(0), 1, atol=1e-9)
    assert x[:4].tolist() == [[0, 0, 1]] * 4
    assert not x[4:, 2].any()
    assert np.abs(scale.apply(np.full((1, 3), 60_000, np.float16))).max() == 10


def test_quantiles_are_shares_of_users():
    raw = np.array([[1], [2], [2], [5]], np.float16)
    x = Scale.fit(np.repeat(raw, 100, 0), "quantile").apply(
        np.array([[0.5], [1], [2], [5], [9]], np.float16)
    )[:, 0]
    assert x[0] == -1
    assert x[4] == 1
    assert np.allclose(x[1:4], [-0.75, 0, 0.75], atol=0.02)


def test_principal_components_explain_most_and_have_one_sign():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(500, 2)) @ rng.normal(size=(2, 8))
    raw = (hidden + 0.01 * rng.normal(size=(500, 8))).astype(np.float16)
    scale = Scale.fit(raw, "standard")
    reduced = scale.reduce(raw, 2)
    x, z = scale.apply(raw), reduced.apply(raw)
    assert z.shape == (500, 2)
    assert (z**2).sum() > 0.99 * (x**2).sum()
    assert np.allclose(reduced.axes.T @ reduced.axes, np.eye(2))
    assert (reduced.axes[np.abs(reduced.axes).argmax(0), [0, 1]] > 0).all()
    assert scale.reduce(raw, 8) is scale


def test_blocks_are_named_and_add_up(past):
    joined = Joined(blocks={"a": Counts(top=2), "b": Random(width=5)})
    profiles = joined.fit(past, rng=RNG(0)).encode(past)
    assert [name for name, _ in profiles.blocks] == ["a", "b"]
    assert dict(profiles.blocks)["b"] == 5
    assert profiles.without("a").vectors.shape[1] == 5
    assert profiles.vectors[-1, dict(profiles.blocks)["a"] - 1] == 1  # the one without an event
    assert not profiles.vectors[-1, : dict(profiles.blocks)["a"] - 1].any()


def test_width_is_kept_and_shared(past):
    profiles = (
        Joined(blocks={"a": Counts(top=3), "b": Random(width=5)}, width=12)
        .fit(past, rng=RNG(0))
        .encode(past)
    )
    assert profiles.blocks == (("a", 7), ("b", 5))


def test_rows_have_one_length_a_block(past):
    profiles = (
        Joined(blocks={"a": Counts(top=3), "b": Random(width=6)}, rows=True)
        .fit(past, rng=RNG(0))
        .encode(past)
    )
    a = dict(profiles.blocks)["a"]
    lengths = np.linalg.norm(profiles.vectors[:, a:].astype(float), axis=1)
    assert np.allclose(lengths, np.sqrt(6), atol=0.01)


def test_a_block_that_says_nothing_is_empty(past):
    profiles = (
        Joined(blocks={"one": Constant(), "b": Random(width=3)}).fit(past, rng=RNG(0)).encode(past)
    )
    assert profiles.blocks == (("one", 0), ("b", 3))


def test_saved_profiles_join(past, tmp_path):
    Profiles(
        past.users, np.random.default_rng(0).normal(size=(len(past.users), 4)).astype(np.float16)
    ).save(tmp_path)
    blocks = {"mine": {"encoder": "saved", "folder": str(tmp_path)}, "counts": {"top": 2}}
    profiles = Joined(blocks=blocks).fit(past, rng=RNG(0)).encode(past)
    assert profiles.blocks[0] == ("mine", 4)
    same = (
        Joined(blocks={"mine": Saved(folder=tmp_path), "counts": Counts(top=2)})
        .fit(past, rng=RNG(0))
        .encode(past)
    )
    assert same.vectors.tobytes() == profiles.vectors.tobytes()


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        ({"width": 0}, ["width"]),
        ({"width": 2049}, ["width"]),
        ({"normalise": "l1"}, ["normalise"]),
        ({"blocks": ()}, ["blocks"]),
        ({"blocks": ("counts", "counts")}, ["blocks"]),
        ({"blocks": ("counts", "decay"), "width": 1}, ["blocks"]),
        ({"blocks": ("count", "decai")}, ["blocks.count", "blocks.decai"]),
        ({"blocks": {"counts": {"tops": 3}}}, ["blocks.counts.tops"]),
        ({"blocks": {"x": {"encoder": "nothing"}}}, ["blocks.x"]),
        ({"blocks": {"counts": 3}}, ["blocks.counts"]),
    ],
)
def test_options_that_cannot_be(options, paths):
    with pytest.raises(OptionsError) as fault:
        encoder("joined", **options)
    assert [f.path for f in fault.value.faults] == paths
