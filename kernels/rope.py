"""Rotary positions: the angle of every token by latent frame, row and column, and the rotation itself

N tokens = f·h·w in raster order unless said otherwise; a head of width d holds d/2 pairs of adjacent channels.
"""

import torch
from einops import rearrange, repeat
from torch import Tensor

BASE = 10000.0


def angles(f: int, h: int, w: int, offset: int, head_width: int) -> Tensor:
    """Give the angle by which each token turns each pair of channels of a head.

    offset:   latent frames before the first one here: positions in time are absolute, so that cached
              keys stay valid; rows and columns count from 0. There is no end: angles are computed, not looked up
    returns:  [f·h·w, head_width / 2] float64 on the CPU, raster order; pairs in the order time, row, column

    Raises ValueError for a head width whose third, rounded down, is odd: channels come in pairs.
    """
    third = head_width // 3
    if third % 2 or head_width % 2:
        raise ValueError(f"head width {head_width}: a third of it is {third}, not even; use 32, 44, 48, 128")
    time = _turns(torch.arange(offset, offset + f), head_width - 2 * third)
    rows, columns = _turns(torch.arange(h), third), _turns(torch.arange(w), third)
    parts = (
        repeat(time, "f p -> f h w p", h=h, w=w),
        repeat(rows, "h p -> f h w p", f=f, w=w),
        repeat(columns, "w p -> f h w p", f=f, h=h),
    )
    return rearrange(torch.cat(parts, -1), "f h w p -> (f h w) p")


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Give `x` with every pair of adjacent channels turned by its token's angle, the same in each head.

    x:         [N, D], D = heads · d
    cos, sin:  [N, d/2]; their dtype is that of the arithmetic (the reference's is float64)
    returns:   [N, D] in the dtype of `x`, rounded once
    """
    real, imaginary = rearrange(x, "n (a p two) -> two n a p", p=cos.shape[1], two=2).to(cos.dtype)
    c, s = cos[:, None], sin[:, None]
    turned = torch.stack((real * c - imaginary * s, real * s + imaginary * c), -1)
    return rearrange(turned, "n a p two -> n (a p two)").to(x.dtype)


def _turns(positions: Tensor, width: int) -> Tensor:
    """Give positions × the width/2 angular frequencies BASE^(-2j/width)."""
    exponents = torch.arange(0, width, 2, dtype=torch.float64) / width
    return torch.outer(positions.to(torch.float64), BASE**-exponents)
