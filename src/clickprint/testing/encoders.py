"""The promises of an encoder, as tests.

Subclass EncoderContract in a test module, with `encoder = …`. Needs pytest and hypothesis.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jaxtyping import Bool, Float16, Int64, Num

from clickprint.core.past import Encoder, Fitted, Past
from clickprint.core.profiles import MAX_WIDTH, Profiles
from clickprint.core.rng import RNG
from clickprint.core.time import DAY
from clickprint.data.engine import DuckDB, Engine
from clickprint.data.log import EventLog
from clickprint.data.split import past_of
from clickprint.testing import worlds
from clickprint.testing.worlds import START, World, memory_log, random_arrays

CUTOFF = START + 30 * DAY  # random logs last 40 days
WORLDS = {
    "clockwork": worlds.clockwork,
    "checkerboard": worlds.checkerboard,
    "dice": lambda engine: worlds.dice(engine, np.random.default_rng(1)),
}


class EncoderContract:
    """What every encoder promises.

    - `learns`: world (clockwork, checkerboard, dice) → the AUROC that a linear probe of its
      profiles must reach on users whom it did not see.
    - `tolerance`: how far a row may move where only the order of sums changed; 0 asks for equal
      bytes.
    - `anonymous`: whether a user's id says nothing (a control that hashes ids switches it off).
    """

    encoder: ClassVar[Encoder]
    learns: ClassVar[Mapping[str, float]] = {}
    tolerance: ClassVar[float] = 0.0
    anonymous: ClassVar[bool] = True

    def load(self, folder: Path) -> Fitted:
        """What reads back what `save` wrote; the encoder's own `load`."""
        fitted: Fitted = type(self.encoder).load(folder)  # type: ignore[attr-defined]
        return fitted

    # -- promises ---------------------------------------------------------------------------------
    def test_one_finite_row_a_user(self) -> None:
        with DuckDB(threads=1) as engine:
            past = a_past(engine, random_arrays(np.random.default_rng(0)))
            profiles = self._profiles(past)
        assert np.array_equal(profiles.users, past.users), (
            "a row for each of past.users, in their order"
        )
        assert profiles.vectors.dtype == np.float16
        assert profiles.vectors.ndim == 2
        assert profiles.vectors.shape[0] == len(past.users)
        assert 1 <= profiles.vectors.shape[1] <= MAX_WIDTH
        assert np.isfinite(profiles.vectors).all()

    def test_same_seed_same_bytes(self) -> None:
        with DuckDB(threads=2) as engine:
            past = a_past(engine, random_arrays(np.random.default_rng(1)))
            first, second = self.encoder.fit(past, rng=RNG(5)), self.encoder.fit(past, rng=RNG(5))
            wanted = first.encode(past).vectors
            equal(
                first.encode(past).vectors, wanted, 0.0, "encode gave other bytes the second time"
            )
            equal(
                second.encode(past).vectors,
                wanted,
                0.0,
                "another fit with the same seed gave other bytes",
            )

    def test_one_at_a_time(self) -> None:
        """A user's vector does not depend on who else is asked for."""
        with DuckDB(threads=1) as engine:
            log = memory_log(engine, **random_arrays(np.random.default_rng(2)))
            past = past_of(log, CUTOFF)
            fitted = self.encoder.fit(past, rng=RNG(0))
            wanted = fitted.encode(past).vectors
            for row in (0, len(past.users) // 2, len(past.users) - 1):
                alone = fitted.encode(past_of(log, CUTOFF, past.users[[row]])).vectors
                equal(
                    alone,
                    wanted[[row]],
                    self.tolerance,
                    f"user {past.users[row]} alone has another vector",
                )

    def test_rows_in_any_order(self) -> None:
        """The order of events in their files says nothing, not even for events of one moment."""
        arrays = random_arrays(np.random.default_rng(3))
        order = np.random.default_rng(4).permutation(len(arrays["user"]))
        with DuckDB(threads=1) as engine:
            wanted = self._profiles(a_past(engine, arrays)).vectors
            found = self._profiles(a_past(engine, at_rows(arrays, order))).vectors
        equal(found, wanted, 0.0, "the same events in another order gave other vectors")

    def test_names_of_users_say_nothing(self) -> None:
        if not self.anonymous:
            return
        arrays = random_arrays(np.random.default_rng(5))
        names = np.unique(arrays["user"])
        renamed = names[::-1] * 1_000_003 + 17
        with DuckDB(threads=1) as engine:
            wanted = self._profiles(a_past(engine, arrays))
            found = self._profiles(
                a_past(engine, {**arrays, "user": renamed[np.searchsorted(names, arrays["user"])]})
            )
        back = found.of(renamed[np.searchsorted(names, wanted.users)])
        equal(
            back,
            wanted.vectors,
            self.tolerance,
            "the same users under other ids have other vectors",
        )

    def test_saved_and_loaded_is_the_same(self, tmp_path: Path) -> None:
        with DuckDB(threads=1) as engine:
            past = a_past(engine, random_arrays(np.random.default_rng(6)))
            fitted = self.encoder.fit(past, rng=RNG(0))
            fitted.save(tmp_path / "fitted")
            loaded = self.load(tmp_path / "fitted")
            wanted, found = fitted.encode(past), loaded.encode(past)
        equal(found.vectors, wanted.vectors, 0.0, "what was loaded gives other vectors")
        assert found.blocks == wanted.blocks

    def test_users_unseen_get_a_row(self) -> None:
        with DuckDB(threads=1) as engine:
            log = memory_log(engine, **random_arrays(np.random.default_rng(7)))
            fitted = self.encoder.fit(past_of(log, CUTOFF), rng=RNG(0))
            strangers = fitted.encode(past_of(log, CUTOFF, np.array([999_999_001, 999_999_002])))
            nothing = fitted.encode(
                past_of(log, START, np.array([1, 2]))
            )  # before the first event
        assert strangers.vectors.shape[0] == 2
        assert nothing.vectors.shape == strangers.vectors.shape
        assert np.isfinite(strangers.vectors).all()

    # A seed has nothing to shrink.
    @settings(
        max_examples=3,
        deadline=None,
        derandomize=True,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(seed=st.integers(0, 2**32 - 1), tick=st.sampled_from([DAY // 4, DAY, 5 * DAY]))
    def test_time_travel_is_impossible(self, seed: int, tick: int) -> None:
        """Events from the cutoff on, and catalogue rows known from then, change no byte."""
        rng = np.random.default_rng(seed)
        arrays = random_arrays(rng, tick=tick)
        before = np.flatnonzero(arrays["time"] < CUTOFF)
        later = np.flatnonzero(arrays["time"] >= CUTOFF)
        arrays["time"][later[: len(later) // 2]] = CUTOFF  # a tie with the cutoff is after it
        items = arrays["catalogue"]["item"]
        ahead = {
            "item": items,
            "category": items % 3 + 50,
            "price_bucket": items % 2 + 90,
            "known_from": np.full(len(items), CUTOFF),
        }
        today = {**arrays["catalogue"], "known_from": np.full(len(items), worlds.NONE)}
        both = {name: np.concatenate([today[name], ahead[name]]) for name in ahead}
        users = np.append(np.unique(arrays["user"]), 424_242)
        with DuckDB(threads=1) as engine:
            past_alone = past_of(memory_log(engine, **at_rows(arrays, before)), CUTOFF, users)
            past_of_all = past_of(
                memory_log(engine, **{**arrays, "catalogue": both}), CUTOFF, users
            )
            wanted, found = self._profiles(past_alone), self._profiles(past_of_all)
        equal(found.vectors, wanted.vectors, 0.0, "the future changed a vector")

    def test_learns_what_it_says(self) -> None:
        for name, floor in self.learns.items():
            with DuckDB(threads=1) as engine:
                world = WORLDS[name](engine)
                score = probe(self._profiles(world.past).vectors, world)
            assert score >= floor, f"{name}: AUROC {score:.3f}, promised {floor}"

    def _profiles(self, past: Past) -> Profiles:
        return self.encoder.fit(past, rng=RNG(0)).encode(past)


def a_past(engine: Engine, arrays: dict[str, Any]) -> Past:
    """What was before CUTOFF in a log of these arrays."""
    log: EventLog = memory_log(engine, **arrays)
    return past_of(log, CUTOFF)


def at_rows(arrays: Mapping[str, Any], rows: Int64[np.ndarray, "N"]) -> dict[str, Any]:
    """The same arguments of `memory_log`, with these events in this order."""
    return {
        name: values[rows] if isinstance(values, np.ndarray) else values
        for name, values in arrays.items()
    }


def equal(
    found: Float16[np.ndarray, "U D"],
    wanted: Float16[np.ndarray, "U D"],
    tolerance: float,
    what: str,
) -> None:
    """Asserts it, with what is wrong in the message."""
    assert found.shape == wanted.shape, f"{what}: found {found.shape}, expected {wanted.shape}"
    assert found.dtype == wanted.dtype, f"{what}: found {found.dtype}, expected {wanted.dtype}"
    same = (
        found.tobytes() == wanted.tobytes()
        if not tolerance
        else np.allclose(found, wanted, rtol=tolerance, atol=tolerance)
    )
    assert same, (
        f"{what} ({(found != wanted).any(1).sum()} rows,"
        f" {(found != wanted).any(0).sum()} columns differ)"
    )


def probe(vectors: Float16[np.ndarray, "U D"], world: World) -> float:
    """The mean AUROC of a ridge regression that learns from three quarters of the users.

    The others are asked about.
    """
    x = vectors.astype(np.float64)
    deviation = x.std(0)
    x = np.c_[(x - x.mean(0)) / np.where(deviation > 0, deviation, 1), np.ones(len(x))]
    asked = np.random.default_rng(0).random(len(x)) < 0.25
    seen = x[~asked]
    weights = np.linalg.solve(
        seen.T @ seen + 0.1 * len(seen) * np.eye(x.shape[1]), seen.T @ world.truth[~asked]
    )
    scores = x[asked] @ weights
    return float(
        np.mean(
            [auroc(world.truth[asked][:, t], scores[:, t]) for t in range(world.truth.shape[1])]
        )
    )


def auroc(truth: Bool[np.ndarray, "U"], score: Num[np.ndarray, "U"]) -> float:
    """The chance that a positive is above a negative, ties half, by comparing all pairs.

    The slow twin of metrics.labels.auroc.
    """
    above = score[truth][:, None] - score[~truth][None, :]
    return float((above > 0).mean() + (above == 0).mean() / 2)
