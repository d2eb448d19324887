import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from darkroom.kernels.color import to_rgb
from darkroom.kernels.resize import resize
from darkroom.pipelines.base import Segment
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.upscale.enlarge import frame_by_frame, load, passed
from darkroom.pipelines.upscale.options import Options
from darkroom.pipelines.upscale.pictures import Planes, colors, fitted
from darkroom.pipelines.upscale.plan import Machine, UpscalePlan, make_plan
from darkroom.pipelines.video.facts import VideoFacts
from darkroom.pipelines.video.read import read

SCRATCH = Path("nothing is written there")
MACHINE = Machine(device="cpu", precision="fp32", ncnn=False, encoders=("libx264",))


def plan(facts: VideoFacts, **options: Any) -> UpscalePlan:
    return make_plan(Options(**{"model": "photo"} | options), facts, MACHINE)


def run(plan: UpscalePlan, pictures: list[Planes]) -> list[Planes]:
    return list(frame_by_frame(plan, "cpu")(Segment(0, 0, len(pictures)), pictures, SCRATCH))


@pytest.fixture(scope="module")
def frame(bunny: VideoFacts) -> Tensor:
    """A real frame, halved twice as a camera would have: what the compression left is fine detail again."""
    (picture,) = read(bunny, 60, 61)
    y, u, v = (torch.from_numpy(plane) for plane in picture.planes)
    return to_rgb((y, u, v), colors(plan(bunny))[0])


def psnr(a: Tensor, b: Tensor) -> float:
    inner = (..., slice(8, -8), slice(8, -8))
    return float(-10 * torch.log10((a[inner] - b[inner]).square().mean()))


@pytest.mark.parametrize("model", ["photo", "fast"])
def test_a_real_frame_made_small_is_restored_better_than_by_bicubic(model: str, frame: Tensor) -> None:
    small = resize(frame, frame.shape[-2] // 2, frame.shape[-1] // 2)
    (net,) = load(model, "torch", "fp32", "cpu", (2,), 1)
    bicubic = resize(small, *frame.shape[-2:])
    assert psnr(net(small), frame) > psnr(bicubic, frame) + 0.5


def test_pictures_come_out_as_many_in_order_and_in_the_planned_size(bunny: VideoFacts) -> None:
    odd = plan(replace(bunny, width=33, height=19), model="fast", scale=3)
    pictures = [
        (np.full((19, 33), level, np.uint8), np.full((10, 17), 128, np.uint8), np.full((10, 17), 128, np.uint8))
        for level in (40, 120, 200)
    ]
    results = run(odd, pictures)
    assert [plane.shape for plane in results[0]] == [(58, 100), (29, 50), (29, 50)]
    assert [int(np.median(y)) for y, _, _ in results] == pytest.approx([40, 120, 200], abs=2)
    assert all(np.array_equal(y[:, -1], y[:, -2]) and np.array_equal(y[-1], y[-2]) for y, _, _ in results)


def test_colours_stay_what_they_were(bunny: VideoFacts) -> None:
    """The mean colour of a real picture: a wrong matrix, range or siting moves it by several levels."""
    (picture,) = read(bunny, 30, 31)
    ((y, u, v),) = run(plan(bunny, model="fast"), [picture.planes])
    for large, small in zip((y, u, v), picture.planes, strict=True):
        assert abs(large.mean() - small.mean()) < 0.6
        # the mean over each block of pixels is the source's pixel, but for the sharpening
        blocks = large.reshape(small.shape[0], 2, small.shape[1], 2).mean((1, 3))
        assert np.abs(blocks - small).mean() < 2.5


def test_three_times_is_four_times_reduced(bunny: VideoFacts, frame: Tensor) -> None:
    three, four = (plan(bunny, model="anime", scale=scale) for scale in (3, 4))
    nets = load("anime", "torch", "fp32", "cpu", (4,), 1)
    corner = frame[..., :20, :24]
    sizes = replace(three.sizes, width=72, height=60, padded_width=72, padded_height=60)
    full = replace(four.sizes, width=96, height=80, padded_width=96, padded_height=80)
    assert torch.equal(fitted(passed(nets, corner), sizes), resize(fitted(passed(nets, corner), full), 60, 72))


def test_a_model_is_loaded_once_and_its_choice_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    load.cache_clear()
    monkeypatch.setattr("darkroom.pipelines.upscale.enlarge.find_spec", lambda name: object())
    with caplog.at_level(logging.INFO):
        first = load("fast", "torch", "fp32", "cpu", (2,), 1)
        again = load("fast", "torch", "fp32", "cpu", (2,), 1)
    assert first is again
    assert [record.getMessage() for record in caplog.records] == ["model fast: torch in fp32 on cpu, 1 threads"]


def test_what_would_be_faster_is_said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.pipelines.upscale.enlarge.find_spec", lambda name: None)
    load.cache_clear()
    with caplog.at_level(logging.INFO):
        load("photo", "torch", "bf16", "cpu", (2,), 1)
        load("fast", "torch", "bf16", "cpu", (2,), 1)
    slow, quick = (record.getMessage() for record in caplog.records)
    assert slow.endswith("faster with ncnn: pip install 'darkroomd[ncnn]'")
    assert "faster" not in quick


def test_only_one_model_stays_warm() -> None:
    first = load("fast", "torch", "fp32", "cpu", (2,), 1)
    load("anime", "torch", "fp32", "cpu", (2,), 1)
    assert load("fast", "torch", "fp32", "cpu", (2,), 1) is not first
    assert load.cache_info().currsize == 1


def test_an_ncnn_that_is_gone_since_the_plan_was_made_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    monkeypatch.delitem(sys.modules, "darkroom.pipelines.upscale.ncnn", raising=False)
    monkeypatch.delattr("darkroom.pipelines.upscale.ncnn", raising=False)
    with pytest.raises(Unavailable, match=r"pip install 'darkroomd\[ncnn\]'"):
        load("photo", "ncnn", "fp32", "cpu", (2,), 1)
