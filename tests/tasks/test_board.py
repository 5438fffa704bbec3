"""The board against answers made by hand: who may stand on it, numbers, words, files."""

import csv
import io
import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickprint.core.errors import ConfigError, DataError
from clickprint.report.board import grids
from clickprint.tasks.board import COLUMNS, FORMAT, Board, Floor, HeldOut, Without
from clickprint.tasks.task import Controls, TaskScore

NAN = float("nan")


def one(task: str, score: float, **other) -> TaskScore:
    """A score whose replicates are a little below and above it, or those given."""
    replicates = np.asarray(
        other.pop("replicates", score + 0.01 * np.linspace(-1, 1, 21)), np.float64
    )
    live = other.pop("live", score)
    made = {
        "task": task,
        "probe": "quick",
        "question": f"question of {task}",
        "users": 100,
        "labels": 1,
        "degenerate": 0,
        "score": score,
        "live": live,
        "metrics": {"auroc": score},
        "live_metrics": {"auroc": live},
        "epochs": (),
        "best_epoch": -1,
        "hidden": False,
        "about": f"what {task} asks",
        "replicates": replicates,
        "live_replicates": np.asarray(other.pop("live_replicates", replicates), np.float64),
    }
    return TaskScore(**{**made, **other})


def row(*scores: float, **other) -> list[TaskScore]:
    return [one(f"task{i}", s, **other) for i, s in enumerate(scores)]


def three() -> Board:
    return Board.of({"counts": row(0.6, 0.6), "joined": row(0.7, 0.6), "random": row(0.5, 0.4)})


class TestOf:
    def test_order_and_content(self):
        board = three()
        assert (board.profiles, board.tasks, board.hidden, board.counted) == (
            ("counts", "joined", "random"),
            ("task0", "task1"),
            (),
            ("task0", "task1"),
        )
        assert (board.probe, board.resamples, board.about("task1").about) == (
            "quick",
            21,
            "what task1 asks",
        )

    @pytest.mark.parametrize(
        ("entries", "said"),
        [
            ({}, "nothing to put on a board"),
            ({"a": []}, "nothing to put on a board"),
            ({"a": row(0.5), "b": []}, "the profile b has no score"),
            (
                {"a": row(0.5), "b": row(0.5, probe="official", epochs=())},
                r"more than one probe \(quick for a; official for b\)",
            ),
            (
                {"a": row(0.5), "b": row(0.5, replicates=np.zeros(5))},
                r"more than one number of resamples \(21 for a; 5 for b\)",
            ),
            (
                {"a": row(0.5), "b": row(0.5, question="another")},
                r"task0 is not the same question to all .*: a \| b",
            ),
            ({"a": row(0.5), "b": row(0.5, users=99)}, "task0 is not the same question"),
            ({"a": row(0.5), "b": row(0.5, hidden=True)}, "task0 is not the same question"),
            ({"a": row(0.5, 0.6), "b": row(0.5)}, "the profile b has no score on task1"),
            ({"a": row(0.5), "b": [one("other", 0.5)]}, "the profile a has no score on other"),
            ({"a": [*row(0.5), *row(0.6)]}, "the profile a has more than one score on task0"),
        ],
    )
    def test_refuses(self, entries, said):
        with pytest.raises(ConfigError, match=said):
            Board.of(entries)

    def test_says_every_fault_at_once(self):
        entries = {"a": row(0.5, 0.6), "b": row(0.5, question="another", replicates=np.zeros(2))}
        with pytest.raises(ConfigError) as caught:
            Board.of(entries)
        assert str(caught.value).count("\n  - ") == 3
        assert all(
            said in str(caught.value)
            for said in ("no score on task1", "not the same question", "number of resamples")
        )

    def test_common_tasks_on_request(self):
        entries = {
            "a": row(0.5, 0.6, 0.7),
            "b": [one("task2", 0.4), one("task0", 0.4), one("else", 0.9)],
        }
        assert Board.of(entries, common=True).tasks == ("task0", "task2")
        with pytest.raises(ConfigError, match="share no task"):
            Board.of({"a": row(0.5), "b": [one("else", 0.9)]}, common=True)

    def test_a_task_that_is_not_common_must_still_be_one_question(self):
        entries = {"a": row(0.5, 0.6), "b": row(0.5, 0.6, question="x"), "c": row(0.1)}
        with pytest.raises(ConfigError, match=r"task1 .*question.*: a \| b"):
            Board.of(entries, common=True)

    def test_counted_tasks(self):
        board = Board.of({"a": row(0.5, -40.0)}, counted=["task0"])
        assert (board.tasks, board.counted, board.total("a").value) == (
            ("task0", "task1"),
            ("task0",),
            0.5,
        )
        with pytest.raises(ConfigError, match="task9 is to be counted"):
            Board.of({"a": row(0.5)}, counted=["task9"])

    def test_ablation_rows_name_their_profile(self):
        entries, decay = {"joined": row(0.7, 0.6)}, Without("joined", "decay")
        with pytest.raises(ConfigError, match=r"other without decay: .*joined"):
            Board.of(entries, ablation={Without("other", "decay"): row(0.6, 0.6)})
        with pytest.raises(ConfigError, match="has no score on task1"):
            Board.of(entries, ablation={decay: row(0.6)})
        with pytest.raises(ConfigError, match="not the same question"):
            Board.of(entries, ablation={decay: row(0.6, 0.5, question="x")})
        board = Board.of(entries, ablation={decay: [*row(0.6, 0.6), one("unasked", 0.1)]})
        assert list(board.ablation[decay]) == ["task0", "task1"]

    def test_names_say_nothing(self):
        """A profile may be called as an ablation row reads; a block may have any name."""
        twin, row_ = "joined without decay", Without("joined", "a without b")
        board = Board.of(
            {"joined": row(0.7), twin: row(0.5)},
            ablation={Without("joined", "decay"): row(0.6), row_: row(0.65)},
        )
        assert board.total(twin).value == 0.5
        assert board.total(Without("joined", "decay")).value == 0.6
        assert [c.row for c in board.costs()] == [Without("joined", "decay"), row_]
        again = Board.from_json(board.to_json())
        assert list(again.ablation) == list(board.ablation)

    def test_an_unknown_profile_is_named(self):
        with pytest.raises(ConfigError, match=r"'nobody'.*counts, joined, random"):
            three().total("nobody")


