"""One pass over all packets of a film: what each stream holds, and whether the file is whole."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.video.source import spoken

MOST_FRAMES = 10_000_000  # two days at 60 a second; some 150 bytes each while they are looked at
SLACK_S = 0.5  # how much earlier than declared a whole file may end: headers round, and sound may be cut


@dataclass(slots=True)
class Track:
    """What the packets of one stream said; times of the video in ticks."""

    packets: int = 0
    first_s: Fraction | None = None
    end_s: Fraction | None = None
    pts: list[int | None] = field(default_factory=list)  # the video's only
    dts: list[int | None] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)

    def add(self, packet: "Packet[Stream]") -> None:
        """Count `packet` and the time it takes."""
        self.packets += 1
        time = packet.pts if packet.pts is not None else packet.dts
        if time is not None:
            start, end = time * packet.time_base, (time + (packet.duration or 0)) * packet.time_base
            self.first_s = start if self.first_s is None else min(self.first_s, start)
            self.end_s = end if self.end_s is None else max(self.end_s, end)

    def add_picture(self, packet: "Packet[Stream]") -> None:
        """Do so, and remember its times."""
        self.add(packet)
        self.pts.append(packet.pts)
        self.dts.append(packet.dts)
        self.durations.append(packet.duration or 0)
        self.keys.append(packet.is_keyframe)


def read_tracks(source: Path, container: InputContainer, video: VideoStream) -> dict[int, Track]:
    """Read all packets and return what they said by the index of their stream.

    Raises Rejected if the file ends before what it declares, is encrypted, or has more pictures than can be remembered.
    """
    tracks = {stream.index: Track() for stream in container.streams}
    cut = False
    for packet in container.demux():
        if not packet.size:  # PyAV ends each stream with an empty packet
            continue
        if packet.has_sidedata("encryption_info"):  # a decoder may find pictures in such noise, and sound is copied
            raise Rejected(f"{spoken(source)}: encrypted; only who has its key can make a copy without")
        cut = packet.is_corrupt
        if packet.stream_index != video.index:
            tracks[packet.stream_index].add(packet)
        elif not packet.is_discard:  # an edit list hides it: decoders never show it
            tracks[video.index].add_picture(packet)
            if tracks[video.index].packets > MOST_FRAMES:
                raise Rejected(f"{spoken(source)}: more than {MOST_FRAMES} frames; split the file")
    _check_whole(source, container, tracks, cut)
    return tracks


def _check_whole(source: Path, container: InputContainer, tracks: dict[int, Track], cut: bool) -> None:
    """Compare what the header declares with what came; formats without a declared length cannot be told."""
    ends = [track.end_s for track in tracks.values() if track.end_s is not None]
    if not ends:
        raise Rejected(f"{spoken(source)}: the header is there but no pictures; is the copy whole?")
    if container.format.name == "mpegts":  # declares nothing, and a broken packet may come from the aerial
        return
    declared, got = (container.duration or 0) / av.time_base, float(max(ends))
    if declared - got > SLACK_S or cut:
        raise Rejected(f"{spoken(source)}: ends at {got:.1f} s of {declared:.1f} s; the copy is incomplete?")
