from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the train extra is not installed")

import torch  # noqa: E402

from operators.backends.load import load as load_backend  # noqa: E402
from operators.errors import BundleError  # noqa: E402
from operators.models.bundle import Bundle, Label, load  # noqa: E402
from pipeline.training import export as exporting  # noqa: E402
from pipeline.training.export import Facts, Networks, check_parity, export  # noqa: E402
from pipeline.training.exporting.parity import AGREEMENT, SERVING  # noqa: E402
from pipeline.training.network import Fusion, LogMel, ServedFusion, evidence_of  # noqa: E402

pytestmark = pytest.mark.slow
LABELS = tuple(Label(name=name, sense="both", alertable=True, open=0.5, close=0.25, min_length_s=1.0, merge_gap_s=1.0)
               for name in ("fight", "siren"))
SENSES = [label.sense for label in LABELS]
EVIDENCE = evidence_of(SENSES)
FACTS = Facts(name="tiny", version="1", labels=LABELS, window_steps=4, licence="none", training={"sources": {}})


class MeanColour(torch.nn.Module):
    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        colour = frames.to(torch.float32).mean((1, 2, 3)) / 255.0  # (B, 3)
        return torch.nn.functional.pad(colour, (0, EVIDENCE.visual - 3))


class MeanSpectrum(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.logmel = LogMel(16_000)
        self.linear = torch.nn.Linear(64, 40)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.linear(self.logmel(samples).mean((1, 3))))


def fusion(seed: int) -> ServedFusion:
    """As if it had been taught: nothing of it is zero."""
    torch.manual_seed(seed)
    fusion = Fusion(visual=EVIDENCE.visual, acoustic=40, senses=SENSES, steps=4, dim=256, felt=range(3))
    for weights in fusion.parameters():
        torch.nn.init.normal_(weights, std=0.2)
    return ServedFusion(fusion, torch.ones(2), torch.zeros(2)).eval()


@pytest.fixture(scope="module")
def networks() -> Networks:
    return Networks(visual=MeanColour().eval(), acoustic=MeanSpectrum().eval(), fusion=fusion(0),
                    visual_width=EVIDENCE.visual, acoustic_width=40)


@pytest.fixture(scope="module")
def bundle(networks: Networks, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(networks, FACTS, tmp_path_factory.mktemp("bundles") / "tiny")


def test_what_is_written_loads_and_computes_what_torch_does(bundle: Bundle, networks: Networks) -> None:
    manifest = load(bundle.path).manifest
    for graph, module in ((manifest.visual, networks.visual), (manifest.acoustic, networks.acoustic),
                          (manifest.fusion, networks.fusion)):
        cosines = check_parity(bundle.file(graph), graph, module)
        assert set(cosines) >= {"onnxruntime fp32", "openvino fp32"}  # bf16 too where the processor has it
        assert all(cosine >= AGREEMENT[name.split()[1]] for name, cosine in cosines.items())
        assert manifest.training["parity"][graph.file] == cosines


def test_silence_is_encoded_to_numbers(bundle: Bundle) -> None:
    graph = bundle.manifest.acoustic
    for engine in SERVING:
        backend = load_backend(bundle, graph, batch=1, backend=engine)
        silence = backend.run({"samples": np.zeros((1, 32_000), np.float32)})["embedding"]
        assert np.isfinite(silence).all(), engine


def test_large_weights_take_half_the_room(bundle: Bundle, networks: Networks) -> None:
    weights = sum(weight.numel() for weight in networks.fusion.parameters())
    assert bundle.file(bundle.manifest.fusion).stat().st_size < 4 * weights


def test_another_network_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"fusion\.onnx: \w+ (fp32|bf16) differs from torch: cosine"):
        check_parity(bundle.file(bundle.manifest.fusion), bundle.manifest.fusion, fusion(1))


def test_a_bundle_that_differs_from_torch_is_not_written(
        bundle: Bundle, networks: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter is replaced by one that writes the same files whatever it is given."""
    monkeypatch.setattr(exporting, "to_onnx", lambda module, graph, file, **_: shutil.copy(bundle.file(graph), file))
    assert export(networks, FACTS, tmp_path / "right").manifest == bundle.manifest
    with pytest.raises(BundleError, match="differs from torch"):
        export(replace(networks, fusion=fusion(1)), FACTS, tmp_path / "wrong")
    assert [file.name for file in tmp_path.iterdir()] == ["right"]


def test_no_path_of_the_machine_that_exported_it_is_in_the_files(bundle: Bundle) -> None:
    for graph in (bundle.manifest.visual, bundle.manifest.acoustic, bundle.manifest.fusion):
        content = bundle.file(graph).read_bytes()
        assert b"/network.py" not in content
        assert str(Path(__file__).parent.parent).encode() not in content
