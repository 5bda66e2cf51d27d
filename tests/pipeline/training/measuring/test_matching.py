from __future__ import annotations

import pytest

from pipeline.training.measuring.matching import Matched, Span, match
from pipeline.training.measuring.measures import average_precision, recalls


def test_an_event_is_found_by_a_report_that_overlaps_it_within_a_second() -> None:
    true = [Span(10, 12), Span(30, 32)]
    assert match([Span(12.9, 14)], true) == Matched(found=1, missed=1, right=1, false=0)
    assert match([Span(13.1, 14)], true) == Matched(found=0, missed=2, right=0, false=1)
    assert match([Span(8, 9.5)], true).right == 1


def test_a_long_report_finds_all_that_it_covers_and_counts_once() -> None:
    assert match([Span(0, 60)], [Span(10, 12), Span(30, 32)]) == Matched(found=2, missed=0, right=1, false=0)


def test_two_reports_of_one_event_are_both_right() -> None:
    assert match([Span(10, 11), Span(11.5, 12)], [Span(10, 12)]) == Matched(found=1, missed=0, right=2, false=0)


def test_precision_recall_and_f1() -> None:
    counts = Matched(found=3, missed=1, right=2, false=2)
    assert (counts.precision, counts.recall) == (0.5, 0.75)
    assert counts.f1 == pytest.approx(0.6)


def test_nothing_reported_where_nothing_was_is_perfect() -> None:
    assert match([], []).f1 == 1.0


def test_average_precision_of_hand_made_rankings() -> None:
    assert average_precision([0.9, 0.8, 0.1], [True, True, False]) == 1.0
    assert average_precision([0.9, 0.8, 0.1], [True, False, True]) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision([0.1, 0.2], [False, False]) is None


def test_equal_scores_have_no_order() -> None:
    assert average_precision([0.5] * 4, [True, False, False, True]) == pytest.approx(0.5)
    assert average_precision([0.5] * 4, [False, True, True, False]) == pytest.approx(0.5)


def test_recall_of_each_class_that_occurs() -> None:
    assert recalls([1, 1, 2, 3], [1, 1, 3, 3]) == {1: 1.0, 3: 0.5}
