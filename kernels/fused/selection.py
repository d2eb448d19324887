"""Which windows look at which, as a table of key blocks that is made without waiting for the host

Definition: `darkroom.kernels.selection`. Four steps a layer: scores and softmax, the exact threshold, compaction, the
order of the tiles. At 768x1408 each passes over 12 · 66 · 264 · 4 B = 0.84 MB: the launches are the cost.
"""

# mypy: disable-error-code="untyped-decorator"

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from darkroom.kernels.fused.configs import FUSED
from darkroom.kernels.fused.norms import INTERPRETED, Build, rounded
from darkroom.kernels.sparse_attention import ring_blocks

ROWS, COLUMNS = 16, 64  # of one tile of scores; tensor cores take no fewer rows
CHUNK = 8192  # values counted at a time
WARPS = 16  # that count them: one program a head has the GPU for itself
BITS = 31  # of a float that is not negative


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The selected key blocks of each window of queries, for each head.

    Of fixed width, so that nothing about it has to be known on the host: no wait for the GPU.
    """

    blocks: Tensor  # int32 [heads, NQ, NK]: numbers of 128-row blocks of the ring; beyond the count, anything
    counts: Tensor  # int32 [heads, NQ]
    order: Tensor  # int32 [heads · NQ]: the order in which the tiles head · NQ + window are to be computed


@triton.jit
def probabilities_kernel(
    q_means: tl.tensor,  # [NQ, heads · WIDTH]
    k_means: tl.tensor,  # [blocks of the ring, heads · WIDTH]
    blocks: tl.tensor,  # int32 [NK]
    p: tl.tensor,  # fp32 [heads, NQ, NK], written
    q_stride: tl.tensor,  # from row to row
    k_stride: tl.tensor,
    nq: tl.tensor,
    nk: tl.tensor,
    n: tl.tensor,  # windows of a slice
    bw: tl.tensor,  # of them in a row
    local_range: tl.tensor,
    root: tl.tensor,  # √WIDTH
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    EMU: tl.constexpr,
) -> None:
    """Give the softmax of ROWS rows: scores first, then, read back, what they make of the whole row."""
    head = tl.program_id(1)
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    channel = head * WIDTH + tl.arange(0, WIDTH)
    q = tl.load(q_means + row * q_stride + channel[None, :], mask=row < nq, other=0.0)
    p_row = p + (head * nq + row).to(tl.int64) * nk
    top = tl.full([ROWS], -1e38, tl.float32)  # finite: a whole tile may lie beyond the local range
    total = tl.zeros([ROWS], tl.float32)
    for first in range(0, nk, COLUMNS):
        column = (first + tl.arange(0, COLUMNS))[None, :]
        block = tl.load(blocks + column, mask=column < nk, other=0)
        k = tl.load(k_means + block * k_stride + channel[:, None], mask=column < nk, other=0.0)
        if EMU:
            score = tl.dot(q.to(tl.float32), k.to(tl.float32), input_precision="ieee")
        else:
            score = tl.dot(q, k, input_precision="ieee")
        score = rounded(rounded(score, q.dtype, EMU) / root, q.dtype, EMU)
        down = column % n // bw - row % n // bw + local_range // 2
        right = column % n % bw - row % n % bw + local_range // 2
        near = (down >= 0) & (down < local_range) & (right >= 0) & (right < local_range)
        score = tl.where(near & (column < nk), score, float("-inf"))
        higher = tl.maximum(top, tl.max(score, 1))
        total = total * tl.exp(top - higher) + tl.sum(tl.exp(score - higher[:, None]), 1)
        top = higher
        tl.store(p_row + column, score, mask=(row < nq) & (column < nk))
    tl.debug_barrier()  # another thread may read a score than wrote it
    for first in range(0, nk, COLUMNS):
        column = (first + tl.arange(0, COLUMNS))[None, :]
        inside = (row < nq) & (column < nk)
        score = tl.load(p_row + column, mask=inside, other=float("-inf"))
        tl.store(p_row + column, tl.exp(score - top[:, None]) / total[:, None], mask=inside)


@triton.jit
def threshold_kernel(
    bits: tl.tensor,  # int32 [programs, size]: floats, none negative, so ordered as their bits are
    out: tl.tensor,  # int32 [programs], written
    size: tl.tensor,
    rank: tl.tensor,  # 1: the largest
    BITS: tl.constexpr,
    CHUNK: tl.constexpr,
) -> None:
    """Find the value of rank `rank` in one head and query slice.

    It is the largest t that at least `rank` values reach, so it is found bit by bit from above.
    """
    program = tl.program_id(0)
    base = bits + program.to(tl.int64) * size
    place = tl.arange(0, CHUNK)
    found = 0
    for step in range(BITS):
        candidate = found | (1 << (BITS - 1 - step))
        reached = tl.zeros([CHUNK], tl.int32)
        for first in range(0, size, CHUNK):
            value = tl.load(base + first + place, mask=first + place < size, other=-1)
            reached += (value >= candidate).to(tl.int32)
        found = tl.where(tl.sum(reached, 0) >= rank, candidate, found)
    tl.store(out + program, found)


@triton.jit
def compaction_kernel(
    bits: tl.tensor,  # int32 [heads · NQ, NK]
    thresholds: tl.tensor,  # int32 [heads · query slices]
    blocks: tl.tensor,  # int32 [NK]
    table: tl.tensor,  # int32 [heads · NQ, NK], written
    counts: tl.tensor,  # int32 [heads · NQ], written
    nk: tl.tensor,
    n: tl.tensor,
    WIDEST: tl.constexpr,  # a power of two, at least nk
) -> None:
    """List the blocks of one row whose values exceed the threshold, in time order, and count them."""
    row = tl.program_id(0)
    column = tl.arange(0, WIDEST)
    inside = column < nk
    start = row.to(tl.int64) * nk
    value = tl.load(bits + start + column, mask=inside, other=-1)
    chosen = (value > tl.load(thresholds + row // n)).to(tl.int32)
    block = tl.load(blocks + column, mask=inside, other=0)
    place = tl.cumsum(chosen, 0) - 1
    tl.store(table + start + place, block, mask=chosen != 0)
    tl.store(counts + row, tl.sum(chosen, 0))


@lru_cache(maxsize=64)
def live_blocks(slots: tuple[int, ...], n: int, device: torch.device) -> Tensor:
    """Give `ring_blocks` as int32 on `device`; remembered, for sending it there each time would wait for the GPU."""
    return ring_blocks(slots, n).int().to(device)


def probabilities(
    q_means: Tensor, k_means: Tensor, blocks: Tensor, *, heads: int, grid: tuple[int, int], local_range: int
) -> Tensor:
    """Give what `kernels.selection.probabilities` gives for `k_means[blocks]`: fp32 [heads, NQ, NK].

    q_means:  [NQ, D]
    k_means:  [blocks of the ring, D]; those not in `blocks` are never read
    blocks:   int32 [NK]
    """
    (nq, width), nk = q_means.shape, len(blocks)
    p = torch.empty(heads, nq, nk, dtype=torch.float32, device=q_means.device)
    probabilities_kernel[(triton.cdiv(nq, ROWS), heads)](
        q_means,
        k_means,
        blocks,
        p,
        q_means.stride(0),
        k_means.stride(0),
        nq,
        nk,
        grid[0] * grid[1],
        grid[1],
        local_range,
        math.sqrt(width // heads),
        WIDTH=width // heads,
        ROWS=ROWS,
        COLUMNS=COLUMNS,
        EMU=INTERPRETED,
        **FUSED,
    )
    return p


def tabulate(p: Tensor, blocks: Tensor, *, n: int, topk: int) -> Table:
    """Give the table of the entries that `kernels.selection.select` keeps: exactly those, ties included.

    p:       fp32 [heads, NQ, NK] contiguous, not negative
    blocks:  int32 [NK]
    """
    heads, nq, nk = p.shape
    if topk < 0:
        raise ValueError(f"topk: {topk} window pairs cannot be kept; raise the ratio so that it is 0 or more")
    bits = p.view(torch.int32)
    size = n * nk
    thresholds = bits.new_empty(heads * nq // n)
    threshold_kernel[(len(thresholds),)](
        bits, thresholds, size, min(size - 1, topk) + 1, BITS=BITS, CHUNK=min(CHUNK, triton.next_power_of_2(size)),
        num_warps=WARPS, **FUSED,
    )  # fmt: skip
    table, counts = torch.empty_like(bits), bits.new_empty(heads, nq)
    compaction_kernel[(heads * nq,)](
        bits, thresholds, blocks, table, counts, nk, n, WIDEST=triton.next_power_of_2(nk), **FUSED
    )  # fmt: skip
    return Table(blocks=table, counts=counts, order=tile_order(counts, nk))


def tile_order(counts: Tensor, most: int) -> Tensor:
    """Give the tiles pair of heads by pair of heads, within a pair the longest first: int32 [heads · NQ].

    counts: int32 [heads, NQ], none above `most`

    The long ones first keeps all multiprocessors busy to the end; two heads' keys and values at
    a time are about what the L2 cache of a large GPU holds.
    """
    pair = torch.arange(len(counts), device=counts.device)[:, None] // 2
    return (pair * (most + 1) - counts).flatten().argsort(stable=True).int()


def select_windows(
    q_means: Tensor,
    k_means: Tensor,
    blocks: Tensor,
    *,
    heads: int,
    grid: tuple[int, int],
    local_range: int,
    topk: int,
) -> Table:
    """Give the table of what `kernels.selection.select_windows` selects; arguments as of `probabilities`."""
    p = probabilities(q_means, k_means, blocks, heads=heads, grid=grid, local_range=local_range)
    return tabulate(p, blocks, n=grid[0] * grid[1], topk=topk)


def builds(width: int = 128, nk: int = 264) -> list[Build]:
    """Give every form of the kernels that the net launches, for compilation without a GPU."""
    counts = ("q_stride", "k_stride", "nq", "nk", "n", "bw", "local_range")
    means = {"q_means": "*bf16", "k_means": "*bf16", "blocks": "*i32", "p": "*fp32", "root": "fp32"}
    tile = {"WIDTH": width, "ROWS": ROWS, "COLUMNS": COLUMNS, "EMU": False}
    tables = dict.fromkeys(("bits", "thresholds", "blocks", "table", "counts"), "*i32")
    ranked = {"bits": "*i32", "out": "*i32", "size": "i32", "rank": "i32"}
    return [
        (probabilities_kernel, means | dict.fromkeys(counts, "i32"), tile, FUSED),
        (threshold_kernel, ranked, {"BITS": BITS, "CHUNK": CHUNK}, {"num_warps": WARPS} | FUSED),
        (compaction_kernel, tables | {"nk": "i32", "n": "i32"}, {"WIDEST": triton.next_power_of_2(nk)}, FUSED),
    ]
