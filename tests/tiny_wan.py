"""Tiny Wan2.1 I2V models for tests: the real classes, random weights, no files."""

from typing import Any

from diffusers import WanImageToVideoPipeline

from darkroom.pipelines.animate import tiny
from darkroom.pipelines.animate.components import Components


def tiny_components(seed: int = 0) -> Components:
    """Give the parts in float32 and in memory; equal for equal seeds."""
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
