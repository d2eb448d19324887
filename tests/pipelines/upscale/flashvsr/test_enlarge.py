import gc
import logging
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from darkroom.kernels.color import YUV
from darkroom.kernels.device import Device, describe
from darkroom.pipelines.base import Segment, Site
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.learned import Learned
from darkroom.pipelines.upscale import pipeline
from darkroom.pipelines.upscale.flashvsr import enlarge, stream
from darkroom.pipelines.upscale.flashvsr.enlarge import Shelf, Streamed
from darkroom.pipelines.upscale.flashvsr.memory import Profile
from darkroom.pipelines.upscale.flashvsr.model import Chunk, FlashVSR, StreamState, step
from darkroom.pipelines.upscale.options import Options
from darkroom.pipelines.upscale.pictures import Planes
from darkroom.pipelines.upscale.pipeline import Upscale, process
from darkroom.pipelines.upscale.plan import UpscalePlan
from darkroom.pipelines.video.facts import VideoFacts
from darkroom.pipelines.video.probe import probe

SOURCE = YUV(layout="yuv444p", matrix="bt709", full_range=True)


@pytest.fixture
def upscale(models: Path, tmp_path: Path) -> Upscale:
    options = Options(model="flashvsr", scale=2, precision="fp32", preset="ultrafast", segment_frames=40)
    return Upscale(options, Site(models=models, learned=tmp_path / "learned.json"))


@pytest.fixture
def plan(upscale: Upscale, bunny: VideoFacts) -> UpscalePlan:
    return upscale.plan(bunny)


def gray(count: int) -> Iterator[Planes]:
    for level in range(count):
        yield np.full((4, 6), level, np.uint8), np.full((4, 6), 128, np.uint8), np.full((4, 6), 128, np.uint8)


def levels(shelf: Shelf, places: range) -> list[int]:
    return [int(picture[0, 0, 0]) for picture in shelf[places]]


@pytest.mark.parametrize("keep", [False, True])
def test_a_shelf_gives_pictures_by_place_and_the_last_again_past_the_end(keep: bool) -> None:
    shelf = Shelf(gray(11), SOURCE, "cpu", keep=keep)
    assert levels(shelf, range(5)) == [0, 1, 2, 3, 4]
    assert levels(shelf, range(5, 9)) == [5, 6, 7, 8]
    assert levels(shelf, range(9, 14)) == [9, 10, 10, 10, 10]
    assert levels(shelf, range(14, 16)) == [10, 10]


def test_a_shelf_that_keeps_all_gives_them_again() -> None:
    shelf = Shelf(gray(5), SOURCE, "cpu", keep=True)
    assert levels(shelf, range(5)) == levels(shelf, range(5)) == [0, 1, 2, 3, 4]


def test_a_shelf_takes_no_picture_before_it_is_asked_for() -> None:
    pictures = gray(11)
    shelf = Shelf(pictures, SOURCE, "cpu", keep=False)
    levels(shelf, range(3))
    assert int(next(pictures)[0][0, 0]) == 3


def test_a_later_segment_reads_its_lead_in_and_what_the_last_chunk_looks_at(
    upscale: Upscale, plan: UpscalePlan
) -> None:
    streamed = pipeline.enlarger(plan, upscale.options, upscale.site)
    first, second = plan.segments[:2]
    assert streamed.reads(first).start == 0
    assert streamed.reads(second).start == second.start - 29
    assert streamed.reads(second).stop >= second.stop + 4


