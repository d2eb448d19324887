import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.stream import Disposition
from clips.shapes import B_FRAMES, BUNNY, FRAMES, film, installed_film, rich_mkv, tagged, turned, without_offsets

from darkroom.pipelines.errors import Rejected, Unavailable
from darkroom.pipelines.video.probe import probe


def test_probe_tells_what_the_clip_is() -> None:
    facts = probe(BUNNY)
    assert (facts.width, facts.height, facts.sar, facts.frame_rate) == (320, 180, Fraction(1), Fraction(25))
    assert (facts.frames, facts.duration_s, facts.pixel_format, facts.matrix) == (132, 5.28, "yuv420p", "bt601")
    assert facts.exact_times
    assert facts.keyframes == (0, 48, 96)
    assert [(stream.kind, stream.codec) for stream in facts.streams] == [("audio", "aac")]
    assert facts.size_bytes == BUNNY.stat().st_size


def test_frame_times_of_a_variable_rate_are_kept(tmp_path: Path) -> None:
    times = [0, 40, 41, 120, 200, 203, *(300 + 37 * n + n % 3 for n in range(24))]
    assert probe(film(tmp_path / "vfr.mkv", times=times, clock=Fraction(1, 1000))).pts == tuple(times)


def test_streams_of_a_rich_file_are_listed(tmp_path: Path) -> None:
    facts = probe(rich_mkv(tmp_path / "rich.mkv"))
    assert [stream.kind for stream in facts.streams] == ["audio", "audio", "subtitle", "subtitle", "attachment"]
    assert [stream.language for stream in facts.streams] == ["eng", "fra", "deu", None, None]
    assert facts.streams[2].disposition == Disposition.hearing_impaired | Disposition.forced
    assert facts.chapters == 2
    assert dict(facts.tags)["DIRECTOR"] == "Sacha"


def test_rotation_and_pixel_shape_are_read(tmp_path: Path) -> None:
    assert probe(film(tmp_path / "a.mp4", setup=turned(90))).rotation == 90
    assert probe(film(tmp_path / "b.mov", setup=turned(270))).rotation == 270
    assert probe(installed_film("carphone_pristine.mp4")).sar == Fraction(128, 117)


def test_colour_tags_and_range_are_read(tmp_path: Path) -> None:
    facts = probe(film(tmp_path / "a.mp4", setup=tagged(primaries=1, transfer=1, matrix=1, full=2)))
    assert (facts.matrix, facts.primaries, facts.transfer, facts.full_range) == ("bt709", 1, 1, True)


def test_a_broadcast_begins_at_its_first_sound_or_picture(tmp_path: Path) -> None:
    facts = probe(film(tmp_path / "a.ts", sound=True, sound_late_s=Fraction(1, 5)))
    assert facts.origin == facts.pts[0] > 0


def test_a_broadcast_whose_clock_overflows_begins_at_its_first_picture(tmp_path: Path) -> None:
    overflow = 2**33 - 20 * 3600  # 20 frames before MPEG-TS's clock starts again, read as 20 frames below zero
    times = range(overflow, overflow + FRAMES * 3600, 3600)
    facts = probe(film(tmp_path / "a.ts", clock=Fraction(1, 90_000), times=times))
    assert facts.origin == facts.pts[0] < 0


def test_avi_times_are_not_trusted_for_seeking(tmp_path: Path) -> None:
    facts = probe(film(tmp_path / "a.avi", codec="mpeg4", options={"bf": "2", "g": "12"}))
    assert (facts.frames, facts.exact_times, facts.keyframes) == (FRAMES, False, ())


def test_times_that_contradict_the_decoder_are_not_trusted(tmp_path: Path) -> None:
    facts = probe(without_offsets(tmp_path / "a.mp4"))
    assert (facts.exact_times, facts.keyframes, facts.frames) == (False, (), FRAMES)


def test_pictures_hidden_by_an_edit_list_do_not_count(tmp_path: Path) -> None:
    facts = probe(film(tmp_path / "a.mp4", times=range(-5, FRAMES - 5)))
    assert (facts.frames, facts.pts[0]) == (FRAMES - 5, 0)


def test_open_gops_offer_no_entry(tmp_path: Path) -> None:
    options = {**B_FRAMES, "x264-params": "open-gop=1:b-adapt=0"}
    assert probe(film(tmp_path / "a.mkv", options=options)).keyframes == (0,)


MAKERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "empty": ("empty", lambda path: path.write_bytes(b"")),
    "one byte": ("not a video file", lambda path: path.write_bytes(b"x")),
    "text": ("not a video file", lambda path: path.write_text("This is not a film.\n" * 100)),
    "a hole of a terabyte": ("bytes were never written", lambda path: os.truncate(film(path), 2**40)),
    "pipe": ("not a regular file", os.mkfifo),
    "folder": ("not a regular file", lambda path: path.mkdir()),
    "only sound": ("no video stream", lambda path: _only_sound(path)),
    "only a cover": ("only cover art", lambda path: _only_cover(path)),
    "too small": ("8x8 pixels", lambda path: film(path, codec="ffv1", options={}, size=(8, 8))),
    "a pause of days": ("clock is damaged", lambda path: film(path, frames=3, times=(0, 1, 25 * 90_000))),
    "interlaced": ("interlaced", lambda path: film(path, size=(160, 96), options={"x264-params": "tff=1"})),
    "PQ": (r"HDR \(PQ\)", lambda path: film(path, setup=tagged(primaries=9, transfer=16, matrix=9))),
    "HLG": (r"HDR \(HLG\)", lambda path: film(path, setup=tagged(primaries=9, transfer=18, matrix=9))),
    "10 bit": ("10 bits", lambda path: film(path, layout="yuv420p10le")),
    "alpha": ("transparency", lambda path: film(path, codec="ffv1", options={}, layout="yuva420p")),
    "RGB": ("pixel format", lambda path: film(path, codec="ffv1", options={}, layout="bgr0")),
    "4:1:1": ("yuv411p", lambda path: film(path, codec="ffv1", options={}, layout="yuv411p")),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_file_that_cannot_be_processed_is_rejected_in_one_clear_line(name: str, tmp_path: Path) -> None:
    reason, make = MAKERS[name]
    path = tmp_path / "film.mkv"
    make(path)
    with pytest.raises(Rejected, match=reason) as caught:
        probe(path)
    assert str(caught.value).startswith("film.mkv: ")
    assert "\n" not in str(caught.value)


def test_a_size_that_the_header_claims_is_refused_before_a_picture_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darkroom.pipelines.video.probe.MOST_PIXELS", 160 * 90 - 1)
    monkeypatch.setattr("darkroom.pipelines.video.probe.read_tracks", None)
    with pytest.raises(Rejected, match="160x90 pixels; from 16 to 16384 a side"):
        probe(film(tmp_path / "a.mp4"))


def test_a_rate_that_no_camera_has_is_replaced_by_a_usual_one(tmp_path: Path) -> None:
    facts = probe(film(tmp_path / "a.mkv", frames=2, times=(0, 25 * 80_000)))
    assert facts.frame_rate == 25 and facts.pts[1] == 80_000_000


def test_a_missing_file_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        probe(tmp_path / "gone.mkv")


def test_two_recordings_pasted_together_are_rejected(tmp_path: Path) -> None:
    one = film(tmp_path / "one.ts", frames=75, options={"g": "25"}).read_bytes()
    path = tmp_path / "two.ts"
    path.write_bytes(one + one)
    with pytest.raises(Rejected, match="jumps back"):
        probe(path)


def _only_sound(path: Path) -> None:
    with av.open(str(BUNNY)) as bunny, av.open(str(path), "w") as result:
        track = result.add_stream_from_template(bunny.streams.audio[0])
        for packet in bunny.demux(audio=0):
            if packet.size:
                packet.stream = track
                result.mux(packet)


def _only_cover(path: Path) -> None:
    film(path.with_suffix(".jpg.mkv"), frames=1, codec="mjpeg", layout="yuvj420p", options={})
    with av.open(str(path.with_suffix(".jpg.mkv"))) as picture:
        data = bytes(next(packet for packet in picture.demux(video=0) if packet.size))
    with av.open(str(path), "w") as result, av.open(str(BUNNY)) as bunny:
        track = result.add_stream_from_template(bunny.streams.audio[0])
        result.add_attachment("cover.jpg", "image/jpeg", data)
        packet = next(packet for packet in bunny.demux(audio=0) if packet.size)
        packet.stream = track
        result.mux(packet)
