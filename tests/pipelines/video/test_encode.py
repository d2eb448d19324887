import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from clips.shapes import BUNNY

from darkroom.pipelines.errors import Rejected, Unavailable
from darkroom.pipelines.video.encode import EncoderSettings, PartWriter, available_encoders, choose_encoder
from darkroom.pipelines.video.facts import VideoFacts
from darkroom.pipelines.video.options import VideoOptions
from darkroom.pipelines.video.planes import Planes
from darkroom.pipelines.video.probe import probe
from darkroom.pipelines.video.read import read

ALL = ("libx264", "libx265", "libsvtav1", "h264_nvenc", "hevc_nvenc", "av1_nvenc")


@pytest.fixture(scope="module")
def facts() -> VideoFacts:
    return probe(BUNNY)


def settings_for(facts: VideoFacts, **options: object) -> EncoderSettings:
    return choose_encoder(VideoOptions.model_validate(options), facts, ALL, facts.width, facts.height)[0]


def write_part(out: Path, facts: VideoFacts, settings: EncoderSettings, start: int, stop: int) -> bytes:
    """Encode a segment; returns the codec header."""
    with PartWriter(out, facts, settings, start) as writer:
        for picture in read(facts, start, stop):
            writer.write(picture.planes)
    with av.open(str(out)) as part:
        return part.streams.video[0].codec_context.extradata or b""


def test_the_default_encoder_is_available_and_the_list_holds_only_what_works() -> None:
    assert "libx264" in available_encoders()
    assert set(available_encoders()) <= set(ALL)


def test_a_missing_encoder_falls_back_with_a_warning(facts: VideoFacts) -> None:
    options = VideoOptions(encoder="hevc_nvenc", preset="p7")
    settings, warnings = choose_encoder(options, facts, ("libx264",), 640, 360)
    assert settings.name == "libx264"
    assert dict(settings.options)["preset"] == "fast"  # "p7" is a word of the other encoder
    assert warnings == ("encoder hevc_nvenc does not work on this machine: libx264 is used",)


def test_sizes_and_layouts_an_encoder_does_not_take_are_met_another_way(facts: VideoFacts) -> None:
    small, warnings = choose_encoder(VideoOptions(encoder="libsvtav1"), facts, ALL, 48, 48)
    assert (small.name, len(warnings)) == ("libx264", 1)
    fewer, warnings = choose_encoder(VideoOptions(encoder="libsvtav1", pixel_format="yuv444p"), facts, ALL, 640, 360)
    assert (fewer.name, fewer.pixel_format, len(warnings)) == ("libsvtav1", "yuv420p", 1)


def test_the_layout_is_the_sources_unless_chosen(facts: VideoFacts) -> None:
    assert settings_for(replace(facts, pixel_format="yuv422p")).pixel_format == "yuv422p"
    assert settings_for(facts, pixel_format="yuv444p").pixel_format == "yuv444p"


def test_odd_sides_grow_by_a_pixel_only_where_chroma_is_shared(facts: VideoFacts) -> None:
    sizes = {"yuv420p": (352, 288), "yuv422p": (352, 287), "yuv444p": (351, 287)}
    for layout, size in sizes.items():
        options = VideoOptions.model_validate({"pixel_format": layout})
        settings, _ = choose_encoder(options, facts, ALL, 351, 287)
        assert (settings.width, settings.height) == size


def test_a_result_too_large_for_any_encoder_is_rejected(facts: VideoFacts) -> None:
    with pytest.raises(Rejected, match="20000x1000"):
        choose_encoder(VideoOptions(), facts, ALL, 20_000, 1_000)


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libsvtav1"])
def test_parts_stand_alone_share_one_header_and_are_the_same_each_time(
    encoder: str, facts: VideoFacts, tmp_path: Path
) -> None:
    if encoder not in available_encoders():
        pytest.skip(f"{encoder} does not work here")
    settings = settings_for(facts, encoder=encoder, preset="10" if encoder == "libsvtav1" else "ultrafast")
    parts = [tmp_path / f"{name}.mp4" for name in ("one", "two", "again")]
    headers = {
        write_part(part, facts, settings, start, stop)
        for part, (start, stop) in zip(parts, ((0, 20), (60, 73), (60, 73)), strict=True)
    }
    assert len(headers) == 1
    assert headers != {b""}
    assert len({sha256(part.read_bytes()).digest() for part in parts[1:]}) == 1
    with av.open(str(parts[1])) as part:
        assert sum(1 for _ in part.decode(video=0)) == 13


