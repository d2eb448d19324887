from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from hashlib import md5
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from clips.shapes import B_FRAMES, BUNNY, FRAMES, damage, film, installed_film, without_offsets

from darkroom.pipelines.errors import Rejected, Unavailable
from darkroom.pipelines.video.facts import VideoFacts
from darkroom.pipelines.video.probe import probe
from darkroom.pipelines.video.read import read

SHAPES: dict[str, Callable[[Path], Path]] = {
    "b-frames.mp4": film,
    "open-gop.mkv": lambda path: film(path, options={**B_FRAMES, "x264-params": "open-gop=1:b-adapt=0"}),
    "mpeg4.avi": lambda path: film(path, codec="mpeg4", options={"bf": "2", "g": "12"}),
    "h264.avi": film,
    "h264.ts": lambda path: film(path, sound=True, sound_late_s=Fraction(1, 5)),
    "mpeg2.ts": lambda path: film(path, codec="mpeg2video", options={"bf": "2", "g": "10"}),
    "mpeg2.mpg": lambda path: film(path, codec="mpeg2video", options={"bf": "2", "g": "10"}),
    "hevc.mp4": lambda path: film(path, codec="libx265", options={"x265-params": "log-level=none:keyint=10"}),
    "vp9.webm": lambda path: film(path, codec="libvpx-vp9", options={"cpu-used": "8", "g": "10"}),
    "odd.mkv": lambda path: film(path, codec="ffv1", options={}, size=(161, 91)),
    "422.mov": lambda path: film(path, layout="yuv422p"),
    "444-odd.mp4": lambda path: film(path, layout="yuv444p", size=(161, 91)),
    "full.avi": lambda path: film(path, codec="mjpeg", layout="yuvj420p", options={}),
    "gray.mkv": lambda path: film(path, codec="ffv1", layout="gray", options={}),
    "vfr.mkv": lambda path: film(path, times=[n * n for n in range(FRAMES)], clock=Fraction(1, 1000)),
    "flash.flv": lambda path: film(path, sound=True),
    "lying.mp4": without_offsets,
    "trimmed.mp4": lambda path: film(path, frames=FRAMES + 5, times=range(-5, FRAMES), sound=True),
    "refresh.mp4": lambda path: film(path, options={"g": "10", "x264-params": "intra-refresh=1"}),
}


def digests(facts: VideoFacts, start: int, stop: int) -> list[str]:
    return [md5(b"".join(map(bytes, picture.planes))).hexdigest() for picture in read(facts, start, stop)]


def linear(path: Path) -> list[str]:
    """Every picture as one plain decode gives it; the planes cut out by numpy, not by the code under test."""
    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            planes = [
                np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
                for plane in frame.planes
            ]
            if frame.format.name == "gray":
                planes += [np.full((45, 80), 128, np.uint8)] * 2
            found.append(md5(b"".join(plane.tobytes() for plane in planes)).hexdigest())
    return found


@pytest.mark.parametrize("name", SHAPES)
def test_segments_are_the_pictures_of_one_linear_decode(name: str, tmp_path: Path) -> None:
    path = SHAPES[name](tmp_path / name)
    facts, wanted = probe(path), linear(path)
    assert facts.frames == len(wanted) == FRAMES
    assert len(set(wanted)) >= FRAMES - 1  # else a shifted picture would go unseen; the film itself repeats one
    for length in (7, 10):
        for start in range(0, FRAMES, length):
            stop = min(start + length, FRAMES)
            assert digests(facts, start, stop) == wanted[start:stop]


@pytest.mark.parametrize("name", ["bikes.mp4", "carphone_distorted.mp4"])
def test_segments_of_real_films_are_the_pictures_of_one_linear_decode(name: str) -> None:
    path = installed_film(name)
    facts, wanted = probe(path), linear(path)
    assert facts.frames == len(wanted)
    for start, stop in ((0, 9), (29, 33), (75, 78), (111, 120)):
        assert digests(facts, start, stop) == wanted[start:stop]


def test_a_later_segment_does_not_decode_from_the_beginning() -> None:
    facts = probe(BUNNY)
    picture = next(read(facts, 100, 132))
    beginning = replace(facts, keyframes=())  # no entry: the long way
    assert np.array_equal(picture.planes[0], next(read(beginning, 100, 132)).planes[0])
    assert facts.keyframes[-1] == 96


def test_a_picture_that_cannot_be_decoded_is_the_one_before_and_says_so(tmp_path: Path) -> None:
    facts = probe(damage(film(tmp_path / "a.mp4", options={"g": "1"}), 10))
    pictures = list(read(facts, 0, FRAMES))
    assert [position for position, picture in enumerate(pictures) if picture.repeated] == [10]
    assert np.array_equal(pictures[10].planes[0], pictures[9].planes[0])
    later = list(read(facts, 10, 12))
    assert [picture.repeated for picture in later] == [True, False]
    assert np.array_equal(later[0].planes[0], pictures[9].planes[0])


def test_damage_at_the_end_costs_no_other_picture(tmp_path: Path) -> None:
    facts = probe(damage(film(tmp_path / "a.mp4", options={"g": "1"}), FRAMES - 3))
    repeated = [position for position, picture in enumerate(read(facts, 0, FRAMES)) if picture.repeated]
    assert repeated == [FRAMES - 3]


def test_lost_pictures_are_filled_in_where_frames_are_counted(tmp_path: Path) -> None:
    path = film(tmp_path / "a.avi", codec="mjpeg", layout="yuvj420p", options={})
    facts = probe(path)
    damage(damage(path, 5), FRAMES - 1)
    pictures = list(read(facts, 0, FRAMES))
    assert len(pictures) == FRAMES
    assert [position for position, picture in enumerate(pictures) if picture.repeated] == [5, FRAMES - 1]


def test_a_change_of_size_midway_is_rejected(tmp_path: Path) -> None:
    small, large = film(tmp_path / "a.ts", frames=10), film(tmp_path / "b.ts", frames=10, size=(320, 180))
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with pytest.raises(Rejected, match="changes from 160x90"):
        list(read(probe(both), 0, 20))


def test_a_source_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    facts = probe(path)
    path.unlink()
    with pytest.raises(Unavailable):
        next(read(facts, 0, 5))


def test_reading_may_stop_early() -> None:
    assert len(list(islice(read(probe(BUNNY), 0, 132), 3))) == 3
