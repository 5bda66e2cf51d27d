"""What was measured of a bundle, written into its manifest and its model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from operators.models.bundle import Bundle
from operators.models.card import CARD, card


def record(bundle: Bundle, report: Mapping[str, Any]) -> Bundle:
    """The bundle with `report`, as `evaluate` gives it, for its quality; nothing else of it changes."""
    manifest = msgspec.structs.replace(bundle.manifest, quality=dict(report))
    file = bundle.path / "manifest.json"
    aside = file.with_suffix(".new")
    aside.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    aside.replace(file)
    (bundle.path / CARD).write_text(card(manifest), encoding="utf-8")
    return msgspec.structs.replace(bundle, manifest=manifest)
