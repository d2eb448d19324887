from pathlib import Path

import pytest
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


def test_a_job_may_have_a_limit(models: Path, image: Path, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"cat\.png: not done within 1e-06 s; raise time_limit_s"):
        make(animate(models, time_limit_s=1e-6), image, tmp_path / "work")
