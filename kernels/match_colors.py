"""Colours of restored frames brought back to those of their reference: by statistics, or by wavelet bands

Frames are [T, 3, H, W] RGB in [-1, 1]; no frame looks at another, so any cut in time gives the same numbers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-5  # added to each variance: a flat frame stays flat
LEVELS = 5  # dilations 1, 2, 4, 8, 16: the low band blurs over about 60 pixels


def adain(x: Tensor, reference: Tensor) -> Tensor:
    """Give each frame of `x` the channel means and spreads of its reference frame.

    x, reference:  [T, 3, H, W] in [-1, 1]; one dtype, sizes may differ
    returns:       [T, 3, H, W] as `x`, clamped to [-1, 1]; arithmetic in fp32, rounded once
    """
    spread, mean = torch.var_mean(x.float(), dim=(-2, -1), correction=0, keepdim=True)
    spread_wanted, mean_wanted = torch.var_mean(reference.float(), dim=(-2, -1), correction=0, keepdim=True)
    gain = torch.sqrt((spread_wanted + EPS) / (spread + EPS))
    return ((x.float() - mean) * gain + mean_wanted).clamp_(-1, 1).to(x.dtype)


def wavelet(x: Tensor, reference: Tensor) -> Tensor:
    """Give the detail of `x` on the low band of `reference`.

    x, reference:  [T, 3, H, W] in [-1, 1], one shape and dtype
    returns:       [T, 3, H, W] as `x`, clamped to [-1, 1]; arithmetic in fp32, rounded once

    high(x) + low(reference) = x - low(x) + low(reference), and the blurs are linear: one low band of the
    difference does for both.
    """
    wide = x.float()
    return (wide + low_band(reference.float() - wide)).clamp_(-1, 1).to(x.dtype)


def low_band(x: Tensor) -> Tensor:
    """Give `x` blurred LEVELS times, each time twice as far."""
    for level in range(LEVELS):
        x = blur(x, 1 << level)
    return x


def blur(x: Tensor, radius: int) -> Tensor:
    """Give `x` [T, C, H, W] weighted 1-2-1 along both axes with samples `radius` apart, edges continued outwards."""
    across = F.pad(x, (radius, radius, 0, 0), mode="replicate")
    x = x / 2 + (across[..., : -2 * radius] + across[..., 2 * radius :]) / 4
    down = F.pad(x, (0, 0, radius, radius), mode="replicate")
    return x / 2 + (down[..., : -2 * radius, :] + down[..., 2 * radius :, :]) / 4
