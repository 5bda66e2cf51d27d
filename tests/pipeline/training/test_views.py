from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the train extra is not installed")

from pipeline.training.views import VIEWS, Pictures, views

STEPS, FRAMES, SIZE_PX = 2, 3, 32


def drawn(pictures: Pictures, seed: int = 0) -> list[Pictures]:
    return list(views(pictures, np.random.default_rng(seed)))


def ramp() -> Pictures:
    """Darker on the left than on the right, and alike in every step."""
    row = np.linspace(90, 160, SIZE_PX).astype(np.uint8)
    return np.broadcast_to(row[None, None, None, :, None], (STEPS, FRAMES, SIZE_PX, SIZE_PX, 3)).copy()


def test_the_first_view_is_what_the_camera_showed_and_the_second_its_mirror_image() -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (STEPS, FRAMES, SIZE_PX, SIZE_PX, 3), np.uint8)
    first, second, *others = drawn(pictures)
    assert np.array_equal(first, pictures)
    assert np.array_equal(second[..., ::-1, :], pictures)
    assert len(others) == VIEWS - 2
    assert all(one.shape == pictures.shape and one.dtype == np.uint8 for one in others)


def test_each_other_view_shows_a_part_under_other_light() -> None:
    pictures = ramp()
    for one in drawn(pictures)[2:]:
        rises = np.diff(one[0, 0, 0, :, 0].astype(int))
        assert (rises >= 0).all() or (rises <= 0).all()  # a part of the ramp, mirrored or not
        assert not np.array_equal(one, pictures)


def test_a_view_is_one_of_all_steps_and_pictures_so_that_what_stood_still_does() -> None:
    for one in drawn(ramp()):
        assert (one == one[:1, :1]).all()


def test_views_are_the_same_again_for_the_same_seed_and_others_for_another() -> None:
    pictures = ramp()
    assert all(np.array_equal(one, other) for one, other in zip(drawn(pictures), drawn(pictures), strict=True))
    assert not np.array_equal(drawn(pictures)[2], drawn(pictures, seed=1)[2])
