"""The manifest, and folders that are no dataset."""

import json
from dataclasses import replace

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

MANIFEST = Manifest(
    name="shop",
    kinds=(Kind("kauf", Role.BUY), Kind("blick", Role.VIEW), Kind("click", Role.CLICK)),
    columns=("price", "session"),
    attributes={"shelf": AttributeType.CATEGORY, "größe": AttributeType.NUMBER},
    users=3,
    items=2,
    events=5,
    rejected={"no user": 1},
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


def broken(**changes) -> str:
    raw = json.loads(MANIFEST.to_json())
    return json.dumps({k: v for k, v in {**raw, **changes}.items() if v is not ...})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a clickprint manifest"),
        ("[]", "not a clickprint manifest"),
        ("3", "not a clickprint manifest"),
        ("{}", "not a clickprint manifest"),
        (broken(format=99), "found format 99, expected 2"),
        (broken(format=1), "found format 1, expected 2; read the source again"),
        (broken(fingerprint=...), "not a clickprint manifest"),
        (broken(fingerprint="0"), "the manifest was edited"),
        (broken(catalogue="1"), "the manifest was edited"),
        (broken(kinds=[{"name": "x", "role": "boss"}]), "not a clickprint manifest"),
        (broken(kinds=3), "not a clickprint manifest"),
        (broken(days={"2022-01-01": 3}), "not a clickprint manifest"),
        (broken(attributes={"x": "colour"}), "not a clickprint manifest"),
        (broken(surplus=1), "not a clickprint manifest"),
        (broken(name=...), "not a clickprint manifest"),
    ],
)
def test_texts_that_are_no_manifest(text, says):
    with pytest.raises(DataError, match=says):
        Manifest.from_json(text, "manifest.json")


@given(st.text(max_size=40))
def test_junk_is_no_manifest(text):
    with pytest.raises(DataError):
        Manifest.from_json(text, "manifest.json")


def a_folder(folder, manifest=MANIFEST):
    (folder / "events").mkdir()
    (folder / "manifest.json").write_text(manifest.to_json(), "utf-8")
    (folder / "events" / "part-2022-01-01.parquet").write_bytes(b"x")
    return folder


def test_open(tmp_path):
    dataset = Dataset.open(str(a_folder(tmp_path)))
    assert dataset.manifest == MANIFEST
    assert [f.name for f in dataset.event_files] == ["part-2022-01-01.parquet"]
    assert dataset.population is None
    np.save(tmp_path / "population.npy", np.array([3, 1]))
    assert dataset.population.tolist() == [3, 1]
    pq.write_table(pa.table({"item": [1]}), tmp_path / "catalogue.parquet")
    assert dataset.catalogue.table.num_rows == 1
    assert dataset.catalogue.attributes == MANIFEST.attributes


def test_folders_that_are_no_dataset(tmp_path):
    with pytest.raises(DataError, match=r"no manifest\.json here"):
        Dataset.open(tmp_path / "nowhere")
    dataset = Dataset.open(a_folder(tmp_path))
    with pytest.raises(DataError, match="cannot be read"):
        _ = dataset.catalogue
    (tmp_path / "catalogue.parquet").write_bytes(b"PAR1junk")
    with pytest.raises(DataError, match="cannot be read"):
        _ = dataset.catalogue
    for junk in (b"", b"\x93NUMPY junk"):
        (tmp_path / "population.npy").write_bytes(junk)
        with pytest.raises(DataError, match="cannot be read"):
            _ = dataset.population
    np.save(tmp_path / "population.npy", np.array([1.5]))
    with pytest.raises(DataError, match="not a list of int64 ids"):
        _ = dataset.population
    (tmp_path / "events" / "part-2022-01-01.parquet").unlink()
    with pytest.raises(DataError, match=r"\b5 events\b.* events/ "):
        Dataset.open(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="cannot be read"):
        Dataset.open(tmp_path)


def test_a_source_without_vectors_has_none(tmp_path):
    a_folder(tmp_path)
    assert Dataset.open(tmp_path).item_vectors is None
