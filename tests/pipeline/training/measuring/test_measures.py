from __future__ import annotations

import numpy as np
import pytest

from pipeline.training.measuring.measures import interval, precision_recall, reliability


def test_an_interval_is_students() -> None:
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found is not None
    assert found.mean == 3.0
    assert found.high - found.mean == pytest.approx(1.963, abs=1e-3)  # type: ignore[operator]  # scipy.stats.t.interval
    assert found.mean - found.low == pytest.approx(1.963, abs=1e-3)  # type: ignore[operator]


def test_one_fold_tells_nothing_of_the_spread() -> None:
    found = interval([2.0])
    assert found is not None
    assert (found.mean, found.low, found.high) == (2.0, None, None)
    assert interval([]) is None


def test_scores_that_come_true_as_often_as_they_say_have_no_error() -> None:
    scores = np.repeat([0.25, 0.75], 400)
    there = np.concatenate([np.arange(400) % 4 == 0, np.arange(400) % 4 != 0])
    assert reliability(scores, there).error == pytest.approx(0.0)
    assert reliability(scores, ~there).error == pytest.approx(0.5)
    assert reliability(scores, there).count == (400, 400)


def test_the_highest_score_falls_into_the_last_bin() -> None:
    assert reliability(np.array([1.0, 0.95]), np.array([True, True])).count == (2,)


def test_precision_and_recall_from_the_highest_score_down() -> None:
    precision, recall = precision_recall(np.array([0.1, 0.9, 0.5, 0.5]), np.array([False, True, True, False]))
    assert precision.tolist() == pytest.approx([1.0, 2 / 3, 0.5])
    assert recall.tolist() == [0.5, 1.0, 1.0]
