"""Live cameras that give nothing at all, by a clock that the tests own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from operators.health.monitor import FORGET_NS, HealthMonitor
from operators.health.settings import HealthSettings
from operators.records import LAYOUT, Embedding, Event, Health, Look

S = 1_000_000_000
T0 = 1_800_000_000 * S


def record(second: int, camera: str = "gate", *, session: str = "s", live: bool = True, stopped: bool = False,
           final: bool = False) -> Embedding:
    """A second with a picture, unlike the one before."""
    start_ns = T0 + second * S
    look = Look(time_ns=start_ns, width_px=640, height_px=360, luma=120.0, grain=4.0, detail=0.2, change=5.0,
                layout=bytes(60 + 40 * (part % 7 == 0) for part in range(LAYOUT[0] * LAYOUT[1])))
    return Embedding(
        camera=camera, session=session, sequence=second, start_ns=start_ns, duration_ns=S,
        media_start_ns=None if live else second * S, received_ns=start_ns + S, final=final, steps=0, step_ns_raw=b"",
        visual_raw=b"", visual_valid_raw=b"", acoustic_raw=b"", acoustic_valid_raw=b"",
        health=Health(frames=10, sampled=2, looks=(look,), stopped=stopped))


def _events(items: Iterable[object]) -> list[Event]:
    return [item for item in items if isinstance(item, Event)]


def played(monitor: HealthMonitor, first: int, last: int, cameras: Sequence[str],
           session: str = "s") -> list[tuple[str, str, int]]:
    """(camera, kind, second) of every event of the seconds `first` to `last`, in which these cameras give something."""
    events: list[Event] = []
    for second in range(first, last):
        for camera in cameras:
            events += _events(monitor.process([record(second, camera, session=session)]))
        events += _events(monitor.advance(T0 + (second + 1) * S))
    assert {event.label for event in events} <= {"camera_no_video"}
    return [(event.camera, event.kind, (event.time_ns - T0) // S) for event in events if event.kind != "update"]


def test_a_camera_that_falls_silent_is_told_of_and_again_when_it_is_back() -> None:
    monitor = HealthMonitor()
    assert played(monitor, 0, 20, ["gate", "yard"]) == []
    ((camera, kind, second),) = played(monitor, 20, 50, ["yard"])
    assert (camera, kind) == ("gate", "open")
    assert 20 < second <= 30
    ((camera, kind, second),) = played(monitor, 50, 60, ["gate", "yard"], session="another")
    assert (camera, kind) == ("gate", "close")
    assert 50 <= second <= 60


def test_an_only_camera_is_told_of_as_soon() -> None:
    monitor = HealthMonitor()
    assert played(monitor, 0, 20, ["gate"]) == []
    ((_, kind, second),) = played(monitor, 20, 40, [])
    assert kind == "open"
    assert 20 < second <= 30


def test_where_none_of_several_gives_anything_there_is_more_patience() -> None:
    monitor = HealthMonitor()
    assert played(monitor, 0, 20, ["gate", "yard"]) == []
    assert played(monitor, 20, 45, []) == []
    assert [(camera, kind) for camera, kind, _ in played(monitor, 45, 55, [])] == [("gate", "open"), ("yard", "open")]


def test_a_process_that_takes_over_waits_before_it_tells_of_silence_and_knows_what_was_told() -> None:
    first = HealthMonitor()
    played(first, 0, 20, ["gate", "yard"])
    second = HealthMonitor()
    second.restore(first.snapshot())
    assert played(second, 20, 45, []) == []
    assert [kind for _, kind, _ in played(second, 45, 55, ["yard"])] == ["open"]
    third = HealthMonitor()
    third.restore({**first.snapshot(), **second.snapshot()})
    assert [(camera, kind) for camera, kind, _ in played(third, 55, 65, ["gate", "yard"])] == [("gate", "close")]


def test_a_camera_that_nobody_wants_to_watch_any_more_is_not_missed() -> None:
    monitor = HealthMonitor()
    played(monitor, 0, 20, ["gate", "yard"])
    assert list(monitor.process([record(20, stopped=True, final=True)])) == []
    assert played(monitor, 21, 80, ["yard"]) == []
    assert played(monitor, 80, 100, ["gate", "yard"], session="again") == []
    assert [kind for _, kind, _ in played(monitor, 100, 115, ["yard"])] == ["open"]


def test_the_last_session_of_a_camera_that_broke_off_does_not_end_the_watch() -> None:
    monitor = HealthMonitor()
    played(monitor, 0, 20, ["gate", "yard"])
    assert list(monitor.process([record(20, final=True)])) == []
    assert [kind for _, kind, _ in played(monitor, 21, 40, ["yard"])] == ["open"]


def test_a_camera_that_was_never_reached_is_told_of_until_nobody_wants_it() -> None:
    def nothing(second: int, *, stopped: bool) -> Embedding:
        return msgspec.structs.replace(record(second, session=f"s{second}", final=True), duration_ns=0,
                                       health=Health(stopped=stopped))

    monitor = HealthMonitor()
    assert list(monitor.process([nothing(0, stopped=False)])) == []
    ((camera, kind, second),) = played(monitor, 1, 20, ["yard"])
    assert (camera, kind) == ("gate", "open")
    assert second <= 10
    assert [event.kind for event in _events(monitor.process([nothing(20, stopped=True)]))] == ["close"]
    assert played(monitor, 21, 80, ["yard"]) == []


def test_a_file_is_never_silent_and_leaves_nothing_behind() -> None:
    monitor = HealthMonitor()
    list(monitor.process([record(0, live=False)]))
    assert list(monitor.advance(T0)) == list(monitor.advance(T0 + 100 * S)) == []
    list(monitor.process([record(1, live=False, final=True)]))
    assert monitor.snapshot() == {"gate": b""}


def test_a_camera_that_is_gone_for_a_day_is_forgotten() -> None:
    monitor = HealthMonitor()
    played(monitor, 0, 20, ["gate"])
    assert [kind for _, kind, _ in played(monitor, 20, 40, [])] == ["open"]
    assert [event.kind for event in monitor.advance(T0 + 21 * S + FORGET_NS)] == ["close"]
    assert monitor.snapshot() == {"gate": b""}


def test_patience_is_a_setting() -> None:
    monitor = HealthMonitor(HealthSettings(silent_after_s=20))
    played(monitor, 0, 20, ["gate"])
    assert played(monitor, 20, 38, []) == []
    assert [kind for _, kind, _ in played(monitor, 38, 45, [])] == ["open"]
