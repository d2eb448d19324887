from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from clips.shapes import BUNNY, installed_film
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from darkroom.pipelines.upscale.flashvsr.cuts import (
    COLUMNS,
    FARTHEST,
    LEAST,
    MEMORY,
    REACH,
    ROWS,
    Thumbnail,
    cuts,
    find_cuts,
    near_a_keyframe,
    stretches,
    thumbnail,
)
from darkroom.pipelines.upscale.flashvsr.frames import boundaries, segments
from darkroom.pipelines.video.facts import VideoFacts
from darkroom.pipelines.video.probe import probe
from darkroom.pipelines.video.read import read

MEADOW = range(48, 90)  # of the bunny: a picture full of things, in motion


@pytest.fixture(scope="module")
def scenes() -> tuple[list[Thumbnail], list[Thumbnail]]:
    """The thumbnails of the bunny's meadow, and of the same upside down: two scenes of the same brightness."""
    facts = probe(BUNNY)
    meadow = [thumbnail(picture.planes[0]) for picture in read(facts, MEADOW.start, MEADOW.stop)]
    return meadow, [picture[::-1].copy() for picture in meadow]


def pasted(path: Path, pieces: Sequence[range], keyframes: int = 10) -> VideoFacts:
    """Write the given pictures of the bunny one piece after the other, every second piece upside down."""
    with av.open(str(BUNNY)) as bunny:
        pictures = [np.asarray(frame.to_ndarray(format="gray"), np.uint8) for frame in bunny.decode(video=0)]
    options = {"g": str(keyframes), "bf": "2", "sc_threshold": "0", "preset": "ultrafast", "crf": "28"}
    with av.open(str(path), "w") as result:
        stream = result.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        taken = [pictures[number][:: -1 if odd % 2 else 1] for odd, piece in enumerate(pieces) for number in piece]
        for position, picture in enumerate(taken):
            gray = np.ascontiguousarray(picture, np.uint8)
            frame = av.VideoFrame.from_ndarray(gray, format="gray")
            frame = frame.reformat(160, 90, format="yuv420p")
            frame.pts, frame.time_base = position, Fraction(1, 25)
            result.mux(stream.encode(frame))
        result.mux(stream.encode(None))
    return probe(path)


def test_a_scene_that_begins_near_a_boundary_is_found_in_the_file(tmp_path: Path) -> None:
    facts = pasted(tmp_path / "film.mp4", [range(50, 90), range(60, 120), range(50, 130)])
    assert find_cuts(facts, (45,)) == (40,)
    assert find_cuts(facts, (45, 109)) == (40, 100)
    assert find_cuts(facts, (70,)) == ()
    assert find_cuts(facts, (70,), reach=30) == (40, 100)


def test_segments_meet_where_scenes_do(tmp_path: Path) -> None:
    facts = pasted(tmp_path / "film.mp4", [range(50, 90), range(60, 126), range(50, 124)])
    near = boundaries(facts.frames, 60)
    met = segments(facts.frames, 60, find_cuts(facts, near, reach=15))
    assert [segment.start for segment in met] == [0, 61, 106]


def test_the_cuts_of_a_real_film_are_found_among_fast_motion() -> None:
    facts = probe(installed_film("bikes.mp4"))
    assert find_cuts(facts, range(1, facts.frames)) == (30, 76, 137, 187, 242)  # by eye; the encoder agrees


def test_one_shot_has_no_cut() -> None:
    assert find_cuts(probe(BUNNY), range(132)) == ()


def test_a_film_without_sure_keyframes_is_not_searched(tmp_path: Path) -> None:
    facts = pasted(tmp_path / "film.mp4", [range(50, 90), range(60, 120)])
    assert find_cuts(facts, (40,)) == (40,)
    assert find_cuts(replace(facts, keyframes=()), (40,)) == ()


def test_a_boundary_far_behind_its_keyframe_is_passed_over(tmp_path: Path) -> None:
    pieces = [range(50, 130)] * 4 + [range(60, 90)]
    facts = pasted(tmp_path / "film.mp4", pieces, keyframes=1000)
    assert facts.keyframes == (0,)
    assert find_cuts(facts, (80, 320 + REACH)) == (80,)


