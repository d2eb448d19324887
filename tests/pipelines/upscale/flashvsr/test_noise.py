import re

import pytest
import torch
from goldens import golden

from darkroom.pipelines.upscale.flashvsr.noise import clip_noise, latent_noise

SHAPE = (16, 24, 40)


def test_the_same_latent_has_the_same_noise_at_any_time() -> None:
    first = latent_noise(7, 12, *SHAPE)
    torch.manual_seed(5)
    latent_noise(7, 13, *SHAPE)
    assert torch.equal(latent_noise(7, 12, *SHAPE), first)
    assert first.dtype is torch.float32
    assert first.shape == SHAPE


def test_the_noise_is_standard_normal() -> None:
    many = torch.stack([latent_noise(0, index, *SHAPE) for index in range(20)])
    error = many.numel() ** -0.5
    assert abs(many.mean()) < 5 * error
    assert abs(many.std() - 1) < 5 * error
    assert (many.abs() > 3).double().mean().sub(0.0027).abs() < 5e-4


def test_latents_and_seeds_near_each_other_are_independent() -> None:
    flat = torch.stack([latent_noise(seed, index, *SHAPE).flatten() for seed in range(4) for index in range(10)])
    correlation = torch.corrcoef(flat) - torch.eye(len(flat))
    assert correlation.abs().max() < 5.5 * flat.shape[1] ** -0.5


def test_no_two_latents_of_a_film_share_noise() -> None:
    starts = torch.stack([latent_noise(3, index, 1, 1, 16).flatten() for index in range(5000)])
    assert len({tuple(start) for start in starts.tolist()}) == len(starts)


def test_the_whole_film_s_draw_is_the_official_one() -> None:
    noise = golden("e2e_in")["noise"][0].transpose(0, 1)
    seed = re.search(r"torch CPU generator, seed (\d+)", golden("e2e_in").meta.get("note", ""))
    if seed is None:
        pytest.skip("the reference does not say how its noise was drawn")
    count, channels, height, width = noise.shape
    assert torch.equal(clip_noise(int(seed[1]), count, channels, height, width, torch.float32, "cpu"), noise)