class TestNumbers:
    def test_estimates_by_hand(self):
        board = Board.of(
            {
                "a": [
                    one(
                        "t",
                        0.5,
                        replicates=np.arange(101) / 100,
                        live=NAN,
                        live_replicates=np.full(101, NAN),
                    )
                ]
            }
        )
        assert board.score("a", "t") == pytest.approx((0.5, 0.025, 0.975))
        assert np.isnan(board.live("a", "t")).all()

    def test_the_sum_adds_resample_by_resample(self):
        up, down = np.linspace(0, 1, 11), np.linspace(1, 0, 11)
        board = Board.of({"a": [one("t", 0.5, replicates=up), one("u", 0.5, replicates=down)]})
        assert board.total("a") == pytest.approx(
            (1, 1, 1)
        )  # their errors cancel: unpaired sums would give a wide interval

    def test_paired_differences(self):
        noise = np.linspace(-0.2, 0.2, 41)
        board = Board.of(
            {
                "counts": [one("t", 0.6, replicates=0.6 + noise)],
                "better": [one("t", 0.61, replicates=0.61 + noise)],
            }
        )
        gap = board.gap("better", "counts", "t")
        assert gap == pytest.approx((0.01, 0.01, 0.01, 1.0))
        assert gap.shown == 1
        assert board.gap("counts", "better").shown == -1
        assert board.gap("better", "better").shown == 0
        assert (
            board.score("better", "t").low < board.score("counts", "t").value
        )  # single intervals overlap all the same

    def test_borda_by_hand_with_a_tie(self):
        # task0: joined 2, counts 1, random 0; task1: joined and counts share 1.5, random 0
        standings = three().standings()
        assert [(s.profile, s.points, s.place) for s in standings] == [
            ("joined", 3.5, 1),
            ("counts", 2.5, 2),
            ("random", 0, 3),
        ]
        assert [s.low for s in standings] == [1, 2, 3]

    def test_tied_profiles_share_the_better_place(self):
        board = Board.of({"a": row(0.5, 0.6), "b": row(0.6, 0.5)})
        assert [(s.profile, s.place) for s in board.standings()] == [("a", 1), ("b", 1)]
        assert "a and b have the most Borda points: 1 of 2." in board.verdicts()

    @given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=5))
    def test_borda_is_the_brute_force_count(self, values):
        """A point for every profile below, half a point for every equal one."""
        board = Board.of({f"p{i}": row(*(v / 4 for v in line)) for i, line in enumerate(values)})
        found = {s.profile: s.points for s in board.standings()}
        for i, line in enumerate(values):
            others = [o for j, o in enumerate(values) if j != i]
            points = sum(
                (a > o[k]) + (a == o[k]) / 2 for o, (k, a) in product(others, enumerate(line))
            )
            assert found[f"p{i}"] == points
        assert sum(found.values()) == 3 * len(values) * (len(values) - 1) / 2

    def test_place_intervals_remake_the_board_in_every_resample(self):
        flips = np.where(np.arange(40) % 2, 0.4, 0.8)
        board = Board.of(
            {
                "a": [one("t", 0.7, replicates=flips)],
                "b": [one("t", 0.6, replicates=np.full(40, 0.6))],
            }
        )
        assert [(s.profile, s.low, s.high) for s in board.standings()] == [
            ("a", 1, 2),
            ("b", 1, 2),
        ]

    def test_hidden_tasks_have_their_own_column(self):
        hidden = [one(f"h{i}", v, hidden=True) for i, v in enumerate((0.5, 0.6, 0.7, 0.8))]
        board = Board.of({"a": [*row(0.5), *hidden]})
        spread = board.spread("a")
        assert spread is not None
        assert (spread.tasks, spread.mean.value, spread.median) == (
            4,
            pytest.approx(0.65),
            pytest.approx(0.65),
        )
        assert (spread.deviation, spread.lower, spread.upper) == pytest.approx(
            (np.std([0.5, 0.6, 0.7, 0.8]), 0.575, 0.725)
        )
        assert (board.hidden, board.tasks, board.total("a").value) == (
            ("h0", "h1", "h2", "h3"),
            ("task0",),
            0.5,
        )
        assert Board.of({"a": row(0.5)}).spread("a") is None

    def test_plain_text_has_half_of_each_interval(self):
        board = three()
        half = board.score("joined", "task0").half
        assert half > 0
        (line,) = (x for x in str(board).splitlines() if x.startswith("task0"))
        assert f".7000 ±{half:.4f}".replace("±0", "±") in line
        bare = str(Board.of({"a": row(0.5, replicates=[])}))
        assert "±" not in bare

    def test_only_hidden_tasks(self):
        board = Board.of(
            {"counts": [one("h", 0.5, hidden=True)], "b": [one("h", 0.6, hidden=True)]}
        )
        assert board.standings() == []
        assert any("Over 1 hidden tasks b (.600, +.100" in w for w in board.verdicts())

    def test_ablation_by_hand(self):
        board = Board.of(
            {"joined": row(0.7, 0.6)},
            ablation={
                Without("joined", "a"): row(0.7, 0.61),
                Without("joined", "b"): row(0.5, 0.6),
            },
        )
        assert [(c.row, c.total.shown) for c in board.costs()] == [
            (Without("joined", "b"), -1),
            (Without("joined", "a"), 1),
        ]
        assert board.costs()[0].total.value == pytest.approx(-0.2)
        assert board.costs()[0].tasks["task1"].value == 0
        assert board.profiles == ("joined",)  # the rows left out are not ranked

    def test_no_resamples(self):
        board = Board.of(
            {
                "counts": row(0.6, replicates=[]),
                "b": row(0.7, replicates=[]),
                "random": row(0.5, replicates=[]),
            }
        )
        assert board.resamples == 0
        assert np.isnan(
            [
                board.score("b", "task0").low,
                board.standings()[0].low,
                board.gap("b", "counts").share,
            ]
        ).all()
        assert board.standings()[0].place == 1
        assert "b is above counts on 1 of 1 tasks; in the sum by +.100." in board.verdicts()
        assert (
            board.verdicts()[-1]
            == "No resamples were made, so no difference is shown to be more than luck."
        )

    def test_a_score_that_is_not_there_is_last(self):
        board = Board.of(
            {
                "a": row(NAN, 0.9, replicates=np.full(5, NAN)),
                "b": row(0.1, 0.8, replicates=np.zeros(5)),
            }
        )
        assert np.isnan(board.total("a").value)
        assert [(s.profile, s.points) for s in board.standings()] == [("a", 1), ("b", 1)]


