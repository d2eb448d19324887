from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import av
import pytest
from av.codec.codec import Codec, UnknownCodecError
from clips.shapes import BUNNY

from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.video.containers import AUDIO, SUBTITLES, VIDEO, ContainerPlan, choose_container
from darkroom.pipelines.video.encode import choose_encoder
from darkroom.pipelines.video.facts import StreamFacts, VideoFacts
from darkroom.pipelines.video.options import VideoOptions
from darkroom.pipelines.video.probe import probe

MP4, MKV = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"


@cache
def bunny() -> VideoFacts:
    return probe(BUNNY)


def stream(kind: str, codec: str | None, **changes: Any) -> StreamFacts:
    base: dict[str, Any] = {"index": 1, "kind": kind, "codec": codec, "name": None, "language": None}
    return StreamFacts(**(base | {"packets": 9, "disposition": 0, "tags": ()} | changes))


def plan(*streams: StreamFacts, container: str = MP4, brand: str = "isom", wish: str = "auto") -> ContainerPlan:
    facts = replace(bunny(), container=container, brand=brand, streams=streams)
    options = VideoOptions.model_validate({"container": wish})
    return choose_container(options, facts, choose_encoder(options, facts, ("libx264",), 640, 360)[0])


@pytest.mark.parametrize(
    ("container", "brand", "suffix"),
    [(MP4, "isom", ".mp4"), (MP4, "qt  ", ".mov"), (MKV, "", ".mkv"), ("avi", "", ".mp4"), ("mpegts", "", ".mp4")],
)
def test_auto_follows_the_source(container: str, brand: str, suffix: str) -> None:
    assert plan(stream("audio", "aac"), container=container, brand=brand).suffix == suffix


def test_auto_turns_to_mkv_where_a_stream_does_not_fit() -> None:
    assert plan(stream("audio", "truehd"), container="mpegts").suffix == ".mkv"
    assert plan(stream("subtitle", "dvb_subtitle"), container="mpegts").suffix == ".mkv"


def test_auto_turns_to_mov_for_the_sound_of_old_phones() -> None:
    assert plan(stream("audio", "amr_nb"), brand="3gp4").suffix == ".mov"
    assert plan(stream("audio", "pcm_mulaw"), container="avi").suffix == ".mov"


def test_a_wish_that_would_lose_a_stream_is_rejected_with_its_name() -> None:
    with pytest.raises(Rejected, match=r"mp4 cannot hold stream 1 \(subtitle ass\); set container: auto"):
        plan(stream("subtitle", "ass"), container=MKV, wish="mp4")
    with pytest.raises(Rejected, match=r"mp4 cannot hold .*; mkv cannot hold"):
        plan(stream("audio", None))


def test_plain_subtitles_are_turned_into_the_wished_containers_kind() -> None:
    into_mp4 = plan(stream("subtitle", "subrip"), container=MKV, wish="mp4")
    assert into_mp4.streams[0].action == "to_mov_text"
    assert "words and times are kept" in into_mp4.warnings[0]
    assert plan(stream("subtitle", "mov_text"), wish="mkv").streams[0].action == "to_subrip"
    assert plan(stream("subtitle", "mov_text")).streams[0].action == "copy"


def test_covers_are_copied_into_mp4_and_attached_in_mkv() -> None:
    assert plan(stream("picture", "mjpeg")).streams[0].action == "copy"
    assert plan(stream("picture", "mjpeg"), wish="mkv").streams[0].action == "attach"


def test_data_and_empty_streams_are_left_out_with_a_warning() -> None:
    timecode = plan(stream("data", None, packets=1))
    assert timecode.streams[0].action == "drop"
    assert "not kept" in timecode.warnings[0]
    assert "is empty" in plan(stream("audio", "aac", packets=0)).warnings[0]


@pytest.mark.parametrize("packets", [0, 2])
def test_the_text_track_of_mp4_chapters_is_not_reported_as_lost(packets: int) -> None:
    facts = replace(bunny(), streams=(stream("data", "bin_data", packets=packets),), chapters=2)
    options = VideoOptions()
    settings, _ = choose_encoder(options, facts, ("libx264",), 640, 360)
    assert choose_container(options, facts, settings).warnings == ()


def test_a_second_film_in_the_file_is_kept_and_said() -> None:
    second = plan(stream("video", "h264"))
    assert second.streams[0].action == "copy"
    assert "kept as it is" in second.warnings[0]


def test_free_tags_are_written_as_keys_unless_a_cover_stands_in_the_way() -> None:
    facts = replace(bunny(), tags=(("title", "x"), ("DIRECTOR", "y"), ("major_brand", "isom")), streams=())
    options = VideoOptions()
    settings, _ = choose_encoder(options, facts, ("libx264",), 640, 360)
    assert choose_container(options, facts, settings).keyed_tags
    assert not choose_container(options, replace(facts, tags=(("title", "x"),)), settings).keyed_tags
    covered = choose_container(options, replace(facts, streams=(stream("picture", "mjpeg"),)), settings)
    assert not covered.keyed_tags
    assert "DIRECTOR" in covered.warnings[0]


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv"])
def test_the_tables_promise_nothing_the_muxer_refuses(container: Any, tmp_path: Path) -> None:
    with av.open(str(tmp_path / f"a.{container}"), "w") as muxer:
        supported = set()
        for name in muxer.supported_codecs:
            for mode in ("r", "w"):
                try:
                    supported.add(Codec(name, mode).canonical_name)
                except UnknownCodecError:
                    continue
    assert AUDIO[container] | SUBTITLES[container] | VIDEO[container] <= supported
