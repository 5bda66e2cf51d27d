"""Which streams of a container are watched, and how they are coded, also after that has changed."""

from __future__ import annotations

import io
from collections.abc import Iterable

import av
import msgspec
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from operators.capture.bitstream import START_CODE, parameters
from operators.capture.packet import Kind, Track
from operators.capture.remux import make_template
from operators.errors import UnsupportedSource
from operators.records import AudioTrack, VideoTrack

SUPPORTED: dict[Kind, frozenset[str]] = {
    "video": frozenset({"h264", "hevc", "mjpeg", "mpeg4", "vp8", "vp9", "av1"}),
    "audio": frozenset({"aac", "opus", "mp3", "pcm_mulaw", "pcm_alaw", "pcm_s16le", "pcm_s16be", "pcm_s24le",
                        "pcm_s32le", "pcm_f32le", "pcm_u8"}),
}
# Codecs whose configuration may come between the pictures, and a filter that takes nothing else.
ONLY_FILTER = {"h264": "h264_metadata", "hevc": "hevc_metadata"}
COVER_ART = Disposition.attached_pic | Disposition.timed_thumbnails
OPUS_PRE_SKIP = slice(10, 12)  # in its header: samples a decoder leaves out at the beginning


class WatchedStream:
    """One stream: knows its track, and notices when the packets say that it has changed."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.track = _describe(stream)
        self._known: frozenset[bytes] | None = None  # the parameters that came last within a packet

    def begin(self, packet: av.Packet[Stream], data: bytes) -> bool:
        """Bring `track` up to date with a packet; whether a decoder can begin with it."""
        if packet.is_keyframe and self._has_other_codec():
            self._change_codec()
            return False  # this packet still holds the end of the old codec
        codec, extradata = self.track.description.codec, bytes(packet.get_sidedata("new_extradata"))
        if extradata and (extradata := _segment_extradata(codec, extradata)) != self.track.extradata:
            self._change_parameters(extradata, data)
        elif self.track.kind == "audio" or packet.is_keyframe:
            found = parameters(codec, self.track.extradata, data)
            if found and self._is_news(frozenset(found)):
                in_band = codec in ONLY_FILTER and self.track.extradata[:1] != b"\1"  # not in MP4's form
                joined = b"".join(b"\0" + START_CODE + unit for unit in found)
                self._change_parameters(joined if in_band else self.track.extradata, data)
        return packet.is_keyframe

    def _has_other_codec(self) -> bool:
        """MPEG-TS may go over to another codec under way; PyAV shows the first one for ever."""
        filter_name = ONLY_FILTER.get(self.track.description.codec)
        try:
            if filter_name is not None:
                BitStreamFilterContext(filter_name, self.stream)
        except (av.FFmpegError, ValueError):  # the filter does not take what the stream is now
            return True
        return False

    def _change_codec(self) -> None:
        template = make_template(self.stream, b"", self.track.description)
        with av.open(io.BytesIO(template), "r", format="nut") as copy:
            codec = codec_of(copy.streams[0])
        if codec not in SUPPORTED[self.track.kind]:
            message = f"went over to codec {codec}, which is not supported"
            raise UnsupportedSource(message)
        description = msgspec.structs.replace(self.track.description, codec=codec)
        self.track, self._known = Track(self.track.kind, description, b"", template), None

    def _is_news(self, found: frozenset[bytes]) -> bool:
        known, self._known = self._known, found
        if known is not None:
            return not known >= found
        description = self.track.description
        incomplete = isinstance(description, VideoTrack) and not (description.width and self.track.extradata)
        return description.codec in ONLY_FILTER and incomplete

    def _change_parameters(self, extradata: bytes, data: bytes) -> None:
        description = _probe(self.track.description.codec, extradata, data) or self.track.description
        template = make_template(self.stream, extradata, description)
        self.track = Track(self.track.kind, description, extradata, template)


def choose(streams: Iterable[Stream], kind: Kind) -> tuple[Stream | None, tuple[str, ...]]:
    """The first supported stream of a kind, and the names of the unsupported codecs if there is none."""
    candidates = [stream for stream in streams if stream.type == kind and not stream.disposition & COVER_ART]
    chosen = next((stream for stream in candidates if codec_of(stream) in SUPPORTED[kind]), None)
    return chosen, () if chosen is not None else tuple(codec_of(stream) for stream in candidates)


def codec_of(stream: Stream) -> str:
    """FFmpeg's name of the stream's codec."""
    context = stream.codec_context
    return f"unknown {stream.type}" if context is None else context.codec.canonical_name


def _describe(stream: Stream) -> Track:
    codec, context = codec_of(stream), stream.codec_context
    extradata = _segment_extradata(codec, context.extradata or b"")
    description: VideoTrack | AudioTrack
    if isinstance(stream, VideoStream):
        description = VideoTrack(codec, stream.codec_context.width, stream.codec_context.height)
        return Track("video", description, extradata, make_template(stream, extradata, description))
    if isinstance(stream, AudioStream):
        description = AudioTrack(codec, stream.codec_context.sample_rate, stream.codec_context.channels)
        return Track("audio", description, extradata, make_template(stream, extradata, description))
    message = f"stream {stream.index} is neither picture nor sound"
    raise ValueError(message)


def _segment_extradata(codec: str, extradata: bytes) -> bytes:
    """The extradata as every segment shall have it: an Opus decoder must not skip at each beginning."""
    if codec != "opus" or len(extradata) < OPUS_PRE_SKIP.stop:
        return extradata
    return extradata[: OPUS_PRE_SKIP.start] + b"\0\0" + extradata[OPUS_PRE_SKIP.stop :]


def _probe(codec: str, extradata: bytes, data: bytes) -> VideoTrack | AudioTrack | None:
    """What a decoder makes of one packet that can be decoded by itself; None: nothing."""
    context = av.CodecContext.create(codec, "r")
    if not isinstance(context, (VideoCodecContext, AudioCodecContext)):
        return None
    context.thread_count = 1
    context.extradata = extradata or None
    try:
        frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    except av.FFmpegError:  # damaged: what was known before stays the best guess
        return None
    match frames:
        case [VideoFrame() as picture, *_]:
            return VideoTrack(codec, picture.width, picture.height)
        case [AudioFrame() as sound, *_]:
            return AudioTrack(codec, sound.sample_rate, sound.layout.nb_channels)
    return None
