"""Resize pictures: to any size by antialiased bicubic, to twice the size by exact linear steps."""

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(frames: Tensor, height: int, width: int) -> Tensor:
    """Give `frames` at height × width by antialiased bicubic filtering (a = -0.5, as Pillow's).

    frames:   [T, 3, H, W] floating point, RGB in [0, 1]
    returns:  [T, 3, height, width] in [0, 1] (overshoot at edges is clipped); frames of that size
              already are given back as they are
    """
    if frames.shape[-2:] == (height, width):
        return frames
    resized = F.interpolate(frames, size=(height, width), mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp_(0, 1)


def doubled(c: Tensor, dim: int, *, cosited: bool) -> Tensor:
    """Give `c` with twice the samples along `dim`, linearly interpolated, continued by its outermost ones.

    cosited:  every first new sample lies on an old one; else both lie a quarter step beside it
              (then, along both axes, torch's bilinear interpolation)

    The weights are powers of two, so every sum has the same bits whether or not the processor fuses
    it: torch's own interpolation gives others with another number of threads or another height.
    """
    before, after = neighbours(c, dim)
    if cosited:
        first, second = c, (c + after).div_(2)
    else:
        first, second = torch.lerp(c, before, 0.25), torch.lerp(c, after, 0.25)
    return torch.stack((first, second), dim).flatten(dim - 1, dim)


def neighbours(c: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Give the sample before and the sample after each along `dim`; at the ends, the sample itself."""
    size = c.shape[dim]
    before = torch.cat((c.narrow(dim, 0, 1), c.narrow(dim, 0, size - 1)), dim)
    after = torch.cat((c.narrow(dim, 1, size - 1), c.narrow(dim, size - 1, 1)), dim)
    return before, after
