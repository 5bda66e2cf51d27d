from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from pipeline.training.aligning import Pair, agreement, align  # noqa: E402
from pipeline.training.fusing import Head  # noqa: E402
from pipeline.training.network import GENERAL, VISUAL_FEATURES, Fusion, Projection  # noqa: E402

WIDTH = 16


def head() -> Head:
    torch.manual_seed(0)
    seen, heard = Projection(VISUAL_FEATURES, WIDTH), Projection(WIDTH, WIDTH)
    seen.linear.weight.copy_(torch.from_numpy(words() / VISUAL_FEATURES * WIDTH))
    heard.linear.weight.copy_(torch.eye(WIDTH))
    labels = WIDTH - GENERAL - 1  # seen and heard, so that all numbers are evidence
    return Head([seen], [heard], Fusion(visual=WIDTH, acoustic=WIDTH + 3, senses=["both"] * labels, steps=8, dim=16))


def words() -> NDArray[np.float64]:
    """(WIDTH, 3840): how what is heard is said in pictures."""
    return np.asarray(np.random.default_rng(0).standard_normal((WIDTH, VISUAL_FEATURES)) / WIDTH**0.5)


def recordings(count: int, seed: int) -> list[Pair]:
    """What is seen is what is heard, in other words that are the same for all."""
    random = np.random.default_rng(seed)
    heard = [random.standard_normal((4, WIDTH)) for _ in range(count)]
    return [Pair((one @ words()).astype(np.float16), one.astype(np.float16)) for one in heard]


def told_apart(trained: Head, pairs: list[Pair]) -> float:
    """How often the picture that belongs to a sound is the one that is most like it."""
    visual, acoustic = (torch.from_numpy(np.stack(rows).astype(np.float32)) for rows in (
        [pair.visual[0] for pair in pairs], [pair.acoustic[0] for pair in pairs]))
    with torch.inference_mode():
        return float((agreement(trained.eval(), visual, acoustic).argmax(0) == torch.arange(len(pairs))).float().mean())


def test_what_is_seen_and_heard_together_is_found_together_in_recordings_never_met() -> None:
    trained, unmet = head(), recordings(40, seed=2)
    assert told_apart(trained, unmet) < 0.2
    align(trained, recordings(200, seed=1), updates=150, seed=0)
    assert told_apart(trained, unmet) > 0.6


def test_one_recording_teaches_nothing() -> None:
    trained = head()
    before = {name: weight.clone() for name, weight in trained.state_dict().items()}
    align(trained, recordings(1, seed=1), updates=5, seed=0)
    assert all(torch.equal(weight, before[name]) for name, weight in trained.state_dict().items())
