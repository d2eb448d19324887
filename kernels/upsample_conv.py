"""Doubling by nearest neighbour and a 3x3 convolution in one: four 2x2 convolutions at the low resolution"""

import torch
import torch.nn.functional as F
from torch import Tensor

# [parity of the new row, low-resolution tap, tap of the 3x3 kernel]. The new row 2y reads the new rows 2y-1, 2y,
# 2y+1, which are copies of the old rows y-1, y, y: two taps fall on one row and add up. The new row 2y+1 likewise.
TAPS = (((1, 0, 0), (0, 1, 1)), ((1, 1, 0), (0, 0, 1)))


def upsample_conv_plain(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Give the 3x3 convolution (zero padding) of `x` [N, C, H, W] doubled by nearest neighbour: the definition."""
    return F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, bias, padding=1)


def merge_taps(weight: Tensor) -> Tensor:
    """Give the four 2x2 kernels that equal `weight` after a doubling: [row parity, column parity, O, C, 2, 2].

    weight: [O, C, 3, 3]; round only the result, sums of rounded weights are off by one step more.
    """
    taps = torch.tensor(TAPS, dtype=weight.dtype, device=weight.device)
    merged = torch.einsum("pkt,qlu,octu->pqoklc", taps, taps, weight)
    return merged.contiguous().permute(0, 1, 2, 5, 3, 4)  # each kernel channels last


def upsample_conv(x: Tensor, merged: Tensor, bias: Tensor | None = None, *, growth: int = 1) -> Tensor:
    """Give what `upsample_conv_plain` gives, with 4 taps in place of 9.

    x:        [N, C, H, W]
    merged:   `merge_taps` of [growth·O, C, 3, 3]
    growth:   new pictures per picture: channels [0, O) make the first, [O, 2·O) the second...
    returns:  [N·growth, O, 2·H, 2·W], channels last

    Zeros beyond the border double to zeros, so padding before the doubling is the same as after.
    """
    count, _, height, width = x.shape
    outputs = merged.shape[2] // growth
    size = (2 * height, 2 * width)
    out = x.new_empty(count * growth, *size, outputs).permute(0, 3, 1, 2)
    grown = out.view(count, growth, outputs, *size)
    for p in range(2):
        for q in range(2):
            # Output i of a 2x2 kernel with padding 1 reads the rows i-1 and i: parity 0 starts at 0, parity 1 at 1.
            part = F.conv2d(x, merged[p, q], bias, padding=1)[:, :, p : p + height, q : q + width]
            grown[..., p::2, q::2] = part.view(count, growth, outputs, height, width)
    return out
