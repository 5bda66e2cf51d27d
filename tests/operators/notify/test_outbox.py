"""Every alert reaches every receiver that wants it, in order, over failures and restarts; or is given up aloud."""

from __future__ import annotations

import base64
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings
from typing_extensions import override

from operators.base import Rejected
from operators.clock import NS_PER_S, ManualClock
from operators.errors import DeliveryError, DeliveryRefused
from operators.notify import outbox as outbox_module
from operators.notify.backlog import MAX_PENDING, Pending
from operators.notify.outbox import Delivery, Outbox
from operators.notify.retry import DELAYS_S, JITTER, MAX_RETRY_AFTER_S, RETRIES, delay_ns
from operators.notify.sink import Sink
from operators.notify.webhook import Webhook, WebhookSettings
from operators.records import Alert
from tests.operators.notify.events import T0, an_alert
from tests.operators.notify.receiver import HANG, RESET, Answer, Receiver

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
WAIT_S = 10.0


class Scripted(Sink):
    """A sink that keeps what it is given and fails on cue."""

    def __init__(self, name: str = "guard", answer: Callable[[Alert], None] = lambda _: None) -> None:
        self.name = name
        self.answer = answer
        self.got: list[str] = []
        self.closed = threading.Event()

    @override
    def deliver(self, alert: Alert) -> None:
        self.answer(alert)
        self.got.append(alert.id)

    @override
    def close(self) -> None:
        self.closed.set()


class Stage:
    """Turns an outbox as a worker does: process, advance, snapshot, and then the commit."""

    def __init__(self, *sinks: Sink, clock: ManualClock | None = None, state: dict[str, bytes] | None = None) -> None:
        self.clock = clock or ManualClock(T0)
        self.deliveries: list[Delivery] = []
        self.outbox = Outbox(sinks, clock=self.clock, on_delivery=self.deliveries.append)
        self.committed = state if state is not None else {}
        self.outbox.restore(self.committed)

    def turn(self, *alerts: Alert) -> list[Rejected[Alert]]:
        rejected = [*self.outbox.process(alerts), *self.outbox.advance(self.clock.now_ns())]
        for camera, value in self.outbox.snapshot().items():
            if value:
                self.committed[camera] = value
            else:
                self.committed.pop(camera, None)
        return rejected

    def attempt(self) -> list[Rejected[Alert]]:
        """Send what is due, and note how it ended."""
        rejected = self.turn()
        assert self.outbox.wait_idle(WAIT_S)
        return rejected + self.turn()

    def results(self) -> list[tuple[str, str]]:
        return [(delivery.alert.id, delivery.result) for delivery in self.deliveries]


@pytest.fixture
def stage() -> Iterator[Callable[..., Stage]]:
    """Makes stages and closes them."""
    with ExitStack() as stack:
        def make(*sinks: Sink, **arguments: Any) -> Stage:
            made = Stage(*sinks, **arguments)
            stack.callback(made.outbox.close)
            return made

        yield make


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Webhook]:
    """Makes webhooks that post to a receiver."""
    monkeypatch.setenv("GUARD_SECRET", SECRET)

    def make(receiver: Receiver, name: str = "guard", timeout_s: float = 5.0) -> Webhook:
        return Webhook(WebhookSettings(name=name, url=receiver.url, secret_env="GUARD_SECRET",  # noqa: S106 - its name
                                       timeout_s=timeout_s, allow=("127.0.0.1",)), Path("unused"))

    return make


def failing(retry_after_s: float | None = None) -> Callable[[Alert], None]:
    def answer(_: Alert) -> None:
        message = "not now"
        raise DeliveryError(message, retry_after_s)

    return answer


def only(sink: str, alert: Alert) -> Alert:
    """The alert as it is given up: for that receiver alone."""
    return msgspec.structs.replace(alert, sinks=(sink,))


def refusing(_: Alert) -> None:
    message = "never"
    raise DeliveryRefused(message)


