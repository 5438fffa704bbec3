"""Sequence encoders and what is wrong, empty or huge: it is read as it should be, or said.

And nothing that was there is lost.
"""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_sequence import ITEMS, QUICK, RECIPES, walks

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.histories import Histories
from clickprint.core.ids import NONE
from clickprint.core.profiles import Profiles
from clickprint.core.requests import Requests
from clickprint.core.rng import RNG
from clickprint.core.seal import seal
from clickprint.core.session import Session
from clickprint.data.split import HistoriesPast
from clickprint.encoders import load
from clickprint.encoders.sequence import FittedSequence, HistorySpec, check_fields
from clickprint.nn.train import Training

MILLION = 1_000_000
ONCE = Training(epochs=1, batch=32)


def of(*rows: list[int]) -> Histories:
    starts = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    item = np.array([i for r in rows for i in r], np.int64)
    return Histories(
        np.arange(len(rows)), starts, {"item": item, "time": np.arange(len(item)) * 1_000_000}
    )


@pytest.fixture(scope="module", params=RECIPES)
def fitted(request: pytest.FixtureRequest) -> FittedSequence:
    return RECIPES[request.param](history=HistorySpec(length=6), training=ONCE).fit(
        HistoriesPast(walks(20)), rng=RNG(0)
    )


def test_nobody_nothing_one_event_and_items_that_are_not_known(fitted: FittedSequence) -> None:
    nobody = of()
    assert fitted.user_vectors(Requests(nobody)).shape == (0, 16)
    assert fitted.recommend(Requests(nobody), 3).items.shape == (0, 3)
    some = of([], [7], [123, 124, 125], [NONE, NONE], [])
    states, lists = (
        fitted.user_vectors(Requests(some)),
        fitted.recommend(Requests(some), 3, include_seen=False),
    )
    assert np.isfinite(states).all()
    assert not states[[0, 3, 4]].any(), "nothing is known of who has no event about an item"
    assert states[1].any()
    assert 7 not in lists.items[1]
    assert np.isin(lists.items, ITEMS).all()
    assert np.array_equal(lists.items[0], lists.items[4])
    other = fitted.user_vectors(Requests(of([], [7], [9_999, -1, 4], [], [])))
    assert np.array_equal(states, other), "which unknown items they were says nothing"
    assert fitted.user_vectors(Requests(of([], []))).tolist() == np.zeros((2, 16)).tolist()


