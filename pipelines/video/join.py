"""The result from its parts: video copied packet by packet, everything else copied from the source."""

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from darkroom.pipelines.errors import Rejected, Unavailable
from darkroom.pipelines.video.check import check
from darkroom.pipelines.video.containers import BRANDING, ContainerPlan
from darkroom.pipelines.video.encode import EncoderSettings
from darkroom.pipelines.video.facts import VideoFacts
from darkroom.pipelines.video.source import opened, spoken
from darkroom.pipelines.video.streams import Timed, add_copies, copied_packets

log = logging.getLogger(__name__)

FINE_CLOCK = 90_000  # ticks a second, at least: sound keeps its place to a hundredth of a millisecond


def join(
    facts: VideoFacts, settings: EncoderSettings, container: ContainerPlan, parts: Sequence[Path], out: Path
) -> None:
    """Write the result of `parts` (all of them, in order) to `out`, and check it frame by frame.

    The video gets the source's exact times, less `facts.origin`; every other stream keeps its place
    beside it. Equal parts give equal bytes. Memory does not grow with the length of the film.

    Packets of other streams that are damaged, so that no file could hold them, are left out, and the log says so.
    Raises RuntimeError if parts do not fit together or the result is not what the facts demand (a bug,
    never the file's fault), Rejected if the source's other streams fit into no file, Unavailable if the source or
    the disk fails.
    """
    with opened(facts.source) as source:
        try:
            _write(facts, settings, container, source, parts, out)
        except av.error.FFmpegError as error:
            if isinstance(error, OSError):
                raise Unavailable(f"{out}: {error.strerror}; is the disk full?") from error
            if not facts.streams:
                raise RuntimeError(f"{out}: the parts cannot be joined: {error}") from error
            said = str(error.log[-1]).strip() if error.log else error.strerror
            raise Rejected(
                f"{spoken(facts.source)}: its sound or other streams cannot be written ({said}); remux it without them"
            ) from error
    check(facts, settings, container, out)


def _write(
    facts: VideoFacts,
    settings: EncoderSettings,
    container: ContainerPlan,
    source: InputContainer,
    parts: Sequence[Path],
    out: Path,
) -> None:
    with (
        av.open(f"file:{parts[0]}") as first,
        av.open(
            f"file:{out}",
            "w",
            format=container.format,
            container_options=_options(facts, container),
            metadata_errors="surrogateescape",
        ) as result,
    ):
        video = _add_video(facts, settings, result, first.streams.video[0])
        copies = add_copies(facts, container, source, result)
        _describe(facts, source, result)
        header = first.streams.video[0].codec_context.extradata
        depth = first.streams.video[0].codec_context.reorder_depth
        others = copied_packets(facts, source, copies)
        lost: Counter[str] = Counter()
        for packet in _interleaved(_video(facts, parts, video, header, depth), others):
            kind = packet.stream.type
            try:
                result.mux_one(packet)
            except (av.error.InvalidDataError, av.error.ArgumentError):
                if packet.stream is video:
                    raise
                lost[kind] += 1
    for kind, count in lost.items():
        log.warning("%s: %d damaged packets of its %s are left out", facts.source.name, count, kind)


