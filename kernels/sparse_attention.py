"""Attention from each window of 128 queries to the windows of keys selected for it"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from darkroom.kernels.selection import select_windows
from darkroom.kernels.windows import WINDOW_TOKENS

GATHERED_BYTES = 256 << 20  # of the keys and values copied together for one window of queries


def sparse_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, heads: int, blocks: Tensor | None = None
) -> Tensor:
    """Give softmax(q·kᵀ/√d)·v, each window of queries seeing the key windows of its row of `mask` only.

    q:        [NQ·128, D], D = heads·d with heads contiguous; a stride between rows is fine
    k, v:     [blocks·128, D]
    mask:     bool [heads, NQ, NK]
    blocks:   int64 [NK]: which 128 rows of `k` and `v` each column of `mask` stands for; None: in order
    returns:  [NQ·128, D], dtype of q; exactly 0 where a row of `mask` selects nothing

    This is the definition that `kernels.fused.sparse_attention` is tested against. It gathers the
    selected keys for each window of queries, so its work shrinks with the density of the mask.
    """
    keys, values = (rearrange(x, "(j t) (a d) -> a j t d", t=WINDOW_TOKENS, a=heads) for x in (k, v))
    queries = rearrange(q, "(i t) (a d) -> i a t d", t=WINDOW_TOKENS, a=heads)
    out = q.new_empty(len(queries), WINDOW_TOKENS, heads, queries.shape[-1])
    for i in range(len(queries)):
        for some in _head_groups(mask[:, i], keys):
            row = _row(queries[i, some], keys[some], values[some], mask[some, i], blocks)
            out[i, :, some] = row.transpose(0, 1)
    return out.flatten(2).flatten(0, 1)


def _row(q: Tensor, k: Tensor, v: Tensor, active: Tensor, blocks: Tensor | None) -> Tensor:
    """Attend from one window of queries.  q [a, 128, d]; k, v [a, blocks, 128, d]; active bool [a, NK]."""
    counts = active.sum(-1)
    most = int(counts.max())
    if most == 0:
        return torch.zeros_like(q)
    # Active columns first, in their order; heads with fewer than `most` look away from their surplus.
    columns = active.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)[:, :most]
    chosen = columns if blocks is None else blocks[columns]
    head = torch.arange(len(q), device=q.device)[:, None]
    seen = torch.arange(most, device=q.device) < counts[:, None]  # [a, most]
    visible = None if bool(seen.all()) else rearrange(seen.repeat_interleave(WINDOW_TOKENS, 1), "a j -> 1 a 1 j")
    keys, values = (x[head, chosen].flatten(1, 2)[None] for x in (k, v))
    out = F.scaled_dot_product_attention(q[None], keys, values, attn_mask=visible)[0]
    return out.masked_fill_((counts == 0)[:, None, None], 0)


def _head_groups(active: Tensor, keys: Tensor) -> list[slice]:
    """Cut the heads into groups whose selected keys and values fit `GATHERED_BYTES`.  active bool [heads, NK]."""
    block_bytes = 2 * keys[0, 0].numel() * keys.element_size()
    most = max(1, int(active.sum(-1).max()))
    size = max(1, GATHERED_BYTES // (most * block_bytes))
    return [slice(first, first + size) for first in range(0, len(active), size)]


def ring_blocks(slots: tuple[int, ...], n: int, device: torch.device | str | None = None) -> Tensor:
    """Give the 128-row block of a K/V ring that holds each key window, slices in the order of `slots`: int64 [NK]."""
    first = torch.tensor(slots, device=device) * n
    return (first[:, None] + torch.arange(n, device=device)).flatten()


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
) -> Tensor:
    """Select key windows by their means and attend to them, over a ring of slices.

    q:        [NQ·128, D] in window order, after norm and RoPE
    k, v:     [slots of the ring, n·128, D], n = bh·bw
    q_means:  [NQ, D]: means of each 128 rows of q
    k_means:  [slots of the ring, n, D]: the same of k
    slots:    the live slots, oldest slice first; the others are never read
    returns:  [NQ·128, D]

    grid, local_range, topk: see `selection.select_windows`.
    """
    live = k_means[list(slots)].flatten(0, 1)
    mask = select_windows(q_means, live, heads=heads, grid=grid, local_range=local_range, topk=topk)
    blocks = ring_blocks(slots, grid[0] * grid[1], q.device)
    return sparse_attention(q, k.flatten(0, 1), v.flatten(0, 1), mask, heads=heads, blocks=blocks)