def test_an_alert_is_sent_once_and_leaves_the_state(
        stage: Callable[..., Stage], webhook: Callable[..., Webhook]) -> None:
    with Receiver() as receiver:
        running = stage(webhook(receiver))
        running.turn(an_alert())
        assert running.outbox.pending == 1
        assert running.attempt() == []
        for _ in range(3):
            running.turn()
        assert receiver.ids == [an_alert().id]
        assert receiver.requests[0].verified(SECRET)
    assert running.outbox.pending == 0
    assert running.committed == {}
    assert running.results() == [(an_alert().id, "delivered")]


def test_nothing_is_sent_before_it_is_committed(stage: Callable[..., Stage]) -> None:
    sink = Scripted()
    running = stage(sink)
    list(running.outbox.process([an_alert()]))
    for _ in range(3):
        running.outbox.advance(running.clock.now_ns())
    assert running.outbox.wait_idle(WAIT_S)
    assert sink.got == []
    running.turn()
    running.attempt()
    assert sink.got == [an_alert().id]


def test_an_alert_whose_commit_failed_is_not_sent(stage: Callable[..., Stage]) -> None:
    sink = Scripted()
    running = stage(sink)
    list(running.outbox.process([an_alert()]))
    running.outbox.snapshot()
    running.outbox.restore(running.committed)  # the transaction was aborted
    running.attempt()
    assert sink.got == []


def test_every_way_to_fail_ends_in_one_delivery(stage: Callable[..., Stage], webhook: Callable[..., Webhook]) -> None:
    answers = (500, HANG, Answer(429, {"Retry-After": "1000"}), 301, RESET, 200)
    with Receiver(*answers) as receiver:
        running, alert, waits_s = stage(webhook(receiver, timeout_s=0.2)), an_alert(), []
        running.turn(alert)
        for _ in answers:
            before_ns = running.clock.now_ns()
            while running.turn() == [] and running.outbox.wait_idle(0) and running.outbox.pending:
                running.clock.sleep(1.0)
            assert running.outbox.wait_idle(WAIT_S)
            waits_s.append((running.clock.now_ns() - before_ns) / NS_PER_S)
            running.turn()
    assert [result for _, result in running.results()] == ["retried"] * 5 + ["delivered"]
    assert set(receiver.ids) == {alert.id}
    assert len(receiver.requests) == len(answers)
    assert all(request.verified(SECRET) for request in receiver.requests)
    assert running.outbox.pending == 0
    for waited_s, wanted_s in zip(waits_s, (0, 5, 30, 1000, 600, 1800), strict=True):
        assert wanted_s <= waited_s <= wanted_s * (1 + JITTER) + 1


def test_the_schedule_is_as_stated_and_ends_in_a_dead_letter(stage: Callable[..., Stage]) -> None:
    tried_ns: list[int] = []
    running = stage(Scripted())
    clock, alert = running.clock, an_alert()

    def answer(_: Alert) -> None:
        tried_ns.append(clock.now_ns())
        failing()(alert)

    sink = Scripted("pager", answer)
    running = stage(sink, clock=clock)
    running.turn(alert)
    rejected = running.attempt()
    while not rejected:
        due_ns = next(iter(running.outbox._backlog.firsts("pager"))).due_ns
        clock.sleep((due_ns - clock.now_ns()) / NS_PER_S - 0.001)
        assert running.attempt() == []
        clock.sleep(0.002)
        rejected = running.attempt()
    waits_s = [(later - earlier) / NS_PER_S for earlier, later in zip(tried_ns, tried_ns[1:], strict=False)]
    assert len(waits_s) == len(DELAYS_S)
    for waited_s, delay_s in zip(waits_s, DELAYS_S, strict=True):
        assert delay_s <= waited_s <= delay_s * (1 + JITTER) + 0.01
    assert [item.record for item in rejected] == [only("pager", alert)]
    assert isinstance(rejected[0].error, DeliveryRefused)
    assert str(rejected[0].error) == "pager: given up after 9 retries: not now"
    assert running.results()[-1] == (alert.id, "dead")
    assert running.outbox.pending == 0
    assert running.committed == {}


