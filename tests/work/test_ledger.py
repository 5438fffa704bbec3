"""The ledger of tests: every scoring is there, whatever became of its folder."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from clickprint.core.errors import ConfigError, DataError
from clickprint.work import ledger
from clickprint.work.ledger import Scored, entries, record, words


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "deep" / "tests.jsonl"
    monkeypatch.setenv("CLICKPRINT_LEDGER", str(found))
    return found


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, file: Path, tmp_path: Path) -> None:
    assert ledger.file() == file
    monkeypatch.delenv("CLICKPRINT_LEDGER")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert ledger.file() == tmp_path / "clickprint" / "tests.jsonl"


def test_each_call_is_a_line_and_words_count_texts_of_these_items_alone(file: Path) -> None:
    assert len(words("f", "leave-one-out")) == 1
    record("f", "leave-one-out", "mine", "text", ["a/once"])
    record("f", "leave-one-out", "mine", "text", ["a/once", "b/seed-0"])
    record("other data", "leave-one-out", "mine", "text", ["a/once"])
    record("f", "window of 7 days, buy", "mine", "text", ["a/once"])
    assert [len(t.units) for t in entries(file)] == [1, 2, 1, 1]
    (said,) = words("f", "leave-one-out")
    assert "one text" in said
    assert re.search(r"mine \(\w{8}\) on \d{4}-\d\d-\d\d: 2 units", said)
    record("f", "leave-one-out", "yours", "another", ["c/once"])
    assert "2 texts" in words("f", "leave-one-out")[0]


def test_notes_of_published_lines_are_told(file: Path) -> None:
    made = record("f", "p", "mine", "text", ["a/once"])
    again = replace(made, digest="1234", note="It was chosen after the test was seen.")
    assert words("f", "p", [made, again, again])[1:] == [again.note]


def test_a_ledger_that_cannot_be_written_or_read(file: Path) -> None:
    file.mkdir(parents=True)
    with pytest.raises(ConfigError, match="CLICKPRINT_LEDGER"):
        record("f", "p", "mine", "text", [])
    file.rmdir()
    made = record("f", "p", "mine", "text", [])
    assert entries(file) == [made]
    assert isinstance(made, Scored)
    file.write_text(file.read_text() + "{}\n[1]\n{\n")
    with pytest.raises(DataError, match=r"line 2 [\s\S]*line 3 [\s\S]*line 4 "):
        entries(file)
