"""The richer block, by hand on a small log and on logs that have little."""

import numpy as np
import pytest

from clickprint.core.errors import ConfigError
from clickprint.core.events import Kind, Role
from clickprint.core.ids import NONE
from clickprint.core.time import DAY, HOUR
from clickprint.data.engine import DuckDB
from clickprint.data.split import past_of
from clickprint.encoders import decay
from clickprint.encoders.decay import Decay
from clickprint.testing.worlds import BUY, CART, SEARCH, START, VIEW, memory_log, random_log


@pytest.fixture(scope="module")
def engine():
    with DuckDB(threads=1) as engine:
        yield engine


def encoded(
    log, encoder: Decay, cutoff: int, users=None
) -> tuple[dict[str, np.ndarray], list[int]]:
    """Column by name, and the users."""
    past = past_of(log, cutoff, users)
    fitted = encoder.fit(past)
    profiles = fitted.encode(past)
    assert len(set(fitted.names)) == len(fitted.names) == profiles.vectors.shape[1]
    assert sum(w for _, w in profiles.blocks) == len(fitted.names)
    return dict(
        zip(fitted.names, profiles.vectors.T.astype(float), strict=True)
    ), profiles.users.tolist()


def test_by_hand(engine):
    cutoff = START + 30 * DAY
    events = [  # user, day, hour, kind, item, price
        (1, 2, 0, BUY, 10, 4.0),
        (1, 16, 3, BUY, 10, 8.0),
        (1, 29, 23, BUY, 11, 12.0),
        (1, 29, 23, CART, 12, np.nan),
        (1, 28, 12, VIEW, 10, np.nan),
        (2, 20, 6, SEARCH, NONE, np.nan),
    ]
    user, day, hour, kind, item, price = (np.array(c) for c in zip(*events, strict=True))
    log = memory_log(
        engine,
        time=START + day * DAY + hour * HOUR + 7,
        user=user,
        kind=kind,
        item=item,
        price=price,
        session=[1, 2, 3, 3, 4, 5],
        catalogue={"item": [10, 11, 12], "category": [1, 1, 2]},
    )
    x, users = encoded(
        log,
        Decay(half_lives=(7,), windows=(1, 14), weeks=4, taste_half_lives=(10,), top=3),
        cutoff,
        np.array([1, 2, 3]),
    )
    assert users == [1, 2, 3]

    def of(name, row=0):
        return x[name][row]

    close = pytest.approx
    assert of("buy events") == close(np.log1p(3), abs=1e-3)
    assert of("all events") == close(np.log1p(5), abs=1e-3)
    assert of("buy in 1d") == close(np.log1p(1), abs=1e-3)
    assert of("buy in 14d") == close(
        np.log1p(2), abs=1e-3
    )  # day 16, hour 3: 13 days and 21 hours before
    ages = np.array([28, 13 + 21 / 24, 1 / 24]) - 0.5 / 24
    assert of("buy half-life 7d") == close(np.log1p((0.5 ** (ages / 7)).sum()), abs=1e-3)
    assert of("buy since last") == close(np.log1p(1 / 24), abs=1e-3)
    assert of("buy since first") == close(np.log1p(28), abs=2e-3)
    assert of("buy active days") == close(np.log1p(3), abs=1e-3)
    assert of("all active days") == close(np.log1p(4), abs=1e-3)
    assert of("all active hours") == close(np.log1p(4), abs=1e-3)
    assert of("buy gap mean") == close(np.log1p(13.5), abs=2e-3)  # days 2, 16, 29
    assert of("buy gap deviation") == close(np.log1p(0.5), abs=1e-3)
    assert of("buy week 0") == close(np.log1p(1), abs=1e-3)
    assert of("buy week 1") == close(np.log1p(1), abs=1e-3)
    assert of("buy trend week") == close(0, abs=1e-3)
    assert of("buy trend fortnight") == close(np.log1p(2) - np.log1p(1), abs=1e-3)
    assert of("sessions") == close(np.log1p(4), abs=1e-3)
    assert of("buy price mean") == close(np.log1p(8), abs=2e-3)
    assert of("buy price least") == close(np.log1p(4), abs=1e-3)
    assert of("buy price largest") == close(np.log1p(12), abs=2e-3)
    assert of("buy price deviation") == close(np.log1p(np.std([4, 8, 12])), abs=1e-3)
    assert of("buy spent") == close(np.log1p(24), abs=2e-3)
    assert of("buy spent in 14d") == close(np.log1p(20), abs=2e-3)
    assert of("buy item distinct") == close(np.log1p(2), abs=1e-3)
    assert of("buy item entropy") == close(
        -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)), abs=1e-3
    )
    assert of("buy item top share") == close(2 / 3, abs=1e-3)
    assert of("buy item again share") == close(1 / 2, abs=1e-3)
    assert of("buy category entropy") == close(0, abs=1e-3)
    assert of("items viewed bought") == close(np.log1p(1), abs=1e-3)
    assert of("share viewed bought") == 1
    assert of("share carted bought") == 0
    assert of("ratio buy view") == close(np.log1p(3) - np.log1p(1), abs=1e-3)
    assert of("weekday 0") + of("weekday 1") + sum(
        of(f"weekday {d}") for d in range(2, 7)
    ) == close(1, abs=2e-3)
    assert of("part 5") == close(2 / 5, abs=1e-3)  # 20 to 24 o'clock
    weekday = (START // DAY + 29 + 3) % 7
    assert of(f"weekday {weekday}") >= 2 / 5 - 1e-3
    assert of("taste bought item 10 half-life 10d") == close(
        np.log1p((0.5 ** (ages[:2] / 10)).sum()), abs=1e-3
    )
    assert of("taste touched category 2 half-life 10d") == close(
        np.log1p(0.5 ** (ages[2] / 10)), abs=1e-3
    )
    assert of("search since last", 1) == close(np.log1p(9.75), abs=2e-3)
    assert of("buy since last", 1) == close(
        np.log1p(28), abs=2e-2
    )  # never: as long ago as the log's first event
    assert all(values[2] == 0 for values in x.values())  # nothing is known of user 3
    assert all(np.isfinite(values).all() for values in x.values())


@pytest.mark.parametrize(
    "without",
    [
        ("price", "session"),
        ("catalogue",),
        ("url", "query", "texts", "codes"),
        ("price", "session", "catalogue", "url", "query", "texts"),
    ],
)
def test_logs_that_have_little(engine, without):
    from clickprint.testing.worlds import random_arrays

    arrays = {k: v for k, v in random_arrays(np.random.default_rng(0)).items() if k not in without}
    if "query" in without:
        arrays["codes"] = False
    x, _ = encoded(memory_log(engine, **arrays), Decay(top=3), START + 30 * DAY)
    assert all(np.isfinite(values).all() for values in x.values())
    assert x["all events"].max() > 0


def test_only_purchases(engine):
    log = memory_log(
        engine,
        kinds=(Kind("buy", Role.BUY),),
        time=START + DAY * np.arange(20),
        user=np.arange(20) % 3,
        kind=np.zeros(20),
        item=np.arange(20) % 4,
    )
    x, _ = encoded(log, Decay(top=5), START + 25 * DAY)
    assert not any(name.startswith(("buy price", "ratio", "sessions")) for name in x)
    assert x["buy active days"].tolist() == x["all active days"].tolist()


def test_shards_change_nothing(engine, monkeypatch):
    past = past_of(
        random_log(engine, np.random.default_rng(3), users=20, events=300), START + 30 * DAY
    )
    fitted = Decay(top=3).fit(past)
    wanted = fitted.encode(past).vectors
    monkeypatch.setattr(decay, "SHARD", 3)
    assert fitted.encode(past).vectors.tobytes() == wanted.tobytes()


def test_another_log_fills_what_it_has(engine):
    """Kinds go by name; what the other log lacks stays zero."""
    fitted = Decay(top=3).fit(
        past_of(random_log(engine, np.random.default_rng(3)), START + 30 * DAY)
    )
    other = memory_log(
        engine,
        kinds=(Kind("wish", Role.LIKE), Kind("buy", Role.BUY)),
        time=[START, START],
        user=[4, 4],
        kind=[0, 1],
        item=[1, 2],
    )
    found = dict(
        zip(
            fitted.names,
            fitted.encode(past_of(other, START + DAY)).vectors[0].tolist(),
            strict=True,
        )
    )
    assert found["buy events"] == pytest.approx(np.log(2), abs=1e-3)
    assert found["all events"] == pytest.approx(
        np.log(2), abs=1e-3
    )  # a wish is no kind of the fitted log
    assert found["cart events"] == 0
    assert found["sessions"] == 0


@pytest.mark.parametrize(
    "options",
    [
        {"half_lives": ()},
        {"half_lives": (0.0,)},
        {"half_lives": (1e9,)},
        {"windows": (7, 7)},
        {"windows": (-1,)},
        {"weeks": 3},
        {"weeks": 1000},
        {"top": 0},
        {"taste_half_lives": ()},
    ],
)
def test_options_that_cannot_be(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Decay(**options)


def test_too_many_columns_are_refused(engine):
    log = random_log(engine, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="at most 2048"):
        Decay(weeks=520).fit(past_of(log, START + 30 * DAY))