def test_the_picture_and_its_tags_come_back(facts: VideoFacts, tmp_path: Path) -> None:
    facts = replace(facts, full_range=True, colorspace=1, primaries=1, transfer=13)
    settings = settings_for(facts, crf=0)
    write_part(tmp_path / "a.mp4", facts, settings, 60, 63)
    with av.open(str(tmp_path / "a.mp4")) as part:
        frame = next(part.decode(video=0))
        wanted = next(read(facts, 60, 61)).planes[0]
        luma = np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(180, -1)[:, :320]
        assert np.abs(luma.astype(int) - wanted).max() <= 8  # nearly lossless
        assert (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc) == (2, 1, 1, 13)


def test_times_count_from_the_segments_start_in_the_sources_clock(facts: VideoFacts, tmp_path: Path) -> None:
    write_part(tmp_path / "a.mp4", facts, settings_for(facts), 50, 60)
    with av.open(str(tmp_path / "a.mp4")) as part:
        times = sorted((packet.pts or 0) * packet.time_base for packet in part.demux(video=0) if packet.size)
    assert times == [(facts.pts[50 + n] - facts.pts[50]) * facts.time_base for n in range(10)]


def test_planes_of_a_wrong_size_and_pictures_too_many_are_refused(facts: VideoFacts, tmp_path: Path) -> None:
    planes = next(read(facts, 131, 132)).planes
    with PartWriter(tmp_path / "a.mp4", facts, settings_for(facts), 131) as writer:
        wrong: Planes = (planes[0], planes[1][:-1], planes[2])
        with pytest.raises(ValueError, match="planes"):
            writer.write(wrong)
        writer.write(planes)
        with pytest.raises(ValueError, match="more pictures"):
            writer.write(planes)


def test_a_torn_part_cannot_be_read(facts: VideoFacts, tmp_path: Path) -> None:
    part = tmp_path / "a.mp4"
    writer = PartWriter(part, facts, settings_for(facts), 0).__enter__()
    for picture in islice(read(facts, 0, 100), 100):
        writer.write(picture.planes)
    (tmp_path / "torn.mp4").write_bytes(part.read_bytes())  # what a power cut would leave
    with pytest.raises(av.error.FFmpegError):
        av.open(str(tmp_path / "torn.mp4"))
    writer.__exit__(None, None, None)


def test_a_full_disk_is_unavailable(facts: VideoFacts) -> None:
    full = Path("/dev/full")
    with pytest.raises(Unavailable, match="disk full"), PartWriter(full, facts, settings_for(facts), 0) as writer:
        for picture in read(facts, 0, 20):
            writer.write(picture.planes)


PERTURBED = """
import hashlib, sys
from pathlib import Path
import numpy as np
from darkroom.pipelines.video.create import made_facts, write_film
from darkroom.pipelines.video.encode import available_encoders, choose_encoder
from darkroom.pipelines.video.options import VideoOptions
facts = made_facts(Path("a"), 144, 96, 8, 16)
settings, _ = choose_encoder(VideoOptions(), facts, available_encoders(), 144, 96)
numbers = np.random.default_rng(0)
write_film((numbers.integers(0, 255, (96, 144, 3), np.uint8) for _ in range(8)), facts, settings, {}, Path(sys.argv[1]))
"""


def test_memory_that_nobody_wrote_does_not_find_its_way_into_the_bits(tmp_path: Path) -> None:
    for name, byte in (("a.mp4", "1"), ("b.mp4", "170")):
        environment = {**os.environ, "MALLOC_PERTURB_": byte}  # what the C library fills fresh memory with
        subprocess.run([sys.executable, "-P", "-c", PERTURBED, tmp_path / name], env=environment, check=True)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
