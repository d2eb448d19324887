from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_wan import animate, make

from darkroom.pipelines.errors import Rejected, Stopped


def test_latents_are_on_the_disk_before_they_are_decoded(models: Path, image: Path, tmp_path: Path) -> None:
    pipeline = animate(models)
    plan, parts, result = make(pipeline, image, tmp_path / "work")
    frames = parts[-1].read_bytes()
    with pipeline.open(plan) as process:  # decoding alone, from the part before it
        process(plan.decoding, parts[-2], parts[-1], lambda done: None)
    assert parts[-1].read_bytes() == frames
    assert result.stat().st_size


def test_a_wish_to_stop_is_heard_within_a_step(models: Path, image: Path, tmp_path: Path) -> None:
    pipeline = animate(models)
    plan, parts, _ = make(pipeline, image, tmp_path / "work")
    heard = 0

    def tick(done: int) -> None:
        nonlocal heard
        heard += 1
        if heard == 2:
            raise Stopped("cancel")

    step = plan.segments[1]
    with pipeline.open(plan) as process, pytest.raises(Stopped):
        process(step, parts[0], tmp_path / "step", tick)
    assert not (tmp_path / "step").exists()
    with pipeline.open(plan) as process:
        process(step, parts[0], tmp_path / "step", lambda done: None)
    assert (tmp_path / "step").read_bytes() == parts[1].read_bytes()


def test_a_wish_to_stop_is_heard_while_the_prompt_is_read(models: Path, image: Path, tmp_path: Path) -> None:
    pipeline = animate(models)
    plan = pipeline.plan(pipeline.probe(image))
    heard: list[int] = []
    with pipeline.open(plan) as process:
        process(plan.segments[0], None, tmp_path / "part", heard.append)
    assert heard[:-1] == [0] * (2 * 2 + 1)  # both prompts through both blocks, and the image
    assert heard[-1] == 1


def test_a_job_may_have_a_limit(models: Path, image: Path, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"cat\.png: not done within 1e-06 s; raise time_limit_s"):
        make(animate(models, time_limit_s=1e-6), image, tmp_path / "work")


LASTING: dict[str, object] = {"steps": 6, "segment_steps": 2}
CACHES: dict[str, dict[str, object]] = {
    "attention": {"attention_cache": {"start": 1, "interval": 2, "end": 5}},
    "mag": {"magcache": {"ratios": [1, 1, 1, 1, 1, 1], "keep": 0.2, "most_skips": 1}},
}


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("begun_with", [2, 3])
def test_a_job_that_reuses_makes_the_same_bytes_after_a_kill(
    models: Path, image: Path, tmp_path: Path, cache: str, begun_with: int
) -> None:
    pipeline = animate(models, **LASTING, **CACHES[cache])
    plan, parts, _ = make(pipeline, image, tmp_path / "one")
    _, others, _ = make(pipeline, image, tmp_path / "two", begun_with=begun_with)
    assert len(plan.segments) == 5
    assert [part.read_bytes() for part in parts] == [part.read_bytes() for part in others]
    _, plain, _ = make(animate(models, **LASTING), image, tmp_path / "plain")
    assert plain[-1].read_bytes() != parts[-1].read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        {"memory": {"quantize": "int8"}},
        {"memory": {"quantize": "fp8"}},
        CACHES["attention"],
        {"memory": {"vae_tiles": "on"}, "size": "272x272"},  # over a tile
    ],
)
def test_the_next_job_is_what_it_would_be_without_the_one_before(
    models: Path, image: Path, tmp_path: Path, options: dict[str, object]
) -> None:
    plain = {name: value for name, value in options.items() if name == "size"}
    _, before, _ = make(animate(models, **plain), image, tmp_path / "before")
    _, other, _ = make(animate(models, **options), image, tmp_path / "other")
    _, after, _ = make(animate(models, **plain), image, tmp_path / "after")
    assert [part.read_bytes() for part in before] == [part.read_bytes() for part in after]
    assert other[-2].read_bytes() != before[-2].read_bytes()


def test_a_lora_changes_the_video_and_leaves_with_the_job(models: Path, image: Path, tmp_path: Path) -> None:
    noise = torch.Generator().manual_seed(3)
    stem = "diffusion_model.blocks.0.self_attn.q"
    down, up = torch.randn(4, 24, generator=noise), torch.randn(24, 4, generator=noise)
    save_file({f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}, models / "style.safetensors")
    _, before, _ = make(animate(models), image, tmp_path / "before")
    worn = animate(models, lora=[{"file": "style.safetensors"}])
    plan, other, _ = make(worn, image, tmp_path / "other")
    _, resumed, _ = make(worn, image, tmp_path / "resumed", begun_with=2)
    _, after, _ = make(animate(models), image, tmp_path / "after")
    assert "style.safetensors" in dict(plan.weights)
    assert other[-1].read_bytes() != before[-1].read_bytes()
    assert [part.read_bytes() for part in other] == [part.read_bytes() for part in resumed]
    assert [part.read_bytes() for part in before] == [part.read_bytes() for part in after]