class TestControls:
    def board(self, **other) -> Board:
        """joined is above noise of its width everywhere; narrow is not above it on task1.

        On other users joined is below counts.
        """

        def found(score: float, floor: float, held_out: float) -> list[TaskScore]:
            near = 0.001 * np.linspace(-1, 1, 21)
            return [
                replace(
                    s,
                    controls=Controls(
                        floor + n / 10, held_out, floor + n / 10 + near, held_out + near
                    ),
                )
                for n, s in enumerate(row(score, score, replicates=score + near))
            ]

        rows = {
            "counts": found(0.6, 0.45, 0.60),
            "joined": found(0.7, 0.55, 0.58),
            "narrow": found(0.7, 0.60, 0.65),
        }
        return Board.of(rows, **other)

    def test_numbers(self):
        board = self.board()
        assert board.controlled
        assert board.score(Floor("joined"), "task1").value == pytest.approx(0.65)
        assert board.total(HeldOut("narrow")).value == pytest.approx(1.3)
        assert board.gap("joined", Floor("joined"), "task0").value == pytest.approx(0.15)
        assert board.gap("narrow", Floor("narrow"), "task1").shown == 0
        assert board.gap(HeldOut("joined"), HeldOut("counts")).shown == -1
        with pytest.raises(ConfigError, match="quick probe"):
            three().score(Floor("joined"), "task0")

    def test_words_are_of_each_profiles_own_control(self):
        words = self.board().verdicts()
        assert not any("no profile called" in w for w in words)
        assert any(w.startswith("counts and joined beat random vectors of their") for w in words)
        assert any(
            w.startswith("narrow beats random vectors of the width of narrow on 1 of 2 tasks")
            and "Not shown on task1" in w
            for w in words
        )
        (other,) = (w for w in words if "joined (−.040" in w)
        assert "below counts" in other
        # Two contenders with three differences to counts, one on other users; nine to controls.
        assert any("of the 17 differences here" in w for w in words)

    def test_files_lose_nothing(self):
        board = self.board()
        again = Board.from_json(board.to_json())
        assert again.to_json() == board.to_json()
        rows = {(r["profile"], r["row"], r["task"]): r for r in board.rows()}
        assert rows["narrow", "task", "task1"]["floor"] == pytest.approx(0.7)
        assert rows["narrow", "sum", ""]["held_out"] == pytest.approx(1.3)
        assert three().rows()[0]["floor"] is None

    def test_tables(self):
        titles = [g.title for g in grids(self.board())]
        assert [t for t in titles if "learn" in t or "random" in t] == titles[-2:]
        assert not [g for g in grids(three()) if "random" in g.title]


