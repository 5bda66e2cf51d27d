"""An encoder that somebody brings along takes the place of ours, unchanged, if it has the ports."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("torch", reason="the train extra is not installed")

import torch  # noqa: E402

from operators.backends.onnx_backend import OnnxBackend  # noqa: E402
from operators.errors import SettingsError  # noqa: E402
from operators.models.bundle import Graph, load, sha256_of  # noqa: E402
from pipeline.training.export import port, to_onnx  # noqa: E402
from pipeline.training.foreign import Foreign  # noqa: E402
from pipeline.training.network import VISUAL_FEATURES, ProjectedEncoder, Projection, evidence_of  # noqa: E402
from pipeline.training.train import Plan, train  # noqa: E402
from tests.media import make_video  # noqa: E402
from tests.pipeline.training.encoders import colours, loudness  # noqa: E402

CLIP = port("frames", "uint8", 3, 8, 8, 3)
SOUND = port("samples", "float32", 100)


def computed(file: Path, taken: str, rows: NDArray[np.generic], width: int) -> NDArray[np.generic]:
    given = port("embedding", "float32", width)
    taken_port = CLIP if taken == "frames" else SOUND
    graph = Graph(file=file.name, sha256="", inputs=(taken_port,), outputs=(given,))
    return OnnxBackend(file, graph, batch=2, threads=1).run({taken: rows})["embedding"]


@pytest.mark.parametrize("shape", [(3, 8, 8, 3), (8, 8, 3)], ids=["clip", "newest picture"])
def test_its_graph_computes_what_torch_sees(tmp_path: Path, shape: tuple[int, ...]) -> None:
    foreign = Foreign(colours(tmp_path / "mine.onnx", shape), CLIP, 10)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8, 3), np.uint8)
    seen = foreign(torch.from_numpy(pictures))
    assert seen.shape == (3, 10)
    mean = pictures[:, -1].mean((1, 2)) if len(shape) == 3 else pictures.mean((1, 2, 3))
    assert np.allclose(seen[:, :3], mean, rtol=1e-4)
    assert not seen[:, 3:].any()
    to_onnx(foreign, Graph(file="x", sha256="", inputs=(CLIP,), outputs=()), tmp_path / "out.onnx")
    assert np.allclose(computed(tmp_path / "out.onnx", "frames", pictures, 10), seen)


def test_the_projection_goes_behind_it_into_the_bundle(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trunk = Foreign(colours(tmp_path / "mine.onnx", (8, 8, 3)), CLIP, VISUAL_FEATURES)
    encoder = ProjectedEncoder(trunk, Projection(VISUAL_FEATURES, 7)).eval()
    torch.nn.init.normal_(encoder.projection.linear.weight, std=0.02)
    encoder.projection.mean.uniform_(0, 1)  # also of what is always 0
    encoder.projection.std.uniform_(0.5, 2)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 3), np.uint8)
    with torch.inference_mode():
        seen = encoder(torch.from_numpy(pictures))
    to_onnx(encoder, Graph(file="x", sha256="", inputs=(CLIP,), outputs=()), tmp_path / "out.onnx")
    assert np.allclose(computed(tmp_path / "out.onnx", "frames", pictures, 7), seen, rtol=1e-3, atol=1e-2)
    assert (tmp_path / "out.onnx").stat().st_size < 4096  # nothing is kept for the zeros


def test_sound_is_taken_as_it_is(tmp_path: Path) -> None:
    foreign = Foreign(loudness(tmp_path / "mine.onnx", 100), SOUND)
    sound = np.random.default_rng(0).uniform(-1, 1, (3, 100)).astype(np.float32)
    assert foreign.width == 2
    assert np.allclose(foreign(torch.from_numpy(sound))[:, 0], np.abs(sound).mean(1), rtol=1e-4)


def changed(file: Path, **changes: Any) -> Path:
    """A tiny graph with another port."""
    stated: dict[str, Any] = {"name": "samples", "kind": TensorProto.FLOAT, "shape": ["B", 100], "given": "embedding",
              "width": ["B", 1], "opset": 18} | changes
    axes = numpy_helper.from_array(np.array([1]), "axes")
    graph = helper.make_graph(
        [helper.make_node("Cast", [stated["name"]], ["float"], to=TensorProto.FLOAT),
         helper.make_node("ReduceMean", ["float", "axes"], [stated["given"]], keepdims=1)], "tiny",
        [helper.make_tensor_value_info(stated["name"], stated["kind"], stated["shape"])],
        [helper.make_tensor_value_info(stated["given"], TensorProto.FLOAT, stated["width"])], [axes])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", stated["opset"])], ir_version=10), file)
    return file


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another name": ({"name": "sound"}, r"its one input has to be samples: float32 \('B', 100\), B open; it has sound"),
    "another type": ({"kind": TensorProto.DOUBLE}, r"it has samples: double \(open, 100\)"),
    "another length": ({"shape": ["B", 99]}, r"it has samples: float \(open, 99\)"),
    "a fixed batch": ({"shape": [1, 100]}, r"B open; it has samples: float \(1, 100\)"),
    "another output": ({"given": "vector"}, "its output has to be embedding"),
    "an open width": ({"width": ["B", "D"]}, "D stated"),
    "an old opset": ({"opset": 11}, "opset 11, at least 13 is wanted"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_ports_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    changes, said = REFUSED[kind]
    with pytest.raises(SettingsError, match=r"mine\.onnx: .*" + said):
        Foreign(changed(tmp_path / "mine.onnx", **changes), SOUND)


@pytest.mark.parametrize("content", [None, b"no graph at all"])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "mine.onnx").write_bytes(content)
    with pytest.raises(SettingsError, match=r"mine\.onnx: no ONNX file"):
        Foreign(tmp_path / "mine.onnx", SOUND)


def test_an_embedding_too_wide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="an embedding of 3 numbers is wider than 2"):
        Foreign(colours(tmp_path / "mine.onnx", (8, 8, 3)), CLIP, 2)


def filled(grey: int, time_s: float, picture: NDArray[np.uint8]) -> None:
    picture[:] = grey


@pytest.mark.slow
def test_a_bundle_is_trained_around_both(tmp_path: Path) -> None:
    data, rows = tmp_path / "data", ["path,label,source"]
    data.mkdir()
    for label, grey in (("smoke", 200), ("no_smoke", 20)):
        for source in range(3):
            make_video(data / f"{label}{source}.mp4", seconds=1.5, draw=partial(filled, grey))
            rows.append(f"{label}{source}.mp4,{label},{label}{source}")
    for source in range(3):
        make_video(data / f"siren{source}.wav", seconds=1.5, codec=None, audio_codec="pcm_s16le")
        rows.append(f"siren{source}.wav,siren,siren{source}")
    (data / "labels.csv").write_text("\n".join(rows))
    mine = {"visual": colours(tmp_path / "v.onnx", (224, 224, 3)), "acoustic": loudness(tmp_path / "a.onnx", 32_000)}
    bundle, problems = train(data, tmp_path / "out", Plan(
        fusion_epochs=1, fusion_batches=2, scenes=2, checked_scenes=2,
        visual=mine["visual"], acoustic=mine["acoustic"]))
    manifest = load(bundle.path).manifest
    assert not problems
    assert manifest.training["brought"] == {
        sense: {"file": file.name, "sha256": sha256_of(file)} for sense, file in mine.items()}
    assert "encoders brought along" in manifest.licence
    evident = evidence_of([label.sense for label in manifest.labels]).acoustic
    assert manifest.fusion.port("acoustic").width == evident + 2  # as it is, after what is learnt of it
    sound = np.random.default_rng(0).uniform(-1, 1, (2, 32_000)).astype(np.float32)
    heard = OnnxBackend(bundle.file(manifest.acoustic), manifest.acoustic, batch=2, threads=1).run({"samples": sound})
    assert np.allclose(heard["embedding"][:, evident], np.abs(sound).mean(1), rtol=1e-3)
    assert {cosine >= 0.999 for cosine in manifest.training["parity"]["visual.onnx"].values()} == {True}
