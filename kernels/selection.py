"""Which windows look at which: the pairs with the largest attention between the means of both"""

import math

import torch
from einops import rearrange
from torch import Tensor

from darkroom.kernels.windows import local_windows


def probabilities(q_means: Tensor, k_means: Tensor, *, heads: int, grid: tuple[int, int], local_range: int) -> Tensor:
    """Give the softmax over all near key windows of the products of window means.

    q_means:      [NQ, D], D = heads·d with heads contiguous, NQ a multiple of n = bh·bw
    k_means:      [NK, D], NK a multiple of n
    grid:         (bh, bw) windows of one slice
    local_range:  see `windows.local_windows`; windows beyond it get exactly 0
    returns:      fp32 [heads, NQ, NK]; rows add up to 1

    The products are rounded to the dtype of the means, and again after the division by √d, as the
    model was trained: in bf16 this makes ties, which decide what `select` keeps.
    """
    q = rearrange(q_means, "i (a d) -> a i d", a=heads)
    k = rearrange(k_means, "j (a d) -> a d j", a=heads)
    scores = ((q @ k) / math.sqrt(q.shape[-1])).float()
    n = grid[0] * grid[1]
    near = local_windows(*grid, local_range, device=q.device)
    slices = rearrange(scores, "a (g i) (s j) -> a g i s j", i=n, j=n)
    return rearrange(slices.masked_fill(~near[:, None, :], -math.inf), "a g i s j -> a (g i) (s j)").softmax(-1)


def select(p: Tensor, *, n: int, topk: int) -> Tensor:
    """Say which entries of `p` exceed the (topk + 1)-th largest of their head and query slice.

    p:        [heads, NQ, NK], not negative; NQ a multiple of n, the windows of a slice
    topk:     number of window pairs kept per head and query slice, 0 or more
    returns:  bool [heads, NQ, NK]

    Strictly: of values equal to the threshold none is kept, so ties keep fewer than `topk`, and a
    row may keep nothing. One pair is dropped even where `topk` would allow all. Raises ValueError
    if topk is negative.
    """
    if topk < 0:
        raise ValueError(f"topk: {topk} window pairs cannot be kept; raise the ratio so that it is 0 or more")
    whole = rearrange(p, "a (g i) j -> a g (i j)", i=n)
    size = whole.shape[-1]
    # The (κ+1)-th largest is the (size - κ)-th smallest.
    threshold = whole.kthvalue(size - min(size - 1, topk), dim=-1, keepdim=True).values
    return rearrange(whole > threshold, "a g (i j) -> a (g i) j", i=n)


def select_windows(
    q_means: Tensor, k_means: Tensor, *, heads: int, grid: tuple[int, int], local_range: int, topk: int
) -> Tensor:
    """Say for each head which key windows each query window attends to: bool [heads, NQ, NK].

    Arguments as of `probabilities` and `select`. Key windows are in the order of `k_means`, slices
    in time order. This is the definition that `kernels.fused.selection` is tested against.
    """
    width = q_means.shape[1] // heads
    out = torch.empty(heads, len(q_means), len(k_means), dtype=torch.bool, device=q_means.device)
    # Head by head: the fp32 matrices of all heads and query slices of a 4K frame would take a gigabyte.
    for head in range(heads):
        columns = slice(head * width, (head + 1) * width)
        p = probabilities(q_means[:, columns], k_means[:, columns], heads=1, grid=grid, local_range=local_range)
        out[head] = select(p, n=grid[0] * grid[1], topk=topk)[0]
    return out
