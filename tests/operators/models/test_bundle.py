"""A bundle that does not fit is refused in one line that says which folder, file and port."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from operators.errors import BundleError
from operators.models.bundle import Bundle, Port, load
from tests.tiny_bundle import FRAMES, LABELS, SAMPLES, SIZE_PX, STEPS, make_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest as JSON."""
    file = folder / "manifest.json"
    manifest = json.loads(file.read_bytes())
    change(manifest)
    file.write_text(json.dumps(manifest))


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    return message


def test_a_whole_bundle_is_loaded(folder: Path) -> None:
    bundle = load(str(folder))
    assert bundle.label_names == LABELS
    assert bundle.file(bundle.manifest.visual) == folder / "visual.onnx"


def test_sampling_follows_from_the_ports(folder: Path) -> None:
    sampling = load(folder).sampling
    assert (sampling.step_ns, sampling.spacing_ns) == (500_000_000, 250_000_000)
    assert (sampling.pictures, sampling.height_px, sampling.width_px) == (FRAMES, SIZE_PX, SIZE_PX)
    assert (sampling.sample_rate_hz, sampling.samples) == (16_000, SAMPLES)


def test_a_plain_image_tower_wants_one_picture(folder: Path) -> None:
    bundle = load(folder)
    visual = msgspec.structs.replace(bundle.manifest.visual,
                                     inputs=(Port(name="frames", dtype="uint8", shape=("B", 48, 64, 3)),))
    sampling = Bundle(folder, msgspec.structs.replace(bundle.manifest, visual=visual)).sampling
    assert (sampling.pictures, sampling.height_px, sampling.width_px) == (1, 48, 64)


@pytest.mark.parametrize("file", ["visual.onnx", "acoustic.onnx", "fusion.onnx", "manifest.json"])
def test_a_missing_file(folder: Path, file: str) -> None:
    (folder / file).unlink()
    assert file in refusal(folder)


def test_a_missing_folder(tmp_path: Path) -> None:
    assert "manifest.json" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("file", ["visual.onnx", "acoustic.onnx", "fusion.onnx"])
def test_an_altered_file(folder: Path, file: str) -> None:
    with (folder / file).open("ab") as graph:
        graph.write(b"\0")
    message = refusal(folder)
    assert file in message
    assert "sha256" in message


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b'{"format": 1}', b'{"format": 2}'])
def test_a_manifest_that_is_none(folder: Path, text: bytes) -> None:
    (folder / "manifest.json").write_bytes(text)
    assert "manifest.json" in refusal(folder)


@pytest.mark.parametrize(("field", "value", "named"), [
    ("step_s", 0, "step_s"), ("window_steps", 0, "window_steps"), ("frame_spacing_s", -1, "frame_spacing_s"),
    ("sample_rate_hz", 100, "sample_rate_hz"), ("colour", "red", "colour")])
def test_a_wrong_or_unknown_field_is_named(folder: Path, field: str, value: object, named: str) -> None:
    edit(folder, lambda manifest: manifest.update({field: value}))
    assert named in refusal(folder)


def test_an_unknown_key_of_a_label_is_named(folder: Path) -> None:
    edit(folder, lambda manifest: manifest["labels"][1].update(colour="red"))
    message = refusal(folder)
    assert "colour" in message
    assert "labels" in message


PORTS: list[tuple[str, str, str, list[Any]]] = [
    ("fusion", "inputs", "visual", ["B", STEPS, 5]), ("fusion", "inputs", "acoustic", ["B", STEPS + 1, 1]),
    ("fusion", "inputs", "visual_valid", ["B", 1]), ("fusion", "inputs", "acoustic_valid", ["B", 1]),
    ("fusion", "outputs", "events", ["B", STEPS, 2]), ("fusion", "outputs", "sentiment", ["B", STEPS, 3]),
    ("fusion", "outputs", "contribution", ["B", STEPS, 3]), ("visual", "inputs", "frames", ["B", 3]),
    ("visual", "inputs", "frames", ["B", 3, 32, 32, 4]), ("acoustic", "inputs", "samples", ["B", 2, 16000]),
]


@pytest.mark.parametrize(("graph", "side", "port", "shape"), PORTS)
def test_a_port_that_does_not_fit_is_named(folder: Path, graph: str, side: str, port: str, shape: list[Any]) -> None:
    def change(manifest: dict[str, Any]) -> None:
        found, = (item for item in manifest[graph][side] if item["name"] == port)
        found["shape"] = shape

    edit(folder, change)
    message = refusal(folder)
    assert f"{graph}.onnx" in message
    assert repr(port) in message


@pytest.mark.parametrize(("graph", "side", "port"), [
    ("visual", "inputs", "frames"), ("visual", "outputs", "embedding"), ("acoustic", "inputs", "samples"),
    ("fusion", "inputs", "visual"), ("fusion", "outputs", "events")])
def test_a_port_that_is_not_there_is_named(folder: Path, graph: str, side: str, port: str) -> None:
    def change(manifest: dict[str, Any]) -> None:
        for item in manifest[graph][side]:
            item["name"] = "other" if item["name"] == port else item["name"]

    edit(folder, change)
    message = refusal(folder)
    assert f"{graph}.onnx" in message
    assert repr(port) in message


def test_a_file_outside_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "visual.onnx").rename(tmp_path / "visual.onnx")
    edit(folder, lambda manifest: manifest["visual"].update(file="../visual.onnx"))
    assert "../visual.onnx" in refusal(folder)
