"""The norms of the transformer, each joined with what follows it; the definitions of the fused kernels

N tokens of D channels = heads · d. In 16 bits each step rounds where the reference's does: that is part of the
definition. Rows of `x` and `y` may lie apart (a slice of a fused projection); channels are contiguous.
"""

import torch
import torch.nn.functional as F
from einops import reduce
from torch import Tensor

from darkroom.kernels.rope import rotate
from darkroom.kernels.windows import WINDOW_TOKENS

EPS = 1e-6


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """Give `x` divided by its root mean square over all D channels, times `weight`.

    x:        [N, D]; weight: [D], same dtype
    returns:  [N, D]: fp32 arithmetic, rounded, then times `weight` in the dtype of `x`
    """
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPS)).to(x.dtype) * weight


def norm_rope(
    x: Tensor, weight: Tensor, cos: Tensor, sin: Tensor, *, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Give queries or keys normed over the full width and turned to their positions, and the mean of each window.

    x:         [N, D] in window order, N a multiple of 128; weight: [D], same dtype
    cos, sin:  [N, d/2] in the token order of `x`, float64 (the reference's) or float32: the arithmetic of the turn
    out:       [N, D] to write to (a ring slot), or None for a new tensor
    returns:   y [N, D] (`out` if given) and means [N/128, D]: of the rounded y, summed in fp32
    """
    y = rotate(rms_norm(x, weight), cos, sin)
    means = reduce(y.float(), "(n t) d -> n d", "mean", t=WINDOW_TOKENS).to(y.dtype)
    return (y if out is None else out.copy_(y)), means


def gated_norm(x: Tensor, y: Tensor | None, gate: Tensor | None, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Give x' = x + gate · y, and LayerNorm(x') · scale + shift.

    x, y:          [N, D]; y None: x' is x itself
    gate:          [D], or None for x' = x + y
    scale, shift:  [D]: 1 + scale and shift of a modulation, or weight and bias of an affine norm
    returns:       x' [N, D], normed [N, D]; products and sums in the dtype of `x`, statistics in fp32
    """
    if y is not None:
        x = x + (y if gate is None else gate * y)
    return x, F.layer_norm(x, x.shape[-1:], eps=EPS) * scale + shift
