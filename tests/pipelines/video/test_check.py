from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from clips.shapes import BUNNY, FRAMES, film

from darkroom.pipelines.video.check import check
from darkroom.pipelines.video.containers import choose_container
from darkroom.pipelines.video.encode import choose_encoder
from darkroom.pipelines.video.options import VideoOptions
from darkroom.pipelines.video.probe import probe


def test_a_file_agrees_with_its_own_facts_and_with_no_others() -> None:
    facts = probe(BUNNY)
    settings, _ = choose_encoder(VideoOptions(), facts, ("libx264",), 320, 180)
    container = choose_container(VideoOptions(), facts, settings)
    check(facts, settings, container, BUNNY)
    moved = (*facts.pts[:60], facts.pts[60] + 1, *facts.pts[61:])
    for wrong, reason in (
        (replace(facts, pts=facts.pts[:-1]), "frames: 132 instead of 131"),
        (replace(facts, pts=moved), "frame 60 is at 2.400000 s instead of 2.400078 s"),
        (replace(facts, last_duration=5120), "ends at 5.280 s instead of 5.640 s"),
        (replace(facts, chapters=3), "chapters: 0 instead of 3"),
    ):
        with pytest.raises(RuntimeError, match=reason):
            check(wrong, settings, container, BUNNY)
    with pytest.raises(RuntimeError, match="streams: 2 instead of 1"):
        check(facts, settings, replace(container, streams=()), BUNNY)
    with pytest.raises(RuntimeError, match="picture size"):
        check(facts, replace(settings, width=640), container, BUNNY)


def test_mkv_may_round_to_a_millisecond(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", clock=Fraction(1001, 30000))
    rounded = film(tmp_path / "a.mkv", clock=Fraction(1001, 30000))
    facts = probe(source)
    settings, _ = choose_encoder(VideoOptions(), facts, ("libx264",), 160, 90)
    check(facts, settings, choose_container(VideoOptions(container="mkv"), facts, settings), rounded)
    assert facts.frames == FRAMES


def test_the_end_is_told_where_the_last_frame_shown_is_the_last_decoded(tmp_path: Path) -> None:
    for times, options, told in (
        ((0, 1, 2, 3, 9), {"bf": "0"}, True),
        ((0, 4, 5, 6, 7), {"bf": "3", "b-adapt": "0", "b_strategy": "0"}, False),
    ):
        source = film(tmp_path / f"{told}.mp4", frames=5, times=times, options=options)
        facts = replace(probe(source), last_duration=50_000)
        settings, _ = choose_encoder(VideoOptions(), facts, ("libx264",), 160, 90)
        container = choose_container(VideoOptions(), facts, settings)
        if told:
            with pytest.raises(RuntimeError, match="the video ends at"):
                check(facts, settings, container, source)
        else:
            check(facts, settings, container, source)
