"""Clips of every length, made from the film the tests use."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import count, islice
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.video.frame import PictureType
from rows import ROOT

FILM = ROOT / "tests" / "clips" / "bunny.mp4"  # 320x180, 25 fps, 132 frames, with sound
CLOCK = Fraction(1, 12800)  # of the film, and of the clips
STEP = 512  # ticks a frame is shown


def cut(target: Path, frames: int, *, skip: int = 0, size: tuple[int, int] = (320, 180), uneven: bool = False) -> Path:
    """Write `frames` pictures of the film from number `skip` with their sound, and return `target`.

    uneven: every tenth picture is shown twice as long, as telephones write in the dark
    """
    times = list(islice(ticks(uneven), frames))
    with av.open(str(FILM)) as film, av.open(str(target), "w") as out:
        sound = out.add_stream_from_template(film.streams.audio[0])
        picture = out.add_stream("libx264", rate=25, options={"crf": "18", "preset": "fast"})
        picture.width, picture.height, picture.pix_fmt = *size, "yuv420p"
        picture.codec_context.time_base = CLOCK
        for packet in film.demux(film.streams.audio[0]):
            if packet.size and float((packet.pts or 0) * packet.time_base) < times[-1] * CLOCK:
                packet.stream = sound
                out.mux(packet)
        film.seek(0)
        for frame, at in zip(islice(film.decode(video=0), skip, skip + frames), times, strict=True):
            small = frame.reformat(width=size[0], height=size[1])
            small.pts, small.time_base = at, CLOCK
            small.pict_type = PictureType.NONE  # the kind of picture it was would be an order to the encoder
            out.mux(picture.encode(small))
        out.mux(picture.encode(None))
    return target


def ticks(uneven: bool) -> Iterator[int]:
    """Yield the times of the frames in ticks of CLOCK."""
    at = 0
    for number in count(1):
        yield at
        at += 2 * STEP if uneven and number % 10 == 0 else STEP


def looped(target: Path, clip: Path, times: int) -> Path:
    """Write `clip` so many times in a row, packet by packet, and return `target`."""
    with av.open(str(clip)) as first, av.open(str(target), "w") as out:
        copies = [out.add_stream_from_template(stream) for stream in first.streams]
        length = max(Fraction(stream.duration or 0) * (stream.time_base or 1) for stream in first.streams)
        for turn in range(times):
            with av.open(str(clip)) as again:
                append(out, again, copies, turn * length)
    return target


def append(out: OutputContainer, clip: InputContainer, copies: list[av.stream.Stream], later_s: Fraction) -> None:
    """Copy the packets of `clip` to the streams `copies`, `later_s` seconds later."""
    for packet in clip.demux():
        if packet.size and packet.pts is not None and packet.dts is not None:
            shift = round(later_s / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            packet.stream = copies[packet.stream.index]
            out.mux(packet)