def test_out_of_memory_it_steps_down_remembers_it_and_makes_the_same_frames(
    upscale: Upscale,
    plan: UpscalePlan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A device on which only one latent at a time can be decoded."""

    def tight(model: FlashVSR, chunk: Chunk, state: StreamState) -> Any:
        if model.decoder_at_once != 1:
            raise torch.OutOfMemoryError("the fake limit")
        return step(model, chunk, state)

    monkeypatch.setattr(stream, "step", tight)
    short = replace(plan, segments=(Segment(0, 0, 5),))
    streamed = pipeline.enlarger(short, upscale.options, upscale.site)
    with caplog.at_level(logging.WARNING):
        process(short, streamed, short.segments[0], None, tmp_path / "0.mp4", lambda done: None)
    assert probe(tmp_path / "0.mp4").frames == 5
    assert "out of memory; from now on" in caplog.text
    again = pipeline.enlarger(short, upscale.options, upscale.site)
    assert isinstance(again, Streamed)
    assert again.profile.decoder_at_once == 1
    assert upscale.report(short)["memory"] == "whole frames, latents decoded one by one"


def test_memory_of_the_host_that_runs_out_steps_down_as_well(
    upscale: Upscale, plan: UpscalePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tight(model: FlashVSR, chunk: Chunk, state: StreamState) -> Any:
        if model.decoder_at_once is None:
            raise RuntimeError("CUDA error: out of memory")  # so a failure to pin memory is told
        return step(model, chunk, state)

    monkeypatch.setattr(stream, "step", tight)
    short = replace(plan, segments=(Segment(0, 0, 5),))
    streamed = pipeline.enlarger(short, upscale.options, upscale.site)
    process(short, streamed, short.segments[0], None, tmp_path / "0.mp4", lambda done: None)
    assert probe(tmp_path / "0.mp4").frames == 5


def test_a_fault_that_is_not_of_memory_is_not_tried_again(
    upscale: Upscale, plan: UpscalePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: FlashVSR, chunk: Chunk, state: StreamState) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(stream, "step", broken)
    streamed = pipeline.enlarger(plan, upscale.options, upscale.site)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        process(plan, streamed, plan.segments[0], None, tmp_path / "0.mp4", lambda done: None)


def test_when_every_way_is_too_large_the_numbers_are_told(
    upscale: Upscale,
    plan: UpscalePlan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(model: FlashVSR, chunk: Chunk, state: StreamState) -> Any:
        raise torch.OutOfMemoryError("the fake limit")

    monkeypatch.setattr(stream, "step", full)
    streamed = pipeline.enlarger(plan, upscale.options, upscale.site)
    with pytest.raises(Unavailable, match=r"bunny\.mp4: out of memory: the fake limit"):
        process(plan, streamed, plan.segments[0], None, tmp_path / "0.mp4", lambda done: None)
    assert "GiB of device memory at least" in caplog.text


def test_a_device_too_small_by_estimate_is_refused_before_any_work(
    upscale: Upscale, plan: UpscalePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(describe("cpu"), free_bytes=100 << 20)
    monkeypatch.setattr(enlarge, "describe", lambda device: small)
    with pytest.raises(Unavailable, match=r"0\.1 GiB may be used"):
        pipeline.enlarger(plan, upscale.options, upscale.site)


def test_a_transformer_that_moves_to_host_memory_leaves_nothing_of_itself_behind(
    upscale: Upscale, plan: UpscalePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device that counts as a GPU the last rung but the tiles moves the blocks: they are loaded anew."""
    rungs = (Profile(), Profile(unload_dit=True))
    monkeypatch.setattr(enlarge, "ladder", lambda *arguments, **options: rungs)
    streamed = pipeline.enlarger(plan, upscale.options, upscale.site)
    assert isinstance(streamed, Streamed)
    blocks = weakref.ref(streamed._model.dit.blocks[0].up.weight)
    assert streamed.lighten()
    assert streamed.lighten()
    gc.collect()
    assert streamed.profile == rungs[1]
    assert blocks() is None
    assert not streamed.lighten()


def test_a_rung_this_version_does_not_know_is_not_taken(upscale: Upscale, plan: UpscalePlan) -> None:
    device: Device = describe("cpu")
    Learned(upscale.site.learned).keep_rung(device.name, 320, 180, 2, {"from": "the future"})
    streamed = pipeline.enlarger(plan, upscale.options, upscale.site)
    assert isinstance(streamed, Streamed)
    assert streamed.profile == Profile()
