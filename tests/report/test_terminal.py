"""Tables and boards on the terminal: they fit, and nothing in them steers it."""

import io
import re
from dataclasses import replace

from rich.console import Console
from some_board import board, row

from clickprint.report import terminal
from clickprint.report.board import show
from clickprint.report.page import Heading, Note, Words
from clickprint.report.table import Cell, Grid
from clickprint.tasks.board import Board


def printed(found: Board, **options) -> str:
    stream = io.StringIO()
    show(found, console=Console(file=stream), **options)
    return stream.getvalue()


class TestTerminal:
    def test_it_fits_and_says_everything(self):
        text = printed(board(hidden=12), notes=["seed 0", "train window from 2022-08-21"])
        assert max(map(len, text.splitlines())) <= 100
        for said in (
            "quick probe",
            "joined",
            "±.0",
            "3/100",
            "88/",
            "12/20",
            "8/20",
            "Borda",
            "mean of 12",
            "in words",
            "joined without decay",
            "seed 0",
            "sum of",
        ):
            assert said in text or said == "88/", said
        assert f"{board(hidden=12).score('joined', 'churn').value:.4f}".lstrip("0") in text
        assert "\x1b" not in text

    def test_a_narrow_terminal_gets_more_tables_instead_of_cut_numbers(self):
        stream = io.StringIO()
        show(
            board(),
            console=Console(file=stream, width=44, force_terminal=True, no_color=True),
            words=False,
        )
        text = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
        tables = text[: text.index("Intervals are 95 %")]
        assert max(map(len, text.splitlines())) <= 44
        assert "…" not in tables
        assert tables.count("profile ") >= 3
        assert tables.count("left out") >= 3  # the title, and more than one table

    def test_words_can_be_switched_off(self):
        assert "in words" not in printed(board(), words=False)

    def test_many_tasks_are_several_tables(self):
        tasks = {f"a_task_with_quite_a_long_name_{i}": (2, 1) for i in range(30)}
        text = printed(
            Board.of(
                {
                    f"a_profile_with_a_very_long_name_{i}": row(str(i), 0.5, tasks=tasks)
                    for i in range(3)
                }
            ),
            words=False,
        )
        assert max(map(len, text.splitlines())) <= 100
        assert "…" in text
        assert text.count("profile ") >= 5

    def test_no_resamples_and_no_score(self):
        text = printed(board(resamples=0))
        assert "No resamples were made." in text
        nan = replace(row("a", 0.5, resamples=0)[0], score=float("nan"))
        assert "–" in printed(Board.of({"a": [nan]}))

    def test_hostile_names_are_text(self):
        text = printed(Board.of({"[bold red]x[/]": row("a", 0.5), "\x1b[31mred": row("b", 0.5)}))
        assert "[bold red]x[/]" in text
        assert "\x1b" not in text

    def test_counted_tasks_are_named_and_come_first(self):
        text = printed(Board.of({"a": row("a", 0.5)}, counted=["churn"]))
        assert "In the sum and the Borda count: churn." in text
        assert (
            text.index("sum of")
            < text.index("other tasks")
            < text.index("prop.")
            < text.index("over live labels only")
        )

    def test_only_hidden_tasks(self):
        assert "mean of 3" in printed(Board.of({"a": row("a", 0.5, tasks={}, hidden=3)}))


class TestGrid:
    def test_a_long_text_is_wrapped_and_whole(self):
        said = " ".join(f"word{n}" for n in range(60))
        grid = Grid("t", ("name", "what"), [("a", said)], align="l")
        stream = io.StringIO()
        terminal.show([grid], Console(file=stream))
        lines = stream.getvalue().splitlines()
        assert max(map(len, lines)) <= 100
        assert re.findall(r"word\d+", stream.getvalue()) == said.split()

    def test_blocks_in_their_order(self):
        stream = io.StringIO()
        brief = Cell("1", "small", brief="short")
        grid = Grid("table", ("a", "b"), [("x", brief)], foot=("sum", "2"))
        blocks = [Heading("head"), grid, Words(["one", "two"]), Note("note")]
        terminal.show(blocks, Console(file=stream))
        text = stream.getvalue()
        order = [text.index(w) for w in ("head", "table", "short", "sum", "• one", "note")]
        assert order == sorted(order)
        assert "small" not in text

    def test_heads_break_at_their_words(self):
        assert terminal.broken("propensity_new_sku").plain == "prop.\nnew_sku"
        assert terminal.broken("over the best network").plain == "over the\nbest\nnetwork"
        assert terminal.broken("churn").plain == "churn"
