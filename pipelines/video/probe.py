"""Read everything the plan needs to know of a video, and say clearly why a file cannot be processed."""

import os
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import islice
from math import floor
from pathlib import Path
from typing import cast

import av
from av.buffer import Buffer
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from darkroom.pipelines.errors import Rejected, Unavailable
from darkroom.pipelines.video.colors import LAYOUTS, Colors, describe, find_unsupported
from darkroom.pipelines.video.facts import StreamFacts, StreamKind, VideoFacts
from darkroom.pipelines.video.source import MOST_PIXELS, opened, spoken, unwritten_bytes
from darkroom.pipelines.video.timestamps import display_times, entry_points, find_jump_back, find_pause, usual_step
from darkroom.pipelines.video.tracks import Track, read_tracks

SMALLEST, LARGEST = 16, 16_384  # pixels a side; the larger is the limit of H.264 encoders
LONGEST_PAUSE_S = 86_400  # between two frames
MOST_RATE = 100_000  # frames a second
MOST_TICKS = 2**31 - 1  # between two frames: mp4 counts them in 32 bits, and the parts are mp4
LARGEST_HOLES = 2**28  # bytes never written: room taken ahead of a download, which is searched for pictures for hours
PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive; the others name the field that comes first
LIE_FRAMES = 250  # pictures decoded to catch wrong times: some ten seconds, for a title may stand still
GUESSED_TIMES = ("avi", "mpeg")  # demuxers whose times are good enough to show, not to find a frame by
COVER = Disposition.attached_pic | Disposition.timed_thumbnails


def probe(source: Path) -> VideoFacts:
    """What `source` holds: one pass over all its packets, and a few pictures decoded.

    Raises Rejected if it is not a whole, progressive, 8-bit YUV video of standard dynamic range, and
    Unavailable if it cannot be reached.
    """
    status = _status(source)
    with opened(source) as container:
        video = _main_video(source, container)
        tracks = read_tracks(source, container, video)
        return _facts(source, status, container, video, tracks)


def _status(source: Path) -> os.stat_result:
    try:
        status = source.stat()
    except OSError as error:
        raise Unavailable(f"{spoken(source)}: {error.strerror}; is the disk or share still there?") from error
    if not stat.S_ISREG(status.st_mode):
        raise Rejected(f"{spoken(source)}: not a regular file; copy the video itself here")
    if status.st_size == 0:
        raise Rejected(f"{spoken(source)}: the file is empty (0 bytes); copy it again")
    if (holes := unwritten_bytes(source)) > LARGEST_HOLES:
        raise Rejected(f"{spoken(source)}: {holes:,} of its {status.st_size:,} bytes were never written; copy it again")
    return status


def _main_video(source: Path, container: InputContainer) -> VideoStream:
    """The stream to process: the first moving picture, or the first that is marked as default."""
    moving = [stream for stream in container.streams.video if not stream.disposition & COVER]
    if not moving:
        kind = "only cover art" if container.streams.video else "no video stream"
        raise Rejected(f"{spoken(source)}: {kind} in it; nothing to process")
    video = next((stream for stream in moving if stream.disposition & Disposition.default), moving[0])
    if video.codec_context is None:
        raise Rejected(f"{spoken(source)}: no decoder for its video; it may be encrypted, or needs converting first")
    _check_size(source, video.codec_context.width, video.codec_context.height)  # before memory is taken for one
    return video


def _check_size(source: Path, width: int, height: int) -> None:
    told = width and height  # else by the first picture only
    if told and (min(width, height) < SMALLEST or max(width, height) > LARGEST or width * height > MOST_PIXELS):
        raise Rejected(
            f"{spoken(source)}: {width}x{height} pixels; from {SMALLEST} to {LARGEST} a side are supported,"
            f" and {MOST_PIXELS // 1_000_000} million in all; scale it first"
        )


