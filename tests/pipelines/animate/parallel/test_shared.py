"""Ranks that are forked, so that they are there in a moment; test_rank.py has those the worker starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tiny_wan import animate
from wan_team import on_team

from darkroom.pipelines.animate.components import kept
from darkroom.pipelines.animate.embeddings import Embeddings, Encoder
from darkroom.pipelines.animate.parallel.shared import Shared
from darkroom.pipelines.animate.parallel.team import Team
from darkroom.pipelines.animate.part import Part, Stage, read_part
from darkroom.pipelines.animate.plan import AnimatePlan
from darkroom.pipelines.animate.segments import PRECISIONS

TILED = {"vae_tiles": "on"}
JOB: dict[str, Any] = {"seed": 7, "size": "320x192", "fit": "stretch", "segment_steps": 2, "memory": TILED}
MODELS = ("text_encoder", "image_encoder", "vae", "transformer")
ROUNDING = 1.3e-6  # of sums in float32 over other rows


def planned(models: Path, image: Path, **options: Any) -> AnimatePlan:
    pipeline = animate(models, **{**JOB, **options})
    return pipeline.plan(pipeline.probe(image))


def work_of(
    plan: AnimatePlan, models: Path, folder: Path, count: int | None = None, embeddings: Embeddings | None = None
) -> Callable[[Team], list[list[str]]]:
    """Give what a rank does: the first `count` segments, and after each it notes which models it holds."""

    def rank(team: Team) -> list[list[str]]:
        components = kept(models / "wan2.1-i2v", "", PRECISIONS[plan.profile.precision])
        process, held = Shared(plan, components, team.device, None, team=team, kept=embeddings), []
        previous = None
        for segment in plan.segments[:count]:
            out = folder / f"{segment.index}.safetensors"
            process(segment, previous, out, lambda done: None)
            held.append([name for name in MODELS if name in components])
            dist.barrier()  # as the worker waits for all before it asks for the next
            previous = out
        return held

    return rank


def read(plan: AnimatePlan, folder: Path) -> list[Part]:
    last = len(plan.segments) - 1
    stages: list[Stage] = ["encoded" if n == 0 else "decoded" if n == last else "denoised" for n in range(last + 1)]
    return [
        read_part(folder / f"{segment.index}.safetensors", stages[segment.index], min(segment.stop - 1, plan.steps))
        for segment in plan.segments
    ]


def alone(models: Path, image: Path, folder: Path, **options: Any) -> list[Part]:
    """Give what one device makes."""
    folder.mkdir()
    pipeline, previous = animate(models, **{**JOB, **options}), None
    plan = pipeline.plan(pipeline.probe(image))
    with pipeline.open(plan) as process:
        for segment in plan.segments:
            out = folder / f"{segment.index}.safetensors"
            process(segment, previous, out, lambda done: None)
            previous = out
    return read(plan, folder)


def assert_equal(found: list[Part], expected: list[Part], away: float) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.solver == other.solver
        assert one.tensors.keys() == other.tensors.keys()
        for name, tensor in one.tensors.items():
            levels = tensor.dtype == torch.uint8 and away  # a rounding error may cost one of 255 levels
            torch.testing.assert_close(tensor, other.tensors[name], atol=1 if levels else away, rtol=0)


@pytest.mark.parametrize(
    ("parallel", "away"),
    [
        ({"ulysses": 2, "vae": True}, ROUNDING),
        ({"cfg": 2, "fsdp": True, "text_fsdp": True, "vae": True}, 0.0),
        ({"cfg": 2, "ulysses": 2, "fsdp": True}, ROUNDING),
    ],
    ids=["tokens and tiles", "guidance and weights", "all on four"],
)
def test_several_devices_make_the_parts_that_one_makes(
    models: Path, image: Path, tmp_path: Path, parallel: dict[str, Any], away: float
) -> None:
    plan = planned(models, image, parallel=parallel)
    on_team(work_of(plan, models, tmp_path), **parallel)
    assert_equal(read(plan, tmp_path), alone(models, image, tmp_path / "alone"), away)


def test_what_else_is_laid_over_the_transformer_is_shared_as_well(models: Path, image: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "attention_cache": {"start": 0, "interval": 2, "end": 3},
        "memory": {**TILED, "quantize": "int8"},
        "steps": 4,
        "size": "128x128",
    }
    plan = planned(models, image, parallel={"ulysses": 2}, **options)
    on_team(work_of(plan, models, tmp_path), ulysses=2)
    plain = alone(models, image, tmp_path / "plain", steps=4, size="128x128")
    expected = alone(models, image, tmp_path / "alone", **options)
    assert_equal(read(plan, tmp_path), expected, ROUNDING)
    assert not torch.equal(plain[-2].tensors["latents"], expected[-2].tensors["latents"]), "nothing was laid over it"


def test_only_rank_0_does_what_is_not_shared_and_models_go_when_their_segments_are_over(
    models: Path, image: Path, tmp_path: Path
) -> None:
    plan = planned(models, image, parallel={"cfg": 2}, size="128x128")
    first, other = on_team(work_of(plan, models, tmp_path), cfg=2)
    assert first == [["text_encoder", "image_encoder", "vae"], *[["vae", "transformer"]] * 2, ["vae"]]
    assert other == [[], *[["transformer"]] * 3]


def test_a_prompt_is_read_once_unless_all_read_it_together(models: Path, image: Path, tmp_path: Path) -> None:
    embeddings = Embeddings(tmp_path / "kept", Encoder(sha256="", dtype="fp32", device_kind="cpu"))
    parts = []
    for parallel, wakes in (({"cfg": 2}, True), ({"cfg": 2}, False), ({"cfg": 2, "text_fsdp": True}, True)):
        plan = planned(models, image, parallel=parallel, size="128x128")
        held = on_team(work_of(plan, models, tmp_path, 1, embeddings), **parallel)
        assert ("text_encoder" in held[0][0]) == wakes
        parts.append(read_part(tmp_path / "0.safetensors", "encoded", 0))
    for part in parts[1:]:
        assert all(torch.equal(tensor, parts[0].tensors[name]) for name, tensor in part.tensors.items())
