"""A model bundle: a folder with three graphs and a manifest that says how to serve them.

    bundle/
      manifest.json   labels, thresholds, ports, sha256 of each file, training data, measured quality
      visual.onnx     frames  uint8   (B, F, H, W, 3) RGB, oldest first  ->  embedding float32 (B, Dv)
                      (a plain image tower takes (B, H, W, 3): the rank of the port says which)
      acoustic.onnx   samples float32 (B, N) mono -1..1                  ->  embedding float32 (B, Da)
      fusion.onnx     visual       float32 (B, T, Dv)    acoustic      float32 (B, T, Da)
                      visual_valid bool    (B, T)        acoustic_valid bool   (B, T)
                      ->  events       float32 (B, T, L)     calibrated logits, one per label
                          sentiment    float32 (B, T, 1 + 3) logits: nobody heard, then the three
                          contribution float32 (B, T, L, 2)  visual, acoustic; >= 0, sums to 1

All arithmetic on the input (normalising, log-mel) is inside the graphs, so training and serving
cannot differ. B is left open in the files and fixed when they are loaded.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from operators.errors import BundleError

FORMAT: Literal[1] = 1
STARTER = Path(__file__).parent / "starter"
RANK_OF_CLIP = 5  # a visual port of (B, F, H, W, 3); one of (B, H, W, 3) takes single pictures
SENTIMENTS: tuple[Literal["negative", "neutral", "positive"], ...] = ("negative", "neutral", "positive")

NOT_FOR = (
    "to decide anything about a person without somebody looking at the picture and listening to the sound",
    "as the only guard of life or health: it misses some of what happens, see Quality",
    "to tell who somebody is, or what somebody feels: its sentiment is how a voice sounds, and was learnt from actors",
    "to watch people who do not know of it, or where the law forbids to record pictures or sound",
    "in places unlike its training data before it was measured there with `lookout evaluate`",
)

Sense = Literal["visual", "acoustic", "both"]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Label(_Part, frozen=True, kw_only=True):
    """One thing the model detects, and the hysteresis that makes events of its scores."""

    name: str
    sense: Sense  # what the label is learnt from
    alertable: bool  # somebody should be told; the others are only written down
    open: Probability  # an event opens at or above this score
    close: Probability  # and closes below this one
    min_length_s: Annotated[float, Meta(ge=0.0)]  # shorter ones are not reported
    merge_gap_s: Annotated[float, Meta(ge=0.0)]  # a shorter pause does not end an event

    @property
    def seen(self) -> bool:
        """Whether pictures tell it, be it alone or with what is heard."""
        return self.sense != "acoustic"


class Port(_Part, frozen=True, kw_only=True):
    """An input or output of a graph; "B" in the shape is the batch."""

    name: str
    dtype: Literal["uint8", "bool", "float32"]
    shape: tuple[int | Literal["B"], ...]

    @property
    def width(self) -> int:
        """The last dimension."""
        return int(self.shape[-1])


class Graph(_Part, frozen=True, kw_only=True):
    """One ONNX file."""

    file: str
    sha256: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    precision: Literal["fp32", "int8"] = "fp32"  # what the weights were written for; engines may round fp32 further

    def port(self, name: str) -> Port:
        """The input or output called `name`.

        Raises:
            BundleError: there is none.
        """
        for port in (*self.inputs, *self.outputs):
            if port.name == name:
                return port
        message = f"{self.file} has no port {name!r}"
        raise BundleError(message)


class Manifest(_Part, frozen=True, kw_only=True):
    """`manifest.json`."""

    format: Literal[1]
    name: str
    version: str
    labels: tuple[Label, ...]
    step_s: Positive  # time between two steps
    window_steps: Annotated[int, Meta(ge=1)]  # T: steps the fusion looks at
    frame_spacing_s: Positive  # time between the F pictures of one step
    sample_rate_hz: Annotated[int, Meta(ge=8000)]
    visual: Graph
    acoustic: Graph
    fusion: Graph
    licence: str  # what the weights may be used for
    not_for: tuple[str, ...] = NOT_FOR  # what they must not be used for; "It must not be used ..."
    training: dict[str, Any]  # data sets with licences, `sources` trained on and `held_out`, seed, epochs
    quality: dict[str, Any]  # as `lookout evaluate --json` measured it


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """What the model wants to be shown and played at every step."""

    step_ns: int  # time between two steps
    pictures: int  # F: pictures per step, the newest at the step's time
    spacing_ns: int  # time between them
    height_px: int
    width_px: int
    sample_rate_hz: int
    samples: int  # N: sound per step, ending at the step's time


class Bundle(msgspec.Struct, frozen=True):
    """A loaded and verified bundle."""

    path: Path
    manifest: Manifest

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels in the order of the fusion's event logits."""
        return tuple(label.name for label in self.manifest.labels)

    @property
    def sampling(self) -> Sampling:
        """What decoding has to give, as the encoders' ports say."""
        manifest = self.manifest
        frames = manifest.visual.port("frames").shape
        pictures, height, width = (frames[1:4] if len(frames) == RANK_OF_CLIP else (1, *frames[1:3]))
        return Sampling(
            step_ns=round(manifest.step_s * 1e9), pictures=int(pictures),
            spacing_ns=round(manifest.frame_spacing_s * 1e9), height_px=int(height), width_px=int(width),
            sample_rate_hz=manifest.sample_rate_hz, samples=int(manifest.acoustic.port("samples").shape[1]))

    def file(self, graph: Graph) -> Path:
        """Where the graph's ONNX file lies."""
        return self.path / graph.file


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(path: Path | str) -> Bundle:
    """Read and verify a bundle; the name `starter` stands for the one that comes with Lookout.

    Raises:
        BundleError: a file is missing, its sha256 differs, or the ports do not fit each other.
    """
    folder = STARTER if str(path) == "starter" else Path(path)
    try:
        manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    except FileNotFoundError:
        message = f"model bundle {folder}: no manifest.json"
        raise BundleError(message) from None
    except (msgspec.ValidationError, msgspec.DecodeError, OSError) as error:
        message = f"model bundle {folder}: manifest.json: {error}"
        raise BundleError(message) from error
    bundle = Bundle(folder, manifest)
    for graph in (manifest.visual, manifest.acoustic, manifest.fusion):
        file = bundle.file(graph)
        if not file.is_file() or file.name != graph.file:
            message = f"model bundle {folder}: {graph.file} is missing in the folder"
            raise BundleError(message)
        if (digest := sha256_of(file)) != graph.sha256:
            message = f"model bundle {folder}: {graph.file} has sha256 {digest}, the manifest says {graph.sha256}"
            raise BundleError(message)
    _check_ports(bundle)
    return bundle