def test_a_receiver_that_is_down_for_ten_hours_gets_everything_in_order(
        stage: Callable[..., Stage], webhook: Callable[..., Webhook]) -> None:
    alerts = [an_alert(i, camera=camera) for i in range(3) for camera in ("gate", "lobby")]
    with Receiver(503) as receiver:
        running = stage(webhook(receiver))
        up_ns = running.clock.now_ns() + 10 * 3600 * NS_PER_S
        running.turn(*alerts)
        while running.outbox.pending:
            if running.clock.now_ns() >= up_ns:
                receiver.answers = [Answer(200)]
            assert running.attempt() == []
            running.clock.sleep(900.0)
        tried = len(receiver.requests)
    delivered = [name for name, result in running.results() if result == "delivered"]
    for camera in ("gate", "lobby"):
        wanted = [alert.id for alert in alerts if alert.event.camera == camera]
        assert [name for name in delivered if name in wanted] == wanted
    assert len(delivered) == len(alerts)
    assert set(receiver.ids) == set(delivered)  # the same ids on every try
    assert len(alerts) < tried < 40  # seldom, not every quarter of an hour
    assert all(request.verified(SECRET) for request in receiver.requests)


def test_an_alert_that_waited_behind_another_has_its_own_schedule(stage: Callable[..., Stage]) -> None:
    sink = Scripted(answer=failing())
    running = stage(sink)
    running.turn(an_alert(1), an_alert(2))
    rejected: list[Rejected[Alert]] = []
    while not rejected:
        running.clock.sleep(50_000.0)
        rejected = running.attempt()
    running.attempt()
    assert [item.record.id for item in rejected] == [an_alert(1).id]
    assert running.results()[-2:] == [(an_alert(1).id, "dead"), (an_alert(2).id, "retried")]
    sink.answer = lambda _: None
    running.clock.sleep(10.0)
    running.attempt()
    assert sink.got == [an_alert(2).id]


def test_a_refused_alert_is_given_up_at_once(stage: Callable[..., Stage], webhook: Callable[..., Webhook]) -> None:
    with Receiver(413, 200) as receiver:
        running = stage(webhook(receiver))
        running.turn(an_alert(1), an_alert(2))
        rejected = running.attempt()
        running.attempt()
    assert [item.record.id for item in rejected] == [an_alert(1).id]
    assert "answered 413" in str(rejected[0].error)
    assert running.results() == [(an_alert(1).id, "dead"), (an_alert(2).id, "delivered")]


def test_a_receiver_that_is_gone_is_disabled_until_a_replayed_alert_reaches_it(
        stage: Callable[..., Stage], webhook: Callable[..., Webhook]) -> None:
    with Receiver(410) as receiver, Receiver() as healthy:
        before = stage(webhook(receiver), webhook(healthy, "other"))
        before.turn(an_alert(1), an_alert(2), an_alert(3, camera="gate"))
        rejected = before.attempt() + before.attempt()
        assert {(item.record.id, item.record.sinks) for item in rejected} == {
            (an_alert(1).id, ("guard",)), (an_alert(2).id, ("guard",)), (an_alert(3, camera="gate").id, ("guard",))}
        assert sum("is disabled" in str(item.error) for item in rejected) >= 1
        after = stage(webhook(receiver), webhook(healthy, "other"), clock=before.clock, state=before.committed)
        asked = len(receiver.requests)
        rejected = after.turn(an_alert(4, camera="yard"))
        after.attempt()
        assert [(item.record.id, item.record.sinks) for item in rejected] == [
            (an_alert(4, camera="yard").id, ("guard",))]
        assert "answered 410" in str(rejected[0].error)
        assert len(receiver.requests) == asked
        receiver.answers = [Answer(200)]
        again = msgspec.structs.replace(rejected[0].record, replayed=True)
        assert after.turn(again) + after.attempt() == []
        assert after.turn(an_alert(5)) + after.attempt() == []
        assert receiver.ids[asked:] == [again.id, an_alert(5).id]
        assert {request.id for request in healthy.requests} >= {an_alert(i).id for i in (1, 2, 5)}
    assert after.committed == {}


