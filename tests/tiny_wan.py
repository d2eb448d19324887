"""Tiny Wan2.1 I2V models for tests: the real classes, random weights, no files."""

from pathlib import Path
from typing import Any

import torch
from diffusers import WanImageToVideoPipeline
from torch import Tensor

from darkroom.pipelines.animate import tiny
from darkroom.pipelines.animate.components import Components
from darkroom.pipelines.animate.options import Options
from darkroom.pipelines.animate.pipeline import Animate
from darkroom.pipelines.animate.plan import AnimatePlan
from darkroom.pipelines.base import Site


def tiny_components(seed: int = 0) -> Components:
    """Give the components in float32 and in memory; equal for equal seeds."""
    return tiny.components(seed)


def pipe_of(parts: Components, solver: Any = None, transformer: Any = None) -> WanImageToVideoPipeline:
    """Give diffusers' pipeline of `parts`: the oracle."""
    return WanImageToVideoPipeline(
        tokenizer=parts.tokenizer,
        text_encoder=parts.text_encoder,
        vae=parts.vae,
        scheduler=solver,
        image_processor=parts.image_processor,
        image_encoder=parts.image_encoder,
        transformer=transformer,
    )


@torch.no_grad()
def velocity(transformer: Any) -> Tensor:
    """Give what `transformer` makes of the same noise."""
    noise = torch.Generator().manual_seed(5)
    output: Tensor = transformer(
        hidden_states=torch.randn(1, 36, 2, 8, 8, generator=noise),
        timestep=torch.tensor([500]),
        encoder_hidden_states=torch.randn(1, 512, 32, generator=noise),
        encoder_hidden_states_image=torch.randn(1, 17, 160, generator=noise),
        return_dict=False,
    )[0]
    return output


SMALL = {"prompt": "a cat runs", "size": "128x128", "frames": 5, "steps": 3, "guidance": 3.0}


def animate(models: Path, **options: object) -> Animate:
    return Animate(options=Options.model_validate({**SMALL, **options}), site=Site(models=models))


def make(pipeline: Animate, source: Path, work: Path, *, begun_with: int = 0) -> tuple[AnimatePlan, list[Path], Path]:
    """Run the four verbs as the daemon does, in two lives if some parts are `begun_with`."""
    work.mkdir(exist_ok=True)
    plan = pipeline.plan(pipeline.probe(source))
    parts = [work / f"{segment.index:06d}.safetensors" for segment in plan.segments]
    for life in (plan.segments[:begun_with], plan.segments[begun_with:]):
        with pipeline.open(plan) as process:
            for segment in life:
                previous = parts[segment.index - 1] if segment.index else None
                process(segment, previous, parts[segment.index], lambda done: None)
    result = work / f"result{plan.result_suffix}"
    pipeline.join(plan, parts, result)
    return plan, parts, result