def _options(facts: VideoFacts, container: ContainerPlan) -> dict[str, str]:
    """bitexact: no times of writing, no random numbers, no versions in the file."""
    if container.format == "matroska":  # it would shift the whole film by the lead of the decoding times
        return {"fflags": "+bitexact", "avoid_negative_ts": "disabled"}
    # A track that starts late waits in an edit list that counts by the movie's clock, 1/1000 s by default.
    clock = facts.time_base.denominator
    clock *= -(-FINE_CLOCK // clock)
    flags = "+faststart" + ("+use_metadata_tags" if container.keyed_tags else "")
    return {"fflags": "+bitexact", "movflags": flags, "movie_timescale": str(clock)}


def _add_video(
    facts: VideoFacts, settings: EncoderSettings, result: OutputContainer, template: VideoStream
) -> VideoStream:
    video = result.add_stream_from_template(template, opaque=True)
    video.time_base = facts.time_base
    video.codec_context.framerate = facts.frame_rate  # else Matroska and timecodes take the clock's for it
    video.codec_context.sample_aspect_ratio = settings.sar
    if settings.name in ("libx265", "hevc_nvenc") and result.format.name != "matroska":
        video.codec_context.codec_tag = "hvc1"  # Apple's players do not open "hev1"
    if facts.display_matrix:
        video.set_display_matrix(facts.display_matrix)
    video.disposition = Disposition(facts.disposition)
    video.metadata.update({name: value for name, value in facts.video_tags if not _is_statistic(name)})
    return video


def _is_statistic(tag: str) -> bool:
    """Whether the tag counts the source's own packets (mkvmerge writes such), so is wrong for the result."""
    return tag.startswith(("BPS", "DURATION", "NUMBER_OF_", "_STATISTICS_")) or tag in ("encoder", "vendor_id")


def _describe(facts: VideoFacts, source: InputContainer, result: OutputContainer) -> None:
    """Copy the file's tags and chapters."""
    result.metadata.update({name: value for name, value in facts.tags if name not in BRANDING})
    shift = facts.origin * facts.time_base
    chapters = source.chapters()
    for chapter in chapters:
        ticks = round(shift / (chapter["time_base"] or Fraction(1, 1000)))
        chapter["start"], chapter["end"] = max(0, chapter["start"] - ticks), max(0, chapter["end"] - ticks)
    result.set_chapters(chapters)


def _video(
    facts: VideoFacts, parts: Sequence[Path], stream: VideoStream, header: bytes | None, depth: int
) -> Iterator[Timed]:
    """The packets of all parts with the source's times.

    A part's times count from its first frame, in the source's clock or a multiple of it, so each packet's
    frame is known exactly. The n-th packet decodes at the time of the frame shown `depth` before the n-th.

    depth: pictures the encoder holds back at most
    """
    written = 0
    for part in parts:
        start = written
        with av.open(f"file:{part}") as container:
            source = container.streams.video[0]
            if source.codec_context.extradata != header:
                raise RuntimeError(
                    f"{part}: its codec header differs from the first part's; the parts cannot be joined"
                )
            for packet in container.demux(source):
                if not packet.size:  # ends the stream; packets without dts are frames as good as others
                    continue
                frame = _frame_of(facts, packet, start, part)
                packet.stream, packet.time_base = stream, facts.time_base
                packet.pts = facts.pts[frame] - facts.origin
                packet.dts = _decoding_time(facts, written - depth) - facts.origin
                packet.duration = _shown(facts, frame)
                if packet.dts > packet.pts:
                    raise RuntimeError(
                        f"{part}: frame {frame} is decoded after it is shown; reorder depth {depth} is wrong"
                    )
                written += 1
                yield packet.dts * facts.time_base, packet


def _frame_of(facts: VideoFacts, packet: "Packet[VideoStream]", start: int, part: Path) -> int:
    time = facts.pts[start] + (packet.pts or 0) * packet.time_base / facts.time_base
    frame = bisect_left(facts.pts, time)
    if frame == facts.frames or facts.pts[frame] != time:
        raise RuntimeError(f"{part}: a picture at tick {time}, where the source has none; the part is of another plan")
    return frame


def _decoding_time(facts: VideoFacts, frame: int) -> int:
    """The time of `frame`; before the first the clock runs back at the pace of the first two."""
    if frame >= 0:
        return facts.pts[frame]
    step = facts.pts[1] - facts.pts[0] if facts.frames > 1 else facts.last_duration
    return facts.pts[0] + frame * step


def _shown(facts: VideoFacts, frame: int) -> int:
    """Ticks the frame is shown; without it the last frame's time would be lost."""
    return facts.pts[frame + 1] - facts.pts[frame] if frame + 1 < facts.frames else facts.last_duration


def _interleaved(video: Iterator[Timed], others: Iterator[Timed]) -> Iterator["Packet[Any]"]:
    """Both by time; the others keep the source's order among themselves."""
    picture, other = next(video, None), next(others, None)
    while picture and other:
        if picture[0] <= other[0]:
            yield picture[1]
            picture = next(video, None)
        else:
            yield other[1]
            other = next(others, None)
    for rest, iterator in ((picture, video), (other, others)):
        if rest:
            yield rest[1]
            yield from (packet for _, packet in iterator)
