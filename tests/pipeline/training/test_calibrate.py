from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the train extra is not installed")

import torch  # noqa: E402

from operators.models.bundle import Label  # noqa: E402
from pipeline.training.calibrate import calibrate, spans, thresholds  # noqa: E402
from pipeline.training.measuring.matching import Span  # noqa: E402
from pipeline.training.scenes.compose import MASKED  # noqa: E402

LABEL = Label(name="siren", sense="acoustic", alertable=True, open=0.6, close=0.3, min_length_s=1.0, merge_gap_s=1.0)


def test_scores_that_are_too_sure_become_probabilities() -> None:
    torch.manual_seed(0)
    true_logits = torch.randn(400, 16, 1) * 1.5 - 1.0
    events = (torch.rand(400, 16, 1) < torch.sigmoid(true_logits)).float()
    found = calibrate(3 * true_logits + 2, events)
    assert found.scale.item() == pytest.approx(1 / 3, rel=0.25)  # drawn towards 1 a little
    assert found.bias.item() == pytest.approx(-2 / 3, abs=0.35)


def test_steps_nobody_knows_and_labels_never_seen_change_nothing() -> None:
    logits = torch.randn(10, 4, 2, generator=torch.Generator().manual_seed(0))
    events = torch.full((10, 4, 2), MASKED)
    events[..., 1] = 0.0
    found = calibrate(logits, events)
    assert found.scale.tolist() == [1.0, 1.0]
    assert found.bias.tolist() == [0.0, 0.0]


def test_events_are_those_that_serving_would_report() -> None:
    scores = np.array([0.1, 0.7, 0.4, 0.4, 0.1, 0.1, 0.1, 0.1, 0.7, 0.1, 0.1, 0.1])
    assert list(spans(LABEL, scores, 0.5)) == [Span(0.5, 2.0)]  # the second peak is too short


def test_the_threshold_lies_between_what_is_and_what_is_not() -> None:
    scores, events = np.full((20, 12, 1), 0.1), np.zeros((20, 12, 1), np.float32)
    scores[::2, 3:8], events[::2, 3:8] = 0.8, 1.0
    scores[1::2, 2:7] = 0.5  # looks a little like it, but is not
    scores[0, :, 0], events[0, 0, 0] = 0.9, MASKED  # not all of it is known: not counted
    label = thresholds([LABEL], scores, events, 0.5)[0]
    assert 0.5 < label.open <= 0.8
    assert label.close < label.open


def test_an_event_counts_that_begins_and_ends_within_a_step() -> None:
    scores, events = np.full((20, 12, 1), 0.1), np.zeros((20, 12, 1), np.float32)
    scores[:, 3:8], events[:, 3:8] = 0.62, 1.0
    events[:, [2, 8]] = MASKED
    assert thresholds([LABEL], scores, events, 0.5)[0].open == pytest.approx(0.6)
    events[:, 10] = MASKED  # what is there, nobody knows
    assert thresholds([LABEL], scores, events, 0.5) == (LABEL,)


def test_where_nothing_tells_thresholds_apart_it_is_the_highest_and_one_odd_scene_tells_nothing() -> None:
    scores, events = np.full((20, 12, 1), 0.1), np.zeros((20, 12, 1), np.float32)
    assert thresholds([LABEL], scores, events, 0.5) == (LABEL,)  # it never happens
    scores[0, 3:8], events[0, 3:8] = 0.62, 1.0  # found below 0.62 only
    assert thresholds([LABEL], scores, events, 0.5)[0].open == pytest.approx(0.8)
    scores[:10, 3:8], events[:10, 3:8] = 0.62, 1.0
    assert thresholds([LABEL], scores, events, 0.5)[0].open == pytest.approx(0.6)


def test_a_rate_of_false_events_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    """400 scenes of 6 s: 20 of them look like it up to 0.5, 4 up to 0.7, and one up to 0.99."""
    scores, events = np.full((400, 12, 1), 0.1), np.zeros((400, 12, 1), np.float32)
    for peak, scenes in ((0.5, 20), (0.7, 4), (0.99, 1)):
        scores[:scenes, 2:7] = peak
    hours = 400 * 6 / 3600
    for rate, low, high in ((21 / hours, 0.3, 0.3), (5 / hours, 0.5, 0.6), (1 / hours, 0.7, 0.8)):
        assert low <= thresholds([LABEL], scores, events, 0.5, false_per_hour=rate)[0].open <= high
    assert not caplog.records
    assert thresholds([LABEL], scores, events, 0.5, false_per_hour=0.1)[0].open >= 0.9
    assert "siren: more than 0.1 false events an hour" in caplog.text
