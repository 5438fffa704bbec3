"""Every encoder keeps the contract, and the contract bites."""

import re
import shutil
import tempfile
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import test_sequence
from jaxtyping import TypeCheckError

from clickprint import encoders
from clickprint.core.errors import ClickprintError
from clickprint.core.profiles import Profiles
from clickprint.core.time import Window
from clickprint.encoders.controls import Constant, Random
from clickprint.encoders.counts import Counts
from clickprint.encoders.decay import Decay
from clickprint.encoders.joined import Joined
from clickprint.encoders.saved import Saved
from clickprint.testing.encoders import CUTOFF, EncoderContract

KNOWS = {"clockwork": 0.99, "checkerboard": 0.99}
SMALL = Decay(half_lives=(3, 30), windows=(7, 30), weeks=4, top=4)


class TestCounts(EncoderContract):
    encoder = Counts(days=(1, 7, 30), top=3)
    learns = KNOWS


class TestDecay(EncoderContract):
    encoder = SMALL
    learns = KNOWS


class TestJoined(EncoderContract):
    encoder = Joined(blocks={"counts": Counts(top=3), "random": Random(width=4)})
    learns = KNOWS
    anonymous = False  # one of its blocks is not


class TestJoinedReduced(EncoderContract):
    encoder = Joined(blocks={"decay": SMALL}, width=40, rows=True)
    learns = KNOWS
    tolerance = 0.01  # principal components are sums over users


class TestJoinedByQuantile(EncoderContract):
    encoder = Joined(blocks={"counts": Counts(top=3)}, normalise="quantile")
    learns = KNOWS


class TestRandom(EncoderContract):
    encoder = Random(width=8)
    anonymous = False


class TestConstant(EncoderContract):
    encoder = Constant()


class TestSaved(EncoderContract):
    anonymous = False

    @classmethod
    def setup_class(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp())
        users = np.arange(12, dtype=np.int64) * 7 - 20
        Profiles(
            users,
            np.random.default_rng(0).normal(size=(12, 5)).astype(np.float16),
            (("a", 2), ("b", 3)),
        ).save(cls.folder)
        cls.encoder = Saved(folder=cls.folder, missing="mean")

    @classmethod
    def teardown_class(cls) -> None:
        shutil.rmtree(cls.folder)


def test_every_encoder_of_the_registry_is_tested_here():
    here = (*globals().values(), *vars(test_sequence).values())
    tested = {
        type(c.encoder).__name__ for c in here if isinstance(c, type) and hasattr(c, "encoder")
    } | {"Saved"}
    for file in Path(__file__).parent.glob(
        "test_*.py"
    ):  # read, not imported: one may need an extra that is not here
        tested |= set(
            re.findall(
                r"^class Test\w+\(EncoderContract\):\n    encoder = (\w+)\(",
                file.read_text("utf-8"),
                re.MULTILINE,
            )
        )
    assert {target.split(":")[1] for target in encoders.ENCODERS.values()} <= tested


# -- encoders that break a promise ----------------------------------------------------------------
@dataclass(frozen=True)
class Broken:
    """Counts events, wrongly in the way that `how` says."""

    how: str
    calls: count = field(default_factory=count)

    def fit(self, past, *, rng, progress=None):
        return self

    def save(self, folder: Path) -> None:
        folder.mkdir()

    def encode(self, past) -> Profiles:
        log = past.log
        user = log.rows(["user"])["user"]
        counts = np.array([(user == u).sum() for u in past.users], np.float64)[:, None]
        if self.how == "peeks":  # at the raw relation that the cut is a view of
            view = log.engine.one(
                f"SELECT sql FROM duckdb_views() WHERE view_name = '{log.events}'"
            )[0]
            source = view.split("FROM ")[1].split(" WHERE")[0].strip(" ();")
            user = log.engine.arrays(f'SELECT "user" FROM {source}')["user"]
            counts = np.array([(user == u).sum() for u in past.users], np.float64)[:, None]
        elif self.how == "row order":  # the first event as it lies in the file
            rows = log.engine.arrays(f"SELECT * FROM {log.events}")
            first = [rows["kind"][rows["user"] == u][:1] for u in past.users]
            counts = np.array([f[0] if len(f) else -1 for f in first], np.float64)[:, None]
        elif self.how == "NaN":
            counts = counts / np.where(counts > counts.min(), counts, 0) * 0
        elif self.how == "dtype":
            return Profiles(past.users, counts)
        elif self.how == "rows":
            return Profiles(past.users[1:], counts[1:].astype(np.float16))
        elif self.how == "seed":
            counts = counts + next(self.calls)
        elif self.how == "neighbours":
            counts = counts - counts.mean()
        elif self.how == "names":
            counts = np.abs(past.users).astype(np.float64)[:, None] % 1_000
        return Profiles(past.users, counts.astype(np.float16))

    @staticmethod
    def load(folder: Path):
        return Broken("seed")


@pytest.mark.parametrize(
    ("how", "promise"),
    [
        ("peeks", "test_time_travel_is_impossible"),
        ("row order", "test_rows_in_any_order"),
        ("NaN", "test_one_finite_row_a_user"),
        ("dtype", "test_one_finite_row_a_user"),
        ("rows", "test_one_finite_row_a_user"),
        ("seed", "test_same_seed_same_bytes"),
        ("neighbours", "test_one_at_a_time"),
        ("names", "test_names_of_users_say_nothing"),
        ("learns nothing", "test_learns_what_it_says"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_contract_bites(how: str, promise: str):
    contract = type(
        "Contract", (EncoderContract,), {"encoder": Broken(how), "learns": {"checkerboard": 0.9}}
    )()
    with pytest.raises((AssertionError, ClickprintError, TypeCheckError)):
        getattr(contract, promise)()


def test_the_contract_bites_on_what_is_loaded(tmp_path: Path):
    @dataclass(frozen=True)
    class Forgetful(Broken):
        @staticmethod
        def load(folder: Path):
            return Broken("neighbours")

    contract = type("Contract", (EncoderContract,), {"encoder": Forgetful("fine")})()
    with pytest.raises(AssertionError, match="what was loaded"):
        contract.test_saved_and_loaded_is_the_same(tmp_path)


def test_an_honest_encoder_passes():
    contract = type(
        "Contract", (EncoderContract,), {"encoder": Broken("fine"), "learns": {"clockwork": 0.9}}
    )()
    contract.test_one_finite_row_a_user()
    contract.test_rows_in_any_order()
    contract.test_time_travel_is_impossible()
    contract.test_learns_what_it_says()


def test_the_worlds_are_as_they_say():
    from clickprint.core.events import Role
    from clickprint.data.engine import DuckDB
    from clickprint.testing.encoders import WORLDS, probe

    with DuckDB(threads=1) as engine:
        for name, make in WORLDS.items():
            world = make(engine)
            rows = world.log.rows(["user", "category"], roles=(Role.BUY,), window=world.window)
            if name == "checkerboard":
                for t in range(world.truth.shape[1]):
                    assert np.array_equal(
                        np.unique(rows["user"][rows["category"] == t]),
                        world.past.users[world.truth[:, t]],
                    )
            else:
                assert np.array_equal(np.unique(rows["user"]), world.past.users[world.truth[:, 0]])
            if name == "dice":
                from clickprint.core.rng import RNG

                vectors = Counts().fit(world.past, rng=RNG(0)).encode(world.past).vectors
                assert 0.4 < probe(vectors, world) < 0.6
    assert Window(0, CUTOFF)
