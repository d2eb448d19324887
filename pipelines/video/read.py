"""Pictures of a segment, decoded from wherever decoding can start."""

from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.video.facts import VideoFacts
from darkroom.pipelines.video.planes import Planes, chroma_shape, copy_plane
from darkroom.pipelines.video.source import opened, spoken

Numbered = Generator[tuple[int, VideoFrame], None, None]  # (display position in the file, frame), ascending
Packets = Iterator["Packet[VideoStream]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One decoded picture.

    planes:   Y [H, W], U and V [h, w], contiguous; chroma of odd sizes is rounded up
    repeated: the source's own picture could not be decoded; this is the one before it
    """

    planes: Planes
    repeated: bool = False


class _SeekMissed(Exception):
    """The demuxer landed behind the wanted frame, or decoding from there gave nothing in time."""


class _Damaged(Exception):
    """A packet could not be decoded while frame threads were at work."""


def read(facts: VideoFacts, start: int, stop: int) -> Iterator[Picture]:
    """The pictures [start, stop) in display order: exactly `stop - start` of them.

    They are the same whichever segment asks: decoding starts at a keyframe at or before `start`
    where the file's times can be trusted, else at the beginning of the file. A picture that cannot be
    decoded is replaced by the one before it, so that count and times stay the source's.

    Raises Rejected if nothing can be decoded or the picture changes size midway, Unavailable if the
    file cannot be reached.
    """
    position, last = start, None
    with closing(_undamaged(facts, start)) as frames:
        for index, frame in frames:
            for _ in range(position, min(index, stop)):
                yield Picture(planes=_planes(facts, last or frame), repeated=True)
            if start <= index < stop:
                yield Picture(planes=_planes(facts, frame))
            position, last = max(start, index + 1), frame
            if position >= stop:
                return
    if last is None:
        raise Rejected(f"{spoken(facts.source)}: no picture can be decoded; the file is damaged")
    for _ in range(position, stop):
        yield Picture(planes=_planes(facts, last), repeated=True)


def _undamaged(facts: VideoFacts, start: int) -> Numbered:
    """The frames from one at or before `start` to the end of the file; what is damaged is left out.

    Frame threads are fast, but an error at the end of the file takes with it the good frames that were
    still in the threads. And where frames are counted, an error must be told at its own packet.
    """
    latest = -1
    try:
        for index, frame in _from_best_entry(facts, start, frame_threads=facts.exact_times):
            latest = index
            yield index, frame
    except _Damaged:
        again = _from_best_entry(facts, start, frame_threads=False)
        yield from ((index, frame) for index, frame in again if index > latest)


def _from_best_entry(facts: VideoFacts, start: int, frame_threads: bool) -> Numbered:
    entries = facts.keyframes[: bisect_right(facts.keyframes, start)]
    # MPEG-TS seeks by guessing and may land behind its target: an earlier keyframe gets a try too.
    for entry in (entry for entry in (*entries[-1:], *entries[-4:-3]) if entry > 0):
        try:
            yield from _from_entry(facts, entry, start, frame_threads)
            return
        except _SeekMissed:
            continue
    with opened(facts.source) as container:
        stream = _stream(facts, container, frame_threads)
        yield from _numbered(facts, stream, container.demux(stream), frame_threads)


def _from_entry(facts: VideoFacts, entry: int, start: int, frame_threads: bool) -> Numbered:
    with opened(facts.source) as container:
        stream = _stream(facts, container, frame_threads)
        container.seek(facts.pts[entry], stream=stream)
        frames = _numbered(facts, stream, _from_keyframe(facts, container.demux(stream), start), frame_threads)
        first = next(frames, None)
        if first is None or first[0] > start:
            raise _SeekMissed
        yield first
        yield from frames


def _from_keyframe(facts: VideoFacts, packets: Packets, start: int) -> Packets:
    """The packets from the first keyframe that decoding can start at; it must not lie behind `start`."""
    entries = {facts.pts[key]: key for key in facts.keyframes}
    started = False
    for packet in packets:
        if not started and packet.pts in entries:
            if entries[packet.pts] > start:
                raise _SeekMissed
            started = True
        if started:
            yield packet


def _stream(facts: VideoFacts, container: InputContainer, frame_threads: bool) -> VideoStream:
    stream = next(stream for stream in container.streams.video if stream.index == facts.index)
    stream.thread_type = "AUTO" if frame_threads else "SLICE"
    return stream


def _numbered(facts: VideoFacts, stream: VideoStream, packets: Packets, frame_threads: bool) -> Numbered:
    """Decode `packets` and number the frames: by their time, or by counting from the first packet."""
    latest, lost, seen = -1, 0, 0
    for packet in packets:
        try:
            frames = stream.decode(packet)
        except av.error.FFmpegError as error:
            if isinstance(error, OSError | MemoryError):
                raise
            if frame_threads:
                raise _Damaged from error
            lost += 1
            continue
        for frame in frames:
            index = _by_time(facts, frame) if facts.exact_times else seen + lost
            seen += 1
            if latest < index < facts.frames:
                _check_unchanged(facts, frame)
                yield index, frame
                latest = index


def _by_time(facts: VideoFacts, frame: VideoFrame) -> int:
    """The position of the frame's time in the table, or -1."""
    if frame.pts is None:
        return -1
    index = bisect_left(facts.pts, frame.pts)
    return index if index < facts.frames and facts.pts[index] == frame.pts else -1


def _check_unchanged(facts: VideoFacts, frame: VideoFrame) -> None:
    now, then = (frame.width, frame.height, frame.format.name), (facts.width, facts.height, facts.decoded_format)
    if now != then:
        raise Rejected(
            f"{spoken(facts.source)}: the picture changes from {then[0]}x{then[1]} {then[2]} to {now[0]}x{now[1]}"
            f" {now[2]} on the way; split the file there or convert it to one size first"
        )


def _planes(facts: VideoFacts, frame: VideoFrame) -> Planes:
    luma = copy_plane(frame.planes[0])
    if facts.decoded_format == "gray":
        neutral = np.full(chroma_shape(facts.pixel_format, facts.height, facts.width), 128, np.uint8)
        return luma, neutral, neutral.copy()
    return luma, copy_plane(frame.planes[1]), copy_plane(frame.planes[2])