@pytest.mark.parametrize("name", RECIPES)
def test_one_history_of_a_million_events(name: str) -> None:
    """Fit and states read the newest `length` (and one to be predicted) of it.

    Memory is a few numbers an event.
    """
    short = walks(20)
    item = np.concatenate([short.fields["item"], np.resize(ITEMS, MILLION)])
    time = np.arange(len(item), dtype=np.int64) * 1_000_000
    histories = Histories(
        np.arange(21), np.append(short.starts, len(item)), {"item": item, "time": time}
    )
    recipe = RECIPES[name](history=HistorySpec(length=6), training=ONCE)
    tracemalloc.start()
    found = recipe.fit(HistoriesPast(histories), rng=RNG(0))
    states, lists = (
        found.user_vectors(Requests(histories)),
        found.recommend(Requests(histories), 3, include_seen=False),
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120 * MILLION, f"{peak / MILLION:.0f} bytes an event"
    newest = histories.last(7)
    wanted = recipe.fit(HistoriesPast(newest), rng=RNG(0))
    assert all(
        torch.equal(a, b)
        for a, b in zip(found.network.parameters(), wanted.network.parameters(), strict=True)
    )
    assert np.allclose(states, wanted.user_vectors(Requests(newest)), atol=1e-5)
    assert (lists.items[20] == NONE).all(), "who had everything is given nothing"


def test_ids_and_times_at_the_ends_of_their_range() -> None:
    big = np.iinfo(np.int64)
    rows = [[big.max, big.min + 1, big.max, 0], [0, big.max, big.min + 1]]
    histories = of(*rows)
    time = np.array([big.min + 1, -1, 0, big.max, -5, 0, 5])
    extreme = Histories(histories.users, histories.starts, {**histories.fields, "time": time})
    for name in ("sasrec", "hstu"):
        found = RECIPES[name](training=ONCE, history=HistorySpec(fields=("hour", "gap"))).fit(
            HistoriesPast(extreme), rng=RNG(0)
        )
        assert np.isfinite(found.user_vectors(Requests(extreme))).all()
        assert set(found.recommend(Requests(extreme), 3).items.ravel().tolist()) == {
            0,
            big.max,
            big.min + 1,
        }


# -- features -------------------------------------------------------------------------------------
def test_numbers_are_not_read_as_ids() -> None:
    histories = walks(10)
    price = np.full(histories.events, 3.7)
    price[::2], price[1] = np.nan, np.inf
    priced = Histories(histories.users, histories.starts, {**histories.fields, "price": price})
    recipe = RECIPES["sasrec"](history=HistorySpec(fields=("price",)), training=ONCE)
    with pytest.raises(ConfigError, match=r"price: .*numbers.*\bids\b.*\bprice_band\b"):
        recipe.fit(HistoriesPast(priced), rng=RNG(0))
    with pytest.raises(ConfigError, match="price"):
        recipe.fit(HistoriesPast(histories), rng=RNG(0))
    with pytest.raises(ConfigError, match=r"no field url\b.*price: .*numbers"):
        check_fields(priced, ("url", "price"))  # both faults at once


def test_bands_of_prices_that_are_no_number_are_nothing() -> None:
    histories = walks(10)
    price = np.resize([np.nan, np.inf, -np.inf, -1.0, 0.0, 5.0, 1e308, 5e-324], histories.events)
    priced = Histories(histories.users, histories.starts, {**histories.fields, "price": price})
    recipe = RECIPES["sasrec"](history=HistorySpec(fields=("price_band",)), training=ONCE)
    found = recipe.fit(HistoriesPast(priced), rng=RNG(0))
    assert found.values["price_band"].tolist() == [-4296, 9, 4092]  # 4 · log2 of what is above 0
    assert np.isfinite(found.user_vectors(Requests(priced))).all()


def test_a_training_that_leaves_the_numbers_says_what_to_do(tmp_path: Path) -> None:
    training = Training(epochs=50, batch=8)
    object.__setattr__(training, "lr", 1e38)  # a recipe refuses it
    wild = RECIPES["sasrec"](training=training)
    with pytest.raises(FloatingPointError, match="lower lr, or set clip"):
        wild.fit(HistoriesPast(walks(30)), rng=RNG(0), session=Session(checkpoints=tmp_path / "c"))
    if (tmp_path / "c").exists():
        assert all(
            torch.isfinite(v).all()
            for n, v in load_file(tmp_path / "c" / "state.safetensors").items()
            if n.startswith("model.")
        )


def test_profiles_hold_numbers_only() -> None:
    for bad in (np.nan, np.inf):
        with pytest.raises(DataError, match="expected finite numbers"):
            Profiles(np.array([1, 2]), np.array([[1.0], [bad]], np.float16))


# -- fitted folders -------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fitted SASRec, to be copied and spoilt."""
    target = tmp_path_factory.mktemp("fitted") / "sasrec"
    recipe = RECIPES["sasrec"](history=HistorySpec(length=6, fields=("kind",)), training=ONCE)
    histories = walks(10)
    kinds = np.resize(np.array([0, 3], np.int16), histories.events)
    recipe.fit(
        HistoriesPast(
            Histories(histories.users, histories.starts, {**histories.fields, "kind": kinds})
        ),
        rng=RNG(0),
    ).save(target)
    return target


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / "weights.safetensors")
        change(tensors)
        save_file({n: v.contiguous() for n, v in tensors.items()}, folder / "weights.safetensors")

    return spoil


def values(found: Any, field: str = "item") -> Callable[[Path], None]:
    return lambda folder: np.save(folder / f"values.{field}.npy", found)


