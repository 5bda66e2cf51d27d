"""Embeddings to events on the tiny bundle, run by a real engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.backends.load import load as load_backend
from operators.fuse.fuser import Fuser, FuseSettings
from operators.models.bundle import Bundle, load
from operators.records import Embedding, Event, event_id
from tests.operators.fuse.embeddings import (
    BLIND_LOUD,
    BRIGHT,
    LOUD,
    NOTHING,
    QUIET,
    START_NS,
    STEP_NS,
    Step,
    embedding,
    plain,
    step_of,
    story,
    stream,
)
from tests.tiny_bundle import make_bundle

ALL: Step = ((0.9, 0.5), 0.5)
Make = Callable[[], Fuser]
EDGE: Step = ((0.5, 0.05), 0.1)  # on each label's threshold
ANY_STEP = st.sampled_from([QUIET, QUIET, BRIGHT, BRIGHT, LOUD, BLIND_LOUD, NOTHING, ALL, EDGE])
SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load(make_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def make(bundle: Bundle) -> Make:
    backend = load_backend(bundle, bundle.manifest.fusion, batch=4, backend="onnxruntime", threads=1)
    return lambda: Fuser(bundle, backend, FuseSettings(silent_after_s=15))


def events_of(fuser: Fuser, embeddings: Sequence[Embedding]) -> list[Event]:
    return list(fuser.process(embeddings))


def test_one_event_from_open_to_close(make: Make) -> None:
    events = events_of(make(), stream([QUIET, BRIGHT, BRIGHT, BRIGHT, QUIET, QUIET, QUIET, QUIET]))
    assert story(events) == [("bright", "open", 1, None), ("bright", "close", 1, 4)]
    opened, closed = events
    assert opened.id == closed.id == event_id("cam", "s", "bright", START_NS + STEP_NS)
    assert (opened.media_start_ns, opened.media_end_ns) == (STEP_NS, None)
    assert (closed.media_start_ns, closed.media_end_ns) == (STEP_NS, 4 * STEP_NS)
    assert step_of(opened.time_ns) == 2
    assert step_of(closed.time_ns) == 6  # the pause is then longer than the merge gap
    assert opened.score > 0.99
    assert closed.score < 0.01
    assert closed.peak_score == opened.peak_score
    assert (opened.senses.visual, opened.senses.acoustic) == (1.0, 0.0)
    assert opened.received_ns == START_NS + 2 * STEP_NS


def test_live_cameras_have_no_position_in_a_file(make: Make) -> None:
    events = events_of(make(), stream([BRIGHT] * 3 + [QUIET] * 4, live=True))
    assert [event.kind for event in events] == ["open", "close"]
    assert all(event.media_start_ns is None and event.media_end_ns is None for event in events)


def test_sound_alone_is_enough_and_says_so(make: Make) -> None:
    events = events_of(make(), stream([BLIND_LOUD] * 4))
    assert {event.label for event in events} == {"loud"}
    assert all((event.senses.visual, event.senses.acoustic) == (0.0, 1.0) for event in events)
    assert all(event.sentiment and event.sentiment.label == "negative" for event in events)
    for event in events:
        assert event.sentiment
        total = event.sentiment.negative + event.sentiment.neutral + event.sentiment.positive
        assert total == pytest.approx(1)


def test_nobody_heard_is_no_sentiment(make: Make) -> None:
    events = events_of(make(), stream([BRIGHT] * 4))
    assert events
    assert all(event.sentiment is None for event in events)


def test_an_invalid_sense_scores_nothing_whatever_its_bytes_say(make: Make) -> None:
    assert events_of(make(), stream([NOTHING] * 6)) == []


def test_the_last_record_closes_everything(make: Make) -> None:
    events = events_of(make(), stream([QUIET, *[((0.9, 0.0), 0.5)] * 3], final=True))
    assert story(events)[-2:] == [("bright", "close", 1, 4), ("loud", "close", 1, 4)]
    assert step_of(events[-1].time_ns) == 4


def test_an_end_is_not_beyond_the_end_of_the_file(make: Make) -> None:
    """The last step of a file reaches beyond what is there."""
    last = embedding([BRIGHT, BRIGHT], final=True)
    short = type(last)(**{name: getattr(last, name) for name in last.__struct_fields__} | {
        "duration_ns": STEP_NS + STEP_NS // 2})
    closed = events_of(make(), [short])[-1]
    assert (closed.kind, step_of(closed.end_ns), step_of(closed.time_ns)) == ("close", 1.5, 1.5)


def test_a_new_session_closes_the_old_ones_events_first(make: Make) -> None:
    fuser = make()
    events = events_of(fuser, [*stream([BRIGHT] * 3, final=False), *stream([BRIGHT] * 3, session="t", final=False)])
    assert [(event.session, event.kind) for event in events] == [("s", "open"), ("s", "close"), ("t", "open")]
    assert events[0].id != events[2].id


@pytest.mark.parametrize("live", [True, False])
def test_a_silent_live_camera_closes_by_itself(make: Make, live: bool) -> None:
    fuser = make()
    records = stream([BRIGHT] * 4, live=live, final=False)
    events_of(fuser, records)
    fuser.snapshot()
    processed_ns = records[-1].received_ns + 60 * 10**9  # late, which is not the camera's fault
    for waited_ns in (0, 15_000_000_000):
        assert list(fuser.advance(processed_ns + waited_ns)) == []
    assert not fuser.snapshot()
    closed = list(fuser.advance(processed_ns + 15_000_000_001))
    assert story(closed) == ([("bright", "close", 0, 4)] if live else [])
    assert bool(fuser.snapshot()) == live
    assert list(fuser.advance(processed_ns + 99_000_000_000)) == []


def test_a_camera_that_is_back_after_silence_begins_a_new_event(make: Make) -> None:
    fuser = make()
    first = events_of(fuser, stream([BRIGHT] * 4, live=True, final=False))
    for waited_s in (0, 60):
        first += fuser.advance(START_NS + waited_s * 10**9)
    later = events_of(fuser, [embedding([BRIGHT] * 4, sequence=2, first=121, live=True)])
    assert [event.kind for event in (*first, *later)] == ["open", "close", "open"]
    assert later[0].id != first[0].id
    assert step_of(later[0].start_ns) == 120


@SETTINGS
@given(steps=st.lists(ANY_STEP, min_size=1, max_size=30), data=st.data())
def test_any_partition_and_any_restart_give_the_same_events(make: Make, steps: list[Step],
                                                            data: st.DataObject) -> None:
    records = [*stream(steps, per_record=3), *stream(steps[::-1], per_record=2, camera="other", live=True)]
    records.sort(key=lambda record: record.start_ns)
    whole = events_of(make(), records)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(records)), max_size=6), "batches begin at"))
    restarts = data.draw(st.sets(st.sampled_from(cuts), max_size=3), "restarts at") if cuts else set[int]()
    fuser, kept, again = make(), dict[str, bytes](), list[Event]()
    for start, stop in zip([0, *cuts], [*cuts, len(records)], strict=True):
        if start in restarts:
            fuser = make()
            fuser.restore(kept)
        again += events_of(fuser, records[start:stop])
        kept |= fuser.snapshot()
    for camera in ("cam", "other"):  # between cameras the order is free
        assert plain([event for event in again if event.camera == camera]) == plain(
            [event for event in whole if event.camera == camera])


@SETTINGS
@given(steps=st.lists(ANY_STEP, min_size=1, max_size=40))
def test_every_event_keeps_its_promises(make: Make, steps: list[Step]) -> None:
    events = events_of(make(), stream(steps))
    for _, group in groupby(sorted(events, key=lambda event: event.id), key=lambda event: event.id):
        own = list(group)
        assert [event.kind for event in own] == ["open", *["update"] * (len(own) - 2), "close"]
        assert len({(event.label, event.start_ns) for event in own}) == 1
        assert own[0].id == event_id("cam", "s", own[0].label, own[0].start_ns)
        assert [event.time_ns for event in own] == sorted(event.time_ns for event in own)
        assert own[-1].end_ns is not None
        assert own[0].start_ns < own[-1].end_ns <= own[-1].time_ns
        assert [event.peak_score for event in own] == sorted(event.peak_score for event in own)
        for event in own:
            assert event.senses.visual + event.senses.acoustic == pytest.approx(1)
            assert 0 <= event.score <= event.peak_score


def test_scores_are_of_every_step(make: Make) -> None:
    scores, = make().score([embedding([BRIGHT, LOUD, NOTHING])])
    assert np.round(scores.events, 3).tolist() == [[1, 0.007, 0], [0, 0.007, 1], [0, 0, 0]]
    assert scores.step_ns.tolist() == [START_NS + i * STEP_NS for i in (1, 2, 3)]
    assert scores.sentiment.sum(axis=1) == pytest.approx(1)


def test_a_record_without_steps_still_closes(make: Make) -> None:
    fuser = make()
    events_of(fuser, stream([BRIGHT] * 4, final=False))
    closed = events_of(fuser, [embedding([], sequence=2, first=5, final=True)])
    assert [event.kind for event in closed] == ["close"]


def test_restoring_forgets_every_other_camera(make: Make) -> None:
    fuser = make()
    events_of(fuser, stream([BRIGHT] * 4, live=True, final=False))
    fuser.restore({})
    assert list(fuser.advance(START_NS + 10**12)) == []
    assert not fuser.snapshot()
