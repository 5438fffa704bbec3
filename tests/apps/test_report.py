"""What people see: the page, its pictures, the tables of the terminal, and the numbers of the overview, on hostile input too."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.dom import minidom

import numpy as np
import pytest
from rich.console import Console

from clickprint.apps.run import terminal
from clickprint.apps.run.page import report, write_report
from clickprint.core.errors import DataError
from clickprint.core.events import Kind, Role
from clickprint.core.ids import NONE
from clickprint.core.time import DAY, HOUR
from clickprint.data.engine import DuckDB
from clickprint.data.overview import Overview, overview
from clickprint.data.split import split
from clickprint.report import figure as plots
from clickprint.tasks.board import Board
from clickprint.tasks.task import TaskScore
from clickprint.testing.worlds import START, memory_log, random_log

HOSTILE = """<script>alert(1)</script>$x^{$ & "q" 'p' \x07 ](javascript:1)"""
TASKS = {"churn": (1, 0), "propensity_category": (100, 3), "propensity_new_sku": (20, 12)}


def row(
    name: str, base: float, *, probe="quick", tasks=TASKS, hidden: int = 0, resamples: int = 40
) -> list[TaskScore]:
    """Scores around `base`, the same every time."""
    rng = np.random.default_rng([resamples, *name.encode()])
    found = []
    for i, (task, (labels, dead)) in enumerate(
        [*tasks.items(), *((f"hidden_{j}", (1, 0)) for j in range(hidden))]
    ):
        score = base + 0.02 * rng.standard_normal()
        around = score + 0.01 * rng.standard_normal(resamples)
        epochs = tuple(
            {"auroc": score - 0.02 * (2 - e), "score": score - 0.02 * (2 - e), "loss": 0.1}
            for e in range(3)
        )
        found.append(
            TaskScore(
                task=task,
                probe=probe,
                question=f"q{i}",
                users=1234,
                labels=labels,
                degenerate=dead,
                score=score,
                live=score + 0.05,
                metrics={"auroc": score},
                live_marks={"auroc": score + 0.05},
                epochs=epochs if probe == "official" else (),
                best_epoch=2 if probe == "official" else -1,
                hidden=task.startswith("hidden_"),
                about=f"who does {task}",
                replicates=around,
                live_replicates=around + 0.05,
            )
        )
    return found


def board(**options) -> Board:
    names = {"counts": 0.6, "joined": 0.7, "random": 0.5}
    ablation = {
        "joined without decay": row("x", 0.65, **{**options, "hidden": 0}),
        "joined without counts": row("y", 0.6, **{**options, "hidden": 0}),
    }
    return Board.of({n: row(n, b, **options) for n, b in names.items()}, ablation=ablation)


@pytest.fixture(scope="module")
def seen() -> Overview:
    with DuckDB(threads=1) as engine:
        log = random_log(
            engine, np.random.default_rng(0), users=60, events=3_000, days=70, tick=HOUR, items=80
        )
        return overview(log, split(log))


@pytest.fixture(scope="module")
def bare(seen) -> Overview:
    """A log with one picture instead of six: drawing is what takes the time here."""
    return replace(seen, days=(), by_hour=(), kinds=(), per_user=(), spans=())


@pytest.fixture(scope="module")
def page(seen) -> tuple[str, dict[str, bytes]]:
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
    return report(
        title="a run",
        facts={**facts, **stages},
        overview=seen,
        boards=[board(probe="official"), board(hidden=12)],
    )


class Reader(HTMLParser):
    """Collects what a browser would load, every id, and whether each element that is opened is closed."""

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


class TestPage:
    def test_it_opens_without_a_network(self, page):
        text, _ = page
        read = Reader(text)
        assert read.open == []
        assert all(load.startswith("#") for load in read.loads)
        assert not re.search(r"https?:|//[a-z]|@import|<script|<link|<img|<iframe|data:", text)
        assert set(re.findall(r"url\(([^)]{2})", text)) <= {"#" + c for c in "0123456789abcdef"}

    def test_ids_are_there_once_and_references_resolve(self, page):
        read = Reader(page[0])
        assert len(read.ids) == len(set(read.ids))
        assert {r[1:] for r in read.loads} | set(read.refs) <= set(read.ids)
        assert {"words", "log", "run", "board-official", "board-quick"} <= set(read.ids)

    def test_pictures_are_valid_xml_and_small(self, page):
        text, files = page
        pictures = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
        assert len(pictures) == len(files) == 6 + 5 + 5
        for picture in pictures:
            minidom.parseString(picture)
        assert len(text) < 400_000

    def test_words_come_first_and_the_probes_stay_apart(self, page):
        text, _ = page
        words = text.index('id="words"')
        assert (
            words
            < text.index('id="board-official"')
            < text.index('id="board-quick"')
            < text.index('id="log"')
            < text.index('id="run"')
        )
        assert words < text.index("joined beats counts on ") < text.index('id="board-official"')
        assert "Scores of the two probes are never on one board" in text

    def test_the_numbers_are_there(self, page, seen):
        found = " ".join(" ".join(Reader(page[0]).texts).split())
        quick = board(hidden=12)
        assert f"{quick.score('joined', 'churn').value:.4f}".lstrip("0") in found
        assert f"{quick.live('joined', 'propensity_new_sku').value:.4f}".lstrip("0") in found
        for said in (
            "3,000 events",
            "8 of 20",
            "1.25",
            "310",
            "clickprint run a recipe",
            "seed = 0",
            "joined without decay",
            "who does churn",
            seen.fingerprint,
            "abc",
        ):
            assert said in found, said

    def test_equal_input_gives_equal_bytes(self, bare):
        one, two = (
            report(
                title="t",
                facts={},
                overview=bare,
                boards=[board(resamples=5, tasks={"churn": (1, 0)})],
            )
            for _ in range(2)
        )
        assert one == two

    def test_no_board_and_no_resamples(self, bare):
        text, files = report(title="t", facts={}, overview=bare, boards=[])
        assert "no profile has been scored" in text
        assert set(files) == {"log-sizes.png"}
        text, _ = report(title="t", facts={}, overview=bare, boards=[board(resamples=0)])
        assert "no resamples were made" in text
        assert "nan" not in " ".join(Reader(text).texts).lower().split()

    def test_two_boards_of_one_probe(self, bare):
        short = {"churn": (1, 0)}
        text, files = report(
            title="t",
            facts={},
            overview=bare,
            boards=[board(tasks=short), board(tasks=short, hidden=3)],
        )
        assert 'id="board-quick"' in text
        assert 'id="board-quick-2"' in text
        assert {"quick-ranks.png", "quick-2-ranks.png", "quick-2-hidden.png"} <= set(files)

    def test_many_tasks_and_many_profiles(self, bare):
        tasks = {f"a_task_with_quite_a_long_name_{i}": (1, 0) for i in range(10)}
        crowd = Board.of(
            {
                f"profile_with_a_long_name_number_{i}": row(str(i), 0.5 + i / 40, tasks=tasks)
                for i in range(9)
            }
        )
        text, _ = report(title="t", facts={}, overview=bare, boards=[crowd])
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
        text, _ = report(title="t", facts={}, overview=bare, boards=[Board.of({"alone": [dead]})])
        assert "no label has both answers" in text

    def test_tasks_outside_the_sum_have_their_own_table(self, bare):
        text, _ = report(
            title="t",
            facts={},
            overview=bare,
            boards=[Board.of({"a": row("a", 0.5)}, counted=["churn"])],
        )
        heads = re.findall(r"<th>(profile|not in the sum|over live labels)</th>(.*?)</tr>", text)
        assert [(n, re.sub(r"<[^>]*>", " ", h).split()) for n, h in heads if "place" not in h] == [
            ("profile", ["churn"]),
            ("not in the sum", ["propensity_", "category", "propensity_", "new_", "sku"]),
            ("over live labels", ["propensity_", "category", "propensity_", "new_", "sku"]),
        ]

    def test_only_hidden_tasks(self, bare):
        files = report(
            title="t",
            facts={},
            overview=bare,
            boards=[Board.of({"alone": row("a", 0.5, tasks={}, hidden=4)})],
        )[1]
        assert "quick-hidden.png" in files
        assert "quick-scores.png" not in files


class TestHostile:
    """Names come from logs and recipes of others."""

    @pytest.fixture(scope="class")
    @staticmethod
    def page(seen) -> str:
        tasks = {HOSTILE: (5, 2)}
        names = {HOSTILE: 0.6, "joined": 0.7, "random": 0.5}
        hostile = Board.of(
            {
                n: [replace(s, about=HOSTILE) for s in row(str(i), b, tasks=tasks, hidden=2)]
                for i, (n, b) in enumerate(names.items())
            },
            reference=HOSTILE,
            ablation={f"joined without {HOSTILE}": row("x", 0.6, tasks=tasks)},
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
        return report(title=HOSTILE, facts=facts, overview=bad, boards=[hostile])[0]

    def test_nothing_of_it_becomes_markup(self, page):
        read = Reader(page)
        assert read.open == []
        assert "script" not in read.tags
        assert "<script" not in page
        assert page.count("&lt;script&gt;") > 20

    def test_pictures_stay_valid_xml(self, page):
        for picture in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
            minidom.parseString(picture)
            assert "\x07" not in picture

    def test_dollars_are_no_formula(self, page):
        texts = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
        assert any(
            "$x^{$" in t or "<script>alert" in t or "&lt;script&gt;alert" in t for t in texts
        )


class TestFiles:
    def test_whole_or_not_at_all(self, tmp_path, bare, monkeypatch):
        found = write_report(
            tmp_path / "run", title="t", facts={}, overview=bare, boards=[board()]
        )
        assert found == tmp_path / "run" / "report.html"
        assert (tmp_path / "run" / "plots" / "quick-scores.png").read_bytes()[
            :8
        ] == b"\x89PNG\r\n\x1a\n"
        before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
        with monkeypatch.context() as patch:
            patch.setattr(
                plots,
                "LOG_PICTURES",
                {"sizes": lambda _: (_ for _ in ()).throw(DataError("here", ["broken"]))},
            )
            with pytest.raises(DataError):
                write_report(tmp_path / "run", title="another", facts={}, overview=bare, boards=[])
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before

    def test_a_smaller_report_leaves_no_old_picture(self, tmp_path, bare):
        write_report(tmp_path, title="t", facts={}, overview=bare, boards=[board()])
        write_report(tmp_path, title="t", facts={}, overview=bare, boards=[])
        assert {p.name for p in tmp_path.rglob("*") if p.is_file()} == {
            "report.html",
            "log-sizes.png",
        }


class TestPictures:
    def test_the_users_settings_of_matplotlib_do_not_count(self):
        import matplotlib

        plain = plots.draw(lambda: plots.ranks(board()), "a")
        with matplotlib.rc_context(
            {"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}
        ):
            assert plots.draw(lambda: plots.ranks(board()), "a") == plain
            assert matplotlib.rcParams["font.size"] == 30

    def test_pyplot_stays_out(self):
        import subprocess
        import sys

        code = "import sys, clickprint.apps.run.page, clickprint.apps.run.terminal; print([m for m in ('matplotlib', 'jinja2') if m in sys.modules])"
        assert (
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            ).stdout.strip()
            == "[]"
        )

    def test_nothing_to_show_is_no_picture(self, seen):
        lone = Board.of({"counts": row("a", 0.5)})
        for picture in (plots.gaps, plots.hidden, plots.ablation, plots.epochs):
            assert plots.draw(lambda picture=picture: picture(lone), "a") is None
        with DuckDB(threads=1) as engine:
            empty = overview(random_log(engine, np.random.default_rng(0), events=0))
        for picture in (plots.timeline, plots.days, plots.kinds, plots.activity, plots.week):
            assert plots.draw(lambda picture=picture: picture(empty), "a") is None
        assert plots.draw(lambda: plots.sizes(empty), "a") is not None

    @pytest.mark.parametrize(
        "options", [{"hidden": 4}, {"tasks": {"churn": (1, 0)}}, {"resamples": 0}]
    )
    def test_the_cover(self, options):
        drawn = plots.draw(lambda: plots.cover(board(**options), "a line"), "a")
        assert drawn is not None
        texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawn.svg)
        assert {
            "a line",
            "churn",
            "place, by Borda count",
            "one block left out: sum",
            "joined − decay",
        } <= set(texts)
        assert ("4 hidden tasks" in texts) == ("hidden" in options)
        assert (
            plots.draw(
                lambda: plots.cover(Board.of({"a": row("a", 0.5, tasks={}, hidden=2)})), "a"
            )
            is None
        )

    def test_a_log_of_years_is_shown_by_week(self, seen):
        days = tuple(START + d * DAY for d in range(0, 900, 3))
        long = replace(seen, days=days, by_day=tuple(tuple(1 for _ in days) for _ in seen.kinds))
        drawn = plots.draw(lambda: plots.days(long), "a")
        assert drawn is not None
        assert "events a week" in drawn.svg
        assert len(drawn.svg) < 60_000

    def test_counts_are_short(self):
        found = [
            plots._count(n) for n in (0, 950, 9_999, 12_345, 999_999, 1_500_000, 2_000_000_000)
        ]
        assert found == ["0", "950", "9,999", "12.3 k", "1,000 k", "1.5 M", "2 G"]


class TestOverview:
    def test_by_hand(self):
        with DuckDB(threads=1) as engine:
            log = memory_log(
                engine,
                #     Sat 00:00          01:30       Mon 02:00          Mon 23:59:59   before 1970
                time=[
                    START,
                    START + HOUR + HOUR // 2,
                    START + 2 * DAY + 2 * HOUR,
                    START + 3 * DAY - 1,
                    -1,
                ],
                user=[1, 1, 2, 3, 1],
                kind=[0, 3, 0, 4, 0],
                item=[10, NONE, 11, NONE, 10],
                catalogue={
                    "item": [10, 12, 12],
                    "category": [5, 6, 6],
                    "price_bucket": [NONE, 1, 1],
                    "known_from": [NONE, 0, 5],
                },
                attributes=None,
            )
            found = overview(log)
        assert (
            found.events,
            found.users,
            found.items,
            found.catalogue,
            found.unlisted,
            found.asked,
        ) == (5, 3, 2, 2, 1, 0)
        assert [(k.name, k.events, k.users, k.items) for k in found.kinds] == [
            ("buy", 3, 2, 2),
            ("cart", 0, 0, 0),
            ("remove", 0, 0, 0),
            ("view", 1, 1, 0),
            ("search", 1, 1, 0),
        ]
        assert [(a.name, a.kind, a.items, a.values) for a in found.attributes] == [
            ("category", "category", 2, 2),
            ("price_bucket", "price_bucket", 1, 1),
        ]
        assert found.days == (-DAY, START, START + 2 * DAY)
        assert found.by_day[0] == (1, 1, 1)
        assert found.by_day[3] == (0, 1, 0)
        hours = {h: n for h, n in enumerate(found.by_hour) if n}
        assert sum(hours.values()) == 5
        assert hours[((START // DAY + 3) % 7) * 24] == 1  # 1970-01-01 was a Thursday
        assert hours[2 * 24 + 23] == 1  # Wednesday 1969-12-31, its last hour
        assert found.per_user == ((1, 3), (3, 1))
        assert found.per_item == ((1, 2), (2, 1))
        assert found.spans == ()

    def test_spans_add_up(self, seen):
        past, train, valid = seen.spans
        assert (past.end, train.end) == (train.start, valid.start)
        assert past.events + train.events + valid.events <= seen.events
        assert past.users == seen.asked  # everyone asked was seen before the cutoff
        assert sum(map(sum, seen.by_day)) == sum(seen.by_hour) == seen.events

    def test_a_log_in_order_form_has_no_days(self):
        with DuckDB(threads=1) as engine:
            log = memory_log(
                engine, time=[0, 1, 2], user=[1, 1, 2], kind=[0, 0, 0], item=[1, 2, 3], clock=False
            )
            found = overview(log)
        assert (found.days, found.by_hour, found.events, found.per_user) == (
            (),
            (),
            3,
            ((1, 2), (2, 1)),
        )

    def test_long_curves_are_thinned_but_keep_their_ends(self):
        with DuckDB(threads=1) as engine:
            n = np.arange(1, 201)
            users = np.repeat(n, n)
            found = overview(
                memory_log(
                    engine,
                    time=np.arange(len(users)),
                    user=users,
                    kind=np.zeros(len(users), int),
                    item=users,
                )
            )
        assert len(found.per_user) <= 120
        assert (found.per_user[0], found.per_user[-1]) == ((1, 200), (200, 1))
        assert all(have == 201 - n for n, have in found.per_user)

    def test_json_round_trip(self, seen):
        assert Overview.from_json(seen.to_json()) == seen

    @pytest.mark.parametrize(
        "text", ["", "[]", "{}", "null", '{"kinds": 3}', '{"kinds": [{"name": 1}]}']
    )
    def test_a_damaged_file_is_named(self, text):
        with pytest.raises(DataError, match=r"here.json: not an overview"):
            Overview.from_json(text, "here.json")

    def test_the_funnel_follows_the_roles(self, seen):
        from clickprint.data.overview import funnel

        shuffled = replace(seen, kinds=tuple(reversed(seen.kinds)))
        assert [k.role for k in funnel(shuffled)] == ["view", "search", "cart", "remove", "buy"]
        assert Kind("x", Role.BUY).role is Role.BUY


def printed(found: Board, **options) -> str:
    stream = io.StringIO()
    terminal.show(found, console=Console(file=stream), **options)
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
            "sd .0",
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
        terminal.show(
            board(),
            console=Console(file=stream, width=44, force_terminal=True, no_color=True),
            words=False,
        )
        text = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
        tables = text[: text.index("± is half")]
        assert max(map(len, text.splitlines())) <= 44
        assert "…" not in tables
        assert tables.count("profile ") >= 4

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
