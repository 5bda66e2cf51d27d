from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from pipeline.training.fusing import _which  # noqa: E402
from pipeline.training.scenes.compose import MASKED  # noqa: E402


def test_what_is_there_alone_is_told_from_what_is_not() -> None:
    told = torch.tensor([[[1.0, 0.0, MASKED]]])
    right, wrong = torch.tensor([[[2.0, 0.0, 9.0]]]), torch.tensor([[[0.0, 2.0, 9.0]]])
    assert _which(right, told) < 0.2  # whatever the masked one says
    assert _which(wrong, told) > 2.0


def test_two_at_once_and_nothing_at_all_are_not_asked_which() -> None:
    told = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    assert _which(torch.randn(1, 2, 2), told).item() == 0.0
