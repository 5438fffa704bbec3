"""The manifest, and folders that are no dataset."""

import json
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickprint.core.dataset import Dataset, Day, Manifest
from clickprint.core.errors import ConfigError, DataError
from clickprint.core.events import Kind, Role
from clickprint.core.items import AttributeType
from clickprint.core.seal import parts_of

MANIFEST = Manifest(
    name="shop",
    kinds=(Kind("kauf", Role.BUY), Kind("blick", Role.VIEW), Kind("click", Role.CLICK)),
    columns=("price", "session"),
    attributes={"shelf": AttributeType.CATEGORY, "größe": AttributeType.NUMBER},
    users=3,
    items=2,
    events=5,
    rejected={"no user": 1},
    unread={"price is no finite number": 2},
    days={"2022-01-02": Day(2, "ff"), "2022-01-01": Day(3, "0a")},
    catalogue="77",
    source={"of": "a test"},
)


def test_a_manifest_survives_its_text():
    assert Manifest.from_json(MANIFEST.to_json(), "here") == MANIFEST
    assert "größe" in MANIFEST.to_json()


def test_codes_of_roles():
    assert MANIFEST.codes(Role.BUY) == (0,)
    assert MANIFEST.codes(Role.CLICK, Role.VIEW) == (1, 2)
    assert MANIFEST.codes(Role.CART) == ()


def test_the_fingerprint_is_of_the_content():
    same = replace(
        MANIFEST,
        name="other",
        columns=("session", "price"),
        days=dict(reversed(MANIFEST.days.items())),
        rejected={},
        source={},
    )
    assert same.fingerprint == MANIFEST.fingerprint
    for other in (
        replace(MANIFEST, days={**MANIFEST.days, "2022-01-02": Day(2, "fe")}),
        replace(MANIFEST, catalogue="78"),
        replace(MANIFEST, columns=("price",)),
        replace(MANIFEST, kinds=MANIFEST.kinds[:2]),
        replace(MANIFEST, attributes={}),
        replace(MANIFEST, time="order"),
    ):
        assert other.fingerprint != MANIFEST.fingerprint


def test_an_order_is_no_clock():
    MANIFEST.need_clock("a split")
    with pytest.raises(ConfigError, match=r"^a split .*\bshop\b.*`time: order`"):
        replace(MANIFEST, time="order").need_clock("a split")


def broken(sealed: bool = True, **changes) -> str:
    """The text of a manifest with other keys; `sealed`: with the digest that they need."""
    raw = json.loads(MANIFEST.to_json())
    raw = {k: v for k, v in {**raw, **changes}.items() if v is not ...}
    if sealed:
        del raw["digest"]
        text = json.dumps(raw, sort_keys=True)
        raw["digest"] = sha256(text.encode()).hexdigest()[:32]
    return json.dumps(raw)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("", "the file is empty|not JSON"),
        ("[]", "not a clickprint manifest"),
        ("3", "not a clickprint manifest"),
        ("{}", "not a clickprint manifest"),
        ("[" * 20_000, "JSON|deep"),
        (broken(format=99), "found format 99, expected 3"),
        (broken(format=2), "found format 2, expected 3; read the source again"),
        (broken(fingerprint=...), "the manifest was edited"),
        (broken(fingerprint="0"), "the manifest was edited"),
        (broken(catalogue="1"), "the manifest was edited"),
        *((broken(sealed=False, **{k: 1}), "the manifest was edited") for k in ("users", "name")),
        (broken(kinds=[{"name": "x", "role": "boss"}]), r"kinds\[0\]\.role"),
        (broken(kinds=3), "kinds"),
        (broken(days={"2022-01-01": 3}), "days"),
        (broken(attributes={"x": "colour"}), r"attributes\.x"),
        (broken(users=-1), "users"),
        (broken(events="5"), "events"),
        (broken(parts={"a.npy": {"bytes": 1, "digest": "x"}}), r"parts\.a\.npy\.digest"),
        (broken(surplus=1), "surplus"),
        (broken(name=...), "name"),
    ],
)
def test_texts_that_are_no_manifest(text, fact):
    with pytest.raises(DataError, match=fact) as fault:
        Manifest.from_json(text, "manifest.json")
    assert fault.value.where == "manifest.json"


@given(st.text(max_size=40))
def test_junk_is_no_manifest(text):
    with pytest.raises(DataError):
        Manifest.from_json(text, "manifest.json")


FILES = ("catalogue.parquet", "events/part-2022-01-01.parquet", "ids/item.parquet", "users.npy")


@pytest.fixture
def shop(tmp_path):
    """A dataset of a few small files, which the manifest names."""
    folder = tmp_path / "shop"
    for file in FILES:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            np.save(path, np.arange(9))
        else:
            pq.write_table(pa.table({"item": np.arange(99), "known_from": [None] * 99}), path)
    manifest = replace(MANIFEST, parts=parts_of(folder))
    (folder / "manifest.json").write_text(manifest.to_json(), "utf-8")
    return folder


def test_open(shop):
    dataset = Dataset.open(str(shop))
    dataset.check()
    assert dataset.event_files == (shop / FILES[1],)
    assert dataset.text_files == {"item": shop / FILES[2]}
    assert dataset.population is None
    assert dataset.users.tolist() == list(range(9))
    assert dataset.catalogue.table.num_rows == 99
    assert dataset.catalogue.attributes == MANIFEST.attributes
    assert dataset.item_vectors is None
    assert dataset.beside("links") is None


def change_one_byte(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


DAMAGES = {
    "gone": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "of another form": lambda path: path.write_bytes(b"x" * path.stat().st_size),
    "changed": change_one_byte,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_part_that_is_not_the_one_that_was_written(file, damage, shop):
    """Opening sees sizes and headers, the whole check every byte."""
    dataset = Dataset.open(shop)
    DAMAGES[damage](shop / file)
    with pytest.raises(DataError, match=file):
        dataset.check()
    if damage == "changed":
        assert Dataset.open(shop).manifest == dataset.manifest
    else:
        with pytest.raises(DataError, match=file):
            Dataset.open(shop)


def test_what_the_manifest_does_not_name_is_not_read(shop):
    (shop / "events" / "part-2022-01-02.parquet").write_bytes((shop / FILES[1]).read_bytes())
    np.save(shop / "population.npy", np.arange(3))
    dataset = Dataset.open(shop)
    assert len(dataset.event_files) == 1
    assert dataset.population is None
    with pytest.raises(DataError) as fault:
        dataset.check()
    assert len(fault.value.problems) == 2


def test_a_part_of_another_type(shop):
    np.save(shop / "users.npy", np.arange(9) + 0.5)
    dataset = Dataset(shop, MANIFEST)
    with pytest.raises(DataError, match=r"users\.npy"):
        _ = dataset.users
    (shop / "catalogue.parquet").write_bytes(b"PAR1junk")
    with pytest.raises(DataError, match=r"catalogue\.parquet"):
        _ = dataset.catalogue


def test_folders_that_are_no_dataset(shop, tmp_path):
    with pytest.raises(DataError, match=r"no manifest\.json here"):
        Dataset.open(tmp_path / "nowhere")
    (shop / "manifest.json").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"manifest\.json"):
        Dataset.open(shop)
