"""Norms joined with rotation, gates and means of windows: one reading and one writing of every token

Definitions: `darkroom.kernels.norms`; these round where those do. All three are bound by memory: at 1536 channels
of bf16, norm_rope moves 6 KB a token and about 1 KB of tables and sums, rms_norm 6 KB, gated_norm up to 12 KB.

Legend of the comments beside arguments: N tokens, D channels, d channels of a head, each row contiguous.
"""

# mypy: disable-error-code="untyped-decorator"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from darkroom.kernels.norms import EPS
from darkroom.kernels.windows import WINDOW_TOKENS

Build = tuple[Any, dict[str, str], dict[str, Any], dict[str, Any]]
"""A kernel, the types of its arguments, its constants (every other argument), and its launch options."""

INTERPRETED = bool(triton.knobs.runtime.interpret)  # as the decorators below see it
TILE = 4096  # values that a program holds at once: 32 registers of a thread for each tensor, without spilling
EXACT = {"enable_fp_fusion": False}  # products round before they are added, as in the definitions
PROGRAM_ROWS = 16  # tokens of one norm_rope program: eight to a window, or a steady step would fill half the GPU


@triton.jit
def rounded(x: tl.tensor, dtype: tl.constexpr, EMU: tl.constexpr) -> tl.tensor:
    """Give `x` float32 rounded to `dtype`, as float32.

    EMU: under the interpreter, whose casts to bf16 truncate: to the nearest even one by its bits (no NaN).
    """
    if EMU and dtype == tl.bfloat16:
        bits = x.to(tl.uint32, bitcast=True)
        bits += 0x7FFF + ((bits >> 16) & 1)
        return ((bits >> 16) << 16).to(tl.float32, bitcast=True)
    else:
        return x.to(dtype).to(tl.float32)


@triton.jit
def rms_norm_kernel(
    x: tl.tensor,  # [N, D]
    weight: tl.tensor,  # [D]
    y: tl.tensor,  # [N, D], contiguous
    x_stride: tl.tensor,  # values from row to row of x
    N: tl.tensor,
    D: tl.constexpr,
    EPS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    EMU: tl.constexpr,
) -> None:
    """Norm ROWS tokens."""
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    column = tl.arange(0, BLOCK)[None, :]
    inside = (row < N) & (column < D)
    value = tl.load(x + row * x_stride + column, mask=inside, other=0.0).to(tl.float32)
    gain = tl.load(weight + column, mask=column < D, other=0.0).to(tl.float32)
    inverse = tl.rsqrt(tl.sum(value * value, 1) / D + EPS)[:, None]
    normed = rounded(value * inverse, y.dtype.element_ty, EMU)
    normed = rounded(normed * gain, y.dtype.element_ty, EMU)
    tl.store(y + row * D + column, normed.to(y.dtype.element_ty), mask=inside)


