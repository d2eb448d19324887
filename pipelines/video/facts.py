"""What a video file is, as plain data: read by `probe`, used by every later step."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

Matrix = Literal["bt601", "bt709", "bt2020"]
StreamKind = Literal["audio", "subtitle", "attachment", "data", "picture", "video"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """One stream that is copied rather than processed."""

    index: int  # in the source
    kind: StreamKind  # "picture" is cover art, "video" a second moving picture
    codec: str | None  # FFmpeg's name of the format, e.g. "aac"; None: FFmpeg does not know it
    name: str | None  # file name of an attachment or picture
    language: str | None
    packets: int
    disposition: int  # FFmpeg's AV_DISPOSITION bits
    tags: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFacts:
    """A video file that can be processed: its pictures, their exact times, and what lies beside them."""

    source: Path
    size_bytes: int
    mtime_ns: int
    container: str  # FFmpeg's demuxer, e.g. "mov,mp4,m4a,3gp,3g2,mj2"
    brand: str  # of the mp4 family, e.g. "isom" or "qt  "; "" elsewhere

    index: int  # of the video stream in the source
    codec: str
    width: int  # as decoded, before rotation and pixel shape
    height: int
    sar: Fraction  # width : height of one pixel; 1 where the source says nothing
    rotation: int  # degrees counter-clockwise the player turns the picture: 0, 90, 180 or 270
    display_matrix: tuple[int, ...]  # the nine numbers behind `rotation`, flips included; () for none

    decoded_format: str  # what the decoder gives, e.g. "yuvj420p" or "gray"
    pixel_format: str  # the layout of the planes `read` gives: "yuv420p", "yuv422p" or "yuv444p"
    matrix: Matrix
    full_range: bool
    colorspace: int  # H.273 codes for the output's tags; never "unspecified"
    primaries: int
    transfer: int

    time_base: Fraction  # seconds per tick
    pts: tuple[int, ...]  # ticks, display order, strictly increasing, one for each frame
    last_duration: int  # ticks the last frame is shown, at least 1
    frame_rate: Fraction  # frames a second on average
    origin: int  # ticks; the time of the result's zero
    exact_times: bool  # the packets' own times, none repaired: frames can be found by them
    keyframes: tuple[int, ...]  # frames at which decoding can start, ascending; () where none is sure
    cuts: tuple[int, ...] = ()  # frames known to begin a scene, ascending; only where a pipeline has looked for them

    streams: tuple[StreamFacts, ...]  # all others, in the order of the source
    chapters: int
    tags: tuple[tuple[str, str], ...]  # of the file
    video_tags: tuple[tuple[str, str], ...]  # of the video stream
    disposition: int  # of the video stream

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.pts)

    @property
    def end(self) -> int:
        """The tick at which the last frame ends."""
        return self.pts[-1] + self.last_duration

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return float((self.end - self.pts[0]) * self.time_base)
