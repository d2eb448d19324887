"""Everything beside the video, copied from the source into the result."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from darkroom.pipelines.video.containers import Action, ContainerPlan
from darkroom.pipelines.video.facts import StreamFacts, VideoFacts
from darkroom.pipelines.video.source import blame, opened
from darkroom.pipelines.video.subtitles import MOV_TEXT_HEADER, to_mov_text, to_subrip

Timed = tuple[Fraction, "Packet[Any]"]  # (seconds by which packets are interleaved, packet)
PICTURES = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png"), "bmp": ("cover.bmp", "image/bmp")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A stream of the source on its way into the result."""

    stream: Stream  # of the result
    action: Action
    early: bool  # whether packets from before the result's zero may pass
    apart: int  # ticks between decoding times at least, as the muxer demands


def add_copies(
    facts: VideoFacts, container: ContainerPlan, source: InputContainer, result: OutputContainer
) -> dict[int, Copy]:
    """Add a stream to `result` for every one that is kept; returns those with packets, by index in the source."""
    copies: dict[int, Copy] = {}
    for stream, plan in zip(facts.streams, container.streams, strict=True):
        template = source.streams[stream.index]
        if plan.action == "attach":
            _attach_picture(facts, stream, result)
        elif plan.action != "drop":
            added = _add_stream(template, plan.action, result)
            added.disposition = Disposition(stream.disposition)
            added.metadata.update(stream.tags)
            # Matroska cannot say "skip these samples": priming would push the picture back. Opus has its
            # own pre-skip there, which the muxer adds to the times.
            early = container.format != "matroska" or stream.kind != "audio" or stream.codec == "opus"
            # TrueHD has more than one packet in a tick of Matroska: moved apart, its sound would run late.
            apart = 0 if container.format == "matroska" else 1
            copies[stream.index] = Copy(stream=added, action=plan.action, early=early, apart=apart)
    return copies


def _add_stream(template: Stream, action: Action, result: OutputContainer) -> Stream:
    if action == "to_subrip":
        added: Stream = result.add_mux_stream("subrip")
    elif action == "to_mov_text":
        added = text = result.add_stream("mov_text")
        text.codec_context.subtitle_header = MOV_TEXT_HEADER
    else:
        added = result.add_stream_from_template(template, opaque=True)
    added.time_base = Fraction(1, 1000) if action == "to_mov_text" else template.time_base
    return added


def _attach_picture(facts: VideoFacts, stream: StreamFacts, result: OutputContainer) -> None:
    """Matroska keeps cover art as an attached file."""
    with opened(facts.source) as source:
        packet = next(source.demux(source.streams[stream.index]))
        name, kind = PICTURES.get(stream.codec or "", ("cover", "application/octet-stream"))
        added = result.add_attachment(stream.name or name, kind, bytes(packet))
    added.metadata.update({**dict(stream.tags), **added.metadata})


def copied_packets(facts: VideoFacts, source: InputContainer, copies: dict[int, Copy]) -> Iterator[Timed]:
    """(seconds, packet) of all copied streams in the order of the source, ready to be muxed.

    Raises Rejected or Unavailable if the source fails on the way.
    """
    latest: dict[int, int] = {}
    for packet in _demuxed(facts, source, [stream for stream in source.streams if stream.index in copies]):
        copy = copies[packet.stream_index]
        time_s = _move(packet, facts.origin * facts.time_base, latest, copy.apart)
        if copy.early or (packet.pts or 0) >= 0:
            yield from ((time_s, ready) for ready in _converted(packet, copy))


def _demuxed(facts: VideoFacts, source: InputContainer, streams: list[Stream]) -> Iterator["Packet[Any]"]:
    if not streams:
        return
    try:
        yield from (packet for packet in source.demux(streams) if packet.size)
    except av.error.FFmpegError as error:
        raise blame(facts.source, error) from error


def _converted(packet: "Packet[Any]", copy: Copy) -> Iterator["Packet[Any]"]:
    if copy.action == "copy":
        packet.stream = copy.stream
        yield packet
        return
    data = to_subrip(bytes(packet)) if copy.action == "to_subrip" else to_mov_text(bytes(packet))
    if data:
        text: Packet[Any] = Packet(data)
        text.stream, text.time_base = copy.stream, packet.time_base
        text.pts, text.dts, text.duration = packet.pts, packet.dts, packet.duration
        text.is_keyframe = True
        yield text


def _move(packet: "Packet[Any]", origin_s: Fraction, latest: dict[int, int], apart: int) -> Fraction:
    """Count from the result's zero, fill in missing times, keep decoding times rising as muxers demand.

    returns: the decoding time in seconds
    """
    before = latest.get(packet.stream_index)
    shift = round(origin_s / packet.time_base)
    dts = packet.dts if packet.dts is not None else packet.pts
    dts = dts - shift if dts is not None else (before or 0) + 1
    pts = packet.pts - shift if packet.pts is not None else dts
    if before is not None:
        dts = max(dts, before + apart)
    packet.dts, packet.pts = dts, max(pts, dts)
    latest[packet.stream_index] = dts
    return dts * packet.time_base