def _check_ports(bundle: Bundle) -> None:
    """The ports must chain: what the encoders give is what the fusion takes."""
    manifest = bundle.manifest
    steps, labels = manifest.window_steps, len(manifest.labels)
    visual, acoustic = (_port(bundle, graph, "embedding").shape for graph in (manifest.visual, manifest.acoustic))
    frames, samples = _port(bundle, manifest.visual, "frames"), _port(bundle, manifest.acoustic, "samples")
    wanted: list[tuple[Graph, str, str, tuple[int | str, ...]]] = [
        (manifest.fusion, "visual", "float32", ("B", steps, *visual[1:])),
        (manifest.fusion, "acoustic", "float32", ("B", steps, *acoustic[1:])),
        (manifest.fusion, "visual_valid", "bool", ("B", steps)),
        (manifest.fusion, "acoustic_valid", "bool", ("B", steps)),
        (manifest.fusion, "events", "float32", ("B", steps, labels)),
        (manifest.fusion, "sentiment", "float32", ("B", steps, 1 + len(SENTIMENTS))),
        (manifest.fusion, "contribution", "float32", ("B", steps, labels, 2)),
        (manifest.visual, "frames", "uint8", (*frames.shape[:RANK_OF_CLIP][:-1], 3)),
        (manifest.acoustic, "samples", "float32", ("B", *samples.shape[-1:])),
    ]
    for graph, name, dtype, shape in wanted:
        found = _port(bundle, graph, name)
        if (found.dtype, found.shape) != (dtype, shape):
            message = (f"model bundle {bundle.path}: {graph.file} port {name!r} is {found.dtype}{found.shape}, "
                       f"expected {dtype}{shape}")
            raise BundleError(message)
    if len(frames.shape) < RANK_OF_CLIP - 1:
        message = (f"model bundle {bundle.path}: {manifest.visual.file} port 'frames' is {frames.shape}, "
                   "expected (B, [F,] H, W, 3)")
        raise BundleError(message)


def _port(bundle: Bundle, graph: Graph, name: str) -> Port:
    try:
        return graph.port(name)
    except BundleError as error:
        message = f"model bundle {bundle.path}: {error}"
        raise BundleError(message) from None