def test_several_cameras_are_served_at_once_and_each_in_order(stage: Callable[..., Stage]) -> None:
    entered, release, sink = threading.Semaphore(0), threading.Event(), Scripted()
    sink.parallel = 3

    def answer(_: Alert) -> None:
        entered.release()
        assert release.wait(WAIT_S)

    sink.answer = answer
    running = stage(sink)
    alerts = [an_alert(i, camera=camera) for i in range(20) for camera in ("a", "b", "c", "d")]
    running.turn(*alerts)
    running.turn()
    for _ in range(3):
        assert entered.acquire(timeout=WAIT_S)
    assert running.outbox._running == 3
    release.set()
    assert running.attempt() == []  # one turn of the worker: three cameras have all their alerts
    assert len(sink.got) >= 3 * 20
    running.attempt()
    for camera in "abcd":
        assert [name for name in sink.got if name in {a.id for a in alerts if a.event.camera == camera}] == [
            alert.id for alert in alerts if alert.event.camera == camera]


def test_a_request_to_wait_ends_what_is_under_way_for_others(stage: Callable[..., Stage]) -> None:
    both, sink = threading.Barrier(2), Scripted()
    sink.parallel = 2

    def answer(alert: Alert) -> None:
        if not sink.got:
            both.wait(WAIT_S)
        if alert.event.camera == "a":
            message = "busy"
            raise DeliveryError(message, 100.0)
        assert running.outbox._senders["guard"]._enough.wait(0) is False
        deadline = threading.Event()
        while running.outbox._running == 2:  # until the other has ended
            deadline.wait(0.01)

    sink.answer = answer
    running = stage(sink)
    running.turn(*(an_alert(i, camera=camera) for i in range(5) for camera in ("a", "b")))
    running.attempt()
    assert sink.got == [an_alert(0, camera="b").id]
    running.attempt()
    assert len(sink.got) == 1
    sink.answer = lambda _: None
    running.clock.sleep(101.0)
    for _ in range(3):
        running.attempt()
    assert len(sink.got) == 10


def test_a_failed_alert_holds_back_its_camera_only(stage: Callable[..., Stage]) -> None:
    first, second, other = an_alert(1), an_alert(2), an_alert(3, camera="gate")
    sink = Scripted(answer=lambda alert: failing()(alert) if alert.id == first.id else None)
    running = stage(sink)
    running.turn(first, second, other)
    for _ in range(4):
        running.attempt()
    assert sink.got == [other.id]
    sink.answer = lambda _: None
    running.clock.sleep(6.0)
    for _ in range(4):
        running.attempt()
    assert sink.got == [other.id, first.id, second.id]


def test_a_new_alert_lets_a_waiting_one_be_tried_at_once(stage: Callable[..., Stage]) -> None:
    sink = Scripted(answer=failing())
    running = stage(sink)
    running.turn(an_alert(1))
    for _ in range(4):  # the fifth failure: the next try is in half an hour
        running.attempt()
        running.clock.sleep(800.0)
    running.attempt()
    sink.answer = lambda _: None
    running.clock.sleep(60.0)
    running.attempt()
    assert sink.got == []
    running.turn(an_alert(2))
    for _ in range(4):
        running.attempt()
    assert sink.got == [an_alert(1).id, an_alert(2).id]


def test_such_an_early_try_costs_nothing(stage: Callable[..., Stage]) -> None:
    running = stage(Scripted(answer=failing()))
    running.turn(an_alert(1))
    running.attempt()
    first = next(iter(running.outbox._backlog.firsts("guard")))
    before = (first.failures, first.due_ns)
    running.turn(an_alert(2))
    running.attempt()
    assert len(running.deliveries) == 2
    assert (first.failures, first.due_ns) == before


