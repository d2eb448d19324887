from itertools import pairwise
from pathlib import Path

import av
from tables import bench

cutting = bench("cutting")


def times(film: Path) -> list[float]:
    with av.open(str(film)) as container:
        return [frame.time or 0.0 for frame in container.decode(video=0)]


def sound_packets(film: Path) -> int:
    with av.open(str(film)) as container:
        return sum(bool(packet.size) for packet in container.demux(audio=0))


def test_a_cut_has_the_frames_and_the_size_asked_for_and_sound(tmp_path: Path) -> None:
    film = cutting.cut(tmp_path / "film.mp4", 25, skip=10, size=(96, 54))
    assert len(times(film)) == 25
    assert sound_packets(film) > 0
    with av.open(str(film)) as container:
        picture = container.streams.video[0]
        assert (picture.width, picture.height) == (96, 54)


def test_every_tenth_picture_of_an_uneven_cut_is_shown_twice_as_long(tmp_path: Path) -> None:
    shown = times(cutting.cut(tmp_path / "film.mp4", 21, size=(96, 54), uneven=True))
    lengths = [round(25 * (after - before)) for before, after in pairwise(shown)]
    assert lengths == ([1] * 9 + [2]) * 2


def test_a_looped_film_has_every_frame_as_often_and_times_that_only_grow(tmp_path: Path) -> None:
    clip = cutting.cut(tmp_path / "clip.mp4", 25, size=(96, 54))
    film = cutting.looped(tmp_path / "film.mp4", clip, 3)
    assert len(times(film)) == 75
    assert times(film) == sorted(set(times(film)))
    assert sound_packets(film) == 3 * sound_packets(clip)
