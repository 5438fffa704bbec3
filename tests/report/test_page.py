"""Pages: they open without a network, and nothing that others named becomes markup."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.dom import minidom

import numpy as np
import pytest
from some_board import HOSTILE, board, row

from clickprint.core.errors import DataError
from clickprint.report import log
from clickprint.report.boards import sections, write
from clickprint.report.page import Code, Heading, Note, Section, Words, page, pngs
from clickprint.report.table import Cell, Grid
from clickprint.tasks.board import Board, Without


def made(facts, overview, boards, title="t"):
    """The page of a run, and its pictures."""
    found = sections(facts, overview, boards)
    return page(title, found, lead=[overview.fingerprint]), pngs(found)


@pytest.fixture(scope="module")
def whole(seen) -> tuple[str, dict[str, bytes]]:
    facts = {
        "command": ["clickprint", "run", "a recipe"],
        "recipe": "name = 'x'\nseed = 0",
        "seed": 0,
        "commit": "abc",
    }
    stages = {
        "stages": {
            "data": {"seconds": 1.25, "peak_mib": 310.5},
            "profiles": {"counts": {"seconds": 2.0}},
        }
    }
    return made({**facts, **stages}, seen, [board(probe="official"), board(hidden=12)])


class Reader(HTMLParser):
    """What a browser would load, every id, and whether each opened element is closed."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "input", "wbr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.refs: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self._attributes(attrs)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self._attributes(attrs)

    def _attributes(self, attrs):
        for name, value in attrs:
            assert not name.startswith("on"), name
            if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                self.loads.append(value)
            if name == "id":
                self.ids.append(value)
            self.refs += re.findall(r"url\(#([^)]*)\)", value or "")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


class TestRun:
    def test_it_opens_without_a_network(self, whole):
        text, _ = whole
        read = Reader(text)
        assert read.open == []
        assert all(load.startswith("#") for load in read.loads)
        assert not re.search(r"https?:|//[a-z]|@import|<script|<link|<img|<iframe|data:", text)
        assert set(re.findall(r"url\(([^)]{2})", text)) <= {"#" + c for c in "0123456789abcdef"}

    def test_ids_are_there_once_and_references_resolve(self, whole):
        read = Reader(whole[0])
        assert len(read.ids) == len(set(read.ids))
        assert {r[1:] for r in read.loads} | set(read.refs) <= set(read.ids)
        first = [i for i in read.ids if i in ("words", "board-official", "board-quick", "log")]
        assert first == ["words", "board-official", "board-quick", "log"]

    def test_pictures_are_valid_xml_and_small(self, whole):
        text, files = whole
        pictures = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
        assert len(pictures) == len(files) == 6 + 5 + 5
        for picture in pictures:
            minidom.parseString(picture)
        assert len(text) < 400_000
        assert all(png[:4] == b"\x89PNG" for png in files.values())

    def test_the_numbers_are_there(self, whole, seen):
        found = " ".join(" ".join(Reader(whole[0]).texts).split())
        quick = board(hidden=12)
        assert f"{quick.score('joined', 'churn').value:.4f}".lstrip("0") in found
        assert f"{quick.live('joined', 'propensity_new_sku').value:.4f}".lstrip("0") in found
        facts = ("1.25", "310", "clickprint run a recipe", "seed = 0", "abc", seen.fingerprint)
        for fact in (
            *facts,
            "8/20",
            "joined without decay",
            "who does churn",
            quick.verdicts()[0],
        ):
            assert fact in found, fact

    def test_equal_input_gives_equal_bytes(self, bare):
        one, two = (
            made({}, bare, [board(resamples=5, tasks={"churn": (1, 0)})]) for _ in range(2)
        )
        assert one == two

    def test_no_board_and_no_resamples(self, bare):
        assert set(made({}, bare, [])[1]) == {"log-sizes.png"}
        text, _ = made({}, bare, [board(resamples=0)])
        assert "nan" not in " ".join(Reader(text).texts).lower().split()

    def test_two_boards_of_one_probe(self, bare):
        short = {"churn": (1, 0)}
        text, files = made({}, bare, [board(tasks=short), board(tasks=short, hidden=3)])
        assert {"board-quick", "board-quick-2"} <= set(Reader(text).ids)
        assert {"board-quick-ranks.png", "board-quick-2-hidden.png"} <= set(files)

    def test_many_tasks_and_many_profiles(self, bare):
        tasks = {f"a_task_with_quite_a_long_name_{i}": (1, 0) for i in range(10)}
        crowd = Board.of(
            {
                f"profile_with_a_long_name_number_{i}": row(str(i), 0.5 + i / 40, tasks=tasks)
                for i in range(9)
            }
        )
        text = made({}, bare, [crowd])[0].replace("<wbr>", "")
        assert text.count("a_task_with_quite_a_long_name_9") >= 2

    def test_one_profile_and_one_task_without_a_live_label(self, bare):
        nan = np.full(7, np.nan)
        dead = replace(
            row("a", 0.5, resamples=7)[0],
            labels=3,
            degenerate=3,
            live=float("nan"),
            live_replicates=nan,
        )
        found = Board.of({"alone": [dead]})
        assert found.verdicts()[-2] in " ".join(Reader(made({}, bare, [found])[0]).texts)

    def test_only_hidden_tasks(self, bare):
        lone = Board.of({"alone": row("a", 0.5, tasks={}, hidden=4)})
        files = made({}, bare, [lone])[1]
        assert "board-quick-hidden.png" in files
        assert "board-quick-scores.png" not in files


