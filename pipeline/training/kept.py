"""Trained weights in a work folder: a run that was killed finds there what it had finished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

Weights = dict[str, torch.Tensor]


def kept(file: Path, make: Callable[[], Weights]) -> Weights:
    """What `make` gives, or gave in an earlier run; `file` is there whole or not at all."""
    if not file.exists():
        partial = file.with_suffix(".partial")
        torch.save(make(), partial)
        partial.replace(file)
    weights: Weights = torch.load(file, weights_only=True)
    return weights
