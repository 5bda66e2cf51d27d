"""THE table of conditions: what is measured, from where on it counts, and for how long it must last.

Every measure gives how bad it is: 1 is the threshold, 0 is well, None cannot be told. A condition begins once it
was 1 or more for `onset_s`, and ends once it was below `CLEAR` for `end_s`; in between, it stays what it was.

The thresholds, and what 243 real recordings showed (13.8 minutes, of ../shared/data):

    frozen       mean change of at most 0.1 levels: pictures half a second apart differ by 0.44 at least; an encoder
                 that is given one picture again and again goes down to 0.03, after up to fifty pictures
    black        eight of ten parts darker than 24 levels and with less than 0.5 levels of grain: the darkest was 66;
                 a dark room keeps the grain of the sensor
    covered      edges of at most 0.25 of the usual: 0.43 at least
    defocused    detail of at most 0.45 of the usual: 0.66 at least; a blur of 1/250 of the width leaves 0.44 at most,
                 but more where there is much noise, which stays; an empty road keeps two thirds under any blur
    moved        at most 3 of 12 blocks have their edges where they were: of 20 pairs of different places 19 have 2 at
                 most; a turn by an eighth of the view is found in most places, one by a sixteenth in every other
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from operators.clock import NS_PER_S
from operators.health.baseline import Sound, View, edges_of
from operators.records import Condition, Embedding, Look

CLEAR = 0.8
WORST = 10.0

FROZEN_CHANGE = 0.1
BLACK_LUMA, BLACK_GRAIN = 24.0, 0.5
DARK_LUMA = 40.0  # too little light to compare with what is seen by day; it was 66 at least
COVERED_EDGES, EDGES_NEEDED = 0.25, 0.8  # the second in levels: a view without edges cannot lose them
DEFOCUSED_DETAIL = 0.45
MOVED_AGREEMENT = 0.25
SKEW_NS = NS_PER_S // 2  # people notice a tenth of it; a model loses from here on
AHEAD_NS = 5 * NS_PER_S  # or behind: from there on capture, too, takes the camera's clock as not set
UNSEEN_NS = 3 * NS_PER_S  # from one picture to the next: some cameras give one every two seconds
LATE_NS = 5 * NS_PER_S


@dataclass(frozen=True)
class Timing:
    """For how long a condition is there, or is not, before this is told."""

    onset_s: float
    end_s: float = 3.0
    accept_s: float | None = None  # after so long, how it looks is how it usually looks
    visual: float = 1.0  # share of the senses


TIMINGS: Mapping[Condition, Timing] = {
    "no_video": Timing(5.0, 2.0),
    "no_audio": Timing(6.0, 2.0, visual=0.0),
    "frozen": Timing(2.0, 2.0),  # an encoder has taken up to fifty pictures before
    "black": Timing(4.0),
    "covered": Timing(4.0),
    "defocused": Timing(5.0, accept_s=600.0),
    "moved": Timing(5.0, accept_s=60.0),
    "clock_skew": Timing(4.0, visual=0.5),
    "lagging": Timing(2.0, visual=0.5),
}

Measures = Mapping[Condition, float | None]


def of_look(look: Look, view: View) -> Measures:
    """How bad a picture is, compared with how the camera usually looks."""
    covered, light = _covered(look, view), look.luma >= DARK_LUMA
    clear = light and covered is not None and covered < CLEAR
    black = min(_ratio(BLACK_LUMA, look.luma), _ratio(BLACK_GRAIN, look.grain))
    return {
        "frozen": None if look.change is None or black >= 1 else _ratio(FROZEN_CHANGE, look.change),
        "black": black,
        "covered": covered if light or black < 1 and look.grain < BLACK_GRAIN else None,  # else the light may be off
        "defocused": _defocused(look, view) if clear else None,
        "moved": _ratio(MOVED_AGREEMENT, view.agreement(look)) if clear else None,
    }


def _covered(look: Look, view: View) -> float | None:
    known = view.ready and view.edges >= EDGES_NEEDED
    return _ratio(COVERED_EDGES * view.edges, edges_of(look)) if known else None


def _defocused(look: Look, view: View) -> float | None:
    same = (look.width_px, look.height_px) == view.size_px
    return _ratio(DEFOCUSED_DETAIL * view.detail, look.detail) if same else None


def of_record(record: Embedding, sound: Sound, *, sound_wanted: bool) -> Measures:
    """How bad a segment is: what came in it beside pictures, and when.

    Args:
        record: the segment.
        sound: what is known of the camera's.
        sound_wanted: it is to be heard, whatever was heard before.
    """
    health = record.health
    missed = sound_wanted or sound.usual
    return {
        "no_audio": None if health.skipped else WORST if missed and not health.heard else 0.0,
        "clock_skew": _worst(None if health.skew_ns is None else abs(health.skew_ns) / SKEW_NS,
                             None if health.sound_late_ns is None else abs(health.sound_late_ns) / SKEW_NS,
                             None if health.ahead_ns is None else abs(health.ahead_ns) / AHEAD_NS),
        "lagging": None if health.late_ns is None else max(0.0, health.late_ns / LATE_NS),
    }


def seen_until_ns(record: Embedding) -> int | None:
    """Up to when there was a picture, or no time to look; None: not in this segment."""
    health = record.health
    if health.skipped or health.shed or (health.seen and not health.looks):
        return record.end_ns
    return min(record.end_ns, health.looks[-1].time_ns + NS_PER_S) if health.looks else None


def _ratio(threshold: float, value: float) -> float:
    """1 at the threshold, more below it."""
    return min(WORST, threshold / max(value, threshold / WORST, 1e-9))


def _worst(*measures: float | None) -> float | None:
    return max((measure for measure in measures if measure is not None), default=None)
