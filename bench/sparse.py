"""Attention to selected windows beside other ways to attend, at the shapes and with the masks of FlashVSR."""

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from agreement import BOUNDS, Disagreement, error
from einops import rearrange
from rows import Row
from timing import SETS, milliseconds
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from darkroom.kernels.dense_attention import dense_attention, library, sage_attention
from darkroom.kernels.selection import select
from darkroom.kernels.sparse_attention import sparse_attention
from darkroom.kernels.windows import WINDOW_TOKENS, local_windows

LOCAL_RANGE = 11
SAMPLED = 4  # windows of queries whose attention is computed in float64


@dataclass(frozen=True, kw_only=True)
class Case:
    """A shape and how its windows are selected."""

    name: str
    query_slices: int
    key_slices: int
    share: float  # of all pairs of windows, that is kept at most
    mixed: bool = True  # rows of mixed sharpness, so that some keep much and some little; else all alike


# What FlashVSR keeps at 768x1408 with a sparse_ratio of 2.0 (published as stable) and of 1.5 (fast), and at 1408x2432.
CASES = (
    Case(name="steady", query_slices=1, key_slices=4, share=0.4545),
    Case(name="steady, even rows", query_slices=1, key_slices=4, share=0.4545, mixed=False),
    Case(name="steady, fast", query_slices=1, key_slices=4, share=0.3409),
    Case(name="steady, large frames", query_slices=1, key_slices=4, share=0.15),
    Case(name="first chunk", query_slices=3, key_slices=3, share=0.606),
)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What one case is computed from, SETS times."""

    q: list[Tensor]  # each [NQ · 128, D]
    k: list[Tensor]  # each [NK · 128, D]
    v: list[Tensor]
    p: Tensor  # fp32 [heads, NQ, NK]: what is selected from
    mask: Tensor  # bool, of the same shape
    centres: list[Tensor]  # fp32 [D]: the mean key of each set
    heads: int
    windows: int  # of a slice
    topk: int

    def flop(self, dense: bool) -> float:
        """Return the operations of the products, of all pairs of windows or of those selected."""
        pairs = self.mask.numel() if dense else int(self.mask.sum())
        return 4 * pairs * WINDOW_TOKENS**2 * self.q[0].shape[1] / self.heads


Work = Callable[[int], Tensor]


@dataclass(frozen=True, kw_only=True)
class Way:
    """One implementation."""

    name: str
    prepare: Callable[[Inputs], Work]  # what need not be done anew for each chunk, and then the work
    dense: bool  # attends to all keys
    missing: str = ""  # why it cannot run here
    ours: bool = False  # what we ship: if it is wrong, nothing else counts
    bound: float | None = None  # of its error; None: that of the number format


def rows(
    cases: Sequence[Case],
    grid: tuple[int, int],
    heads: int,
    width: int,
    dtype: torch.dtype,
    device: torch.device,
    limit: float,
    repeats: int,
) -> Iterator[Row]:
    """Yield a row for each case and way. Raises Disagreement if one of ours is wrong.

    grid:   windows of a frame, down and across
    limit:  10¹² operations a second
    """
    for case in cases:
        x = inputs(case, grid, heads, width, dtype, device)
        base = None
        for way in ways(dtype, device):
            row, took = measured(way, x, limit, repeats)
            base = took if way.name == "SDPA, all keys" else base
            faster = base / took if base and took else "–"
            head = {"case": case.name, "pairs": f"{float(x.mask.float().mean()):.1%}", "way": way.name}
            yield {**head, "SDPA / this": faster, **row}
        if not _no_triton(device):
            import sparse_fused

            others = sparse_fused.chosen_otherwise(x, grid)
            took = milliseconds(sparse_fused.selection(x, grid), device, repeats=repeats)
            row = {**dict.fromkeys(row, "–"), "ms": took, "remark": f"{others:.2%} of the pairs not as defined"}
            yield {**head, "way": "Triton, the selection alone", "SDPA / this": "–", **row}


def inputs(
    case: Case, grid: tuple[int, int], heads: int, width: int, dtype: torch.dtype, device: torch.device
) -> Inputs:
    """Return random queries, keys and values, and the mask that the selection makes of random scores."""
    numbers = torch.Generator(device).manual_seed(7)
    n = grid[0] * grid[1]
    nq, nk = case.query_slices * n, case.key_slices * n
    spread = torch.ones(heads, nq, 1, device=device)
    if case.mixed:
        spread = 4 ** (2 * torch.rand(heads, nq, 1, generator=numbers, device=device) - 1)  # 1/4 to 4
    scores = spread * torch.randn(heads, nq, nk, generator=numbers, device=device)
    near = local_windows(*grid, LOCAL_RANGE, device=device).repeat(case.query_slices, case.key_slices)
    p = scores.masked_fill(~near, float("-inf")).softmax(-1)
    topk = int(case.share * n * nk)

    def normal(windows: int) -> list[Tensor]:
        shape = windows * WINDOW_TOKENS, width
        return [torch.randn(shape, generator=numbers, device=device).to(dtype) for _ in range(SETS)]

    mask = select(p, n=n, topk=topk)
    q, k, v = normal(nq), normal(nk), normal(nk)
    centres = [keys.float().mean(0) for keys in k]
    return Inputs(q=q, k=k, v=v, p=p, mask=mask, centres=centres, heads=heads, windows=n, topk=topk)


def measured(way: Way, x: Inputs, limit: float, repeats: int) -> tuple[Row, float | None]:
    """Return the columns of `way`, and its milliseconds if it ran and was right."""
    empty: Row = dict.fromkeys(("ms", "TFLOP/s", "% of limit", "error"), "–")
    if way.missing:
        return {**empty, "remark": f"not here: {way.missing}"}, None
    try:
        work = way.prepare(x)
        off = sampled_error(work(0), x, dense=way.dense)
    except Exception as why:  # of a library, or its compiler: the other rows are worth having
        if way.ours:
            raise
        return {**empty, "remark": f"failed: {type(why).__name__}: {str(why)[:120]}"}, None
    bound = BOUNDS[x.q[0].dtype] if way.bound is None else way.bound
    if not off <= bound:
        if way.ours:
            raise Disagreement(f"{way.name}: off by {off:.2g}, allowed are {bound:.2g}")
        return {**empty, "error": off, "remark": "wrong: not timed"}, None
    ms = milliseconds(work, x.q[0].device, repeats=repeats)
    rate = x.flop(way.dense) / ms / 1e9
    return {"ms": ms, "TFLOP/s": rate, "% of limit": 100 * rate / limit, "error": off, "remark": ""}, ms


def sampled_error(found: Tensor, x: Inputs, *, dense: bool) -> float:
    """Return the relative L2 error of `found` [NQ · 128, D] in a few windows, against float64."""
    split = partial(rearrange, pattern="(j t) (a d) -> a j t d", t=WINDOW_TOKENS, a=x.heads)
    q, k, v, out = (split(tensor) for tensor in (x.q[0], x.k[0], x.v[0], found))
    some, wanted = [], []
    for i in torch.linspace(0, q.shape[1] - 1, SAMPLED).long().tolist():
        for head in range(x.heads):
            chosen = slice(None) if dense else x.mask[head, i].nonzero()[:, 0]
            keys, values = (tensor[head, chosen].flatten(0, 1).double() for tensor in (k, v))
            weights = (q[head, i].double() @ keys.T / q.shape[-1] ** 0.5).softmax(-1)
            wanted.append(weights @ values)
            some.append(out[head, i])
    return error(torch.stack(some), torch.stack(wanted))


def ways(dtype: torch.dtype, device: torch.device) -> Sequence[Way]:
    """Return all ways, with SDPA to all keys first: the others are compared with it."""
    needs_cuda = "" if device.type == "cuda" else "needs CUDA"
    halves = needs_cuda or ("" if dtype is not torch.float32 else "needs 16 bits")
    sage = halves or ("" if importlib.util.find_spec("sageattention") else "sageattention is not installed")
    found = [
        Way(name="SDPA, all keys", prepare=by_sdpa, dense=True),
        Way(
            name="SDPA by cuDNN",
            prepare=partial(by_sdpa, backend=SDPBackend.CUDNN_ATTENTION),
            dense=True,
            missing=halves,
        ),
        Way(
            name="SDPA by flash",
            prepare=partial(by_sdpa, backend=SDPBackend.FLASH_ATTENTION),
            dense=True,
            missing=halves,
        ),
        Way(name="sageattention, all keys", prepare=by_sage, dense=True, missing=sage, bound=5e-2),
        Way(name="FlexAttention", prepare=by_flex, dense=False, missing=needs_cuda),
        Way(name="definition in torch", prepare=by_definition, dense=False, ours=True),
    ]
    if why := _no_triton(device):
        return [*found, Way(name="Triton", prepare=by_definition, dense=False, missing=why)]
    import sparse_fused  # there is no Triton on every machine

    return [*found, *sparse_fused.ways()]


def by_sdpa(x: Inputs, backend: SDPBackend | None = None) -> Work:
    def work(turn: int) -> Tensor:
        with nullcontext() if backend is None else sdpa_kernel(backend):
            return _joined(dense_attention(*_by_heads(x, turn)))

    return work


def by_sage(x: Inputs) -> Work:
    attend = library("sageattention", "sageattn")
    return lambda turn: _joined(sage_attention(attend, *_by_heads(x, turn)))


def by_flex(x: Inputs) -> Work:
    """Return FlexAttention with every selected block taken whole."""
    from torch.nn.attention.flex_attention import flex_attention

    attend: Any = torch.compile(flex_attention, dynamic=False) if x.mask.is_cuda else flex_attention
    blocks = block_mask(x)

    def work(turn: int) -> Tensor:
        q, k, v = (rearrange(some, "l a d -> 1 a l d") for some in _by_heads(x, turn))
        out: Tensor = attend(q, k, v, block_mask=blocks)
        return rearrange(out, "1 a l d -> l (a d)")

    return work


def block_mask(x: Inputs) -> Any:
    """Return the mask as FlexAttention takes it."""
    from torch.nn.attention.flex_attention import BlockMask

    counts = x.mask.sum(-1, dtype=torch.int32)[None]
    order = x.mask.to(torch.uint8).argsort(dim=-1, descending=True, stable=True).to(torch.int32)[None]

    def selected(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return x.mask[head, query // WINDOW_TOKENS, key // WINDOW_TOKENS]

    return BlockMask.from_kv_blocks(
        torch.zeros_like(counts),
        torch.zeros_like(order),
        counts,
        order,
        BLOCK_SIZE=WINDOW_TOKENS,
        mask_mod=selected,
        seq_lengths=(len(x.q[0]), len(x.k[0])),
    )


def by_definition(x: Inputs) -> Work:
    return lambda turn: sparse_attention(x.q[turn], x.k[turn], x.v[turn], x.mask, heads=x.heads)


def _by_heads(x: Inputs, turn: int) -> list[Tensor]:
    return [rearrange(some[turn], "l (a d) -> l a d", a=x.heads) for some in (x.q, x.k, x.v)]


def _joined(out: Tensor) -> Tensor:
    return rearrange(out, "l a d -> l (a d)")


def _no_triton(device: torch.device) -> str:
    """Say why Triton's kernels cannot run here, "" if they can. Interpreted they show that they work, and no more."""
    if not importlib.util.find_spec("triton"):
        return "triton is not installed"
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    return "" if interpreted or device.type == "cuda" else "needs CUDA"
