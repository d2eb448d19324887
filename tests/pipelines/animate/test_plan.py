from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from darkroom.pipelines.animate.memory import Profile
from darkroom.pipelines.animate.options import NEGATIVE, Lora, Options
from darkroom.pipelines.animate.plan import AnimatePlan, Chosen, ImageFacts, make_plan, stages, told, video_size
from darkroom.pipelines.base import BUNDLE, fingerprint
from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.video.encode import EncoderSettings

IMAGE = ImageFacts(source=Path("cat.jpg"), size_bytes=9, mtime_ns=1, sha256="ab" * 32, width=1600, height=900)
ENCODER = EncoderSettings(
    name="libx264",
    options=(("crf", "17"),),
    threads=4,
    width=832,
    height=464,
    pixel_format="yuv420p",
    sar=Fraction(1),
    frame_rate=Fraction(16),
    full_range=False,
    colorspace=1,
    primaries=1,
    transfer=1,
)
CHOSEN = Chosen(weights=(("a.safetensors", "cd" * 32),), profile=Profile(), device_kind="cpu", encoder=ENCODER)


def plan(chosen: Chosen = CHOSEN, seed: int = 7, **options: object) -> AnimatePlan:
    return make_plan(Options.model_validate({"prompt": "it runs", **options}), IMAGE, chosen, seed)


@pytest.mark.parametrize(
    ("steps", "at_once", "edges"),
    [
        (4, None, [0, 1, 2, 3, 4, 5, 6]),
        (40, None, [0, 1, *range(5, 42, 4), 42]),
        (5, 2, [0, 1, 3, 5, 6, 7]),
        (4, 100, [0, 1, 5, 6]),
        (1, None, [0, 1, 2, 3]),
    ],
)
def test_reading_comes_first_decoding_last_and_the_steps_between(
    steps: int, at_once: int | None, edges: list[int]
) -> None:
    found = stages(steps, at_once)
    assert [segment.start for segment in found] + [found[-1].stop] == edges
    assert [segment.index for segment in found] == list(range(len(found)))
    assert plan(steps=steps, segment_steps=at_once).decoding == found[-1]


def test_parts_end_where_the_next_step_reuses_nothing() -> None:
    edges = [segment.start - 1 for segment in stages(12, 2, fresh=(0, 1, 2, 5, 8, 10, 11))][1:]
    assert edges == [0, 2, 5, 8, 10, 12]
    cached = plan(steps=40, attention_cache={}, segment_steps=3)
    assert [segment.start - 1 for segment in cached.segments[1:]] == [0, 3, 6, 9, 12, 16, 20, 24, 28, 32, 36, 39, 40]
    skipped = plan(steps=10, magcache={"ratios": [1] * 10})
    assert [segment.start - 1 for segment in skipped.segments[1:]] == [0, 1, 5, 9, 10]


def test_the_files_of_loras_are_named_in_full() -> None:
    made = plan(replace(CHOSEN, models=Path("/models")), lora=[{"file": "a.safetensors", "weight": 0.5}])
    assert made.lora == (Lora(file=Path("/models/a.safetensors"), weight=0.5),)


def test_an_image_without_a_prompt_says_where_to_write_one() -> None:
    with pytest.raises(Rejected, match=r"cat\.jpg: has no prompt; write one into cat\.txt beside it"):
        video_size(Options(), IMAGE)


def test_size_and_length_are_what_the_model_can_make_and_differences_are_told() -> None:
    made = plan(frames=100)
    assert (made.width, made.height, made.frames) == (832, 464, 101)
    assert made.warnings == (
        "101 frames instead of 100: the model makes 4n+1",
        "101 frames: beyond 81 the model repeats itself or fades",
    )


def test_a_cache_beyond_the_last_step_is_told() -> None:
    assert "attention_cache.end is 37, and there are 30 steps" in plan(steps=30, attention_cache={}).warnings


def test_the_shift_goes_with_the_size_unless_it_is_given() -> None:
    assert (plan().shift, plan(size="720p").shift, plan(shift=8).shift) == (3.0, 5.0, 8.0)


def test_without_guidance_nothing_is_guided_away_from() -> None:
    assert (plan().negative, plan(negative_prompt="blurred").negative) == (NEGATIVE, "blurred")
    assert plan(guidance=1).negative is None


def test_pictures_beside_the_video_make_a_bundle() -> None:
    assert (plan().result_suffix, plan(container="mkv").result_suffix) == (".mp4", ".mkv")
    assert plan(poster=True).result_suffix == plan(last_image=True).result_suffix == BUNDLE


def test_whatever_changes_the_pictures_changes_the_plan() -> None:
    other = Chosen(weights=(("b", "00"),), profile=Profile(), device_kind="cpu", encoder=ENCODER)
    tiled = Chosen(weights=CHOSEN.weights, profile=Profile(vae_tiled=True), device_kind="cpu", encoder=ENCODER)
    plans = [
        *(plan(), plan(seed=8), plan(prompt="it sleeps"), plan(negative_prompt="x"), plan(steps=30), plan(shift=4)),
        *(plan(other), plan(tiled), plan(lora=[{"file": "a.safetensors"}]), plan(attention_cache={}), plan(fit="pad")),
    ]
    assert len({fingerprint("animate", made) for made in plans}) == len(plans)
    assert fingerprint("animate", plan()) == fingerprint("animate", plan())


def test_the_report_has_the_prompt_and_the_seed() -> None:
    said = told(plan(seed=123))
    assert (said["prompt"], said["seed"], said["width"], said["shift"]) == ("it runs", 123, 832, 3.0)
