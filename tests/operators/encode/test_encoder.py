"""Clips to embeddings in shared batches: nothing leaks from one clip into another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from operators.backends.base import Arrays, Backend
from operators.backends.load import BackendName
from operators.backends.load import load as load_backend
from operators.encode.encoder import Encoder
from operators.encode.sense import LARGEST, SenseEncoder
from operators.errors import BackendError
from operators.models.bundle import Bundle, Graph, load
from operators.records import Clip, Embedding, Health
from tests.contracts.conv_bundle import SIZE_PX as CONV_PX
from tests.contracts.conv_bundle import make_conv
from tests.tiny_bundle import FRAMES, SAMPLES, SIZE_PX, make_bundle

ENGINES: tuple[BackendName, ...] = ("onnxruntime", "openvino")
BATCH = 3


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny one with the convolutional net as its visual tower, which takes single pictures."""
    folder = make_bundle(tmp_path_factory.mktemp("bundle"))
    tiny = load(folder)
    return Bundle(folder, msgspec.structs.replace(tiny.manifest, visual=make_conv(folder)))


@pytest.fixture(scope="module", params=ENGINES)
def encoder(request: pytest.FixtureRequest, bundle: Bundle) -> Encoder:
    if request.param == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is made for x86 only")
    return Encoder(*(load_backend(bundle, graph, batch=BATCH, backend=request.param, threads=2)
                     for graph in (bundle.manifest.visual, bundle.manifest.acoustic)))


def a_clip(seed: int, seen: Sequence[bool], heard: Sequence[bool], size_px: int = CONV_PX) -> Clip:
    """A clip of noise; what is not valid holds noise too, which must not show."""
    random, steps = np.random.default_rng(seed), len(seen)
    return Clip(
        camera=f"cam{seed}", session="s", sequence=seed, start_ns=1000 + seed, duration_ns=10, media_start_ns=seed,
        received_ns=7, final=seed % 2 == 0, step_ns=np.arange(steps, dtype=np.int64) + seed,
        frames=random.integers(0, 256, (steps, FRAMES, size_px, size_px, 3), np.uint8),
        frames_valid=np.array(seen, np.bool_),
        samples=random.uniform(-1, 1, (steps, SAMPLES)).astype(np.float32),
        samples_valid=np.array(heard, np.bool_), health=Health(frames=seed))


CLIPS = st.lists(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=4), min_size=1, max_size=5)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shapes=CLIPS, data=st.data())
def test_together_is_the_same_as_one_by_one(encoder: Encoder, shapes: list[list[tuple[bool, bool]]],
                                            data: st.DataObject) -> None:
    clips = [a_clip(number, [seen for seen, _ in steps], [heard for _, heard in steps])
             for number, steps in enumerate(shapes)]
    alone = [embedding for clip in clips for embedding in encoder.process([clip])]
    assert list(encoder.process(clips)) == alone
    order = data.draw(st.permutations(range(len(clips))))
    assert list(encoder.process([clips[i] for i in order])) == [alone[i] for i in order]


def test_what_is_not_valid_is_zero_and_what_is_valid_is_not(encoder: Encoder) -> None:
    embedding, = encoder.process([a_clip(1, [True, False, True], [False, True, False])])
    assert embedding.visual.any(axis=1).tolist() == embedding.visual_valid.tolist() == [True, False, True]
    assert embedding.acoustic.any(axis=1).tolist() == embedding.acoustic_valid.tolist() == [False, True, False]
    assert embedding.visual.dtype == embedding.acoustic.dtype == np.float16


def test_everything_else_is_handed_on(encoder: Encoder) -> None:
    clip = a_clip(3, [True, True], [True, False])
    embedding, = encoder.process([clip])
    for name in ("camera", "session", "sequence", "start_ns", "duration_ns", "media_start_ns", "received_ns", "final",
                 "health"):
        assert getattr(embedding, name) == getattr(clip, name)
    assert embedding.step_ns.tolist() == clip.step_ns.tolist()


def test_a_clip_without_steps_and_a_batch_without_clips(encoder: Encoder) -> None:
    assert list(encoder.process([])) == []
    embedding, = encoder.process([a_clip(0, [], [])])
    assert embedding.steps == 0
    assert embedding.visual.shape[0] == embedding.acoustic.shape[0] == 0


class Witness(Backend):
    """An engine that notes which rows it was given; it can fail and can answer beyond float16."""

    name = "onnxruntime"

    def __init__(self, graph: Graph, *, answer: float = 1.0, fails: bool = False) -> None:
        super().__init__(Path("witness.onnx"), graph, batch=BATCH, threads=1)
        self.seen: list[NDArray[np.generic]] = []
        self._answer, self._fails = answer, fails

    def infer(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        if self._fails:
            message = "witness.onnx: it broke"
            raise BackendError(message)
        rows, = inputs.values()
        self.seen.append(rows.copy())
        width = self.graph.port("embedding").width
        return {"embedding": np.full((len(rows), width), self._answer, np.float32)}


def test_only_valid_rows_are_run_and_padding_is_empty(bundle: Bundle) -> None:
    witness = Witness(bundle.manifest.acoustic)
    rows = np.ones((6, SAMPLES), np.float32) * np.arange(1, 7, dtype=np.float32)[:, None]
    valid = np.array([True, False, True, True, False, True])
    SenseEncoder(witness).encode(rows, valid)
    assert [batch[:, 0].tolist() for batch in witness.seen] == [[1, 3, 4], [6, 0, 0]]
    SenseEncoder(witness).encode(rows, np.zeros(6, np.bool_))
    assert len(witness.seen) == 2


def test_a_plain_image_tower_sees_the_newest_picture(bundle: Bundle) -> None:
    witness = Witness(bundle.manifest.visual)
    clip = a_clip(5, [True] * 3, [False] * 3)
    SenseEncoder(witness).encode(clip.frames, clip.frames_valid)
    assert np.array_equal(witness.seen[0], clip.frames[:, -1])


def test_a_tower_of_several_pictures_sees_them_all(tmp_path: Path) -> None:
    witness = Witness(load(make_bundle(tmp_path)).manifest.visual)
    clip = a_clip(5, [True] * 3, [False] * 3, SIZE_PX)
    SenseEncoder(witness).encode(clip.frames, clip.frames_valid)
    assert np.array_equal(witness.seen[0], clip.frames)


@pytest.mark.parametrize(("answer", "kept"), [(1e9, LARGEST), (-1e9, -LARGEST), (float("inf"), LARGEST),
                                              (float("nan"), 0.0)])
def test_what_float16_cannot_hold_is_cut(bundle: Bundle, answer: float, kept: float) -> None:
    encoded = SenseEncoder(Witness(bundle.manifest.acoustic, answer=answer)).encode(
        np.zeros((1, SAMPLES), np.float32), np.array([True]))
    assert encoded.tolist() == [[kept]]


def test_an_engine_that_fails_gives_nothing_out(bundle: Bundle) -> None:
    broken = Encoder(Witness(bundle.manifest.visual), Witness(bundle.manifest.acoustic, fails=True))
    given_out: list[Embedding] = []
    with pytest.raises(BackendError, match="it broke"):
        given_out.extend(broken.process([a_clip(1, [True], [True])]))
    assert given_out == []
