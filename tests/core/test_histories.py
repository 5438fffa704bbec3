"""Histories: rows of users, and folders that are what they say."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickprint.core.errors import ConfigError, DataError
from clickprint.core.histories import Histories


def some() -> Histories:
    """Users 2, 5, 5_000 and 9_000 with 2, 0, 3 and 1 events."""
    fields = {
        "item": np.array([10, 11, 12, 13, 14, 15]),
        "price": np.array([1.0, np.nan, 3, 4, 5, 6]),
    }
    return Histories(
        np.array([2, 5, 5_000, 9_000]), np.array([0, 2, 2, 5, 6]), fields, 77, "print"
    )


def items(found: Histories) -> list[list[int]]:
    ragged = found.ragged("item")
    return [ragged[i].tolist() for i in range(len(found))]


def saved(folder: Path) -> Path:
    folder.mkdir()
    some().save(folder)
    return folder


def test_a_folder_comes_back_mapped(tmp_path: Path) -> None:
    found = Histories.open(saved(tmp_path / "h"))
    assert items(found) == [[10, 11], [], [12, 13, 14], [15]]
    assert found.users.tolist() == [2, 5, 5_000, 9_000]
    assert np.array_equal(found.fields["price"], some().fields["price"], equal_nan=True)
    assert (found.cutoff, found.fingerprint, found.events, len(found)) == (77, "print", 6, 4)
    assert isinstance(found.fields["item"].base, np.memmap)
    assert found.lengths.tolist() == [2, 0, 3, 1]


def test_a_digest_is_of_everything(tmp_path: Path) -> None:
    whole = some()
    found = {whole.digest(), Histories.open(saved(tmp_path / "h")).digest()}
    assert len(found) == 1
    users, starts, fields = whole.users, whole.starts, whole.fields
    others = [
        Histories(users, starts, fields, 78, "print"),
        Histories(users, starts, fields, 77, "other"),
        Histories(users + 1, starts, fields, 77, "print"),
        Histories(users, np.array([0, 1, 2, 5, 6]), fields, 77, "print"),
        Histories(users, starts, {**fields, "item": fields["item"][::-1]}, 77, "print"),
        Histories(users, starts, {"item": fields["item"]}, 77, "print"),
        Histories(users, starts, {"item": fields["item"], "paid": fields["price"]}, 77, "print"),
        whole.take(np.arange(3)),
        whole.take(np.arange(0)),
    ]
    assert len(found | {h.digest() for h in others}) == 10


@given(users=st.lists(st.sampled_from([1, 2, 3, 5, 5_000, 9_000, 10_000]), max_size=8))
def test_of(users: list[int]) -> None:
    known = dict(zip([2, 5, 5_000, 9_000], [[10, 11], [], [12, 13, 14], [15]], strict=True))
    found = some().of(np.array(users, np.int64))
    assert items(found) == [known.get(u, []) for u in users]
    assert found.users.tolist() == users
    assert (found.cutoff, found.fingerprint) == (77, "print")


def test_of_users_in_any_order() -> None:
    turned = some().take(np.array([2, 0, 3, 1]))
    assert items(turned.of(np.array([2, 5, 9_000, 7]))) == [[10, 11], [], [15], []]
    assert turned.rows(np.array([9_000, 3])).tolist() == [2, -1]


def test_of_nobody_and_of_none() -> None:
    nobody = Histories(
        np.zeros(0, np.int64), np.zeros(1, np.int64), {"item": np.zeros(0, np.int64)}
    )
    assert items(nobody.of(np.array([4, 1]))) == [[], []]
    assert items(nobody) == []
    assert nobody.cutoff is None


def test_take_last_only() -> None:
    found = some()
    assert items(found.take(np.array([3, 0, 3]))) == [[15], [10, 11], [15]]
    assert found.take(np.array([3, 0])).users.tolist() == [9_000, 2]
    assert items(found.but_last(1)) == [[10], [], [12, 13], []]
    assert items(found.but_last(2)) == [[], [], [12], []]
    assert items(found.where(np.array([True, False, True, False, True, False]))) == [
        [10],
        [],
        [12, 14],
        [],
    ]
    assert found.where(np.ones(6, bool)) is found
    assert items(found.last(2)) == [[10, 11], [], [13, 14], [15]]
    assert found.last(2).fields["price"].tolist()[2:] == [4, 5, 6]
    assert list(found.only("price").fields) == ["price"]
    assert np.shares_memory(found.of(found.users).fields["item"], found.fields["item"])


def test_an_unknown_field() -> None:
    with pytest.raises(ConfigError, match=r"field 'url'.*\bitem, price$"):
        some().ragged("url")


@pytest.mark.parametrize(
    ("users", "starts", "field", "message"),
    [
        ([2, 5], [0, 2, 3], [1, 2], r"item: found \(2,\), expected 3 events"),
        ([2, 5], [0, 2, 1], [1], "the starts do not rise from 0"),
        ([2, 5], [1, 2, 3], [1, 2, 3], "the starts do not rise from 0"),
    ],
)
def test_parts_that_do_not_fit(
    users: list[int], starts: list[int], field: list[int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Histories(np.array(users), np.array(starts), {"item": np.array(field)})


def damage_json(folder: Path, **change: object) -> None:
    path = folder / "histories.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


DAMAGE = {
    "no json": (lambda f: (f / "histories.json").unlink(), "no histories.json here"),
    "half a json": (
        lambda f: (f / "histories.json").write_text('{"format"'),
        r"histories\.json",
    ),
    "a list": (lambda f: (f / "histories.json").write_text("[]"), r"histories\.json"),
    "another format": (lambda f: damage_json(f, format=99), "found format 99, expected 1"),
    "a type": (lambda f: damage_json(f, events="6"), "events"),
    "a field outside": (lambda f: damage_json(f, fields=["../item"]), "fields"),
    "a field that is the users": (
        lambda f: damage_json(f, fields=["users"]),
        "fields",
    ),
    "events": (lambda f: damage_json(f, events=7), "promises 7 events, starts.npy ends at 6"),
    "a field gone": (lambda f: (f / "item.npy").unlink(), r"item\.npy: not found"),
    "a field cut off": (
        lambda f: (f / "item.npy").write_bytes((f / "item.npy").read_bytes()[:-8]),
        r"item\.npy",
    ),
    "an empty field": (lambda f: (f / "item.npy").write_bytes(b""), r"item\.npy"),
    "an archive": (
        lambda f: np.savez((f / "item.npy").open("wb"), item=np.arange(6)),
        r"item\.npy: .*np.savez",
    ),
    "a short field": (
        lambda f: np.save(f / "item.npy", np.arange(5)),
        r"item: found \(5,\), expected 6 events",
    ),
    "users of text": (
        lambda f: np.save(f / "users.npy", np.array(["a", "b", "c", "d"])),
        "users: found <U1",
    ),
    "users not sorted": (
        lambda f: np.save(f / "users.npy", np.array([5, 2, 7, 8])),
        "users are not sorted",
    ),
    "a user twice": (
        lambda f: np.save(f / "users.npy", np.array([2, 2, 7, 8])),
        "stands there twice",
    ),
    "starts go back": (
        lambda f: np.save(f / "starts.npy", np.array([0, 3, 2, 5, 6])),
        "do not rise",
    ),
    "a start too few": (
        lambda f: np.save(f / "starts.npy", np.array([0, 2, 6])),
        "4 users and 3 starts",
    ),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_folders(tmp_path: Path, how: str) -> None:
    folder = saved(tmp_path / "h")
    spoil, message = DAMAGE[how]
    spoil(folder)
    with pytest.raises(DataError, match=message):
        Histories.open(folder)


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    folder = saved(tmp_path / "h")
    (folder / "item.npy").unlink()
    (folder / "price.npy").write_bytes(b"")
    with pytest.raises(DataError) as fault:
        Histories.open(folder)
    assert len(fault.value.problems) == 2
