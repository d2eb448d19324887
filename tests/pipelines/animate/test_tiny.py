"""A tiny Wan2.1 I2V: the real classes, the same numbers for the same seed, and all inputs matter."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import WanImageToVideoPipeline
from PIL import Image
from tiny_wan import tiny_components
from torch import Tensor

from darkroom.pipelines.animate import tiny
from darkroom.pipelines.animate.components import Components

GRADIENT = Image.fromarray((np.mgrid[0:32, 0:48].sum(0) * 3).astype("uint8")).convert("RGB")


def pipeline(parts: Components) -> WanImageToVideoPipeline:
    made = WanImageToVideoPipeline(
        tokenizer=parts.tokenizer,
        text_encoder=parts.text_encoder,
        image_encoder=parts.image_encoder,
        image_processor=parts.image_processor,
        transformer=parts.transformer,
        vae=parts.vae,
        scheduler=tiny.scheduler(),
    )
    made.set_progress_bar_config(disable=True)
    return made


def frames(made: WanImageToVideoPipeline, seed: int = 1, image: Image.Image = GRADIENT, **prompts: str) -> Tensor:
    asked: dict[str, Any] = {"prompt": "a cat", "negative_prompt": "bad", **prompts}
    sizes: dict[str, Any] = {"width": 48, "height": 32, "num_frames": 5, "num_inference_steps": 2}
    numbers = torch.Generator().manual_seed(seed)
    found: Tensor = made(image, **asked, **sizes, generator=numbers, guidance_scale=3.0, output_type="pt").frames
    return found


@pytest.fixture(scope="module")
def made() -> WanImageToVideoPipeline:
    return pipeline(tiny_components())


@pytest.fixture(scope="module")
def wanted(made: WanImageToVideoPipeline) -> Tensor:
    return frames(made)


def test_the_video_has_the_size_asked_for_and_is_neither_flat_nor_clipped(wanted: Tensor) -> None:
    assert wanted.shape == (1, 5, 3, 32, 48)
    assert wanted.std() > 0.1
    assert ((wanted == 0) | (wanted == 1)).float().mean() < 0.2


def test_a_model_made_anew_gives_the_same_video_and_another_seed_another(wanted: Tensor) -> None:
    assert torch.equal(frames(pipeline(tiny_components())), wanted)
    one, other = (tiny_components(seed).transformer.state_dict()["proj_out.weight"] for seed in (0, 1))
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    "change", [{"seed": 2}, {"prompt": "a dog"}, {"negative_prompt": "good"}, {"image": GRADIENT.rotate(180)}]
)
def test_each_input_changes_the_video(made: WanImageToVideoPipeline, wanted: Tensor, change: dict[str, Any]) -> None:
    assert (frames(made, **change) - wanted).abs().max() > 0.02


def test_a_model_that_was_written_is_the_one_that_is_loaded(wanted: Tensor, tmp_path: Path) -> None:
    loaded = WanImageToVideoPipeline.from_pretrained(tiny.write(tmp_path), local_files_only=True)
    loaded.set_progress_bar_config(disable=True)
    # Mapped tensors lie otherwise in memory, and other vector instructions add them up.
    assert (frames(loaded) - wanted).abs().max() < 1e-4
