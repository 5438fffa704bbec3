"""Profiles as features: one meaning in every window, new users, saved and loaded, faults."""

from pathlib import Path

import numpy as np
import pytest

from clickprint.core.errors import DataError
from clickprint.core.options import OptionsError
from clickprint.core.profiles import Profiles
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.data.log import EventLog
from clickprint.data.split import past_of
from clickprint.recommenders.profiler import Profiler, Projection
from clickprint.testing.worlds import START

CUTOFF = START + 30 * DAY


def test_axes_are_the_principal_components() -> None:
    vectors = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float16) * np.array(
        [5, 1, 3, 0.1, 0.5], np.float16
    )
    profiles = Profiles(np.arange(200), vectors)
    found = Projection.of(profiles, 3)
    centred = vectors.astype(np.float64) - vectors.astype(np.float64).mean(0)
    _, _, right = np.linalg.svd(centred, full_matrices=False)
    assert np.allclose(np.abs(found.axes.T), np.abs(right[:3]), atol=1e-6)
    assert (found.axes[np.abs(found.axes).argmax(0), range(3)] > 0).all()  # the sign is one
    assert np.allclose(found.columns(profiles, profiles.users), centred @ found.axes, atol=1e-4)


def test_a_column_means_the_same_at_a_later_cutoff_and_of_new_users(log) -> None:
    early, late = past_of(log, CUTOFF - 28 * DAY), past_of(log, CUTOFF)
    profiler = Profiler.fit(
        early,
        {"counts": {"components": 2}, "twice": {"encoder": "counts", "components": 1}},
        rng=RNG(0),
    )
    columns = profiler.users(late)
    assert list(columns) == ["user_counts_0", "user_counts_1", "user_twice_0"]
    assert all(
        len(c) == len(late.users) > len(early.users) and c.dtype == np.float32
        for c in columns.values()
    )
    fitted, projection = profiler.parts["counts"]
    wanted = (fitted.encode(late).vectors.astype(np.float64) - projection.mean) @ projection.axes
    assert np.array_equal(columns["user_counts_1"], wanted[:, 1].astype(np.float32))
    assert np.array_equal(columns["user_counts_0"], columns["user_twice_0"])


def test_saved_and_loaded_gives_the_same_bytes(log, tmp_path: Path) -> None:
    past = past_of(log, CUTOFF)
    profiler = Profiler.fit(past, {"counts": {}, "decay": {"components": 3}}, rng=RNG(0))
    profiler.save(tmp_path / "p")
    found = Profiler.load(tmp_path / "p").users(past)
    assert {n: c.tobytes() for n, c in found.items()} == {
        n: c.tobytes() for n, c in profiler.users(past).items()
    }


@pytest.mark.parametrize(
    "broken", ["fitted.json", "parts.counts.1.axes.npy", "parts.counts.0/fitted.json"]
)
def test_a_damaged_folder_is_named(log, tmp_path: Path, broken: str) -> None:
    Profiler.fit(past_of(log, CUTOFF), {"counts": {}}, rng=RNG(0)).save(tmp_path / "p")
    (tmp_path / "p" / broken).write_bytes(b"{")
    with pytest.raises(DataError, match="again"):
        Profiler.load(tmp_path / "p")


def test_no_profiles_is_no_columns(log) -> None:
    assert Profiler.fit(past_of(log, CUTOFF), {}, rng=RNG(0)).users(past_of(log, CUTOFF)) == {}


@pytest.mark.parametrize(
    ("profiles", "path"),
    [
        ({"nothing": {}}, "profiles.nothing.encoder"),
        ({"counts": {"components": 0}}, "profiles.counts.components"),
        ({"counts": {"components": True}}, "profiles.counts.components"),
        ({"counts": {"depth": 3}}, "profiles.counts.depth"),
    ],
)
def test_a_wrong_option_is_told(log: EventLog, profiles: dict, path: str) -> None:
    with pytest.raises(OptionsError) as fault:
        Profiler.fit(past_of(log, CUTOFF), profiles, rng=RNG(0))
    assert [f.path for f in fault.value.faults] == [path]