@pytest.mark.parametrize(("frame", "near"), [(9, False), (10, True), (10 + FARTHEST, True), (11 + FARTHEST, False)])
def test_a_frame_is_near_the_keyframe_before_it(frame: int, near: bool) -> None:
    assert near_a_keyframe((10, 400), frame) == near


def test_a_cut_is_where_the_new_scene_begins(scenes: tuple[list[Thumbnail], list[Thumbnail]]) -> None:
    one, other = scenes
    assert cuts(one[:20] + other[20:]) == [20]
    assert cuts(one[:20] + other[:1]) == [20]
    assert cuts(one[:1] + other[:20]) == [1]


@pytest.mark.parametrize("length", [1, 2, 3, MEMORY - 1])
def test_a_flash_is_no_cut(scenes: tuple[list[Thumbnail], list[Thumbnail]], length: int) -> None:
    one, _ = scenes
    white = [np.full_like(one[0], 235)] * length
    assert cuts(one[:20] + white + one[20 + length :]) == []


@pytest.mark.parametrize("length", [2, 4, 8])
def test_a_flash_that_fades_is_no_cut(scenes: tuple[list[Thumbnail], list[Thumbnail]], length: int) -> None:
    one, _ = scenes
    lit = [picture + (235 - picture) * (1 - step / length) for step, picture in enumerate(one[20 : 20 + length])]
    assert cuts(one[:20] + lit + one[20 + length :]) == []
    assert cuts((one[:20] + lit + one[20 + length :])[::-1]) == []


@pytest.mark.parametrize("length", [6, 12, 20])
def test_dissolves_and_fades_are_no_cuts(scenes: tuple[list[Thumbnail], list[Thumbnail]], length: int) -> None:
    one, other = scenes
    for end in (other, [np.full_like(one[0], 16)] * len(one)):
        mixed = [
            one[at] * np.float32(1 - min(1, max(0, at - 10) / length))
            + end[at] * np.float32(min(1, max(0, at - 10) / length))
            for at in range(len(one))
        ]
        assert cuts(mixed) == []
        assert cuts(mixed[::-1]) == []


@pytest.mark.parametrize("held", [1, 2, 3])
def test_fast_motion_is_no_cut_even_if_every_picture_is_shown_twice(held: int) -> None:
    wall = np.random.default_rng(1).integers(0, 255, (ROWS, 8 * COLUMNS)).astype(np.float32)
    pictures = [wall[:, 5 * at // held * held : 5 * at // held * held + COLUMNS] for at in range(40)]
    assert cuts(pictures) == []
    assert np.abs(pictures[0] - pictures[held]).mean() > LEAST


def test_scenes_hardly_different_are_one() -> None:
    dark = [np.full((ROWS, COLUMNS), 16, np.float32)] * 10
    assert cuts(dark + [picture + np.float32(LEAST - 1) for picture in dark]) == []
    assert cuts(dark + [picture + np.float32(LEAST + 1) for picture in dark]) == [10]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pictures_hold_no_cut(count: int) -> None:
    assert cuts([np.zeros((2, 2), np.float32)] * count) == []


@pytest.mark.parametrize("size", [(1080, 1920), (90, 160), (25, 33), (7, 5), (1, 1)])
def test_a_thumbnail_holds_the_means_of_boxes(size: tuple[int, int]) -> None:
    luma: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    found = thumbnail(luma)
    rows, columns = found.shape
    assert (rows, columns) == (min(ROWS, size[0]), min(COLUMNS, size[1]))
    box = luma[-(size[0] % rows) - size[0] // rows :, :][: size[0] // rows, : size[1] // columns]
    np.testing.assert_allclose(found[-1, 0], box.mean(), rtol=1e-5)


@given(st.lists(st.integers(0, 3000), max_size=20), st.integers(0, 60), st.integers(1, 3000))
def test_every_frame_within_reach_is_looked_at_once(edges: list[int], reach: int, frames: int) -> None:
    inside = [edge for edge in edges if edge < frames]
    found = list(stretches(inside, reach, frames))
    looked = [frame for start, stop in found for frame in range(start, stop)]
    assert looked == sorted(set(looked))
    wanted = {frame for edge in inside for frame in range(max(1, edge - reach), min(edge + reach + 1, frames))}
    assert wanted <= set(looked)
    assert all(later[0] - earlier[1] > 2 * MEMORY for earlier, later in pairwise(found))
