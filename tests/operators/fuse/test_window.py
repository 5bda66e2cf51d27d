"""The window holds the last steps on the grid, newest last."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.fuse.window import Window, WindowShape

SHAPE = WindowShape(steps=4, step_ns=500_000_000, visual=2, acoustic=1)
STEPS = st.lists(st.tuples(st.integers(1, 7), st.booleans(), st.booleans()), max_size=12)


def pushed(window: Window, step: int, seen: bool, heard: bool) -> None:
    window.push(step * SHAPE.step_ns, np.full(2, step, np.float16) if seen else None,
                np.full(1, -step, np.float16) if heard else None)


@given(steps=STEPS, kept_at=st.integers(0, 12))
def test_it_is_a_view_on_the_grid_even_after_a_restart(steps: list[tuple[int, bool, bool]], kept_at: int) -> None:
    window, at, history = Window(SHAPE), 10, dict[int, tuple[bool, bool]]()
    for number, (ahead, seen, heard) in enumerate(steps):
        if number == kept_at:
            window = Window.from_bytes(SHAPE, window.to_bytes(), window.newest_ns)
        at += ahead
        pushed(window, at, seen, heard)
        history[at] = (seen, heard)
    ports = window.ports()
    for row, step in enumerate(range(at - 3, at + 1)):
        seen, heard = history.get(step, (False, False))
        assert ports["visual_valid"][row] == seen
        assert ports["acoustic_valid"][row] == heard
        assert ports["visual"][row].tolist() == [step if seen else 0] * 2
        assert ports["acoustic"][row].tolist() == [-step if heard else 0]
    assert ports["visual"].dtype == ports["acoustic"].dtype == np.float32


def test_rows_are_copies() -> None:
    window = Window(SHAPE)
    pushed(window, 1, True, True)
    row = window.ports()
    pushed(window, 2, True, True)
    assert row["visual"][-1].tolist() == [1, 1]
    assert row["visual_valid"].tolist() == [False, False, False, True]


def test_bytes_of_another_shape_begin_anew() -> None:
    window = Window(SHAPE)
    pushed(window, 1, True, True)
    other = Window.from_bytes(WindowShape(steps=5, step_ns=1, visual=2, acoustic=1), window.to_bytes(),
                              window.newest_ns)
    assert other.newest_ns is None
    assert not other.visual_valid.any()
