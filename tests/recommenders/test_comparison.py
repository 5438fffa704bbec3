"""Contenders compared: intervals against a slow twin, hypotheses, JSON and words."""

import json
from dataclasses import replace

import numpy as np
import pytest

from clickprint.core.errors import DataError
from clickprint.metrics.compare import resample_weights
from clickprint.recommenders.comparison import (
    TYPES,
    Comparison,
    best_words,
    lines_of,
    pairs_of,
    verdict_words,
)
from clickprint.recommenders.evaluate import RANKER, Contender, Scores

MODEL, RIVAL, ODD = RANKER, Contender("baseline", "rival"), Contender("baseline", "odd")
CHOSEN = Contender("chosen", users=5, by="product")


def slow(scores: list[Scores], name: Contender, resamples: int, seed: int) -> np.ndarray:
    """Each resample by itself: a buyer counts what his user and his window were drawn."""
    out = []
    users = sorted({int(u) for s in scores for u in s.users})
    by_user = resample_weights(np.array(users), resamples, seed)
    by_window = resample_weights(np.arange(len(scores)), resamples, seed + 1)
    for r in range(resamples):
        top = bottom = 0.0
        for w, s in enumerate(scores):
            for user, value in zip(s.users.tolist(), s.values[name].tolist(), strict=True):
                weight = float(by_user[r, users.index(user)]) * float(by_window[r, w])
                top, bottom = top + weight * value, bottom + weight
        out.append(top / bottom if bottom else np.nan)
    return np.array(out)


def several(*more: Contender) -> list[Scores]:
    draw = np.random.default_rng(0)
    return [
        Scores(
            w,
            np.sort(draw.choice(12, 7, replace=False)),
            {n: draw.random(7) for n in (RIVAL, MODEL, *more, *([ODD] if w else []))},
        )
        for w in range(4)
    ]


def test_intervals_are_over_users_and_windows() -> None:
    scores = several()
    found = Comparison.of(scores, resamples=130, seed=5)
    assert list(found.estimates()) == [RIVAL, MODEL]  # not every window has the other
    rival, model = (slow(scores, n, 130, 5) for n in (RIVAL, MODEL))
    line, gap = found.estimates()[MODEL], found.gap(MODEL, RIVAL)
    assert line.value == pytest.approx(np.concatenate([s.values[MODEL] for s in scores]).mean())
    assert found.windows(MODEL) == pytest.approx([s.values[MODEL].mean() for s in scores])
    assert (line.low, line.high) == pytest.approx(np.nanpercentile(model, [2.5, 97.5]), abs=1e-9)
    assert gap.value == pytest.approx(found.mean(MODEL) - found.mean(RIVAL))
    assert (gap.low, gap.high) == pytest.approx(
        np.nanpercentile(model - rival, [2.5, 97.5]), abs=1e-9
    )
    assert found.gap(RIVAL, RIVAL)[:3] == (0, 0, 0)


def test_hypotheses_are_of_the_ranker_the_choice_and_its_way() -> None:
    alone, retriever = replace(CHOSEN, by="propensity"), Contender("retriever", "history")
    found = Comparison.of(several(retriever, CHOSEN, alone), resamples=20)
    assert [(h.one, h.other) for h in found.hypotheses(5)] == [
        (MODEL, RIVAL),
        (MODEL, retriever),
        (CHOSEN, RIVAL),
        (CHOSEN, alone),
    ]
    assert found.best_rival() == max((RIVAL, retriever), key=found.mean)


def test_comparisons_that_cannot_be_made() -> None:
    with pytest.raises(DataError, match="no window"):
        Comparison.of([])
    with pytest.raises(DataError, match="window 0"):
        Comparison.of([Scores(0, np.array([1, 1]), {RANKER: np.zeros(2)})])


def test_json_has_the_same_numbers_and_words_name_what_they_are_of() -> None:
    alone = replace(CHOSEN, by="propensity")
    found = Comparison.of(several(CHOSEN, alone), resamples=20)
    told = json.loads(json.dumps(found.to_json(5)))
    lines, pairs = lines_of(told), pairs_of(told)
    assert {n: x.estimate for n, x in lines.items()} == {
        c.label: e for c, e in found.estimates().items()
    }
    assert [p.gap for p in pairs] == [h.gap for h in found.hypotheses(5)]
    assert all(x.type in TYPES for x in lines.values())
    assert told["best_rival"] == RIVAL.label
    assert lines[RANKER.label].estimate.text(4) in best_words(told)
    assert RIVAL.label in best_words(told)
    words = verdict_words(found.hypotheses(5))
    assert (len(words), CHOSEN.label in words[1]) == (3, True)
    assert f"of the {len(pairs)} differences here" in words[2]


def test_the_headline_names_the_best_rival_of_any_kind() -> None:
    """Not the best naive baseline, where a next-basket method or a retriever is above it."""
    known = {RIVAL: 0.2, Contender("next-basket", "TIFU"): 0.3, Contender("retriever", "own"): 0.4}
    chosen = {CHOSEN: 0.1, replace(CHOSEN, by="propensity"): 0.1}
    for best in range(1, 4):
        some = dict(list(known.items())[:best])
        values = {c: np.full(9, v) for c, v in {MODEL: 0.5, **some, **chosen}.items()}
        found = Comparison.of([Scores(0, np.arange(9), values)], resamples=100)
        told, name = found.to_json(5), list(some)[-1].label
        assert told["best_rival"] == name
        assert f"{name}, {0.1 + best / 10:.4f}".replace(", 0", ", ") in best_words(told)


def test_the_metrics_are_those_of_the_contenders() -> None:
    ceiling, share = Contender("ceiling", "union"), Contender("chosen", share=0.25, by="product")
    found = Comparison.of(several(ceiling, CHOSEN, share), resamples=10)
    assert found.metrics() == {
        "recall": found.mean(RANKER),
        "recall_best_rival": found.mean(RIVAL),
        "recall_ceiling": found.mean(ceiling),
        "recall_5_users_by_product": found.mean(CHOSEN),
        "recall_25pct_users_by_product": found.mean(share),
    }
    (row,) = (r for r in found.rows() if r["type"] == "baseline")
    assert (row["gap_value"], row["window 4"]) == (
        found.gap(RIVAL, RANKER).value,
        found.windows(RIVAL)[3],
    )
