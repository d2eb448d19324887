import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from hashlib import md5
from pathlib import Path
from typing import Any

import av
import pytest
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Disposition
from clips.shapes import B_FRAMES, BUNNY, FRAMES, film, installed_film, rich_mkv, tagged, turned

from darkroom.pipelines.errors import Rejected, Unavailable
from darkroom.pipelines.video.containers import ContainerPlan, choose_container
from darkroom.pipelines.video.encode import EncoderSettings, PartWriter, available_encoders, choose_encoder
from darkroom.pipelines.video.facts import VideoFacts
from darkroom.pipelines.video.join import join
from darkroom.pipelines.video.options import VideoOptions
from darkroom.pipelines.video.probe import probe
from darkroom.pipelines.video.read import read

Developed = tuple[VideoFacts, EncoderSettings, ContainerPlan, list[Path]]


NTSC = Fraction(30_000, 1001)


def develop(source: Path, work: Path, segment: int = 7, **wishes: object) -> Developed:
    """Plan and make the parts of `source`, unchanged in size."""
    facts = probe(source)
    options = VideoOptions.model_validate({"preset": "ultrafast"} | wishes)
    settings, _ = choose_encoder(options, facts, available_encoders(), facts.width, facts.height)
    parts = []
    for start in range(0, facts.frames, segment):
        parts.append(work / f"part{start}.mp4")
        with PartWriter(parts[-1], facts, settings, start) as writer:
            for picture in read(facts, start, min(start + segment, facts.frames)):
                writer.write(picture.planes)
    return facts, settings, choose_container(options, facts, settings), parts


def result_of(source: Path, work: Path, segment: int = 7, **wishes: object) -> Path:
    facts, settings, container, parts = develop(source, work, segment, **wishes)
    out = work / f"result{container.suffix}"
    join(facts, settings, container, parts, out)
    return out


def sound(path: Path, track: int = 0) -> bytes:
    """All samples of a sound track, as a player hears them."""
    with av.open(str(path)) as container:
        return b"".join(frame.to_ndarray().tobytes() for frame in container.decode(audio=track))


def starts_s(path: Path) -> list[float]:
    """When each stream that has packets starts."""
    with av.open(str(path)) as container:
        firsts: dict[int, float] = {}
        for packet in container.demux():
            if packet.size and packet.pts is not None and packet.stream.type in ("video", "audio", "subtitle"):
                start = float(packet.pts * packet.time_base)
                firsts[packet.stream_index] = min(start, firsts.get(packet.stream_index, start))
    return [firsts[index] for index in sorted(firsts)]


