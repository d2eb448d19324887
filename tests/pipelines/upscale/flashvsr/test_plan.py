from dataclasses import replace

import pytest

from darkroom.pipelines.base import Segment
from darkroom.pipelines.upscale.flashvsr.architecture import OFFICIAL
from darkroom.pipelines.upscale.flashvsr.options import FlashVSROptions, MemoryOptions
from darkroom.pipelines.upscale.flashvsr.plan import cut_into, edges, flash_plan, seconds_per_frame
from darkroom.pipelines.video.facts import VideoFacts


def test_settings_come_from_the_preset_and_from_what_is_set(bunny: VideoFacts) -> None:
    options = FlashVSROptions(preset="fast", local_range=11, seed=5)
    parts = (Segment(0, 0, bunny.frames),)
    plan = flash_plan(options, MemoryOptions(), bunny, version="1", architecture=OFFICIAL, scale=3, parts=parts)
    assert (plan.sparse_ratio, plan.local_range, plan.seed) == (1.5, 11, 5)
    assert (plan.height, plan.width) == (540, 960)
    assert plan.tiles is None


def test_tiles_that_are_asked_for_belong_to_the_plan(bunny: VideoFacts) -> None:
    memory = MemoryOptions(tiled_dit=True, tile_size=256)
    parts = (Segment(0, 0, bunny.frames),)
    plan = flash_plan(FlashVSROptions(), memory, bunny, version="1.1", architecture=OFFICIAL, scale=4, parts=parts)
    assert plan.tiles == (256, 64)


def test_segments_meet_where_a_scene_begins_and_say_so(bunny: VideoFacts) -> None:
    film = replace(bunny, cuts=(57, 90))
    parts = cut_into(film, 60)
    assert [part.start for part in parts] == [0, 57]
    plan = flash_plan(
        FlashVSROptions(), MemoryOptions(), film, version="1.1", architecture=OFFICIAL, scale=4, parts=parts
    )
    assert plan.cuts == (57,)
    assert edges(film, 60) == (69,)


def test_the_work_in_a_frame_grows_with_its_pixels_and_shrinks_with_the_pace(bunny: VideoFacts) -> None:
    film = replace(bunny, height=192, width=352)
    slow = seconds_per_frame(FlashVSROptions(), OFFICIAL, film, 4, 100.0)
    assert slow == pytest.approx(66.33 / 8 / 100 / 0.4, rel=0.001)
    assert seconds_per_frame(FlashVSROptions(), OFFICIAL, film, 4, 200.0) == pytest.approx(slow / 2)
    assert seconds_per_frame(FlashVSROptions(), OFFICIAL, film, 2, 100.0) < slow / 3
