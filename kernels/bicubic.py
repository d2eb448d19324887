"""Bicubic enlargement of 8-bit pictures with the bits of Pillow's, which the nets were trained behind

Pillow works in two passes, along rows and then along columns, in integers: 22-bit weights, and after each pass
a rounding to 8 bits. Sums of integers have no order, so a processor, a GPU and Pillow agree to the bit.
"""

from math import ceil

import torch
from einops import rearrange
from torch import Tensor

A = -0.5  # the slope of the cubic at distance 1
REACH = 2.0  # the cubic ends there, in samples of the coarser grid
PRECISION = 22  # bits of a weight below one: 8 of the picture and 2 for overshoot fill 32
AT_ONCE = 1 << 24  # samples of the result that are summed together: 3 times 64 MiB


def enlarge_u8(rgb: Tensor, height: int, width: int) -> Tensor:
    """Give pictures at height × width, equal in every bit to Pillow's `resize(..., BICUBIC)`.

    rgb:      [T, 3, h, w] uint8
    returns:  [T, 3, height, width] uint8 on the same device

    A smaller target works too: the filter widens against moire. Where both axes change and one shrinks,
    Pillow 13 filters columns first if that is less work, its elders never did, and nor does this.
    """
    planes = rearrange(rgb, "t c h w -> (t c) h w")
    at_once = max(1, AT_ONCE // (height * max(width, rgb.shape[-1])))
    done = torch.cat([_resize(some, height, width) for some in torch.split(planes, at_once)])
    return rearrange(done, "(t c) h w -> t c h w", c=rgb.shape[1])


def _resize(planes: Tensor, height: int, width: int) -> Tensor:
    """Resize planes [P, h, w]; the axis of each pass comes first: whole rows of memory are summed."""
    count, rows, columns = planes.shape
    if columns != width:
        across = _filter(rearrange(planes, "p h w -> w (p h)").contiguous(), width)
        planes = rearrange(across, "w (p h) -> p h w", p=count)
    if rows != height:
        down = _filter(rearrange(planes, "p h w -> h (p w)").contiguous(), height)
        planes = rearrange(down, "h (p w) -> p h w", p=count)
    return planes


def _filter(samples: Tensor, size: int) -> Tensor:
    """Resample [n, M] uint8 to [size, M]."""
    first, weights = (table.to(samples.device) for table in _weights(samples.shape[0], size))
    wide = samples.to(torch.int32)
    total = wide.new_full((size, samples.shape[1]), 1 << (PRECISION - 1))  # a half: the shift below rounds
    for tap, weight in enumerate(weights):
        nearest = (first + tap).clamp_(max=samples.shape[0] - 1)  # beyond the last sample the weight is 0
        total.addcmul_(wide.index_select(0, nearest), weight[:, None])
    return (total >> PRECISION).clamp_(0, 255).to(torch.uint8)


def _weights(size: int, wanted: int) -> tuple[Tensor, Tensor]:
    """Give the first sample under the filter for each of `wanted` places, and the weights from there on.

    returns:  int64 [wanted]; int32 [taps, wanted], each column one place, its sum about 2^PRECISION

    Steps and their order follow Pillow's double precision; what falls beyond the picture is left out and the
    rest divided by its sum.
    """
    scale = size / wanted
    stretch = max(scale, 1.0)  # a smaller picture: the filter covers as many samples as fall together
    centre = (torch.arange(wanted, dtype=torch.float64) + 0.5) * scale
    first = (centre - REACH * stretch + 0.5).clamp_(min=0).to(torch.int64)
    end = (centre + REACH * stretch + 0.5).to(torch.int64).clamp_(max=size)
    taps = torch.arange(2 * ceil(REACH * stretch) + 1)[:, None]
    weights = _cubic((taps + first - centre + 0.5) * (1.0 / stretch))
    weights *= taps < end - first
    whole = torch.zeros_like(centre)
    for weight in weights:  # one by one: another order of adding gives another last bit
        whole += weight
    fixed = weights / whole * (1 << PRECISION)
    return first, (fixed + fixed.sign() * 0.5).to(torch.int32)  # halves go away from zero


def _cubic(x: Tensor) -> Tensor:
    """Give Keys' cubic convolution kernel at distances `x`."""
    x = x.abs()
    near = ((A + 2) * x - (A + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * A
    return torch.where(x < 1, near, torch.where(x < REACH, far, 0.0))