def test_a_receiver_that_asks_for_quiet_gets_it_for_every_camera(stage: Callable[..., Stage]) -> None:
    sink = Scripted(answer=failing(retry_after_s=90.0))
    running = stage(sink)
    running.turn(an_alert(1))
    running.attempt()
    sink.answer = lambda _: None
    running.turn(an_alert(2), an_alert(3, camera="gate"))
    running.clock.sleep(89.0)
    running.attempt()
    assert len(running.deliveries) == 1
    running.clock.sleep(2.0)
    for _ in range(6):
        running.attempt()
    assert set(sink.got) == {an_alert(1).id, an_alert(2).id, an_alert(3, camera="gate").id}


def test_the_quiet_asked_for_outlives_a_restart_for_every_camera(stage: Callable[..., Stage]) -> None:
    before = stage(Scripted(answer=failing(retry_after_s=500.0)))
    before.turn(an_alert())
    before.attempt()
    sink = Scripted()
    after = stage(sink, clock=before.clock, state=before.committed)
    after.clock.sleep(499.0)
    after.turn(an_alert(7, camera="gate"))
    after.attempt()
    assert sink.got == []
    after.clock.sleep(30.0)
    for _ in range(3):
        after.attempt()
    assert sorted(sink.got) == sorted([an_alert().id, an_alert(7, camera="gate").id])
    assert after.committed == {}


def test_state_of_an_older_version_is_read(stage: Callable[..., Stage]) -> None:
    sink = Scripted()
    older = msgspec.msgpack.encode([Pending(sink="guard", alert=an_alert(), due_ns=T0)])
    running = stage(sink, state={"lobby": older})
    running.attempt()
    assert sink.got == [an_alert().id]


def test_a_busy_camera_does_not_wait_for_a_quiet_moment(stage: Callable[..., Stage]) -> None:
    sink = Scripted()
    running = stage(sink)
    for i in range(5):
        running.turn(an_alert(i))
        assert running.outbox.wait_idle(WAIT_S)
    assert len(sink.got) >= 3


def test_a_dead_receiver_delays_no_other(stage: Callable[..., Stage], webhook: Callable[..., Webhook]) -> None:
    with Receiver(HANG) as hanging, Receiver() as healthy:
        running = stage(webhook(hanging, "a", timeout_s=1.0), webhook(healthy, "b"))
        running.turn(an_alert(1), an_alert(2))
        running.turn()
        hanging.wait_for(1)
        healthy.wait_for(1)
        while len(running.deliveries) < 1:
            running.turn()
        running.turn()
        healthy.wait_for(2)
        assert hanging.ids == [an_alert(1).id]
        assert running.outbox.wait_idle(WAIT_S)
        running.turn()
    assert {(delivery.sink, delivery.result) for delivery in running.deliveries} == {
        ("a", "retried"), ("b", "delivered")}


def test_an_alert_names_its_receivers(stage: Callable[..., Stage]) -> None:
    sinks = [Scripted("a"), Scripted("b")]
    running = stage(*sinks)
    alerts = [msgspec.structs.replace(an_alert(i), sinks=names) for i, names in enumerate([("b",), (), ("c",)])]
    rejected = running.turn(*alerts)
    for _ in range(6):
        rejected += running.attempt()
    assert sinks[0].got == [alerts[1].id]
    assert sinks[1].got == [alerts[0].id, alerts[1].id]
    assert [(item.record, str(item.error)) for item in rejected] == [(alerts[2], "c: is not configured")]


def test_without_receivers_alerts_need_no_delivery(stage: Callable[..., Stage]) -> None:
    running = stage()
    assert running.turn(an_alert()) == []
    assert (running.outbox.pending, running.committed) == (0, {})


def test_what_waits_for_a_removed_receiver_is_given_up_aloud(stage: Callable[..., Stage]) -> None:
    before = stage(Scripted("a", failing()), Scripted("b", failing()))
    before.turn(an_alert())
    after = stage(Scripted("b"), state=before.committed)
    rejected = after.attempt() + after.attempt()
    assert [(item.record, str(item.error)) for item in rejected] == [(only("a", an_alert()), "a: is not configured")]
    assert after.committed == {}


