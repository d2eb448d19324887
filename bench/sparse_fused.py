"""The attention kernel in Triton, as `sparse.py` times it; imported only where Triton can run."""

from typing import Any

import torch
from agreement import Disagreement
from einops import reduce
from sparse import LOCAL_RANGE, Inputs, Way, Work
from torch import Tensor

from darkroom.kernels.fused.selection import Table, live_blocks, select_windows, tabulate
from darkroom.kernels.fused.sparse_attention import LOG2_E, quantise, sparse_attention
from darkroom.kernels.selection import select_windows as selection_by_definition
from darkroom.kernels.windows import WINDOW_TOKENS

OTHERWISE = 1e-2


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
    blocks, means = _blocks(x), [_means(x, turn) for turn in range(len(x.q))]

    def work(turn: int) -> Tensor:
        q, k = means[turn]
        return select_windows(q, k, blocks, heads=x.heads, grid=grid, local_range=LOCAL_RANGE, topk=x.topk).counts

    return work


def chosen_otherwise(x: Inputs, grid: tuple[int, int]) -> float:
    """Return the share of the selected pairs that the definition does not select, or selects instead.

    A sum in another order can round a score to its neighbour, and so a pair over the threshold. Raises Disagreement
    if that is more than rounding explains.
    """
    rule: dict[str, Any] = {"heads": x.heads, "grid": grid, "local_range": LOCAL_RANGE, "topk": x.topk}
    wanted = selection_by_definition(*_means(x, 0), **rule)
    found = _mask(select_windows(*_means(x, 0), _blocks(x), **rule), wanted.shape[-1])
    if (share := float((found ^ wanted).sum() / wanted.sum().clamp(min=1))) > OTHERWISE:
        raise Disagreement(f"Triton's selection: {share:.2%} of the pairs are not as defined")
    return share


def table_of(x: Inputs) -> Table:
    """Return the table for the scores of `x`. Raises Disagreement if it is not the mask."""
    table = tabulate(x.p, _blocks(x), n=x.windows, topk=x.topk)
    if not torch.equal(_mask(table, x.mask.shape[-1]), x.mask):
        raise Disagreement("Triton's selection: its table is not the mask of the definition")
    return table


def _mask(table: Table, columns: int) -> Tensor:
    """Return what `table` lists: bool [heads, NQ, columns]."""
    listed = torch.arange(columns, device=table.counts.device) < table.counts[..., None]
    head, row, _ = listed.nonzero(as_tuple=True)
    mask = torch.zeros_like(listed)
    mask[head, row, table.blocks[listed].long()] = True
    return mask


def _means(x: Inputs, turn: int) -> tuple[Tensor, Tensor]:
    """Return the means of windows of queries and of keys, as far apart as those of pictures."""
    q, k = (12 * reduce(some[turn], "(n t) d -> n d", "mean", t=WINDOW_TOKENS) for some in (x.q, x.k))
    return q, k


def _blocks(x: Inputs) -> Tensor:
    slices = len(x.k[0]) // WINDOW_TOKENS // x.windows
    return live_blocks(tuple(range(slices)), x.windows, x.k[0].device)
