"""`lookout export` writes what all engines compute alike, in int8 if that is no worse, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from operators.backends.base import Arrays, Backend
from operators.backends.tensorrt_engine import Recipe, build, package
from operators.errors import BundleError, SettingsError
from operators.models.bundle import Bundle, load, sha256_of
from pipeline.cli import app
from pipeline.training.exporting import int8, pack
from pipeline.training.exporting.int8 import export_int8, losses
from pipeline.training.exporting.parity import agree
from pipeline.training.exporting.quantise import BETWEEN, quantised
from pipeline.training.exporting.target import Target
from tests.media import make_video
from tests.tiny_bundle import FRAMES, SIZE_PX, make_bundle

CLIPS = 12


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle with a convolution before its mean brightness."""
    folder = make_bundle(tmp_path_factory.mktemp("bundle"))
    manifest = load(folder).manifest
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "white"], ["unit"]),
        helper.make_node("Gather", ["unit", "newest"], ["new"], axis=1),
        helper.make_node("Transpose", ["new"], ["x"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x", "mean"], ["y"], name="first"),
        helper.make_node("Relu", ["y"], ["z"]),
        helper.make_node("Conv", ["z", "both"], ["w"], name="second"),
        helper.make_node("GlobalAveragePool", ["w"], ["p"]),
        helper.make_node("Flatten", ["p"], ["embedding"])]
    constants: dict[str, NDArray[np.generic]] = {
        "white": np.array(255, np.float32), "newest": np.array(FRAMES - 1),
        "mean": np.full((4, 3, 3, 3), 1 / 27, np.float32),
        "both": np.array([[[[0.25]]] * 4, [[[0.0]]] * 4], np.float32)}
    graph = helper.make_graph(
        nodes, "visual",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["B", FRAMES, SIZE_PX, SIZE_PX, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["B", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10),
              folder / "visual.onnx")
    visual = msgspec.structs.replace(manifest.visual, sha256=sha256_of(folder / "visual.onnx"))
    (folder / "manifest.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, visual=visual)))
    return load(folder)


def grey(level: int, time_s: float, picture: NDArray[np.uint8]) -> None:
    picture[:] = level


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rows = tmp_path_factory.mktemp("clips"), ["path,label,source,set"]
    for number in range(CLIPS):
        label = "bright" if number % 2 else "no_bright"
        make_video(folder / f"{number}.mp4", seconds=2, draw=partial(grey, (220 if number % 2 else 30) + number))
        rows.append(f"{number}.mp4,{label},{number},greys")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


def test_a_bundle_that_all_engines_agree_on_is_written_again(bundle: Bundle, tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["export", str(bundle.path), "--out", str(tmp_path / "out")])
    assert run.exit_code == 0, run.output
    assert load(tmp_path / "out").manifest == bundle.manifest
    assert {line.split(":")[0] for line in run.stdout.splitlines()} >= {
        f"{graph}.onnx {engine} fp32" for graph in ("visual", "acoustic", "fusion")
        for engine in ("onnxruntime", "openvino")}


class Wrong(Backend):
    """An engine that computes something else, or nearly the same."""

    name = "wrong"

    def __init__(self, bundle: Bundle, precision: str, error: float) -> None:
        graph = bundle.manifest.acoustic
        super().__init__(bundle.file(graph), graph, batch=2, threads=1)
        self.precision, self._error = precision, error

    def infer(self, inputs: Any) -> Arrays:
        return {"embedding": np.array([[1.0], [self._error]], np.float32)}


AGREE: dict[str, tuple[str, float, bool]] = {
    "fp32 as good as equal": ("fp32", 0.04, True), "fp32 off by what bf16 may be": ("fp32", 0.1, False),
    "bf16 off by what it may be": ("bf16", 0.1, True), "bf16 off by more": ("bf16", 0.2, False),
    "nothing but NaN": ("bf16", float("nan"), False),
}


@pytest.mark.parametrize("kind", AGREE)
def test_each_precision_is_held_to_its_own_bound(bundle: Bundle, kind: str) -> None:
    precision, error, fine = AGREE[kind]
    inputs: Arrays = {"samples": np.zeros((2, 16_000), np.float32)}
    expected = {"embedding": np.array([[1.0], [0.0]], np.float32)}
    engine = Wrong(bundle, precision, error)
    if fine:
        assert agree("torch", expected, [engine], inputs).keys() == {f"wrong {precision}"}
    else:
        with pytest.raises(BundleError, match=rf"acoustic\.onnx: wrong {precision} differs from torch: cosine"):
            agree("torch", expected, [engine], inputs)


def test_a_bundle_that_an_engine_computes_differently_is_not_written(bundle: Bundle, tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "engines", lambda _, graph, rows: (
        [Wrong(bundle, "fp32", 3.0)] if graph.file == "acoustic.onnx" else []))
    with pytest.raises(BundleError, match=r"acoustic\.onnx: wrong fp32 differs from onnxruntime"):
        pack.pack(bundle, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    for write in (partial(pack.pack, bundle), partial(export_int8, bundle, data)):
        with pytest.raises(SettingsError, match="is there already"):
            write(tmp_path)


Exported = tuple[Bundle, dict[str, float]]


@pytest.fixture(scope="module")
def int8_bundle(bundle: Bundle, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    pytest.importorskip("nncf", reason="the train extra is not installed")
    return export_int8(bundle, data, tmp_path_factory.mktemp("out") / "int8")


def test_int8_is_measured_on_what_it_was_not_calibrated_on(int8_bundle: Exported) -> None:
    written, lost = int8_bundle
    manifest = written.manifest
    assert (manifest.visual.precision, manifest.fusion.precision) == ("int8", "fp32")
    shown = manifest.training["sources"]["greys"]
    assert len(shown) == CLIPS // 2
    assert manifest.quality["clips"]["bright"]["n"] == CLIPS - len(shown)
    assert lost == {"clips / bright / accuracy": 0.0, "clips / bright / ap": 0.0}
    facts = manifest.training["int8"]
    assert facts["lost"] == lost
    assert {name: cosine >= 0.99 for name, cosine in facts["agreement"].items()} == {
        "onnxruntime int8": True, "openvino int8": True}
    assert (written.path / "MODEL_CARD.md").is_file()


def test_its_weights_have_eight_bits_but_those_of_the_last_convolution(int8_bundle: Exported) -> None:
    written, _ = int8_bundle
    model = onnx.load(written.file(written.manifest.visual))
    *convolutions, last = (node for node in model.graph.node if node.op_type == "Conv")
    made = {name: node.op_type for node in model.graph.node for name in node.output}
    assert convolutions
    assert all(made[node.input[1]] == "DequantizeLinear" for node in convolutions)
    assert last.input[1] not in made
    assert "QuantizeLinear" in made.values()


def test_only_convolutions_and_what_is_between_them_are_given_eight_bits(int8_bundle: Exported) -> None:
    written, _ = int8_bundle
    model = onnx.load(written.file(written.manifest.visual))
    rounded = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    assert {node.op_type for node in model.graph.node if rounded & {*node.input}} <= {"Conv", *BETWEEN}


def test_for_a_gpu_every_scale_is_signed_and_tensorrt_takes_it(bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="the train extra is not installed")
    graph, file = bundle.manifest.visual, tmp_path / "visual.onnx"
    shown = np.random.default_rng(0).integers(0, 256, (8, FRAMES, SIZE_PX, SIZE_PX, 3), np.uint8)
    model = quantised(bundle.file(graph), graph, shown, Target.GPU)
    zeros = [numpy_helper.to_array(one) for one in model.graph.initializer if one.name.startswith("zero_point")]
    assert zeros
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    onnx.save(model, file)
    try:
        trt = package()
    except ImportError as error:
        pytest.skip(f"TensorRT is not installed (extra `gpu`): {error}")
    int8_graph = msgspec.structs.replace(graph, precision="int8")
    assert build(trt, file, Recipe.of(trt, file, int8_graph, batch=4, architecture="SM89"))


def test_int8_of_int8_is_refused(int8_bundle: Exported, data: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is an int8 bundle already"):
        export_int8(int8_bundle[0], data, tmp_path / "again")


def test_int8_that_differs_too_much_is_not_written(bundle: Bundle, data: Path, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[float] = []

    def blind(source: Path, graph: object, shown: object, target: object, spared: float) -> onnx.ModelProto:
        tried.append(spared)
        model = onnx.load(source)
        weights = next(one for one in model.graph.initializer if one.name == "both")
        weights.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weights), "both"))
        return model

    monkeypatch.setattr(int8, "quantised", blind)
    with pytest.raises(BundleError, match=r"visual\.onnx: \w+ int8 differs from the same graph in fp32: cosine -1"):
        export_int8(bundle, data, tmp_path / "out")
    assert tried == list(int8.SPARED)  # more and more of it was left as it was
    assert not list(tmp_path.iterdir())


@pytest.fixture
def seeing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What each bundle that is measured in turn sees of something bright; the last one for ever."""
    def see(*points: float) -> None:
        reports = chain(points, repeat(points[-1]))
        monkeypatch.setattr(int8, "quantised", lambda source, *_: onnx.load(source))
        monkeypatch.setattr(int8, "evaluate", lambda *_: (report_of("bright", ap=next(reports)), []))

    return see


def test_int8_that_sees_less_is_not_written(bundle: Bundle, data: Path, tmp_path: Path,
                                            seeing: Callable[..., None]) -> None:
    seeing(0.9, 0.85)
    with pytest.raises(BundleError, match=r"int8 costs too much: clips / bright / ap falls by 5\.0 points.* 40% of"):
        export_int8(bundle, data, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_as_much_is_left_in_fp32_as_it_takes_to_see_as_well(bundle: Bundle, data: Path, tmp_path: Path,
                                                            seeing: Callable[..., None]) -> None:
    seeing(0.9, 0.85, 0.88, 0.895)
    written, lost = export_int8(bundle, data, tmp_path / "out")
    assert lost == {"clips / bright / ap": pytest.approx(0.005)}
    facts = written.manifest.training["int8"]
    assert facts["convolutions_in_fp32"] == int8.SPARED[2]
    assert facts["lost"] == {"clips / bright / ap": 0.005}


def report_of(label: str, **figures: float) -> dict[str, Any]:
    return {"clips": {label: {**figures, "n": 10, "threshold": 0.5}}, "speed": {"wall_s": 3.0}}


report = partial(report_of, "fight")


def test_a_point_may_be_lost_and_no_more() -> None:
    assert losses(report(ap=0.90, accuracy=0.5), report(ap=0.89, accuracy=0.7)) == pytest.approx(
        {"clips / fight / ap": 0.01, "clips / fight / accuracy": -0.2})
    with pytest.raises(BundleError, match=r"clips / fight / ap falls by 1\.1 points"):
        losses(report(ap=0.90), report(ap=0.889))
    with pytest.raises(SettingsError, match="nothing to measure the loss on"):
        losses(report(), report())


def test_too_few_clips_to_calibrate_on_are_refused(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    (few / "labels.csv").write_text(f"path,label,source\n{data / '0.mp4'},no_bright,0\n{data / '1.mp4'},bright,1\n")
    with pytest.raises(SettingsError, match="4 steps with a picture to calibrate on, at least 24 are wanted"):
        export_int8(bundle, few, tmp_path / "out")