class TestHostile:
    """Names come from logs and recipes of others."""

    @pytest.fixture(scope="class")
    @staticmethod
    def hostile(seen) -> str:
        tasks = {HOSTILE: (5, 2)}
        names = {HOSTILE: 0.6, "joined": 0.7, "random": 0.5}
        bad_board = Board.of(
            {
                n: [replace(s, about=HOSTILE) for s in row(str(i), b, tasks=tasks, hidden=2)]
                for i, (n, b) in enumerate(names.items())
            },
            reference=HOSTILE,
            ablation={Without("joined", HOSTILE): row("x", 0.6, tasks=tasks)},
        )
        kinds = tuple(replace(k, name=HOSTILE + str(i)) for i, k in enumerate(seen.kinds))
        attributes = tuple(replace(a, name=HOSTILE) for a in seen.attributes)
        spans = tuple(replace(s, name=HOSTILE) for s in seen.spans)
        bad = replace(
            seen,
            name=HOSTILE,
            kinds=kinds,
            attributes=attributes,
            spans=spans,
            rejected={HOSTILE: 3},
        )
        facts = {
            "command": HOSTILE,
            HOSTILE: {HOSTILE: HOSTILE},
            "recipe": HOSTILE + "\n" + HOSTILE,
            "stages": {HOSTILE: {"seconds": 1}},
        }
        return made(facts, bad, [bad_board], title=HOSTILE)[0]

    def test_nothing_of_it_becomes_markup(self, hostile):
        read = Reader(hostile)
        assert read.open == []
        assert "script" not in read.tags
        assert "<script" not in hostile
        assert hostile.count("&lt;script&gt;") > 15

    def test_pictures_stay_valid_xml(self, hostile):
        for picture in re.findall(r"<svg.*?</svg>", hostile, flags=re.DOTALL):
            minidom.parseString(picture)
            assert "\x07" not in picture

    def test_dollars_are_no_formula(self, hostile):
        texts = re.findall(r"<svg.*?</svg>", hostile, flags=re.DOTALL)
        assert any(
            "$x^{$" in t or "<script>alert" in t or "&lt;script&gt;alert" in t for t in texts
        )


class TestBlocks:
    """Each sort of block is shown, and escaped."""

    def test_all_of_them(self):
        grid = Grid(
            "a table",
            ("name", "what", "n"),
            [("a", Cell("b<b>", "small", "best", link="two"), "1")],
            align="llr",
            foot=("all", "", "2"),
        )
        blocks = [Heading("H<"), Words(["w<", "v"]), Note("n<"), Code("c\n<", "copy"), grid]
        text = page(
            "T<", [Section("one", "One", blocks), Section("two", "Two", [])], cards=[("3", "eggs")]
        )
        read = Reader(text)
        assert read.open == []
        assert read.ids == ["one", "two"]
        assert read.loads == ["#one", "#two", "#two"]
        texts = " ".join(" ".join(read.texts).split())
        for said in ("T<", "H<", "w<", "n<", "c <", "b<b>", "small", "a table", "3", "eggs"):
            assert said in texts, said
        assert text.count("<tr>") == 3


class TestFiles:
    def test_whole_or_not_at_all(self, tmp_path, bare, monkeypatch):
        file = tmp_path / "run" / "report.html"
        write(file, "t", {}, bare, [board()], plots=file.with_name("plots"))
        assert (tmp_path / "run" / "plots" / "board-quick-scores.png").is_file()
        before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

        def broken(_):
            raise DataError("here", "broken")

        monkeypatch.setattr(log, "LOG_PICTURES", {n: (n, broken) for n in log.LOG_PICTURES})
        with pytest.raises(DataError):
            write(file, "another", {}, bare, [], plots=file.with_name("plots"))
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before

    def test_a_smaller_report_leaves_no_old_picture(self, tmp_path, bare):
        for boards in ([board()], []):
            write(tmp_path / "report.html", "t", {}, bare, boards, plots=tmp_path / "plots")
        left = {p.name for p in tmp_path.rglob("[!.]*") if p.is_file()}
        assert left == {"report.html", "log-sizes.png"}


def test_control_characters_of_a_title_are_escaped() -> None:
    """What could steer a terminal, or a reader's eyes, is written as it is called."""
    text = page("a\x1b[2J\u202e<b>", [], lead=["c\x07"], cards=[("k", "v\x9b")])
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
    assert r"a\x1b[2J\u202e&lt;b&gt;" in text
