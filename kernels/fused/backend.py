"""The fused operations of a GPU, proven there against their definitions before they are used"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from darkroom.kernels.backend import PRECISIONS, TORCH, Ops
from darkroom.kernels.dense_attention import dense_attention
from darkroom.kernels.fused import match_colors, norms, sparse_attention
from darkroom.kernels.fused.configs import architecture
from darkroom.kernels.match_colors import wavelet
from darkroom.kernels.windows import WINDOW_TOKENS

# Relative L2 from the definitions in the same dtype; a kernel that is wrong is off by 1.
BOUNDS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
INT8_BOUND = 5e-2
HEADS, HEAD_WIDTH, GRID, SLOTS = 2, 128, (2, 2), (2, 0)  # the ring of the proof has three slots


def working(device: torch.device, dtype: torch.dtype, *, int8: bool = False) -> Ops:
    """Give the fused operations for `device`, once they have agreed with their definitions there.

    int8: products of queries and keys in int8

    The first call on a machine compiles the kernels: seconds, which Triton remembers on disk. Raises
    ValueError with the reason if they cannot be used.
    """
    if device.type != "cuda":
        raise ValueError(f"the Triton kernels need a CUDA device, and this is {device}")
    architecture(torch.cuda.get_device_capability(device))
    if int8 and dtype is torch.float32:
        raise ValueError("int8 products go with 16 bits; set precision: bf16")
    ops = fused(dtype, int8=int8)
    with torch.cuda.device(device):  # Triton launches on the current one
        prove(ops, device, dtype, INT8_BOUND if int8 else BOUNDS[dtype])
    return ops


def fused(dtype: torch.dtype, *, int8: bool = False) -> Ops:
    """Give the fused operations, unproven."""
    return Ops(
        name=f"triton {PRECISIONS[dtype]}{' int8' if int8 else ''}",
        norm_rope=norms.norm_rope,
        rms_norm=norms.rms_norm,
        gated_norm=norms.gated_norm,
        windowed=partial(sparse_attention.windowed, int8=int8),
        dense=dense_attention,  # 512 keys of the prompt: torch's own is as good
        adain=match_colors.adain,
        wavelet=wavelet,
    )


def prove(ops: Ops, device: torch.device, dtype: torch.dtype, bound: float) -> None:
    """Run each fused operation once against its definition. Raises ValueError naming the first that disagrees."""
    for name, arguments, options in _trials(device, dtype):
        try:
            found = _flat(getattr(ops, name)(*arguments, **options))
        except Exception as error:  # whatever a compiler or a driver raises: the definitions remain
            raise ValueError(f"the Triton kernel of {name} does not run here: {error}") from error
        wanted = _flat(getattr(TORCH, name)(*arguments, **options))
        off = float((found - wanted).norm() / wanted.norm())
        allowed = bound if name == "windowed" else BOUNDS[dtype]
        if not off <= allowed:  # NaN is not
            raise ValueError(f"the Triton kernel of {name} is off by {off:.2g} on this device, allowed are {allowed:g}")


def _trials(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    generator = torch.Generator().manual_seed(1)
    n, width = GRID[0] * GRID[1], HEADS * HEAD_WIDTH

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    x, y, row = random(WINDOW_TOKENS, width), random(WINDOW_TOKENS, width), random(width)
    turn = torch.rand(WINDOW_TOKENS, HEAD_WIDTH // 2, generator=generator).to(device)
    yield "rms_norm", (x, row), {}
    yield "norm_rope", (x, row, turn.cos(), turn.sin()), {}
    yield "gated_norm", (x, y, row, row, row), {}
    yield "adain", (random(2, 3, 40, 50).clamp(-1, 1), random(2, 3, 40, 50).clamp(-1, 1)), {}

    # Whole numbers, whose products are exact in any order; with this seed the threshold lies 1 % from its neighbours:
    # so rounding moves no window over it.
    q_means, k_means = (
        torch.randint(-4, 5, shape, generator=generator).to(device, dtype) for shape in ((n, width), (3, n, width))
    )
    q, k, v = random(n * WINDOW_TOKENS, width), random(3, n * WINDOW_TOKENS, width), random(3, n * WINDOW_TOKENS, width)
    k[1] = v[1] = k_means[1] = torch.nan  # a slot that is not live
    choice = {"slots": SLOTS, "heads": HEADS, "grid": GRID, "local_range": 3, "topk": 18}
    yield "windowed", (q, k, v, q_means / 4, k_means / 4), choice


def _flat(result: Tensor | tuple[Tensor, ...]) -> Tensor:
    results = result if isinstance(result, tuple) else (result,)
    return torch.cat([part.flatten().float() for part in results])
