"""What was measured of a bundle, written into its manifest and its model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from operators.errors import BundleError
from operators.models.bundle import Bundle
from operators.models.card import CARD, card


def compared(report: Mapping[str, Any]) -> dict[str, Any]:
    """What `compare` gives as a manifest has it: without each label's figures, and how they came about in short."""
    method, composed = report["method"], report["composed_scenes"]
    return {"trunks": method["trunks"], "folds": len(method["folds"]),
            "composed_scenes": {name: figures for name, figures in composed.items() if name != "ap"},
            "real_clips_with_sound": report["real_clips_with_sound"]}


def record(bundle: Bundle, report: Mapping[str, Any]) -> Bundle:
    """The bundle with `report`, as `evaluate` gives it, for its quality; nothing else of it changes.

    Raises:
        BundleError: its folder cannot be written to.
    """
    manifest = msgspec.structs.replace(bundle.manifest, quality=dict(report))
    file = bundle.path / "manifest.json"
    aside = file.with_suffix(".new")
    try:
        aside.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        aside.replace(file)
        (bundle.path / CARD).write_text(card(manifest), encoding="utf-8")
    except OSError as error:
        message = f"model bundle {bundle.path}: cannot be written: {error.strerror}"
        raise BundleError(message) from None
    return msgspec.structs.replace(bundle, manifest=manifest)
