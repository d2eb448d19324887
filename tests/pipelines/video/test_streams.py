from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.packet import Packet
from clips.shapes import BUNNY, film, rich_mkv, text

from darkroom.pipelines.video.containers import choose_container
from darkroom.pipelines.video.encode import choose_encoder
from darkroom.pipelines.video.options import VideoOptions
from darkroom.pipelines.video.probe import probe
from darkroom.pipelines.video.source import opened
from darkroom.pipelines.video.streams import add_copies, copied_packets

OPTIONS = VideoOptions()


def test_copied_packets_are_the_sources_own_with_rising_decoding_times(tmp_path: Path) -> None:
    facts = probe(rich_mkv(tmp_path / "a.mkv"))
    container = choose_container(OPTIONS, facts, choose_encoder(OPTIONS, facts, ("libx264",), 320, 180)[0])
    with opened(facts.source) as source, av.open(str(tmp_path / "out.mkv"), "w") as result:
        copies = add_copies(facts, container, source, result)
        latest: dict[int, Fraction] = {}
        payloads: dict[int, list[bytes]] = {index: [] for index in copies}
        by_stream = {copy.stream.index: index for index, copy in copies.items()}
        for time_s, packet in copied_packets(facts, source, copies):
            assert time_s > latest.get(packet.stream_index, Fraction(-100))
            latest[packet.stream_index] = time_s
            payloads[by_stream[packet.stream_index]].append(bytes(packet))
    with av.open(str(facts.source)) as source:
        for index in (1, 2, 3, 4):
            assert payloads[index] == [bytes(p) for p in source.demux(source.streams[index]) if p.size]
            source.seek(0)


def test_mkv_gets_no_sound_from_before_the_beginning(tmp_path: Path) -> None:
    facts = probe(BUNNY)
    options = VideoOptions(container="mkv")
    settings, _ = choose_encoder(options, facts, ("libx264",), 320, 180)
    with opened(BUNNY) as source, av.open(str(tmp_path / "out.mkv"), "w") as result:
        copies = add_copies(facts, choose_container(options, facts, settings), source, result)
        _, first = next(islice(copied_packets(facts, source, copies), 1))
        assert first.pts == 0
    with av.open(str(BUNNY)) as source:
        assert next(source.demux(audio=0)).pts == -1024  # what AAC decoders warm up on


def test_packets_of_one_time_keep_it_in_mkv(tmp_path: Path) -> None:
    """Signs of styled subtitles begin together; of TrueHD more than one packet falls into a millisecond."""

    def signs(result: OutputContainer) -> "list[Packet[Any]]":
        ass = result.add_mux_stream("ass")
        return [text(ass, 300, b"%d,0,Default,,0,0,0,,sign" % number) for number in range(9)]

    facts = probe(film(tmp_path / "a.mkv", extras=signs))
    container = choose_container(OPTIONS, facts, choose_encoder(OPTIONS, facts, ("libx264",), 320, 180)[0])
    with opened(facts.source) as source, av.open(str(tmp_path / "out.mkv"), "w") as result:
        copies = add_copies(facts, container, source, result)
        assert [packet.pts for _, packet in copied_packets(facts, source, copies)] == [300] * 9