def _facts(
    source: Path,
    status: os.stat_result,
    container: InputContainer,
    video: VideoStream,
    tracks: dict[int, Track],
) -> VideoFacts:
    track = tracks[video.index]
    time_base, rate = _clock(source, video)
    times, own = _times(source, track, time_base, rate)
    exact = own and container.format.name not in GUESSED_TIMES and not _times_lie(source, video, track)
    keyframes = entry_points([time for time in track.pts if time is not None], track.keys) if exact else ()
    samples = _samples(source, video.index, [times[key] for key in keyframes])
    colors = _check_pictures(source, video, samples)
    picture = samples[0]
    return VideoFacts(
        source=source,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        container=container.format.name,
        brand=container.metadata.get("major_brand", ""),
        index=video.index,
        codec=video.codec.canonical_name,
        width=picture.width,
        height=picture.height,
        sar=video.sample_aspect_ratio or Fraction(1),
        rotation=picture.rotation % 360,
        display_matrix=_display_matrix(picture),
        decoded_format=picture.format.name,
        pixel_format=LAYOUTS[picture.format.name],
        matrix=colors.matrix,
        full_range=colors.full_range,
        colorspace=colors.colorspace,
        primaries=colors.primaries,
        transfer=colors.transfer,
        time_base=time_base,
        pts=times,
        last_duration=_last_duration(track, times, round(1 / (rate * time_base))),
        frame_rate=rate,
        origin=_origin(container, tracks, time_base, times[0]),
        exact_times=exact,
        keyframes=keyframes,
        streams=tuple(
            _stream_facts(stream, tracks[stream.index].packets) for stream in container.streams if stream is not video
        ),
        chapters=len(container.chapters()),
        tags=tuple(container.metadata.items()),
        video_tags=_tags(video),
        disposition=int(video.disposition),
    )


def _clock(source: Path, video: VideoStream) -> tuple[Fraction, Fraction]:
    """Seconds per tick, and frames per second."""
    rates = (video.average_rate, video.guessed_rate)
    rate = next((rate for rate in rates if rate and 1 / rate <= LONGEST_PAUSE_S and rate <= MOST_RATE), Fraction(25))
    if not video.time_base:
        raise Rejected(f"{spoken(source)}: the video has no clock; remux it to mkv or mp4 first")
    return video.time_base, rate


def _times(source: Path, track: Track, time_base: Fraction, rate: Fraction) -> tuple[tuple[int, ...], bool]:
    step = max(1, round(1 / (rate * time_base)))
    if not track.pts:
        raise Rejected(f"{spoken(source)}: the video stream is empty; is the copy whole?")
    jump = find_jump_back(track.pts, step)
    if jump is not None:
        raise Rejected(
            f"{spoken(source)}: the clock jumps back at frame {jump}, as in recordings pasted together;"
            " split the file there or remux it first"
        )
    times, own = display_times(track.pts, track.dts, step)
    if (frame := find_pause(times, min(MOST_TICKS, int(LONGEST_PAUSE_S / time_base)))) is not None:
        pause_s = float((times[frame + 1] - times[frame]) * time_base)
        raise Rejected(f"{spoken(source)}: frame {frame} stands for {pause_s:.0f} s; its clock is damaged: remux it")
    return times, own


def _times_lie(source: Path, video: VideoStream, track: Track) -> bool:
    """Whether decoded pictures come with falling times.

    Some cameras write an mp4 with B-frames as if it had none. The decoder then gives the pictures in the
    right order with each other's times: the order is to be believed, and frames must be counted.
    """
    if not video.codec_context.reorder_depth or track.pts != track.dts:
        return False
    with opened(source) as container:
        stream = _stream(container, video.index)
        times = [frame.pts or 0 for frame in islice(_pictures(container, stream), LIE_FRAMES)]
    return times != sorted(times)


def _last_duration(track: Track, times: Sequence[int], step: int) -> int:
    last = track.pts.index(times[-1]) if times[-1] in track.pts else -1
    known = 0 < track.durations[last] <= MOST_TICKS
    return track.durations[last] if known else min(usual_step(times, step), MOST_TICKS)


