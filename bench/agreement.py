"""No time is taken of what computes something else: results are held against the definitions first."""

import math
from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from darkroom.kernels.backend import TORCH, Ops
from darkroom.kernels.windows import WINDOW_TOKENS

# Relative L2 errors: what rounding leaves, and a few times that.
BOUNDS = {torch.bfloat16: 1e-2, torch.float16: 2e-3, torch.float32: 1e-5}


class Disagreement(Exception):
    """A result is not what it should be."""


def error(found: Tensor, wanted: Tensor) -> float:
    """Return the relative L2 error of `found`; infinite if it is not finite."""
    if not bool(found.isfinite().all()):
        return math.inf
    return float((found.double() - wanted.double()).norm() / wanted.double().norm().clamp(min=1e-30))


def hold(name: str, found: Tensor, wanted: Tensor, bound: float) -> float:
    """Return the error of `found`. Raises Disagreement if it is above `bound`."""
    if not (off := error(found, wanted)) <= bound:
        raise Disagreement(f"{name}: off by {off:.2g}, allowed are {bound:.2g}")
    return off


def hold_ops(ops: Ops, *, heads: int, width: int, dtype: torch.dtype, device: torch.device) -> None:
    """Hold `ops` against their definitions at the model's widths. Raises Disagreement.

    Attention is held in `sparse.py`, against float64.
    """
    numbers = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=numbers).to(device, dtype)

    d, tokens = width // heads, 4 * WINDOW_TOKENS
    x, y, gate, scale, shift, weight = normal(tokens, width), normal(tokens, width), *(normal(width) for _ in range(4))
    turn = torch.rand(tokens, d // 2, generator=numbers).mul(6).to(device)
    frames = normal(2, 3, 200, 312).clamp(-1, 1), normal(2, 3, 200, 312).clamp(-1, 1)
    calls: dict[str, Callable[[Ops], Tensor]] = {
        "rms_norm": lambda by: by.rms_norm(x, weight),
        "norm_rope": lambda by: by.norm_rope(x, weight, turn.cos(), turn.sin())[0],
        "means of windows": lambda by: by.norm_rope(x, weight, turn.cos(), turn.sin())[1],
        "gated_norm": lambda by: torch.cat(by.gated_norm(x, y, gate, scale, shift)),
        "dense": lambda by: by.dense(*(rearrange(t, "l (a d) -> l a d", a=heads) for t in (x, y, y))),
        "adain": lambda by: by.adain(*frames),
        "wavelet": lambda by: by.wavelet(*frames),
    }
    for name, call in calls.items():
        hold(f"{ops.name}, {name}", call(ops), call(TORCH), BOUNDS[dtype])