class TestWords:
    def noisy(self, *means: float, by: float = 0.01) -> list[TaskScore]:
        """Replicates that no other profile shares: differences have wide intervals."""
        seed = int(sum(means) * 1e6)
        return [
            one(f"task{i}", m, replicates=m + np.random.default_rng([seed, i]).normal(0, by, 400))
            for i, m in enumerate(means)
        ]

    def test_beats_on_some_and_says_which_are_not_shown(self):
        words = Board.of(
            {
                "counts": self.noisy(0.6, 0.6),
                "joined": self.noisy(0.8, 0.601),
                "random": row(0.5, 0.5, replicates=np.full(400, 0.5)),
            }
        )
        said = next(w for w in words.verdicts() if w.startswith("joined") and "counts" in w)
        assert said.startswith("joined beats counts on 1 of 2 tasks and in the sum (+.201 [.1")
        assert "Not shown on task1 (+.001 [−.0" in said

    def test_does_not_beat_the_baseline(self):
        words = Board.of(
            {"counts": self.noisy(0.6, 0.6), "joined": self.noisy(0.6005, 0.5996)}
        ).verdicts()
        assert any(
            w.startswith("joined does not beat counts on any task nor in the sum (+.000 [−.0")
            for w in words
        )

    def test_below_everywhere(self):
        assert any(
            w == "low is below counts on all 2 tasks and in the sum (−.200 [−.200, −.200])."
            for w in Board.of({"counts": row(0.6, 0.6), "low": row(0.5, 0.5)}).verdicts()
        )
        assert any(
            w == "low is below counts on task0 (−.100 [−.100, −.100])."
            for w in Board.of({"counts": row(0.6), "low": row(0.5)}).verdicts()
        )

    def test_mixed(self):
        words = Board.of({"counts": row(0.6, 0.6, 0.6), "odd": row(0.7, 0.3, 0.6)}).verdicts()
        assert any(
            w.startswith("odd beats counts on 1 of 3 tasks but is below it in the sum (−.200 ")
            and "Worse on task1 (−.300 " in w
            and "Not shown on task2" in w
            for w in words
        )

    def test_only_in_the_sum(self):
        drift = np.linspace(-0.06, 0.04, 41)
        a = [one("t", 0.6, replicates=0.6 + 0 * drift), one("u", 0.6, replicates=0.6 + 0 * drift)]
        b = [one("t", 0.65, replicates=0.62 + drift), one("u", 0.65, replicates=0.62 - drift)]
        assert (
            "b beats counts in the sum, but on no single task (+.100 [.040, .100])."
            in " ".join(Board.of({"counts": a, "b": b}).verdicts())
        )

    def test_the_control(self):
        words = Board.of(
            {
                "counts": row(0.6, 0.5),
                "joined": row(0.7, 0.7),
                "decay": row(0.7, 0.6),
                "random": row(0.5, 0.5),
            }
        ).verdicts()
        assert "joined and decay beat random on all 2 tasks and in the sum." in words
        assert any(
            w.startswith("counts beats random on 1 of 2 tasks and in the sum")
            and "Not shown on task1" in w
            for w in words
        )

    def test_absent_baseline_and_control(self):
        words = Board.of({"alone": row(0.6)}, reference="aggregates").verdicts()
        for role, name in (("reference", "aggregates"), ("control", "random")):
            (said,) = (w for w in words if role in w)
            assert f"no profile called {name}" in said

    @pytest.mark.parametrize(
        ("labels", "degenerate", "facts"),
        [
            (100, 0, None),
            (100, 19, None),
            (100, 20, ("80 of 100", "other 20")),
            (3, 3, ("no label",)),
            (1, 1, ("no label",)),
        ],
    )
    def test_dead_labels(self, labels, degenerate, facts):
        words = Board.of(
            {
                "a": [
                    one(
                        "t",
                        0.5,
                        labels=labels,
                        degenerate=degenerate,
                        live=NAN if labels == degenerate else 0.6,
                    )
                ]
            }
        ).verdicts()
        said = [w for w in words if w.startswith("t:")]
        assert len(said) == (facts is not None)
        assert all(fact in said[0] for fact in facts or ())

    def test_one_question_under_two_names(self):
        words = Board.of(
            {"a": [one("churn", 0.6, question="q"), one("conversion", 0.6, question="q")]}
        ).verdicts()
        assert any(w.startswith("churn and conversion are one question") for w in words)

    def test_ablation(self):
        whole = {"joined": row(0.7, 0.6, replicates=np.full(50, 0.65))}
        wide = np.linspace(-0.1, 0.1, 50)
        board = Board.of(
            whole,
            ablation={
                Without("joined", "a"): row(0.5, 0.6, replicates=np.full(50, 0.55)),
                Without("joined", "b"): row(0.8, 0.6, replicates=np.full(50, 0.70)),
                Without("joined", "c"): row(0.7, 0.59, replicates=0.65 + wide),
            },
        )
        assert [w for w in board.verdicts() if "without" in w] == [
            "joined without a loses .200 [.200, .200] in the sum: a helps.",
            "That c helps joined is not shown: without it the sum changes by −.010 [−.190, .190].",
            "joined without b gains .100 [.100, .100] in the sum: b does harm.",
        ]

    def test_hidden(self):
        def asked(base: float, by: float = 0.0) -> list[TaskScore]:
            return [
                one(f"h{i}", base, hidden=True, replicates=base + by * np.linspace(-1, 1, 30))
                for i in range(3)
            ]

        words = Board.of(
            {
                "counts": asked(0.6),
                "good": asked(0.7),
                "same": asked(0.61, 0.1),
                "bad": asked(0.5),
                "random": asked(0.5),
            }
        ).verdicts()
        assert (
            "Over 3 hidden tasks good (.700, +.100 [.100, .100]) is above counts (.600)." in words
        )
        assert any(
            w.startswith("Over 3 hidden tasks same (.610, +.010 [−.0")
            and w.endswith("is not shown to be above counts (.600).")
            for w in words
        )
        assert (
            "Over 3 hidden tasks bad (.500, −.100 [−.100, −.100]) is below counts (.600)." in words
        )
        alone = Board.of({"a": asked(0.6)}).verdicts()
        assert "Over 3 hidden tasks the means are .600 (a)." in alone


