"""What is done with validated models: tracked, gated, registered, loaded, searched, reported."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from next_shop import Place, files

from clickprint.apps.next.candidates import pairs_of
from clickprint.apps.next.register import tracking
from clickprint.apps.next.train import trained
from clickprint.core.ids import NONE
from clickprint.data.split import past_of
from clickprint.recommenders import funnel
from clickprint.recommenders.comparison import Comparison
from clickprint.recommenders.evaluate import Contender
from clickprint.recommenders.served import frame

SECTIONS = ("The data", "The stack", "The method of experiment", "How the data were treated",
            "The hypotheses tested", "Algorithms and architectures", "The hyper-parameters",
            "The validation results")  # fmt: skip


def read(place: Place, stage: str, name: str) -> dict:
    return json.loads((place.out / stage / f"{name}.json").read_text("utf-8"))


# -- the gate and MLflow ----------------------------------------------------------------------


@pytest.fixture
def crowned(next_copy: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy whose model is the champion: popularity is all that it had to beat."""
    with monkeypatch.context() as patch:
        weak = Contender("baseline", "popularity")
        patch.setattr(Comparison, "best_rival", lambda self: weak)
        assert next_copy.made("validate", run=next_copy.run(AGAIN)) == ["validate"]
    return next_copy


AGAIN = ("resamples = 100", "resamples = 101")


def test_the_first_model_has_to_beat_the_best_rival(next_made: Place) -> None:
    """Guard-rails alone make no champion; TIFU-KNN is nearly as good in this shop."""
    first, found = (read(next_made, "validate", n) for n in ("gate", "results"))
    assert first["gap"]["low"] < 0 < first["gap"]["value"]
    assert (first["promoted"], len(first["reasons"])) == (False, 1)
    assert found["best_rival"] in first["reasons"][0]
    assert read(next_made, "validate", "tracked")["alias"] == ""


def test_a_model_shown_to_be_better_is_the_champion_and_the_same_again_is_not_promoted(
    crowned: Place,
) -> None:
    first = read(crowned, "validate", "gate")
    assert (first["promoted"], first["gap"]["low"] > 0, first["reasons"]) == (True, True, [])
    assert read(crowned, "validate", "tracked")["alias"] == "champion"
    run = crowned.run(("resamples = 100", "resamples = 102"))
    assert crowned.made("validate", run=run) == ["validate"]
    again = read(crowned, "validate", "gate")
    assert (again["promoted"], again["gap"]["value"], len(again["reasons"])) == (False, 0.0, 1)
    assert read(crowned, "validate", "tracked")["alias"] == ""


def test_a_champion_of_another_list_length_is_not_compared(crowned: Place) -> None:
    next_copy = crowned
    run = next_copy.run(("list_length = 5", "list_length = 6"))
    stages = ("candidates", "features", "tune", "train", "validate")
    assert next_copy.made(*stages, run=run) == list(stages)
    gate = read(next_copy, "validate", "gate")
    assert (gate["promoted"], gate["gap"]) == (False, None)
    assert re.search(r"champion predicts 5 items.* 6", gate["reasons"][0])


def test_the_run_and_the_model_are_in_the_store(next_made: Place) -> None:
    run = next_made.run()
    told = read(next_made, "validate", "tracked")
    with tracking(run) as found:
        assert found is not None
        tracked = found.client.get_run(told["run"])
        version = found.client.get_model_version(run.recipe.model, told["version"])
        names = {f.path for f in found.client.list_artifacts(told["run"])}
    assert tracked.data.params["next.ranker.leaves"] == "4"
    assert tracked.data.metrics == pytest.approx(read(next_made, "validate", "metrics"))
    assert {"results.json", "metrics.json", "report", "predict"} <= names
    assert (str(version.version), version.tags["promoted"]) == ("1", "false")


def test_a_model_loaded_by_its_alias_predicts_the_same(crowned: Place) -> None:
    run = crowned.run(AGAIN)
    fitted = trained(run)
    with run.log() as log:
        past = past_of(log, run.windows().cutoff)
        pairs, columns = funnel.example(
            past, fitted.recipe, pairs_of(run, past.cutoff), fitted.profiles
        )
    some, few = pairs.take(np.arange(20)), {n: c[:20] for n, c in columns.items()}
    wanted, asked = fitted.recommend(some, few), frame(some, few)
    with tracking(run) as found:
        assert found is not None
        model = found.mlflow.pyfunc.load_model(f"models:/{run.recipe.model}@champion")
        assert set(model.metadata.get_input_schema().input_names()) == set(asked.columns)
        answer = model.predict(asked)
    there = wanted.lists.items != NONE
    assert answer["item"].tolist() == wanted.lists.items[there].tolist()
    scores = wanted.lists.scores[there].astype(np.float32)
    assert answer["score"].to_numpy(np.float32).tobytes() == scores.tobytes()
    assert answer.groupby("user")["propensity"].first().tolist() == [
        wanted.propensity[n] for n in range(20) if there[n].any()
    ]