def _origin(container: InputContainer, tracks: dict[int, Track], time_base: Fraction, first: int) -> int:
    """The source's earliest sound or picture, in video ticks: a broadcast does not start at zero.

    Sound before a picture at zero (the priming of AAC) is left alone. Where the picture itself lies below
    zero (a broadcast whose clock overflowed) all is counted from the earliest, for few players show such times.
    """
    heard = [stream.index for stream in container.streams.audio]
    starts = [start for index in heard if (start := tracks[index].first_s) is not None]
    earliest = min([first, *(floor(start / time_base) for start in starts)])
    return earliest if first < 0 else max(0, earliest)


def _stream_facts(stream: Stream, packets: int) -> StreamFacts:
    kind: StreamKind = "data"
    if stream.type == "video":
        kind = "picture" if stream.disposition & COVER else "video"
    elif stream.type in ("audio", "subtitle", "attachment"):
        kind = stream.type
    return StreamFacts(
        index=stream.index,
        kind=kind,
        codec=stream.codec.canonical_name if stream.codec_context else None,
        name=stream.metadata.get("filename"),
        language=stream.language,
        packets=packets,
        disposition=int(stream.disposition),
        tags=_tags(stream),
    )


def _tags(stream: Stream) -> tuple[tuple[str, str], ...]:
    """The stream's tags; mp4 reads a track's title as "name", but writes it only from "title"."""
    tags = dict(stream.metadata)
    if "name" in tags:
        tags.setdefault("title", tags.pop("name"))
    return tuple(tags.items())


def _samples(source: Path, index: int, entries: Sequence[int]) -> list[VideoFrame]:
    """The first picture, and one from each quarter of the film: some only turn interlaced later on.

    entries: ticks of the keyframes that can be sought
    """
    with opened(source) as container:
        stream = _stream(container, index)
        first = next(_pictures(container, stream), None)
        if first is None:
            codec = stream.codec.canonical_name
            raise Rejected(
                f"{spoken(source)}: no picture of its {codec} video can be decoded; is it whole, or encrypted?"
            )
        later = [entries[len(entries) * quarter // 4] for quarter in (1, 2, 3)] if len(entries) > 4 else []
        frames = [first]
        for time in later:
            container.seek(time, stream=stream)
            frames += islice(_pictures(container, stream), 1)
        return frames


def _stream(container: InputContainer, index: int) -> VideoStream:
    return next(stream for stream in container.streams.video if stream.index == index)


def _pictures(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """What can be decoded from here on; damaged packets are for `read` to deal with."""
    for packet in container.demux(stream):
        with suppress(av.error.InvalidDataError):
            yield from stream.decode(packet)


def _check_pictures(source: Path, video: VideoStream, samples: Sequence[VideoFrame]) -> Colors:
    picture = samples[0]
    name = spoken(source)
    _check_size(source, picture.width, picture.height)
    if video.codec_context.field_order not in PROGRESSIVE or any(frame.interlaced_frame for frame in samples):
        raise Rejected(f"{name}: interlaced video; deinterlace it first (bwdif, QTGMC), or combing would be enlarged")
    components = picture.format.components
    unsupported = find_unsupported(
        pixel_format=picture.format.name,
        bits=max(part.bits for part in components),
        alpha=any(part.is_alpha for part in components) or video.metadata.get("alpha_mode") == "1",
        colorspace=picture.colorspace,
        transfer=picture.color_trc,
    )
    if unsupported:
        raise Rejected(f"{name}: {unsupported}")
    return describe(
        colorspace=picture.colorspace,
        primaries=picture.color_primaries,
        transfer=picture.color_trc,
        full_range=picture.color_range == 2 or picture.format.name.startswith("yuvj"),
        height=picture.height,
    )


def _display_matrix(picture: VideoFrame) -> tuple[int, ...]:
    """The nine numbers, or () for none; the shift is dropped, for it counts pixels of the old size."""
    data = cast("dict[Type, Buffer]", picture.side_data).get(Type.DISPLAYMATRIX)
    if data is None:
        return ()
    matrix = list(struct.unpack("=9i", bytes(data)))
    matrix[6] = matrix[7] = 0
    return tuple(matrix)