@triton.jit
def norm_rope_kernel(
    x: tl.tensor,  # [N, D]
    weight: tl.tensor,  # [D]
    cos: tl.tensor,  # [N, d/2], contiguous
    sin: tl.tensor,  # [N, d/2], contiguous
    y: tl.tensor,  # [N, D]
    sums: tl.tensor,  # float32 [N / (ROWS * STEPS), D]: of the rows of each program
    x_stride: tl.tensor,
    y_stride: tl.tensor,
    D: tl.constexpr,
    PAIRS: tl.constexpr,  # d/2
    EPS: tl.constexpr,
    ROWS: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK: tl.constexpr,
    EMU: tl.constexpr,
) -> None:
    """Norm and turn ROWS tokens, STEPS times."""
    column = tl.arange(0, BLOCK)[None, :]
    pair = tl.arange(0, BLOCK // 2)[None, :] % PAIRS  # every head turns alike: 12 heads read one line of the cache
    inside = column < D
    gain = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    total = tl.zeros([ROWS, BLOCK], tl.float32)
    for step in range(STEPS):
        row = ((tl.program_id(0) * STEPS + step) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
        value = tl.load(x + row * x_stride + column, mask=inside, other=0.0).to(tl.float32)
        inverse = tl.rsqrt(tl.sum(value * value, 1) / D + EPS)[:, None]
        normed = rounded(value * inverse, y.dtype.element_ty, EMU)
        normed = rounded(normed * gain, y.dtype.element_ty, EMU)
        real, imaginary = tl.split(tl.reshape(normed, [ROWS, BLOCK // 2, 2]))
        c = tl.load(cos + row * PAIRS + pair).to(tl.float32)
        s = tl.load(sin + row * PAIRS + pair).to(tl.float32)
        turned = tl.join(real * c - imaginary * s, real * s + imaginary * c)
        turned = rounded(tl.reshape(turned, [ROWS, BLOCK]), y.dtype.element_ty, EMU)
        tl.store(y + row * y_stride + column, turned.to(y.dtype.element_ty), mask=inside)
        total += turned
    tl.store(sums + tl.program_id(0) * D + tl.arange(0, BLOCK), tl.sum(total, 0), mask=tl.arange(0, BLOCK) < D)


@triton.jit
def gated_norm_kernel(
    x: tl.tensor,  # [N, D]
    y: tl.tensor,  # [N, D], or None
    gate: tl.tensor,  # [D], or None
    scale: tl.tensor,  # [D]
    shift: tl.tensor,  # [D]
    total: tl.tensor,  # [N, D], contiguous: x + gate * y; None without y
    normed: tl.tensor,  # [N, D], contiguous
    x_stride: tl.tensor,
    y_stride: tl.tensor,
    N: tl.tensor,
    D: tl.constexpr,
    EPS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    EMU: tl.constexpr,
) -> None:
    """Add and norm ROWS tokens."""
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    column = tl.arange(0, BLOCK)[None, :]
    inside = (row < N) & (column < D)
    value = tl.load(x + row * x_stride + column, mask=inside, other=0.0).to(tl.float32)
    if y is not None:
        added = tl.load(y + row * y_stride + column, mask=inside, other=0.0).to(tl.float32)
        if gate is not None:
            factor = tl.load(gate + column, mask=column < D, other=0.0).to(tl.float32)
            added = rounded(factor * added, normed.dtype.element_ty, EMU)
        value = rounded(value + added, normed.dtype.element_ty, EMU)
        tl.store(total + row * D + column, value.to(normed.dtype.element_ty), mask=inside)
    centred = tl.where(column < D, value - (tl.sum(value, 1) / D)[:, None], 0.0)
    inverse = tl.rsqrt(tl.sum(centred * centred, 1) / D + EPS)[:, None]
    factor = tl.load(scale + column, mask=column < D, other=0.0).to(tl.float32)
    offset = tl.load(shift + column, mask=column < D, other=0.0).to(tl.float32)
    result = rounded(centred * inverse, normed.dtype.element_ty, EMU)
    result = rounded(result * factor, normed.dtype.element_ty, EMU)
    result = rounded(result + offset, normed.dtype.element_ty, EMU)
    tl.store(normed + row * D + column, result.to(normed.dtype.element_ty), mask=inside)


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """Give what `darkroom.kernels.norms.rms_norm` gives, in one launch."""
    n, d = _rows(x)
    tile = tiling(d)
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    grid = (triton.cdiv(n, tile["ROWS"]),)
    rms_norm_kernel[grid](x, weight, y, x.stride(0), n, D=d, EPS=EPS, **tile)
    return y


def norm_rope(
    x: Tensor, weight: Tensor, cos: Tensor, sin: Tensor, *, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Give what `darkroom.kernels.norms.norm_rope` gives; it turns in fp32 whatever the tables hold.

    Against a turn in fp64 some 3 of 100,000 bf16 values differ, in their last bit.
    """
    n, d = _rows(x)
    tile = tiling(d)
    steps = max(1, PROGRAM_ROWS // tile["ROWS"])
    programs = n // (tile["ROWS"] * steps)
    y = torch.empty_like(x, memory_format=torch.contiguous_format) if out is None else out
    if n % WINDOW_TOKENS or _rows(y) != (n, d) or d % (2 * cos.shape[1]):
        raise ValueError(f"{n} tokens of {d} channels are not windows of {WINDOW_TOKENS} with heads of the tables")
    sums = x.new_empty((programs, d), dtype=torch.float32)
    strides = x.stride(0), y.stride(0)
    norm_rope_kernel[(programs,)](
        x, weight, cos.contiguous(), sin.contiguous(), y, sums, *strides,
        D=d, PAIRS=cos.shape[1], EPS=EPS, STEPS=steps, **tile,
    )  # fmt: skip
    # programs of a window are added in order: atomics would add in any, and a last bit can flip a selection
    return y, sums.view(n // WINDOW_TOKENS, -1, d).sum(1).div_(WINDOW_TOKENS).to(y.dtype)


def gated_norm(x: Tensor, y: Tensor | None, gate: Tensor | None, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Give what `darkroom.kernels.norms.gated_norm` gives, in one launch."""
    n, d = _rows(x)
    if y is not None and _rows(y) != (n, d):
        raise ValueError(f"{tuple(y.shape)} cannot be added to {n} tokens of {d} channels")
    tile = tiling(d)
    normed = torch.empty_like(x, memory_format=torch.contiguous_format)
    total = None if y is None else torch.empty_like(normed)
    strides = x.stride(0), 0 if y is None else y.stride(0)
    grid = (triton.cdiv(n, tile["ROWS"]),)
    gated_norm_kernel[grid](x, y, gate, scale, shift, total, normed, *strides, n, D=d, EPS=EPS, **tile)
    return (x if total is None else total), normed


def tiling(d: int) -> dict[str, Any]:
    """Give the launch settings for rows of `d` channels: 32 values for each thread."""
    block = triton.next_power_of_2(d)
    rows = min(WINDOW_TOKENS, max(1, TILE // block))
    warps = min(16, max(1, block * rows // 1024))
    return {"ROWS": rows, "BLOCK": block, "EMU": INTERPRETED, "num_warps": warps} | EXACT


def builds(d: int = 1536, head_width: int = 128) -> list[Build]:
    """Give every form of the kernels that the net launches, for compilation without a GPU."""
    tile = tiling(d) | {"EMU": False}
    options = {name: tile.pop(name) for name in ("num_warps", *EXACT)}
    shared = {"D": d, "EPS": EPS, **tile}
    turn = {"PAIRS": head_width // 2, "STEPS": max(1, PROGRAM_ROWS // tile["ROWS"])}
    x, row, n = {"x": "*bf16", "x_stride": "i32"}, dict.fromkeys(("scale", "shift", "normed"), "*bf16"), {"N": "i32"}
    added = {"y": "*bf16", "total": "*bf16"}
    rope = {"y": "*bf16", "y_stride": "i32", "cos": "*fp32", "sin": "*fp32", "sums": "*fp32"}
    gated = x | row | n | {"y_stride": "i32"}
    return [
        (rms_norm_kernel, x | n | {"weight": "*bf16", "y": "*bf16"}, shared, options),
        (norm_rope_kernel, x | rope | {"weight": "*bf16"}, shared | turn, options),
        (gated_norm_kernel, gated | added | {"gate": "*bf16"}, shared, options),
        (gated_norm_kernel, gated | added, shared | {"gate": None}, options),
        (gated_norm_kernel, gated, shared | {"y": None, "gate": None, "total": None}, options),
    ]


def _rows(x: Tensor) -> tuple[int, int]:
    n, d = x.shape
    if x.stride(1) != 1:
        raise ValueError(f"rows of {d} channels lie {x.stride(1)} values apart: the kernels read contiguous rows")
    return n, d