def test_a_queue_is_bounded_and_its_oldest_given_up(stage: Callable[..., Stage]) -> None:
    running = stage(Scripted(answer=failing()))
    rejected = running.turn(*(an_alert(i) for i in range(MAX_PENDING + 2)))
    assert [item.record.id for item in rejected] == [an_alert(0).id, an_alert(1).id]
    assert running.outbox.pending == MAX_PENDING
    assert len(running.committed["lobby"]) < 1_000_000


def test_the_same_alert_waits_once(stage: Callable[..., Stage]) -> None:
    sink = Scripted()
    running = stage(sink)
    running.turn(an_alert(), an_alert())
    running.attempt()
    running.attempt()
    assert sink.got == [an_alert().id]


def test_a_restart_goes_on_with_the_schedule(stage: Callable[..., Stage]) -> None:
    before = stage(Scripted(answer=failing()))
    before.turn(an_alert(1), an_alert(2))
    for _ in range(3):
        before.attempt()
        before.clock.sleep(31.0)
    before.attempt()
    sink = Scripted()
    after = stage(sink, clock=before.clock, state=dict(before.committed))
    waiting_before, waiting_after = (next(iter(made.outbox._backlog.firsts("guard"))) for made in (before, after))
    assert waiting_after == waiting_before
    assert waiting_after.failures == 3
    after.attempt()
    assert sink.got == []
    after.clock.sleep(600.0)
    for _ in range(4):
        after.attempt()
    assert sink.got == [an_alert(1).id, an_alert(2).id]


def test_a_delivery_whose_alert_moved_to_another_worker_is_forgotten(stage: Callable[..., Stage]) -> None:
    release, sink = threading.Event(), Scripted()
    sink.answer = lambda _: None if release.wait(WAIT_S) else None
    running = stage(sink)
    running.turn(an_alert())
    running.turn()
    other = stage(Scripted())
    other.turn(an_alert(2))
    running.outbox.restore(other.committed)
    release.set()
    assert running.outbox.wait_idle(WAIT_S)
    running.turn()
    assert (running.deliveries, running.outbox.pending) == ([], 1)
    assert running.attempt() == []
    assert running.results() == [(an_alert(2).id, "delivered")]


def test_a_defect_of_a_sink_is_retried_and_logged(
        stage: Callable[..., Stage], caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Alert) -> None:
        message = "a bug"
        raise ValueError(message)

    sink = Scripted(answer=broken)
    running = stage(sink)
    running.turn(an_alert())
    running.attempt()
    assert running.results() == [(an_alert().id, "retried")]
    assert "a bug" in caplog.text
    sink.answer = lambda _: None
    running.clock.sleep(6.0)
    running.attempt()
    assert sink.got == [an_alert().id]


def test_quiesce_waits_for_what_is_under_way_and_sends_nothing_more(stage: Callable[..., Stage]) -> None:
    entered, release, sink = threading.Event(), threading.Event(), Scripted()

    def answer(_: Alert) -> None:
        entered.set()
        assert release.wait(WAIT_S)

    sink.answer = answer
    running = stage(sink)
    running.turn(an_alert(1), an_alert(2))
    running.turn()
    assert entered.wait(WAIT_S)
    assert not running.outbox.quiesce(0.05)
    release.set()
    assert running.outbox.quiesce(WAIT_S)
    for _ in range(3):
        running.turn()
    assert running.outbox.wait_idle(WAIT_S)
    assert sink.got == [an_alert(1).id]
    assert running.outbox.pending == 1
    assert running.results() == [(an_alert(1).id, "delivered")]