def pictures(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [
            md5(b"".join(bytes(memoryview(plane)) for plane in frame.planes)).hexdigest()
            for frame in container.decode(video=0)
        ]


SHAPES: dict[str, Callable[[Path], Path]] = {
    "sound.mp4": lambda path: film(path, sound=True),
    "late.mp4": lambda path: film(path, sound=True, sound_late_s=Fraction(3, 10)),
    "picture-late.mov": lambda path: film(path, sound=True, times=range(5, 5 + FRAMES)),
    "offset.ts": lambda path: film(path, sound=True, sound_late_s=Fraction(1, 5)),
    "mpeg2.ts": lambda path: film(path, codec="mpeg2video", options={"bf": "2"}, sound=True),
    "mpeg4.avi": lambda path: film(path, codec="mpeg4", options={"bf": "2", "g": "12"}),
    "vfr.mkv": lambda path: film(path, times=[n * n for n in range(FRAMES)], clock=Fraction(1, 1000)),
    "ntsc.mp4": lambda path: film(path, clock=Fraction(1001, 30000)),
    "overflow.ts": lambda path: film(
        path, clock=Fraction(1, 90_000), times=range(2**33 - 72_000, 2**33 + 36_000, 3600)
    ),
    "strange.mp4": lambda path: film(path, clock=Fraction(125, 2997)),
    "444-odd.mkv": lambda path: film(path, layout="yuv444p", size=(161, 91)),
    "one.mp4": lambda path: film(path, frames=1),
    "flash.flv": lambda path: film(path, sound=True),
}


@pytest.mark.parametrize("container", ["auto", "mp4", "mkv"])
@pytest.mark.parametrize("name", SHAPES)
def test_every_frame_of_the_parts_is_in_the_result_at_the_sources_time(
    name: str, container: str, tmp_path: Path
) -> None:
    facts, settings, plan, parts = develop(SHAPES[name](tmp_path / name), tmp_path, container=container)
    out = tmp_path / f"result{plan.suffix}"
    join(facts, settings, plan, parts, out)
    assert pictures(out) == [digest for part in parts for digest in pictures(part)]
    with av.open(str(out)) as result:
        times = [(frame.pts or 0) * (frame.time_base or Fraction(0)) for frame in result.decode(video=0)]
    wanted = [(time - facts.origin) * facts.time_base for time in facts.pts]
    rounding = Fraction(1, 2000) if plan.suffix == ".mkv" else 0  # mkv counts in milliseconds
    assert max(abs(time - want) for time, want in zip(times, wanted, strict=True)) <= rounding


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_film_whose_frames_come_unevenly_and_reordered_is_found_whole(container: str, tmp_path: Path) -> None:
    # The frame that is shown last is decoded first of the five: what mp4 tells of its length is the pause behind it.
    source = film(tmp_path / "a.mkv", frames=5, times=(0, 4, 5, 6, 7))
    facts = probe(result_of(source, tmp_path, container=container, preset="fast"))
    assert [time - facts.pts[0] for time in facts.pts] == [facts.pts[-1] * part // 7 for part in (0, 4, 5, 6, 7)]


def test_damaged_packets_of_the_sound_are_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = film(tmp_path / "a.ts", sound=True)
    data = bytearray(source.read_bytes())
    frames = [match.start() for match in re.finditer(rb"\xff\xf1[\x40-\x5f]", data)]  # headers of AAC, in ADTS
    for start in frames[4:7]:
        data[start + 2 : start + 6] = bytes(4)
    source.write_bytes(data)
    result = result_of(source, tmp_path)
    assert probe(result).frames == FRAMES
    assert "damaged packets of its audio are left out" in caplog.text


def test_other_streams_that_fit_into_no_file_are_a_reason_to_reject_the_film(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    developed = develop(film(tmp_path / "a.mkv", sound=True), tmp_path)

    def refuse(*_: object) -> None:
        log = (16, "matroska", "sample rate not set\n")
        raise av.error.ArgumentError(22, "Invalid argument", "out", log)  # type: ignore[arg-type]  # as it really is

    monkeypatch.setattr("darkroom.pipelines.video.join.add_copies", refuse)
    with pytest.raises(Rejected, match=r"^a\.mkv: its sound or other streams .*\(sample rate not set\); remux"):
        join(*developed, tmp_path / "out.mkv")
    alone = develop(film(tmp_path / "b.mkv"), tmp_path)
    with pytest.raises(RuntimeError, match="the parts cannot be joined"):
        join(*alone, tmp_path / "out.mkv")


def test_a_result_in_mkv_names_the_sources_frame_rate(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", setup=lambda stream: setattr(stream.codec_context, "framerate", NTSC))
    with av.open(str(result_of(source, tmp_path))) as result:
        assert result.streams.video[0].average_rate == probe(source).frame_rate == NTSC


def test_a_real_film_becomes_a_whole_result(tmp_path: Path) -> None:
    source = installed_film("bikes.mp4")
    assert len(pictures(result_of(source, tmp_path, segment=90))) == 250


@pytest.mark.parametrize("name", ["sound.mp4", "late.mp4", "picture-late.mov", "offset.ts", "flash.flv"])
def test_sound_in_mp4_is_the_sources_sample_for_sample_and_in_place(name: str, tmp_path: Path) -> None:
    source = SHAPES[name](tmp_path / name)
    out = result_of(source, tmp_path)
    assert sound(out) == sound(source) != b""
    before, after = starts_s(source), starts_s(out)
    assert after[1] - after[0] == pytest.approx(before[1] - before[0], abs=0.0005)
    assert min(after) == pytest.approx(min(0, *before), abs=0.0005)


def test_sound_into_mkv_keeps_place_and_length(tmp_path: Path) -> None:
    out = result_of(BUNNY, tmp_path, segment=66, container="mkv")
    assert starts_s(out) == [0, 0]
    assert abs(len(sound(out)) - len(sound(BUNNY))) <= 1024 * 2 * 4  # one frame of stereo floats


def test_nothing_of_a_rich_mkv_is_lost(tmp_path: Path) -> None:
    source = rich_mkv(tmp_path / "rich.mkv")
    out = result_of(source, tmp_path)
    assert sound(out, 1) == sound(source, 1)
    with av.open(str(source)) as before, av.open(str(out)) as after:
        assert [stream.type for stream in after.streams] == [stream.type for stream in before.streams]
        for old, new in zip(before.streams, after.streams, strict=True):
            own = {"DURATION", "encoder", "ENCODER"}
            assert {k: v for k, v in old.metadata.items() if k not in own}.items() <= new.metadata.items()
            assert new.disposition == old.disposition
        assert after.chapters() == before.chapters()
        assert (after.metadata["title"], after.metadata["DIRECTOR"]) == ("Bunny", "Sacha")
        assert after.streams.attachments[0].data == before.streams.attachments[0].data
        for index in (3, 4):
            texts = [[bytes(p) for p in f.demux(f.streams[index]) if p.size] for f in (before, after)]
            assert texts[0] == texts[1]


def test_plain_subtitles_chapters_titles_and_free_tags_survive_the_way_to_mp4_and_back(tmp_path: Path) -> None:
    there = result_of(rich_mkv(tmp_path / "plain.mkv", styled=False), tmp_path, container="mp4")
    back = tmp_path / "back"
    back.mkdir()
    out = result_of(there, back, container="mkv")
    with av.open(str(out)) as result:
        assert [stream.type for stream in result.streams] == ["video", "audio", "audio", "subtitle"]
        assert [stream.metadata.get("title") for stream in result.streams] == [
            None,
            "Original",
            "Doublage",
            "Gehörlose",
        ]
        assert [stream.language for stream in result.streams][1:] == ["eng", "fra", "deu"]
        assert result.streams[3].disposition & (Disposition.hearing_impaired | Disposition.forced) == 192
        assert [chapter["metadata"]["title"] for chapter in result.chapters()] == ["One", "Two"]
        assert result.metadata["DIRECTOR"] == "Sacha"
        texts = [bytes(packet) for packet in result.demux(subtitles=0) if packet.size]
    assert texts == ["Ein Häschen".encode(), b"Zwei\nZeilen"]


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv"])
def test_rotation_pixel_shape_and_colours_are_kept(container: str, tmp_path: Path) -> None:
    def setup(stream: av.VideoStream) -> None:
        turned(90)(stream)
        tagged(primaries=1, transfer=13, matrix=1, full=2)(stream)
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)

    source = film(tmp_path / "a.mp4", setup=setup)
    before, after = probe(source), probe(result_of(source, tmp_path, container=container))
    for name in ("rotation", "display_matrix", "sar", "full_range", "colorspace", "primaries", "transfer"):
        assert getattr(after, name) == getattr(before, name)
    assert (after.rotation, after.sar) == (90, Fraction(16, 11))


def test_an_untagged_source_gives_a_tagged_result(tmp_path: Path) -> None:
    with av.open(str(result_of(film(tmp_path / "a.mp4"), tmp_path))) as result:
        frame = next(result.decode(video=0))
    assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (6, 6, 6, 1)


@pytest.mark.parametrize("wish", ["mp4", "mkv"])
def test_a_cover_is_kept(wish: str, tmp_path: Path) -> None:
    source = with_cover(tmp_path)
    out = result_of(source, tmp_path, container=wish)
    with av.open(str(source)) as before, av.open(str(out)) as after:
        covers = [
            bytes(next(packet for packet in file.demux(stream) if packet.size))
            for file in (before, after)
            for stream in file.streams.video
            if stream.disposition & Disposition.attached_pic
        ]
    assert len(covers) == 2
    assert covers[0] == covers[1]


def with_cover(folder: Path) -> Path:
    """An mkv film with an attached JPEG."""
    picture = film(folder / "cover.mkv", frames=1, codec="mjpeg", layout="yuvj420p", options={})
    with av.open(str(picture)) as container:
        data = bytes(next(packet for packet in container.demux(video=0) if packet.size))

    def attach(result: OutputContainer) -> "list[Packet[Any]]":
        result.add_attachment("cover.jpg", "image/jpeg", data)
        return []

    return film(folder / "covered.mkv", extras=attach)


@pytest.mark.parametrize("encoder", ["libx265", "libsvtav1"])
@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_other_codecs_join_as_well(encoder: str, container: str, tmp_path: Path) -> None:
    if encoder not in available_encoders():
        pytest.skip(f"{encoder} does not work here")
    preset = {"libx265": "ultrafast", "libsvtav1": "10"}[encoder]
    source = film(tmp_path / "a.mp4", sound=True)
    out = result_of(source, tmp_path, segment=10, encoder=encoder, preset=preset, container=container)
    assert len(set(pictures(out))) == FRAMES


def test_equal_parts_give_equal_bytes(tmp_path: Path) -> None:
    facts, settings, plan, parts = develop(rich_mkv(tmp_path / "a.mkv"), tmp_path)
    for name in ("one.mkv", "two.mkv"):
        join(facts, settings, plan, parts, tmp_path / name)
    assert (tmp_path / "one.mkv").read_bytes() == (tmp_path / "two.mkv").read_bytes()


def test_parts_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", times=[n * n for n in range(FRAMES)])
    facts, settings, plan, parts = develop(source, tmp_path)
    with pytest.raises(RuntimeError, match=r"frames: 23 instead of 30|the source has none"):
        join(facts, settings, plan, [*parts[:2], *parts[3:]], tmp_path / "gap.mp4")
    with pytest.raises(RuntimeError, match="another plan"):
        join(facts, settings, plan, [parts[1], parts[0], *parts[2:]], tmp_path / "mixed.mp4")
    other = replace(settings, options=(*settings.options, ("bf", "0"), ("preset", "slow")))
    with PartWriter(parts[0], facts, other, 0) as writer:
        for picture in read(facts, 0, 7):
            writer.write(picture.planes)
    with pytest.raises(RuntimeError, match="header differs"):
        join(facts, settings, plan, parts, tmp_path / "strangers.mp4")


def test_a_full_disk_and_a_lost_source_are_unavailable(tmp_path: Path) -> None:
    facts, settings, plan, parts = develop(film(tmp_path / "a.mp4", options=B_FRAMES), tmp_path)
    with pytest.raises(Unavailable, match="disk full"):
        join(facts, settings, plan, parts, Path("/dev/full"))
    facts.source.unlink()
    with pytest.raises(Unavailable, match=r"a\.mp4"):
        join(facts, settings, plan, parts, tmp_path / "out.mp4")
