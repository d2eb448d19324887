from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.pipelines.base import fingerprint
from darkroom.pipelines.errors import Rejected, Unavailable
from darkroom.pipelines.upscale.flashvsr.architecture import OFFICIAL
from darkroom.pipelines.upscale.flashvsr.files import Weights
from darkroom.pipelines.upscale.models import MODELS
from darkroom.pipelines.upscale.options import Options
from darkroom.pipelines.upscale.plan import (
    SHORTEST_SEGMENT,
    Flash,
    Machine,
    UpscalePlan,
    choose_backend,
    make_plan,
    passes,
    wanted_cuts,
)
from darkroom.pipelines.video.facts import VideoFacts

PLAIN = Machine(device="cpu", precision="bf16", ncnn=False, encoders=("libx264",))


def plan(facts: VideoFacts, machine: Machine = PLAIN, **options: Any) -> UpscalePlan:
    return make_plan(Options(**options), facts, machine)


def film(facts: VideoFacts, frames: int, **changes: Any) -> VideoFacts:
    return replace(facts, pts=tuple(range(frames)), **changes)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ((2,), 640, 360)),
        ({"scale": 2}, ((2,), 640, 360)),
        ({"scale": 3}, ((2, 2), 960, 540)),
        ({"scale": 4}, ((2, 2), 1280, 720)),
        ({"scale": 2, "model": "anime"}, ((2,), 640, 360)),
        ({"scale": 3, "model": "anime"}, ((4,), 960, 540)),
        ({"scale": 4, "model": "anime"}, ((4,), 1280, 720)),
        ({"target_height": 240}, ((2,), 426, 240)),
        ({"target_height": 720, "model": "fast"}, ((2, 2), 1280, 720)),
        ({"target_height": 1080, "model": "fast"}, ((2, 2, 2), 1920, 1080)),
        ({"target_height": 1080, "model": "anime"}, ((4, 2), 1920, 1080)),
    ],
)
def test_sizes_and_passes(bunny: VideoFacts, options: dict[str, Any], expected: tuple[Any, ...]) -> None:
    sizes = plan(bunny, **options).sizes
    assert (sizes.passes, sizes.width, sizes.height) == expected


def test_target_height_counts_the_lines_a_viewer_sees(bunny: VideoFacts) -> None:
    sizes = plan(replace(bunny, rotation=90), target_height=640).sizes
    assert (sizes.width, sizes.height) == (640, 360)


@given(numerator=st.integers(1, 64), denominator=st.integers(1, 8), name=st.sampled_from(sorted(MODELS)))
def test_passes_are_sufficient_and_none_is_one_too_many(numerator: int, denominator: int, name: str) -> None:
    factor, scales = Fraction(numerator, denominator), MODELS[name].scales
    taken = passes(factor, scales)
    assert prod(taken) >= factor
    assert not taken or prod(taken[:-1]) < factor


def test_a_film_that_is_high_enough_is_rejected_with_a_remedy(bunny: VideoFacts) -> None:
    with pytest.raises(Rejected, match=r"bunny\.mp4: has 180 lines, 180 .*nothing to do; raise target_height"):
        plan(bunny, target_height=180)


def test_more_than_eight_times_is_rejected_with_the_limit(bunny: VideoFacts) -> None:
    with pytest.raises(Rejected, match="lower target_height to 1440"):
        plan(bunny, target_height=2160)


def test_odd_results_are_padded_never_cut_and_the_user_is_told(bunny: VideoFacts) -> None:
    odd = plan(replace(bunny, width=321, height=181), scale=3)
    assert (odd.sizes.width, odd.sizes.height) == (963, 543)
    assert (odd.encoder.width, odd.encoder.height) == (odd.sizes.padded_width, odd.sizes.padded_height) == (964, 544)
    assert any("963x543 is odd" in warning for warning in odd.warnings)


def test_only_the_side_whose_chroma_is_halved_is_padded(bunny: VideoFacts) -> None:
    odd = replace(bunny, width=321, height=181)
    wide = plan(odd, scale=3, pixel_format="yuv422p").encoder
    full = plan(odd, scale=3, pixel_format="yuv444p")
    assert (wide.width, wide.height) == (964, 543)
    assert (full.encoder.width, full.encoder.height) == (963, 543)
    assert full.warnings == ()


def test_segments_hold_about_a_minute_and_a_half_of_work_however_fast_the_model(bunny: VideoFacts) -> None:
    long = film(bunny, 100_000)
    photo, fast = (plan(long, model=model).segments[0].length for model in ("photo", "fast"))
    assert fast > 5 * photo > 5 * SHORTEST_SEGMENT


def test_no_segment_is_shorter_than_120_frames_unless_asked(bunny: VideoFacts) -> None:
    heavy = plan(film(bunny, 1000, width=1920, height=1080), model="photo")
    assert min(segment.length for segment in heavy.segments) >= SHORTEST_SEGMENT
    assert len(plan(film(bunny, 1000), segment_frames=10).segments) == 100


