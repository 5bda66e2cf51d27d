"""What an int8 graph is made for."""

from __future__ import annotations

from enum import StrEnum


class Target(StrEnum):
    """What the int8 graph is made for."""

    CPU = "cpu"  # ONNX Runtime and OpenVINO: activations that are never negative get all 8 bits
    GPU = "gpu"  # TensorRT, which takes signed activations only
