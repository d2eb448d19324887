"""From latents to pictures: the Wan VAE's decoder, and pictures as bytes"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def decode(vae: Any, latents: Tensor, *, tiled: bool, listen: Callable[[], None]) -> Tensor:
    """Give the frames of `latents` as uint8 [T, H, W, 3].

    latents: [1, 16, t, h, w] as the transformer leaves them, of mean 0 and deviation 1; T = 4 (t - 1) + 1
    tiled:   in overlapping tiles: less memory, and slightly other numbers
    listen:  called for each latent frame; may raise
    """
    mean, deviation = (
        torch.tensor(values, device=vae.device, dtype=vae.dtype).view(1, -1, 1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    vae.enable_tiling() if tiled else vae.disable_tiling()
    hook = vae.decoder.register_forward_pre_hook(lambda *_: listen())
    try:
        # As diffusers does it, to the bit: a division by the reciprocal.
        scaled = latents.to(vae.device, vae.dtype) / (1.0 / deviation) + mean
        video = vae.decode(scaled, return_dict=False)[0]
    finally:
        hook.remove()
    return pixels_of(video)


def pixels_of(video: Tensor) -> Tensor:
    """Give `video`, [1, 3, T, H, W] in [-1, 1], as uint8 [T, H, W, 3], rounded to the nearest level."""
    frames = video[0].permute(1, 2, 3, 0)
    return torch.stack([_levels(frame) for frame in frames])  # frame by frame: half the peak of all at once


def _levels(frame: Tensor) -> Tensor:
    return frame.float().add(1).mul(127.5).round_().clamp_(0, 255).to(torch.uint8).cpu()
