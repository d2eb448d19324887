"""The attention kernel in Triton, as `sparse.py` times it; imported only where Triton can run."""

import torch
from agreement import Disagreement
from einops import reduce
from sparse import LOCAL_RANGE, Inputs, Way, Work
from torch import Tensor

from darkroom.kernels.fused.selection import Table, live_blocks, select_windows, tabulate
from darkroom.kernels.fused.sparse_attention import LOG2_E, quantise, sparse_attention
from darkroom.kernels.windows import WINDOW_TOKENS


def ways() -> list[Way]:
    """Return what the kernel can do."""
    return [
        Way(name="Triton", prepare=attention, dense=False, ours=True),
        Way(name="Triton, int8 products", prepare=attention_int8, dense=False, ours=True, bound=2.5e-2),
    ]


def attention(x: Inputs) -> Work:
    table = table_of(x)
    return lambda turn: sparse_attention(x.q[turn], x.k[turn], x.v[turn], table, heads=x.heads)


def attention_int8(x: Inputs) -> Work:
    """Return the attention with queries and keys rounded to int8 each time, as a chunk does it."""
    table, factor = table_of(x), LOG2_E * (x.q[0].shape[1] // x.heads) ** -0.5

    def work(turn: int) -> Tensor:
        q, q_scales = quantise(x.q[turn], heads=x.heads, factor=factor)
        k, k_scales = quantise(x.k[turn], heads=x.heads, factor=1.0, centre=x.centres[turn])
        return sparse_attention(q, k, x.v[turn], table, heads=x.heads, scales=(q_scales, k_scales))

    return work


def selection(x: Inputs, grid: tuple[int, int]) -> Work:
    """Return the selection by the means of windows, which gives a table of blocks."""
    blocks = _blocks(x)
    means = [
        tuple(12 * reduce(tensor, "(n t) d -> n d", "mean", t=WINDOW_TOKENS) for tensor in pair)
        for pair in zip(x.q, x.k, strict=True)
    ]

    def work(turn: int) -> Tensor:
        q, k = means[turn]
        return select_windows(q, k, blocks, heads=x.heads, grid=grid, local_range=LOCAL_RANGE, topk=x.topk).counts

    return work


def table_of(x: Inputs) -> Table:
    """Return the table for the scores of `x`. Raises Disagreement if it is not the mask."""
    table = tabulate(x.p, _blocks(x), n=x.windows, topk=x.topk)
    listed = torch.arange(x.mask.shape[-1], device=x.mask.device) < table.counts[..., None]
    head, row, _ = listed.nonzero(as_tuple=True)
    mask = torch.zeros_like(x.mask)
    mask[head, row, table.blocks[listed].long()] = True
    if not torch.equal(mask, x.mask):
        raise Disagreement("Triton's selection: its table is not the mask of the definition")
    return table


def _blocks(x: Inputs) -> Tensor:
    slices = len(x.k[0]) // WINDOW_TOKENS // x.windows
    return live_blocks(tuple(range(slices)), x.windows, x.k[0].device)
