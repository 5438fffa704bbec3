"""What is done with a validated model: tracked, gated, registered, loaded; searched, shown; judged on several windows; submitted."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from next_shop import Place, files

from clickprint.apps.next.gate import Rail, bins, coverage, off, verdict
from clickprint.apps.next.model import frame
from clickprint.apps.next.recipe import GatePart
from clickprint.apps.next.stages import pairs_of
from clickprint.apps.next.track import tracker
from clickprint.core.errors import ConfigError
from clickprint.core.ids import NONE
from clickprint.core.recommendations import Recommendations
from clickprint.data.split import past_of
from clickprint.recommenders import funnel
from clickprint.recommenders.funnel import FittedNext

PART = GatePart(resamples=200)
RAILS = (
    Rail("coverage", 0.5, 0.1, True, "coverage"),
    Rail("seconds", 1.0, 60.0, False, "seconds"),
)
USERS = np.arange(400)
LOW = np.random.default_rng(0).random(400) * 0.5
PARTS = ("The data", "The stack", "The method of experiment", "How the data were treated", "The hypotheses tested",
         "Algorithms and architectures", "The hyper-parameters", "The validation results")  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ the gate
def test_better_and_within_the_rails_is_promoted() -> None:
    found = verdict(PART, RAILS, USERS, LOW + 0.1, LOW)
    assert (found.promoted, found.reasons) == (True, ())
    assert found.gap is not None
    assert found.gap.value == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("new", "told"),
    [
        (LOW, "is not shown to be above the champion's"),
        (LOW - 0.1, "is below the champion's"),
        (LOW[::-1], "not shown"),
    ],
)
def test_what_is_not_shown_to_be_better_is_not_promoted(new: np.ndarray, told: str) -> None:
    found = verdict(PART, RAILS, USERS, np.ascontiguousarray(new), LOW)
    assert not found.promoted
    assert told in found.reasons[0]


@pytest.mark.parametrize("broken", [0, 1])
def test_each_guard_rail_stops_a_better_model(broken: int) -> None:
    rails = list(RAILS)
    rails[broken] = rails[broken]._replace(found=0.01 if broken == 0 else 61.0)
    found = verdict(PART, tuple(rails), USERS, LOW + 0.1, LOW)
    assert not found.promoted
    assert found.reasons == (
        f"{rails[broken].said} is {rails[broken].found:.4g}, {'below' if broken == 0 else 'above'} the limit of {rails[broken].limit:g}",
    )


def test_without_a_champion_the_rails_decide_and_an_unfair_one_is_not_compared() -> None:
    assert verdict(PART, RAILS, USERS, LOW, None).promoted
    found = verdict(
        PART, RAILS, USERS, LOW + 0.1, LOW, unfair="the champion learned from this window"
    )
    assert (found.promoted, found.reasons, found.gap) == (
        False,
        ("the champion learned from this window",),
        None,
    )


def test_coverage_and_calibration_by_hand() -> None:
    lists = Recommendations(
        np.array([1, 2]), np.array([[5, 6], [6, NONE]]), np.zeros((2, 2), np.float32)
    )
    assert coverage(lists, 8) == 0.25
    propensity = np.repeat([0.25, 0.75], 40)
    bought = np.concatenate([np.arange(40) < 10, np.arange(40) < 30])
    found = bins(propensity, bought)
    assert sum(b.users for b in found) == 80
    assert all(b.propensity in (0.25, 0.75) for b in found)
    whole = bins(np.array([0.2, 0.9]), np.array([False, True]))
    assert [b.users for b in whole] == [1, 1]
    assert off(whole) == pytest.approx((0.2 + 0.1) / 2)


def test_the_first_model_is_the_champion_and_the_same_again_is_not_promoted(
    next_copy: Place,
) -> None:
    first = json.loads((next_copy.out / "validate" / "gate.json").read_text())
    assert first["promoted"]
    assert "validate" in next_copy.made(
        "validate", run=next_copy.run(("resamples = 100", "resamples = 90"))
    )
    again = json.loads((next_copy.out / "validate" / "gate.json").read_text())
    assert not again["promoted"]
    assert any("not shown to be above" in r for r in again["reasons"])


# ------------------------------------------------------------------------------------------------------------ MLflow
def test_the_run_and_the_model_are_in_the_store(next_made: Place) -> None:
    run = next_made.run()
    told = json.loads((next_made.out / "validate" / "tracked.json").read_text())
    with tracker(next_made.out) as store:
        found = store.client.get_run(told["run"])
        version = store.client.get_model_version_by_alias(run.recipe.model, "champion")
        names = {f.path for f in store.client.list_artifacts(told["run"])}
    assert found.data.params["next.ranker.leaves"] == "4"
    metrics = json.loads((next_made.out / "validate" / "metrics.json").read_text())
    numbers = {
        k: v for k, v in metrics.items() if isinstance(v, int | float) and not isinstance(v, bool)
    }
    assert numbers
    assert {k: pytest.approx(v) for k, v in numbers.items() if k in found.data.metrics} == {
        k: v for k, v in found.data.metrics.items() if k in numbers
    }
    assert set(found.data.metrics) & set(numbers)
    assert names
    assert str(version.version) == "1"


def test_a_model_loaded_by_its_alias_predicts_the_same(next_made: Place) -> None:
    run = next_made.run()
    fitted = FittedNext.load(next_made.out / "model" / "fitted")
    with run.log() as log:
        past = past_of(log, run.windows().cutoff)
        pairs, columns = funnel.example(
            past, fitted.recipe, pairs_of(run, past.cutoff), fitted.profiles
        )
        some = pairs.take(np.arange(20))
        wanted = fitted.recommend(some, {n: c[:20] for n, c in columns.items()})
        asked = frame(some, {n: c[:20] for n, c in columns.items()})
    with tracker(next_made.out) as store:
        model = store.mlflow.pyfunc.load_model(f"models:/{run.recipe.model}@champion")
        assert set(model.metadata.get_input_schema().input_names()) == set(asked.columns)
        answer = model.predict(asked)
    there = wanted.lists.items != NONE
    assert answer["item"].tolist() == wanted.lists.items[there].tolist()
    assert (
        answer["score"].to_numpy(np.float32).tobytes()
        == wanted.lists.scores[there].astype(np.float32).tobytes()
    )
    assert answer.groupby("user")["propensity"].first().tolist() == [
        wanted.propensity[n] for n in range(20) if there[n].any()
    ]


def test_a_store_that_refuses_is_named(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="tracking needs clickprint[track]")
    (tmp_path / "mlflow.db").write_bytes(
        b"no database at all, but long enough to be read as one" * 50
    )
    with (
        pytest.raises(Exception, match=r"mlflow\.db|database"),
        tracker(tmp_path) as store,
        store.run("x", ""),
    ):
        pass


# ------------------------------------------------------------------------------------------------------------ the search
def test_the_search_goes_on_where_it_stopped_and_is_in_the_report(next_copy: Place) -> None:
    pytest.importorskip("optuna", reason="a search needs clickprint[recommend]")

    class Stop(Exception): ...

    def stopping(stage: str, done: int, total: int) -> None:
        if stage == "trials" and done == 3:
            raise Stop

    change = ("trials = 0", "trials = 5")
    with pytest.raises(Stop):
        next_copy.made("tune", run=next_copy.run(change, progress=stopping))
    assert (
        not (next_copy.out / "tune" / "best.json").is_file()
        or json.loads((next_copy.out / "tune" / "best.json").read_text())["trials"] == 0
    )
    next_copy.made("tune")
    best = json.loads((next_copy.out / "tune" / "best.json").read_text())
    rows = (next_copy.out / "tune" / "trials.csv").read_text().splitlines()
    assert (best["trials"], len(rows)) == (5, 6)
    assert best["value"] == max(float(r.split(",")[1]) for r in rows[1:])
    assert float(rows[1].split(",")[1]) == best["first"]
    assert rows[1].split(",")[2] == "4"  # the first trial is what the parameters say
    next_copy.made("train", "validate", "predict", "report")
    page = (next_copy.out / "report" / "index.html").read_text()
    assert "5 trials" in page
    assert set(best["options"]) <= {"leaves", "rate", "objective"}


# ------------------------------------------------------------------------------------------------------------ slides and page
def test_slides_and_page_have_the_eight_parts(next_made: Place) -> None:
    from pptx import Presentation

    folder = next_made.out / "report"
    slides = Presentation(str(folder / "slides.pptx")).slides
    said = [
        " ".join(s.text_frame.text for s in slide.shapes if s.has_text_frame) for slide in slides
    ]
    places = [next(n for n, text in enumerate(said) if part in text and n > 0) for part in PARTS]
    assert places == sorted(places)
    assert any(shape.shape_type == 13 for slide in slides for shape in slide.shapes)  # a picture
    pdf = (folder / "slides.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == len(said)
    page = (folder / "index.html").read_text("utf-8")
    assert [page.index(f"{n} · {part}") for n, part in enumerate(PARTS, 1)] == sorted(
        page.index(f"{n} · {p}") for n, p in enumerate(PARTS, 1)
    )
    assert page.count("<svg") + page.count("<img") >= 5
    assert '<script>alert("1")</script>' not in page
    assert "&lt;script&gt;alert" in page
    assert not re.search(r'(src|href)="https?://', page)  # opens without a network


# ------------------------------------------------------------------------------------------------------------ several windows
def test_the_rolling_evaluation_goes_on_and_tells_every_line(
    next_copy: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert next_copy.command("evaluate") == 0
    said = capsys.readouterr().out
    folder = next_copy.out / "evaluate"
    found = json.loads((folder / "results.json").read_text())
    assert len(found["windows"]) == 2
    names = {x["name"] for x in found["lines"]}
    assert {
        "ranker",
        "popularity",
        "last basket",
        "personal frequency",
        "TIFU-KNN",
        "UP-CF",
        "10 % users by chance × recall",
    } <= names
    ranker = next(x["value"] for x in found["lines"] if x["name"] == "ranker")
    each = [
        pq.read_table(w / "scores.parquet").column("score ranker").to_numpy()
        for w in sorted((folder / "windows").iterdir())
    ]
    assert ranker == pytest.approx(np.concatenate(each).mean())
    assert f"{ranker:.4f}".lstrip("0") in said
    before = files(folder)
    assert next_copy.command("evaluate") == 0
    assert files(folder / "windows") == {
        k.removeprefix("windows/"): v for k, v in before.items() if k.startswith("windows/")
    }
    assert next_copy.command("evaluate", "--windows", "0") == 1
    assert next_copy.command("evaluate", "--windows", "400") == 1
    assert "ask for fewer" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------ submissions
def test_the_submission_is_checked_and_scored(
    next_made: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = next_made.out / "predict" / "submission.csv"
    assert _call("check", str(file), next_made) == 0
    assert "in the form of the task sheet, 20 users of at most 20" in capsys.readouterr().out
    assert _call("score", str(file), next_made) == 0
    value = float(capsys.readouterr().out.split(":")[0])
    run = next_made.run()
    with run.log() as log:
        from clickprint.recommenders.windows import bought

        truth = bought(log, run.windows().valid)
    fitted = FittedNext.load(next_made.out / "model" / "fitted")
    with run.log() as log:
        plan = fitted.plan(past_of(log, run.windows().cutoff), pairs_of(run, run.windows().cutoff))
    assert value == pytest.approx(truth.recall(plan.chosen(20), 5).mean(), abs=5e-5)
    twice = tmp_path / "twice.csv"
    twice.write_text(file.read_text() + file.read_text().splitlines()[1] + "\n")
    assert _call("check", str(twice), next_made) == 1
    told = capsys.readouterr().err
    assert "21 users, expected at most 20" in told
    assert "repeated user_id" in told
    assert _call("score", str(twice), next_made) == 0
    assert capsys.readouterr().out.startswith("0.0000: ")
    for words, wrong in (
        (("score", str(file), "--start", "soon"), "--start"),
        (("score", str(file), "--data", str(tmp_path)), "--start"),
    ):
        assert _call(words[0], words[1], next_made, *words[2:]) == 1
        assert wrong in capsys.readouterr().err


def _call(verb: str, file: str, place: Place, *more: str) -> int:
    from clickprint.apps.cli.main import main

    return main(
        ["next", verb, file, "--params", str(place.params), "--out", str(place.out), *more]
    )


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"clickprint\[track\]"), tracker(tmp_path):
        pass