def rich() -> Board:
    """Everything at once: hidden tasks, dead labels, NaN, epochs, ablation."""
    scores = {
        "counts": [
            one("t", 0.6, live=NAN, live_replicates=np.full(21, NAN), labels=5, degenerate=5),
            one("h", 0.5, hidden=True),
        ],
        "jöined": [
            one(
                "t",
                1 / 3,
                live=NAN,
                live_replicates=np.full(21, NAN),
                labels=5,
                degenerate=5,
                metrics={"auroc": 0.25, "novelty": NAN},
            ),
            one("h", 0.55, hidden=True),
        ],
    }
    scores = {
        n: [
            replace(
                s,
                epochs=({"auroc": 0.1, "score": 0.1}, {"auroc": 0.2, "score": 0.2}),
                best_epoch=1,
                probe="official",
            )
            for s in r
        ]
        for n, r in scores.items()
    }
    ablation = {Without("jöined", "<b>"): [replace(scores["jöined"][0], score=0.2)]}
    return Board.of(scores, ablation=ablation, control="nobody")


class TestFiles:
    @pytest.mark.parametrize("make", [three, rich])
    def test_json_loses_nothing(self, make):
        board = make()
        text = board.to_json()
        again = Board.from_json(text)
        assert again.to_json() == text == make().to_json()
        assert (again.probe, again.counted, again.reference, again.control) == (
            board.probe,
            board.counted,
            board.reference,
            board.control,
        )
        for name, scores in [*board.scores.items(), *board.ablation.items()]:
            for task, s in scores.items():
                other = again._row(name)[task]
                np.testing.assert_array_equal(other.replicates, s.replicates)
                np.testing.assert_array_equal(other.live_replicates, s.live_replicates)
                assert repr(
                    replace(other, replicates=s.replicates, live_replicates=s.live_replicates)
                ) == repr(s)

    def test_json_is_strict_and_readable(self):
        raw = json.loads(
            rich().to_json(), parse_constant=lambda c: pytest.fail(f"{c} is not JSON")
        )
        assert raw["verdicts"] == rich().verdicts()
        assert raw["table"][0]["live"] is None

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            "null",
            "{}",
            f'{{"format": {FORMAT}}}',
            f'{{"format": {FORMAT}, "scores": 3, "ablation": []}}',
            f'{{"format": {FORMAT - 1}}}',
            "\x00",
            '"board"',
        ],
    )
    def test_a_damaged_file_is_named(self, text):
        with pytest.raises(DataError, match=r"^here/board\.json: .*`clickprint run`"):
            Board.from_json(text, "here/board.json")

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda s: s.pop("users"), "users"),
            (lambda s: s.update(probe="magic"), "magic"),
            (lambda s: s.update(score="high"), "high"),
            (lambda s: s.update(metrics=[1]), "not a clickprint board"),
            (lambda s: s.update(epochs=3), "not iterable"),
            (lambda s: s["live_replicates"].pop(), "21 resamples of the score but 20"),
        ],
    )
    def test_a_file_with_a_wrong_field_is_refused(self, change, said):
        raw = json.loads(three().to_json())
        change(raw["scores"]["counts"][0])
        with pytest.raises(DataError, match=said):
            Board.from_json(json.dumps(raw))

    def test_a_file_of_scores_that_may_not_stand_together_is_refused(self):
        raw = json.loads(three().to_json())
        raw["scores"]["counts"][0]["question"] = "another"
        with pytest.raises(ConfigError, match="not the same question"):
            Board.from_json(json.dumps(raw))

    def test_csv_reads_back(self):
        board = rich()
        rows = list(csv.DictReader(io.StringIO(board.to_csv())))
        assert tuple(rows[0]) == COLUMNS
        assert [(r["profile"], r["block"], r["row"], r["task"]) for r in rows] == [
            ("counts", "", "task", "t"),
            ("counts", "", "hidden", "h"),
            ("counts", "", "sum", ""),
            ("counts", "", "hidden mean", ""),
            ("jöined", "", "task", "t"),
            ("jöined", "", "hidden", "h"),
            ("jöined", "", "sum", ""),
            ("jöined", "", "hidden mean", ""),
            ("jöined", "<b>", "task", "t"),
            ("jöined", "<b>", "sum", ""),
        ]
        assert float(rows[4]["score"]) == 1 / 3  # in full
        assert (rows[0]["live"], rows[0]["degenerate"], rows[4]["place"]) == ("", "5", "")
        assert (rows[2]["points"], rows[2]["place"], rows[6]["place"]) == ("1.0", "1", "2")
        assert float(rows[4]["above"]) == pytest.approx(1 / 3 - 0.6)
        assert float(rows[8]["above"]) == pytest.approx(
            0.2 - 1 / 3
        )  # of the whole profile, not of the baseline
        assert [{k: v if v != "" else None for k, v in r.items()} for r in rows] == [
            {k: None if v is None or v == "" else str(v) for k, v in r.items()}
            for r in board.rows()
        ]