def about(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        raw = json.loads((folder / "fitted.json").read_text())
        change(raw)
        (folder / "fitted.json").write_text(json.dumps(raw))

    return spoil


def file(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


ITEM_TABLE = "embed.item.weight"
SPOILT = {
    "NaN": (
        weights(lambda t: t[ITEM_TABLE][3].fill_(torch.nan)),
        "1 of .* weights are no finite numbers, the first is embed.item.weight",
    ),
    "infinite": (weights(lambda t: t[ITEM_TABLE][0].fill_(-torch.inf)), "no finite numbers"),
    "float64": (
        weights(lambda t: t.update({ITEM_TABLE: t[ITEM_TABLE].double()})),
        "is torch.float64",
    ),
    "float16": (
        weights(lambda t: t.update({ITEM_TABLE: t[ITEM_TABLE].half()})),
        "is torch.float16",
    ),
    "one weight less": (weights(lambda t: t.pop(ITEM_TABLE)), ITEM_TABLE),
    "one weight more": (weights(lambda t: t.update(more=torch.ones(2))), "more"),
    "other weights": (weights(lambda t: (t.clear(), t.update(x=torch.ones(2)))), ITEM_TABLE),
    "empty weights": (file("weights.safetensors", b""), "no tensors|bytes|empty"),
    "a pickle": (
        file("weights.safetensors", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00."),
        "no tensors|bytes|empty",
    ),
    "a huge header": (file("weights.safetensors", b"\xff" * 8 + b"{}"), "no tensors|bytes|empty"),
    "real values": (values(ITEMS.astype(np.float64)), r"values\.item: found float64"),
    "short values": (values(np.sort(ITEMS).astype(np.int32)), r"values\.item: found int32"),
    "a table of values": (
        values(np.sort(ITEMS).reshape(4, 2)),
        r"values\.item: found int64 \(4, 2\)",
    ),
    "values twice": (values(np.full(8, 5)), "twice the same"),
    "unsorted values": (values(ITEMS), "not sorted"),
    "nothing as a value": (values(np.array([NONE, *range(7)])), "one is nothing"),
    "fewer values": (values(np.arange(5)), ITEM_TABLE),
    "a field's values": (values(np.array([b"a"]), "kind"), r"values\.kind"),
    "an object": (
        lambda f: np.save(f / "values.item.npy", np.array([{}], object), allow_pickle=True),
        "Python objects",
    ),
    "unknown option": (about(lambda raw: raw["state"]["options"].update(colour="red")), "colour"),
    "option of a wrong type": (
        about(lambda raw: raw["state"]["options"].update(width="wide")),
        "width: found 'wide'",
    ),
    "no options": (about(lambda raw: raw["state"].pop("options")), "options"),
    "options that are a list": (
        about(lambda raw: raw["state"].update(options=[1])),
        "options",
    ),
    "other format": (about(lambda raw: raw.update(format=99)), "format 99"),
    "state that is a text": (about(lambda raw: raw.update(state="x")), "fitted.json"),
    "a list": (file("fitted.json", b"[]"), "fitted.json"),
    "another recipe": (about(lambda raw: raw.update(encoder="hstu")), "fitted.json"),
    "an unknown encoder": (
        about(lambda raw: raw.update(encoder="oracle")),
        "found no encoder 'oracle'",
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_fitted_folder_that_is_not_as_it_was(how: str, folder: Path, tmp_path: Path) -> None:
    spoil, said = SPOILT[how]
    copy = tmp_path / "copy"
    copy.mkdir()
    for each in folder.iterdir():
        (copy / each.name).write_bytes(each.read_bytes())
    assert load(copy).name == "sasrec"
    spoil(copy)
    with pytest.raises(DataError):
        load(copy)  # the seal is broken
    seal(copy)
    before = {f.name: f.read_bytes() for f in copy.iterdir()}
    with pytest.raises(DataError, match=said):
        load(copy)
    assert {f.name: f.read_bytes() for f in copy.iterdir()} == before


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("name", ["weights.safetensors", "fitted.json", "values.item.npy"])
def test_every_file_cut_short(name: str, share: float, folder: Path, tmp_path: Path) -> None:
    for each in folder.iterdir():
        (tmp_path / each.name).write_bytes(each.read_bytes())
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match="fit and save"):
        load(tmp_path)


# -- checkpoints ----------------------------------------------------------------------------------
def trained(folder: Path, training: Training = ONCE) -> FittedSequence:
    """A training that keeps its checkpoint in `folder`, and goes on from there."""
    session = Session(checkpoints=folder.parent, key="k")
    assert session.checkpoint("k") == folder
    recipe = RECIPES["sasrec"](training=training)
    return recipe.fit(HistoriesPast(walks(10)), rng=RNG(0), session=session)


def place(tmp_path: Path) -> Path:
    found = Session(checkpoints=tmp_path / "all").checkpoint("k")
    assert found is not None
    found.parent.mkdir()
    return found


def own(change: Callable[[Path], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        trained(folder)
        change(folder)
        seal(folder)

    return spoil


def rewritten(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "progress.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return own(change)


def somebodys(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").write_text("all of it")


def broken(folder: Path) -> None:
    trained(folder)
    path = folder / "progress.json"
    path.write_text(path.read_text() + " ")


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        found = load_file(folder / "state.safetensors")
        change(found)
        save_file(found, folder / "state.safetensors")

    return own(spoil)


CHECKPOINTS = {
    "another key": (rewritten(key="other"), "'other'"),
    "a file": (lambda f: f.write_text("mine") and None, "parts.json"),
    "somebody's folder": (somebodys, "parts.json"),
    "a broken seal": (broken, "progress.json"),
    "no progress": (own(lambda f: (f / "progress.json").unlink()), "progress.json"),
    "a list": (own(lambda f: (f / "progress.json").write_text("[1]")), "checkpoint|k"),
    "null": (own(lambda f: (f / "progress.json").write_text("null")), "checkpoint|k"),
    "an epoch that is never reached": (rewritten(epoch=10**9), "epoch 1000000000"),
    "an epoch that is a text": (rewritten(epoch="1"), "epoch"),
    "an epoch that is a fraction": (rewritten(epoch=1.0), "epoch"),
    "a loss less": (rewritten(loss=[]), "losses"),
    "a metric of an epoch to come": (rewritten(metrics=[[7, 0.5]]), "metrics"),
    "not done": (rewritten(done=False), "done"),
    "a weight below 0": (rewritten(epoch_weight=-1.0), "weight"),
    "steps beyond count": (rewritten(step=1 << 60), "step"),
    "a key more": (rewritten(colour="red"), "colour"),
    "no weight of the model": (
        tensors(lambda t: [t.pop(n) for n in list(t) if n.startswith("model.")]),
        ITEM_TABLE,
    ),
    "a moment of another shape": (
        tensors(lambda t: t.update({"optimiser.0.exp_avg": torch.ones(3)})),
        r"0\.exp_avg",
    ),
    "a moment that is no number": (
        tensors(lambda t: t["optimiser.0.exp_avg"].fill_(torch.nan)),
        "finite",
    ),
    "a weight that none has": (
        tensors(lambda t: t.update({"optimiser.99.exp_avg": torch.ones(3)})),
        r"99\.exp_avg",
    ),
    "random numbers of another size": (
        tensors(lambda t: t.update({"random.cpu": torch.zeros(7, dtype=torch.uint8)})),
        "cpu",
    ),
    "random numbers that are none": (
        tensors(lambda t: t["random.cpu"].fill_(255)),
        "random",
    ),
    "a best one that nothing measured": (
        tensors(lambda t: t.update({"best.x": torch.ones(1)})),
        "x",
    ),
    "a group that is none": (tensors(lambda t: t.update({"more.x": torch.ones(1)})), "more"),
    "cut short": (
        own(
            lambda f: (f / "state.safetensors").write_bytes(
                (f / "state.safetensors").read_bytes()[:300]
            )
        ),
        "state.safetensors",
    ),
    "epoch before the first": (rewritten(epoch=-1), "epoch -1"),
    "batch before the first": (rewritten(batch=-3), "batch -3"),
    "metrics": (rewritten(metrics=[["x"]]), "metrics"),
}


@pytest.mark.parametrize("how", CHECKPOINTS)
def test_a_checkpoint_that_cannot_be_gone_on_from(how: str, tmp_path: Path) -> None:
    spoil, said = CHECKPOINTS[how]
    folder = place(tmp_path)
    spoil(folder)

    def files() -> dict[Path, bytes]:
        return {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}

    before = files()
    with pytest.raises(DataError, match=said):
        trained(folder)
    assert files() == before, "what was there is still there"


def test_an_empty_folder_is_a_place_for_a_checkpoint(tmp_path: Path) -> None:
    folder = place(tmp_path)
    folder.mkdir()
    found, again = trained(folder, QUICK), trained(folder, QUICK)
    assert found.curve is not None
    assert found.curve.epoch == 3
    asked = Requests(walks(10))
    assert np.array_equal(found.user_vectors(asked), again.user_vectors(asked))
