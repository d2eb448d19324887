"""Which encoder makes a part, with what settings, and the writing of one part."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self, get_args

import av
import numpy as np
from av.codec.codec import Codec, UnknownCodecError
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from darkroom.pipelines.errors import Rejected, Unavailable
from darkroom.pipelines.video.facts import VideoFacts
from darkroom.pipelines.video.options import EncoderName, VideoOptions
from darkroom.pipelines.video.planes import Planes, chroma_shape, make_frame
from darkroom.pipelines.video.priority import stay_ordinary
from darkroom.pipelines.video.source import spoken

THREADS = 4  # x264 gives other bits for other counts, so the number belongs to the result, not to the machine
CPU_FACTS = Path("/proc/cpuinfo")
FALLBACK: EncoderName = "libx264"
LARGEST = 16_384  # pixels a side, the limit of x264
PRESETS: dict[str, str] = {
    "libx264": "fast",
    "libx265": "fast",
    "libsvtav1": "6",
    "h264_nvenc": "p5",
    "hevc_nvenc": "p5",
    "av1_nvenc": "p5",
}
LAYOUTS: dict[str, tuple[str, ...]] = {
    "libx264": ("yuv420p", "yuv422p", "yuv444p"),
    "libx265": ("yuv420p", "yuv422p", "yuv444p"),
    "libsvtav1": ("yuv420p",),
    "h264_nvenc": ("yuv420p", "yuv444p"),
    "hevc_nvenc": ("yuv420p", "yuv444p"),
    "av1_nvenc": ("yuv420p",),
}
SIDES: dict[str, tuple[int, int]] = {  # smallest and largest side an encoder takes
    "libx264": (16, LARGEST),
    "libx265": (16, LARGEST),
    "libsvtav1": (64, 8192),
    "h264_nvenc": (146, 4096),
    "hevc_nvenc": (146, 8192),
    "av1_nvenc": (192, 8192),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSettings:
    """All that an encoder is told: with these equal, equal pictures give equal bits."""

    name: str
    options: tuple[tuple[str, str], ...]  # in FFmpeg's words
    threads: int
    width: int
    height: int
    pixel_format: str  # "yuv420p", "yuv422p" or "yuv444p"
    sar: Fraction
    frame_rate: Fraction
    full_range: bool
    colorspace: int  # H.273 codes, as in VideoFacts
    primaries: int
    transfer: int


@cache
def available_encoders() -> tuple[str, ...]:
    """The encoders that work here: each has encoded a picture, for a name in a list proves no driver."""
    os.environ.setdefault("SVT_LOG", "1")  # errors only; SVT-AV1 tells its life to stderr and has no other switch
    stay_ordinary()
    return tuple(name for name in get_args(EncoderName) if _encodes(name))


def _encodes(name: str) -> bool:
    gray = np.full((256, 256), 128, np.uint8)  # the smallest size that every encoder takes
    picture = make_frame((gray, gray[:128, :128], gray[:128, :128]), "yuv420p")
    picture.pts = 0
    try:
        encoder = Codec(name, "w").create("video")
        encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
        encoder.options = {"x265-params": "log-level=none"} if name == "libx265" else {}
        return bool([*encoder.encode(picture), *encoder.encode(None)])
    except (av.error.FFmpegError, UnknownCodecError):
        return False


def choose_encoder(
    options: VideoOptions, facts: VideoFacts, available: Sequence[str], width: int, height: int
) -> tuple[EncoderSettings, tuple[str, ...]]:
    """The settings for a result of `width` x `height` pixels, and what had to differ from the wish.

    Where chroma is shared between pixels (4:2:0, 4:2:2) an odd side is one pixel longer in the settings:
    the caller pads its pictures to `settings.width` x `settings.height`.

    Pure. Raises Rejected if no encoder takes pictures of that size.
    """
    if max(width, height) > LARGEST:
        raise Rejected(
            f"{spoken(facts.source)}: the result would be {width}x{height}; at most {LARGEST} a side, scale less"
        )
    name, warnings = _name(options.encoder, available, width, height)
    layout = facts.pixel_format if options.pixel_format == "auto" else options.pixel_format
    if layout not in LAYOUTS[name]:
        warnings += (f"{name} does not take {layout}: the colour planes are stored as yuv420p",)
        layout = "yuv420p"
    preset = options.preset if options.preset and name == options.encoder else PRESETS[name]
    settings = EncoderSettings(
        name=name,
        options=_encoder_options(name, options.crf, preset),
        threads=THREADS,
        width=width + width % 2 * (layout != "yuv444p"),
        height=height + height % 2 * (layout == "yuv420p"),
        pixel_format=layout,
        sar=facts.sar,
        frame_rate=facts.frame_rate,
        full_range=facts.full_range,
        colorspace=facts.colorspace,
        primaries=facts.primaries,
        transfer=facts.transfer,
    )
    return settings, warnings


def _name(wish: str, available: Sequence[str], width: int, height: int) -> tuple[str, tuple[str, ...]]:
    smallest, largest = SIDES[wish]
    if wish not in available:
        return FALLBACK, (f"encoder {wish} does not work on this machine: {FALLBACK} is used",)
    if min(width, height) < smallest or max(width, height) > largest:
        return FALLBACK, (f"encoder {wish} does not take {width}x{height} pixels: {FALLBACK} is used",)
    return wish, ()


def _encoder_options(name: str, crf: int, preset: str) -> tuple[tuple[str, str], ...]:
    """Every GOP closed, and headers that depend on the settings alone, so that parts can be joined."""
    if name == "libx264":  # stitchable: the picture parameter set no longer depends on the rate control
        return (("crf", str(crf)), ("preset", preset), ("x264-params", "stitchable=1"))
    if name == "libx265":
        fixed = f"open-gop=0:pools={THREADS}:frame-threads=2:log-level=none"
        return (("crf", str(crf)), ("preset", preset), ("x265-params", fixed))
    if name == "libsvtav1":
        return (("crf", str(crf)), ("preset", preset), ("svtav1-params", f"lp={THREADS}"))
    return (("rc", "vbr"), ("cq", str(crf)), ("b", "0"), ("preset", preset), ("strict_gop", "1"), ("forced-idr", "1"))


class PartWriter:
    """Encodes the pictures of one segment into an mp4 part; a fresh encoder, so the part stands alone.

    Times are relative to the segment's first frame, in the source's own clock: absolute ones would be
    rounded to the 1/1000 s of mp4's movie clock. The index is written last, so a torn part cannot be read.

    Raises Unavailable if the part cannot be written, ValueError for planes of a wrong shape.
    """

    def __init__(self, out: Path, facts: VideoFacts, settings: EncoderSettings, start: int) -> None:
        self._out = out
        self._facts = facts
        self._settings = settings
        self._start = start
        self._written = 0

    def __enter__(self) -> Self:
        self._container = av.open(f"file:{self._out}", "w", format="mp4", container_options={"fflags": "+bitexact"})
        self._stream = add_encoder(self._container, self._facts, self._settings)
        return self

    def write(self, planes: Planes) -> None:
        """Encode the next picture: Y [H, W], U and V as the layout asks, uint8."""
        number = self._start + self._written
        if number >= self._facts.frames:
            raise ValueError(f"frame {number} of {self._facts.frames}: more pictures than the source has")
        frame = frame_of(planes, self._settings)
        frame.time_base = self._facts.time_base
        frame.pts = self._facts.pts[number] - self._facts.pts[self._start]
        self._mux(frame)
        self._written += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._mux(None)
        finally:
            with self._reached():
                self._container.close()

    def _mux(self, frame: VideoFrame | None) -> None:
        with self._reached():
            self._container.mux(self._stream.encode(frame))

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """The disk's and the GPU's failures become Unavailable."""
        try:
            yield
        except av.error.FFmpegError as error:
            if isinstance(error, OSError):
                raise Unavailable(f"{self._out}: {error.strerror}; is the disk full?") from error
            if self._settings.name.endswith("_nvenc"):
                raise Unavailable(f"{self._settings.name}: {error.strerror}; is the GPU still there?") from error
            raise


def add_encoder(container: OutputContainer, facts: VideoFacts, settings: EncoderSettings) -> VideoStream:
    """Add a video stream to `container` that is encoded by `settings`, in the clock of `facts`."""
    stay_ordinary()
    options = dict(settings.options)
    if settings.name == "libx264":
        options["x264-params"] += _sound_instructions()
    stream = container.add_stream(settings.name, rate=settings.frame_rate, options=options)
    if not isinstance(stream, VideoStream):
        raise TypeError(f"{settings.name} is not a video encoder")
    encoder = stream.codec_context
    encoder.width, encoder.height, encoder.pix_fmt = settings.width, settings.height, settings.pixel_format
    encoder.time_base = facts.time_base
    encoder.sample_aspect_ratio = settings.sar
    encoder.thread_count = settings.threads
    encoder.thread_type = "FRAME"  # PyAV's default cuts each picture into slices, which costs quality
    encoder.color_range = 2 if settings.full_range else 1
    encoder.colorspace = settings.colorspace
    encoder.color_primaries = settings.primaries
    encoder.color_trc = settings.transfer
    return stream


@cache
def _sound_instructions() -> str:
    """What keeps x264 from AVX-512, with which its macroblock tree reads memory that nobody wrote.

    Where a row is not a multiple of 8 macroblocks, equal pictures then give other bits each time. AVX2 gives those of
    all other instruction sets, at the same speed.
    """
    flags = next((line for line in CPU_FACTS.read_text().splitlines() if line.startswith("flags")), "")
    return ":asm=avx2" if "avx512f" in flags.split() else ""


def frame_of(planes: Planes, settings: EncoderSettings) -> VideoFrame:
    """Give `planes` as a frame for the encoder. Raises ValueError for a wrong shape."""
    chroma = chroma_shape(settings.pixel_format, settings.height, settings.width)
    expected = ((settings.height, settings.width), chroma, chroma)
    got = tuple(plane.shape for plane in planes)
    if got != expected:
        raise ValueError(f"planes of {got}: the encoder was set up for {expected}")
    frame = make_frame(planes, settings.pixel_format)
    frame.color_range = 2 if settings.full_range else 1
    frame.colorspace, frame.color_primaries, frame.color_trc = (
        settings.colorspace,
        settings.primaries,
        settings.transfer,
    )
    return frame