@pytest.mark.parametrize(
    ("model", "backend", "precision", "machine", "expected"),
    [
        ("photo", "auto", "auto", PLAIN, ("torch", "bf16")),
        ("photo", "auto", "auto", replace(PLAIN, ncnn=True), ("ncnn", "fp32")),
        ("fast", "auto", "auto", replace(PLAIN, ncnn=True), ("torch", "bf16")),
        ("anime", "auto", "auto", replace(PLAIN, ncnn=True), ("torch", "bf16")),
        ("anime", "auto", "auto", replace(PLAIN, ncnn=True, precision="fp32"), ("ncnn", "fp32")),
        ("fast", "auto", "fp32", replace(PLAIN, ncnn=True), ("ncnn", "fp32")),
        ("photo", "auto", "bf16", replace(PLAIN, ncnn=True), ("torch", "bf16")),
        ("photo", "torch", "auto", replace(PLAIN, ncnn=True), ("torch", "bf16")),
        ("fast", "ncnn", "auto", replace(PLAIN, ncnn=True), ("ncnn", "fp32")),
        ("photo", "auto", "auto", replace(PLAIN, ncnn=True, device="cuda:1", precision="fp16"), ("torch", "fp16")),
        ("photo", "auto", "auto", replace(PLAIN, precision="fp32"), ("torch", "fp32")),
    ],
)
def test_auto_takes_the_faster_backend(
    model: str, backend: str, precision: str, machine: Machine, expected: tuple[str, str]
) -> None:
    options = Options.model_validate({"model": model, "backend": backend, "precision": precision})
    assert choose_backend(options, machine) == expected


def test_a_wish_this_machine_cannot_meet_is_unavailable_with_a_remedy() -> None:
    with pytest.raises(Unavailable, match=r"not installed; pip install 'darkroomd\[ncnn\]'"):
        choose_backend(Options(backend="ncnn"), PLAIN)
    with pytest.raises(Unavailable, match="set backend: auto"):
        choose_backend(Options(backend="ncnn"), replace(PLAIN, device="cuda", ncnn=True))
    for model in ("photo", "flashvsr"):
        with pytest.raises(Unavailable, match="CPUs do not compute in it; set precision: auto"):
            choose_backend(Options.model_validate({"model": model, "precision": "fp16"}), PLAIN)


def test_the_number_of_the_card_does_not_change_the_plan(bunny: VideoFacts) -> None:
    first, second = (plan(bunny, replace(PLAIN, device=device, precision="fp16")) for device in ("cuda:0", "cuda:1"))
    assert fingerprint("upscale", first) == fingerprint("upscale", second)


def test_whatever_changes_the_pictures_changes_the_fingerprint(bunny: VideoFacts) -> None:
    plans = [
        plan(bunny),
        plan(bunny, model="fast"),
        plan(bunny, scale=3),
        plan(bunny, crf=20),
        plan(bunny, precision="fp32"),
        plan(bunny, replace(PLAIN, ncnn=True)),
        plan(replace(bunny, size_bytes=bunny.size_bytes + 1)),
        replace(plan(bunny), algorithm=0),
        replace(plan(bunny), weights_sha256="0"),
    ]
    assert len({fingerprint("upscale", each) for each in plans}) == len(plans)


def flash_machine(**changes: Any) -> Machine:
    """A machine with FlashVSR's weights, as plain facts: nothing is loaded for a plan."""
    weights = Weights(version="1.1", files=())
    flash = Flash(weights=weights, architecture=OFFICIAL, precision="bf16", pace=400.0)
    return replace(PLAIN, device="cuda", flash=flash, obstacle="", **changes)


def test_flashvsr_enlarges_four_times_unless_told_otherwise(bunny: VideoFacts) -> None:
    plan = make_plan(Options(model="flashvsr"), bunny, flash_machine())
    assert (plan.sizes.width, plan.sizes.height, plan.sizes.passes) == (1280, 720, (4,))
    assert (plan.backend, plan.precision) == ("torch", "bf16")
    assert plan.flash is not None
    assert (plan.flash.height, plan.flash.width) == (720, 1280)


def test_flashvsr_reaches_a_height_by_the_next_larger_scale_and_a_reduction(bunny: VideoFacts) -> None:
    plan = make_plan(Options(model="flashvsr", target_height=480), bunny, flash_machine())
    assert plan.flash is not None
    assert (plan.flash.scale, plan.flash.height) == (3, 540)
    assert plan.sizes.height == 480
    with pytest.raises(Rejected, match="more than 4 times"):
        make_plan(Options(model="flashvsr", target_height=1080), bunny, flash_machine())


def test_auto_takes_flashvsr_where_nothing_stands_in_its_way_and_says_so(bunny: VideoFacts) -> None:
    assert make_plan(Options(), bunny, flash_machine()).what == (
        "flashvsr, torch bf16 (auto: its weights are here, and a GPU for them)"
    )
    assert make_plan(Options(), bunny, PLAIN).model == "photo"


def test_flashvsr_without_weights_is_unavailable(bunny: VideoFacts) -> None:
    with pytest.raises(Unavailable, match="model flashvsr: no FlashVSR weights"):
        make_plan(Options(model="flashvsr"), bunny, PLAIN)


def test_only_a_model_with_a_memory_wants_to_know_where_scenes_begin(bunny: VideoFacts) -> None:
    assert wanted_cuts(Options(model="photo", segment_frames=40), bunny, flash_machine()) == ()
    assert wanted_cuts(Options(model="flashvsr", segment_frames=40), bunny, flash_machine()) == (45, 85)