def test_quiesce_may_be_asked_for_from_another_thread(stage: Callable[..., Stage]) -> None:
    delivered, stop = threading.Semaphore(0), threading.Event()
    running = stage(Scripted(answer=lambda _: delivered.release()))
    running.turn(*(an_alert(i) for i in range(50)))

    def work() -> None:
        while not stop.is_set():
            running.turn()

    worker = threading.Thread(target=work)
    worker.start()
    for _ in range(10):
        assert delivered.acquire(timeout=WAIT_S)
    assert running.outbox.quiesce(WAIT_S)
    stop.set()
    worker.join(WAIT_S)
    running.turn()
    assert not running.outbox._in_flight
    assert running.outbox.pending + len(running.deliveries) == 50


def test_closing_waits_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "CLOSE_TIMEOUT_S", 0.05)
    entered, release = threading.Event(), threading.Event()

    def answer(_: Alert) -> None:
        entered.set()
        release.wait(WAIT_S)

    sink = Scripted(answer=answer)
    running = Stage(sink)
    running.turn(an_alert())
    running.turn()
    assert entered.wait(WAIT_S)
    running.outbox.close()
    assert not sink.closed.is_set()  # still under way
    release.set()
    assert sink.closed.wait(WAIT_S)


def test_failures_are_logged_with_the_next_try(stage: Callable[..., Stage], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    running = stage(Scripted(answer=failing()))
    running.turn(an_alert())
    running.attempt()
    assert f"guard: alert {an_alert().id} failed: not now; next try in" in caplog.text


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_nothing_is_lost_or_reordered_over_crashes_and_failures(data: st.DataObject) -> None:
    """Crashes lose what was not committed; the log gives those alerts again, as a consumer's offset says."""
    alerts = [an_alert(i, camera=data.draw(st.sampled_from(["lobby", "gate"]))) for i in range(6)]
    received: list[Alert] = []
    outcomes = data.draw(st.lists(st.booleans(), max_size=RETRIES))

    def answer(alert: Alert) -> None:
        if outcomes and not outcomes.pop():
            failing()(alert)
        received.append(alert)

    clock, offset = ManualClock(T0), 0
    running = Stage(Scripted(answer=answer), clock=clock)
    for step in data.draw(st.lists(st.sampled_from(["turn", "crash", "crash before commit", "later"]), max_size=25)):
        batch = alerts[offset:offset + 2]
        if step == "turn":
            running.turn(*batch)
            offset += len(batch)
        elif step == "later":
            running.outbox.wait_idle(WAIT_S)
            clock.sleep(45.0)
        else:
            if step == "crash before commit":
                list(running.outbox.process(batch))
                running.outbox.advance(clock.now_ns())
            running.outbox.close()
            running = Stage(Scripted(answer=answer), clock=clock, state=running.committed)
    running.turn(*alerts[offset:])
    while running.outbox.pending:
        assert running.attempt() == []
        clock.sleep(3600.0)
    running.outbox.close()
    order: dict[str, list[str]] = defaultdict(list)
    for alert in received:
        if alert.id not in order[alert.event.camera]:
            order[alert.event.camera].append(alert.id)
    for camera in ("lobby", "gate"):
        assert order[camera] == [alert.id for alert in alerts if alert.event.camera == camera]
    assert running.committed == {}


@given(st.text(min_size=1), st.integers(1, 50), st.none() | st.floats(0, 1e6))
def test_delays_are_bounded_and_always_the_same(alert: str, failures: int, retry_after_s: float | None) -> None:
    delay_s = delay_ns(alert, failures, retry_after_s) / NS_PER_S
    stated_s = DELAYS_S[min(failures, len(DELAYS_S)) - 1]
    assert delay_s == delay_ns(alert, failures, retry_after_s) / NS_PER_S
    asked_s = min(retry_after_s or 0.0, MAX_RETRY_AFTER_S)
    assert max(stated_s, asked_s) <= delay_s + 1e-6
    assert delay_s <= max(stated_s * (1 + JITTER), asked_s) + 1e-6


def test_delays_differ_between_alerts_and_span_the_stated_time() -> None:
    assert len({delay_ns(f"alert-{i}", 1) for i in range(100)}) == 100
    assert (DELAYS_S[0], DELAYS_S[-1]) == (5, 36000)
    assert 18 * 3600 < sum(DELAYS_S) < 20 * 3600
