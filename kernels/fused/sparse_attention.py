"""Attention to selected windows in one kernel, in 16 bits or with int8 products of queries and keys

Definition: `darkroom.kernels.sparse_attention`. Per layer at 768x1408: 12 heads · 7919 pairs of blocks · 4 · 128³ flop
= 0.80 Tflop; q and out are 52 MB, K and V 208 MB read once from memory, and 64 KiB a pair from L2, 6.2 GB in all: the
products are the bound, and beyond 600 Tflop/s it is L2.
"""

# mypy: disable-error-code="untyped-decorator"

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from darkroom.kernels.fused.configs import FUSED, LAUNCHES, Precision, launch
from darkroom.kernels.fused.norms import INTERPRETED, Build, rounded
from darkroom.kernels.fused.selection import Table, live_blocks, select_windows
from darkroom.kernels.windows import WINDOW_TOKENS

WIDTHS = (16, 32, 64, 128)  # of a head: powers of two that a product of tensor cores takes
SCALES = ("q_scales", "k_scales")
ROUNDING = {"num_warps": 8, **FUSED}  # 64 values for each thread: with 4 warps they spill
LOG2_E = math.log2(math.e)  # softmax in base 2: GPUs compute 2^x


@triton.jit
def attention_kernel(
    q: tl.tensor,  # [NQ · 128, heads · WIDTH], int8 with scales
    k: tl.tensor,  # [blocks · 128, heads · WIDTH], int8 with scales
    v: tl.tensor,  # [blocks · 128, heads · WIDTH]
    out: tl.tensor,  # [NQ · 128, heads · WIDTH], written
    q_scales: tl.tensor,  # fp32 [heads, NQ], `scale` in them; or None
    k_scales: tl.tensor,  # fp32 [heads, blocks]; or None
    table: tl.tensor,  # int32 [heads, NQ, NK] block numbers
    counts: tl.tensor,  # int32 [heads, NQ]
    order: tl.tensor,  # int32 [heads · NQ]
    q_stride: tl.tensor,  # from row to row
    k_stride: tl.tensor,
    v_stride: tl.tensor,
    out_stride: tl.tensor,
    nq: tl.tensor,
    nk: tl.tensor,
    blocks: tl.tensor,  # of the ring
    scale: tl.tensor,  # log2(e) / √WIDTH
    WIDTH: tl.constexpr,
    TOKENS: tl.constexpr,  # 128: of a window
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    EMU: tl.constexpr,
) -> None:
    """Attend from QUERIES rows of one window in one head, KEYS keys at a time."""
    PARTS: tl.constexpr = TOKENS // QUERIES
    STEPS: tl.constexpr = TOKENS // KEYS
    tile = tl.load(order + tl.program_id(0) // PARTS)
    head = tile // nq
    start = ((tile % nq) * TOKENS + (tl.program_id(0) % PARTS) * QUERIES).to(tl.int64)
    row, key, channel = tl.arange(0, QUERIES)[:, None], tl.arange(0, KEYS), tl.arange(0, WIDTH)
    query = tl.load(q + start * q_stride + head * WIDTH + row * q_stride + channel[None, :])  # [QUERIES, WIDTH]
    # Offsets of 32 bits beside one pointer of 64: a tensor of pointers takes twice the registers.
    keys_at = key[None, :] * k_stride + channel[:, None]  # [WIDTH, KEYS]
    values_at = key[:, None] * v_stride + channel[None, :]  # [KEYS, WIDTH]

    top = tl.full([QUERIES], float("-inf"), tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    mixed = tl.zeros([QUERIES, WIDTH], tl.float32)
    chosen = table + tile.to(tl.int64) * nk
    for step in range(tl.load(counts + tile) * STEPS):
        block = tl.load(chosen + step // STEPS)
        first = block.to(tl.int64) * TOKENS + (step % STEPS) * KEYS
        keys = tl.load(k + (first * k_stride + head * WIDTH) + keys_at)
        if q_scales is not None:
            grain = tl.load(q_scales + tile) * tl.load(k_scales + head * blocks + block)
            score = tl.dot(query, keys).to(tl.float32) * grain
        elif EMU:
            score = tl.dot(query.to(tl.float32), keys.to(tl.float32), input_precision="ieee") * scale
        else:
            score = tl.dot(query, keys, input_precision="ieee") * scale
        higher = tl.maximum(top, tl.max(score, 1))
        p = tl.exp2(score - higher[:, None])
        fade = tl.exp2(top - higher)
        total = total * fade + tl.sum(p, 1)
        mixed = mixed * fade[:, None]
        values = tl.load(v + (first * v_stride + head * WIDTH) + values_at)
        if EMU:  # the interpreter has no products of bf16
            mixed = tl.dot(rounded(p, values.dtype, EMU), values.to(tl.float32), mixed, input_precision="ieee")
        else:
            mixed = tl.dot(p.to(values.dtype), values, mixed, input_precision="ieee")
        top = higher

    mixed = mixed / tl.where(total == 0, 1.0, total)[:, None]  # nothing selected: 0
    result = rounded(mixed, out.dtype.element_ty, EMU).to(out.dtype.element_ty)
    tl.store(out + start * out_stride + head * WIDTH + row * out_stride + channel[None, :], result)


@triton.jit
def quantise_kernel(
    x: tl.tensor,  # [blocks · 128, heads · WIDTH]
    centre: tl.tensor,  # fp32 [heads · WIDTH], or None
    chosen: tl.tensor,  # int32 [programs] block numbers, or None: all blocks
    few: tl.tensor,  # int8, shape of x, written
    scales: tl.tensor,  # fp32 [heads, blocks], written
    x_stride: tl.tensor,  # from row to row
    few_stride: tl.tensor,
    blocks: tl.tensor,
    factor: tl.tensor,  # goes into the scales
    WIDTH: tl.constexpr,
    TOKENS: tl.constexpr,
) -> None:
    """Round one block of one head to 255 steps between its extremes."""
    block, head = tl.program_id(0), tl.program_id(1)
    if chosen is not None:
        block = tl.load(chosen + block)
    channel = head * WIDTH + tl.arange(0, WIDTH)[None, :]
    row = (block.to(tl.int64) * TOKENS + tl.arange(0, TOKENS))[:, None]
    value = tl.load(x + row * x_stride + channel).to(tl.float32)
    if centre is not None:
        value -= tl.load(centre + channel)
    scale = tl.maximum(tl.max(tl.max(tl.abs(value), 1), 0), 1e-20) / 127  # a block of zeros has a scale too
    value = value / scale
    value = value + tl.where(value < 0, -0.5, 0.5)  # the cast cuts
    tl.store(few + row * few_stride + channel, value.to(tl.int8))
    tl.store(scales + head * blocks + block, scale * factor)


def quantise(
    x: Tensor, *, heads: int, factor: float, centre: Tensor | None = None, blocks: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Give `x` in int8 and the scale of each block of 128 rows and head, times `factor`.

    x:        [blocks · 128, D]
    centre:   fp32 [D], subtracted first; softmax does not see what is taken from all keys alike
    blocks:   int32: which blocks to do; of the others nothing is read, and their results are left unwritten
    returns:  int8 [blocks · 128, D], fp32 [heads, blocks]
    """
    count = len(x) // WINDOW_TOKENS
    out = torch.empty(x.shape, dtype=torch.int8, device=x.device)
    scales = torch.empty(heads, count, dtype=torch.float32, device=x.device)
    quantise_kernel[(count if blocks is None else len(blocks), heads)](
        x,
        centre,
        blocks,
        out,
        scales,
        x.stride(0),
        out.stride(0),
        count,
        factor,
        WIDTH=x.shape[1] // heads,
        TOKENS=WINDOW_TOKENS,
        **ROUNDING,
    )
    return out, scales


def sparse_attention(
    q: Tensor, k: Tensor, v: Tensor, table: Table, *, heads: int, scales: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Give what `kernels.sparse_attention.sparse_attention` gives for the mask that `table` stands for.

    q:        [NQ·128, D], channels contiguous
    k, v:     [blocks·128, D], likewise
    scales:   those of int8 q and k, from `quantise`: q's hold log2(e)/√d
    returns:  [NQ·128, D], dtype of v

    Raises ValueError for a head width that is not in WIDTHS.
    """
    width = q.shape[1] // heads
    if width not in WIDTHS:
        raise ValueError(f"heads of {width} channels: the sparse kernel takes {WIDTHS}; set attention: torch")
    cut = launch(q.device, "int8" if scales else "fp32" if q.dtype is torch.float32 else "16 bit")
    out = torch.empty(q.shape, dtype=v.dtype, device=q.device)
    q_scales, k_scales = scales or (None, None)
    nq, nk = table.blocks.shape[1:]
    attention_kernel[(heads * nq * (WINDOW_TOKENS // cut.queries),)](
        q, k, v, out, q_scales, k_scales, table.blocks, table.counts, table.order,
        q.stride(0), k.stride(0), v.stride(0), out.stride(0),
        nq, nk, len(k) // WINDOW_TOKENS, LOG2_E / math.sqrt(width),
        WIDTH=width, TOKENS=WINDOW_TOKENS, QUERIES=cut.queries, KEYS=cut.keys, EMU=INTERPRETED, **cut.options,
    )  # fmt: skip
    return out


def windowed(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_means: Tensor,
    k_means: Tensor,
    *,
    slots: tuple[int, ...],
    heads: int,
    grid: tuple[int, int],
    local_range: int,
    topk: int,
    int8: bool = False,
) -> Tensor:
    """Give what `kernels.sparse_attention.windowed` gives; arguments as there.

    int8: products of q and k in int8, the keys less the mean of all live ones. Twice the error of bf16.
    """
    blocks = live_blocks(slots, grid[0] * grid[1], q.device)
    k, v, k_means = k.flatten(0, 1), v.flatten(0, 1), k_means.flatten(0, 1)
    table = select_windows(q_means, k_means, blocks, heads=heads, grid=grid, local_range=local_range, topk=topk)
    if not int8:
        return sparse_attention(q, k, v, table, heads=heads)
    centre = k_means[blocks].float().mean(0)
    few_q, q_scales = quantise(q, heads=heads, factor=LOG2_E * (q.shape[1] // heads) ** -0.5)
    few_k, k_scales = quantise(k, heads=heads, factor=1.0, centre=centre, blocks=blocks)
    return sparse_attention(few_q, few_k, v, table, heads=heads, scales=(q_scales, k_scales))


def builds(arch: int, width: int = 128) -> list[Build]:
    """Give every form of the kernels that `arch` launches, for compilation without a GPU."""
    window: dict[str, Any] = {"WIDTH": width, "TOKENS": WINDOW_TOKENS}
    strides = dict.fromkeys(("q_stride", "k_stride", "v_stride", "out_stride", "nq", "nk", "blocks"), "i32")
    shared = strides | dict.fromkeys(("table", "counts", "order"), "*i32") | {"scale": "fp32"}
    forms: tuple[tuple[Precision, str, str], ...] = (
        ("16 bit", "*bf16", "*bf16"),
        ("16 bit", "*fp16", "*fp16"),
        ("int8", "*i8", "*bf16"),
        ("fp32", "*fp32", "*fp32"),
    )
    found: list[Build] = []
    for precision, inner, outer in forms:
        cut = LAUNCHES[arch, precision]
        types = shared | {"q": inner, "k": inner, "v": outer, "out": outer}
        constants = window | {"QUERIES": cut.queries, "KEYS": cut.keys, "EMU": False}
        if precision == "int8":
            found.append((attention_kernel, types | dict.fromkeys(SCALES, "*fp32"), constants, cut.options))
        else:
            found.append((attention_kernel, types, constants | dict.fromkeys(SCALES), cut.options))
    round_types = {"x": "*bf16", "few": "*i8", "scales": "*fp32", "factor": "fp32"}
    round_types |= dict.fromkeys(("x_stride", "few_stride", "blocks"), "i32")
    return [
        *found,
        (quantise_kernel, round_types, window | {"centre": None, "chosen": None}, ROUNDING),
        (quantise_kernel, round_types | {"centre": "*fp32", "chosen": "*i32"}, window, ROUNDING),
    ]