# -- the search -------------------------------------------------------------------------------


def test_the_search_goes_on_where_it_stopped_and_is_in_the_report(next_copy: Place) -> None:
    pytest.importorskip("optuna", reason="a search needs clickprint[recommend]")

    class Stop(Exception): ...

    def stopping(stage: str, done: int, total: int) -> None:
        if stage == "trials" and done == 3:
            raise Stop

    with pytest.raises(Stop):
        next_copy.made("tune", run=next_copy.run(("trials = 0", "trials = 5"), progress=stopping))
    next_copy.made("tune")
    best = read(next_copy, "tune", "best")
    rows = (next_copy.out / "tune" / "trials.csv").read_text().splitlines()
    assert rows[0] == "trial,value,leaves,lr,objective"
    values = [row.split(",") for row in rows[1:]]
    assert (best["trials"], len(values)) == (5, 5)
    assert best["value"] == max(float(row[1]) for row in values)
    assert best["first"] == float(values[0][1])
    assert values[0][2:] == ["4", "0.05", "lambdarank"]  # the first trial: what the file says
    assert set(best["options"]) == {"leaves", "lr", "objective"}
    next_copy.made("train", "validate", "predict", "report")
    tuned = trained(next_copy.run()).recipe.ranker
    assert {n: getattr(tuned, n) for n in best["options"]} == best["options"]
    assert "5 trials" in (next_copy.out / "report" / "index.html").read_text()


# -- slides and page --------------------------------------------------------------------------


def test_slides_and_page_have_the_eight_sections(next_made: Place) -> None:
    from pptx import Presentation

    folder = next_made.out / "report"
    slides = Presentation(str(folder / "slides.pptx")).slides
    said = [
        " ".join(s.text_frame.text for s in slide.shapes if s.has_text_frame) for slide in slides
    ]
    headings = [f"{n} · {section}" for n, section in enumerate(SECTIONS, 1)]
    places = [next(n for n, text in enumerate(said) if h in text) for h in headings]
    assert places == sorted(places)
    assert any(shape.shape_type == 13 for slide in slides for shape in slide.shapes)  # a picture
    pdf = (folder / "slides.pdf").read_bytes()
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == len(said)
    page = (folder / "index.html").read_text("utf-8")
    at = [page.index(heading) for heading in headings]
    assert at == sorted(at)
    assert page.count("<svg") >= 5
    assert len(list((folder / "plots").glob("*.png"))) == page.count("<svg")
    assert '<script>alert("1")</script>' not in page
    assert "&lt;script&gt;alert" in page
    assert not re.search(r'(src|href)="https?://', page)  # opens without a network


# -- several windows --------------------------------------------------------------------------


def test_the_rolling_evaluation_goes_on_and_tells_every_contender(
    next_copy: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert next_copy.command("evaluate") == 0
    said = capsys.readouterr().out
    folder = next_copy.out / "evaluate"
    found = read(next_copy, "evaluate", "results")
    assert len(found["windows"]) == 2
    lines = {(x["type"], x["name"], x["share"], x["by"]): x["value"] for x in found["lines"]}
    assert {
        ("baseline", "popularity", None, None),
        ("baseline", "last basket", None, None),
        ("baseline", "personal frequency", None, None),
        ("next-basket", "TIFU-KNN", None, None),
        ("next-basket", "UP-CF", None, None),
        ("chosen", "", 0.1, "product"),
    } <= set(lines)
    ranker = lines["ranker", "", None, None]
    each = [
        pq.read_table(window / "scores.parquet").column("ranker").to_numpy()
        for window in sorted((folder / "windows").iterdir())
    ]
    assert ranker == pytest.approx(np.concatenate(each).mean())
    assert f"{ranker:.4f}".lstrip("0") in said
    assert (folder / "recall.svg").read_text().startswith("<")
    before = files(folder / "windows")
    assert next_copy.command("evaluate") == 0
    assert files(folder / "windows") == before
    assert next_copy.command("evaluate", "--windows", "0") == 1
    assert next_copy.command("evaluate", "--windows", "400") == 1
    assert "ask for fewer" in capsys.readouterr().err


def test_profiles_are_features_of_the_ranker(next_copy: Place, tmp_path: Path) -> None:
    run = next_copy.run(("[profiles]", "[profiles.counts]\ncomponents = 2"))
    assert next_copy.made("features", "tune", "train", run=run) == ["features", "tune", "train"]
    names = trained(run).propensity.trees.names
    assert [n for n in names if n.startswith("user_counts_")] == ["user_counts_0", "user_counts_1"]
