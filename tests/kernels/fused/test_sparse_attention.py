from typing import Any

import pytest
import torch
from einops import rearrange, reduce
from goldens import distance, golden
from torch import Tensor

from darkroom.kernels import sparse_attention as definition
from darkroom.kernels.fused.norms import INTERPRETED, Build
from darkroom.kernels.fused.selection import Table, tile_order
from darkroom.kernels.fused.sparse_attention import LOG2_E, WIDTHS, builds, quantise, sparse_attention, windowed

DEVICE = "cpu" if INTERPRETED else "cuda"
WINDOW = 128
# Relative L2 against float64 under the same mask: rounding of P and of the result, and for int8 of q and k.
BOUNDS = {torch.float32: 2e-6, torch.float16: 6e-4, torch.bfloat16: 4e-3}
INT8_BOUND = 2.5e-2  # for values of mean zero, the hard case: what is wanted is small, and errors add up


def tokens(windows: int, width: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(windows * WINDOW, width, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def random_mask(heads: int, rows: int, columns: int, density: float) -> Tensor:
    return torch.rand(heads, rows, columns, generator=torch.Generator().manual_seed(9)) < density


def table_of(mask: Tensor, blocks: list[int] | None = None) -> Table:
    """The table that stands for `mask`; behind the selected blocks lie numbers that lead nowhere."""
    blocks = blocks or list(range(mask.shape[2]))
    table = torch.full(mask.shape, 1 << 20, dtype=torch.int32)
    counts = mask.sum(-1).int()
    for head, row in torch.cartesian_prod(*map(torch.arange, counts.shape)).tolist():
        chosen = [blocks[column] for column in mask[head, row].nonzero().flatten().tolist()]
        table[head, row, : len(chosen)] = torch.tensor(chosen, dtype=torch.int32)
    return Table(blocks=table.to(DEVICE), counts=counts.to(DEVICE), order=tile_order(counts, mask.shape[2]).to(DEVICE))


def oracle(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, blocks: Tensor | None = None) -> Tensor:
    heads = len(mask)
    return definition.sparse_attention(
        q.double(), k.double(), v.double(), mask.to(q.device), heads=heads, blocks=blocks
    )


def int8_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    heads = len(mask)
    blocks = torch.arange(len(k) // WINDOW, dtype=torch.int32, device=k.device)
    few_q, q_scales = quantise(q, heads=heads, factor=LOG2_E * (q.shape[1] // heads) ** -0.5)
    few_k, k_scales = quantise(k, heads=heads, factor=1.0, centre=k.float().mean(0), blocks=blocks)
    return sparse_attention(few_q, few_k, v, table_of(mask), heads=heads, scales=(q_scales, k_scales))


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize(
    ("heads", "width", "rows", "columns", "density"), [(2, 128, 1, 3, 0.6), (3, 32, 2, 3, 0.5), (1, 16, 3, 1, 0.5)]
)
def test_the_kernel_agrees_with_the_definition(
    dtype: torch.dtype, heads: int, width: int, rows: int, columns: int, density: float
) -> None:
    q, k, v = (tokens(count, heads * width, seed, dtype) for seed, count in enumerate((rows, columns, columns)))
    mask = random_mask(heads, rows, columns, density)
    out = sparse_attention(q, k, v, table_of(mask), heads=heads)
    assert out.dtype is dtype
    assert distance(out, oracle(q, k, v, mask)) < BOUNDS[dtype]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_int8_products_agree_within_their_rounding(dtype: torch.dtype) -> None:
    q, k, v = (tokens(count, 128, seed, dtype) for seed, count in enumerate((1, 3, 3)))
    mask = random_mask(1, 1, 3, 0.7)
    assert distance(int8_attention(q, k, v, mask), oracle(q, k, v, mask)) < INT8_BOUND
    assert distance(int8_attention(q, k, v + 0.5, mask), oracle(q, k, v + 0.5, mask)) < 1e-2


def test_taking_the_mean_from_the_keys_saves_int8_from_an_offset_they_share() -> None:
    q, k, v = (tokens(count, 64, seed, torch.float16) for seed, count in enumerate((1, 2, 2)))
    k[:, 5] += 30
    mask = torch.ones(1, 1, 2, dtype=torch.bool)
    wanted = oracle(q, k, v, mask)
    assert distance(int8_attention(q, k, v, mask), wanted) < INT8_BOUND
    few_q, q_scales = quantise(q, heads=1, factor=LOG2_E / 8)
    few_k, k_scales = quantise(k, heads=1, factor=1.0)
    rough = sparse_attention(few_q, few_k, v, table_of(mask), heads=1, scales=(q_scales, k_scales))
    assert distance(rough, wanted) > 5e-2


def test_int8_is_the_nearest_number_and_a_block_of_zeros_stays_zero() -> None:
    x = tokens(2, 32, 1)
    x[WINDOW:, :16] = 0
    few, scales = quantise(x, heads=2, factor=1.0)
    grown = rearrange(scales, "a j -> j a").repeat_interleave(WINDOW, 0).repeat_interleave(16, 1)
    assert float((few * grown - x).abs().max()) <= 0.5001 * float(scales.max())
    assert int(few.abs().max()) == 127
    assert not few[WINDOW:, :16].any()


@pytest.mark.skipif(golden("attention")["q"].shape[2] not in WIDTHS, reason="heads that tensor cores do not take")
def test_the_attention_under_a_mask_is_the_reference() -> None:
    found = golden("attention")
    q, k, v = (found[name].flatten(1).to(DEVICE) for name in "qkv")
    mask = found["block_mask"][0]
    out = sparse_attention(q, k, v, table_of(mask), heads=len(mask)).cpu()
    assert distance(out, found["out_masked"].flatten(1)) < 1e-5
    assert not out[found["out_masked"].flatten(1) == 0].any(), "a window that selects nothing is exactly zero"


def test_nothing_outside_the_selected_blocks_is_read() -> None:
    """Rows lie apart among NaN, in a ring of which one slot is not live, and outputs replace NaN."""
    n, width, heads = 2, 32, 2
    wide_q, wide_k, wide_v = (tokens(count, 3 * width, seed) for seed, count in enumerate((n, 3 * n, 3 * n)))
    for wide in (wide_q, wide_k, wide_v):
        wide[:, :width] = wide[:, 2 * width :] = torch.nan
    wide_k[n * WINDOW : 2 * n * WINDOW] = wide_v[n * WINDOW : 2 * n * WINDOW] = torch.nan
    q, k, v = (wide[:, width : 2 * width] for wide in (wide_q, wide_k, wide_v))
    mask, blocks = random_mask(heads, n, 2 * n, 0.6), [4, 5, 0, 1]
    out = sparse_attention(q, k, v, table_of(mask, blocks), heads=heads)
    assert distance(out, oracle(q, k, v, mask, torch.tensor(blocks, device=q.device))) < BOUNDS[torch.float32]


@pytest.mark.parametrize("int8", [False, True])
def test_selection_and_attention_over_a_ring_agree_with_the_definition(int8: bool) -> None:
    grid, heads, width, slots = (1, 2), 2, 64, (2, 3, 0)
    n = grid[0] * grid[1]
    k, v = (tokens(4 * n, width, seed).reshape(4, n * WINDOW, width) for seed in (1, 2))
    q = tokens(n, width, 3)
    q_means = 8 * reduce(q, "(i t) c -> i c", "mean", t=WINDOW)
    k_means = 8 * reduce(k, "s (j t) c -> s j c", "mean", t=WINDOW)
    k[1] = v[1] = k_means[1] = torch.nan  # the slot that is not live
    options: dict[str, Any] = {"slots": slots, "heads": heads, "grid": grid, "local_range": 3, "topk": 7}
    wanted = definition.windowed(q, k, v, q_means, k_means, **options)
    out = windowed(q, k, v, q_means, k_means, **options, int8=int8)
    assert distance(out, wanted) < (INT8_BOUND if int8 else BOUNDS[torch.float32])


def test_a_head_width_that_tensor_cores_do_not_take_is_refused() -> None:
    with pytest.raises(ValueError, match="48"):
        sparse_attention(
            tokens(1, 48, 1), tokens(1, 48, 2), tokens(1, 48, 3), table_of(random_mask(1, 1, 1, 1)), heads=1
        )


@pytest.mark.parametrize("build", builds(90), ids=lambda build: build[0].__name__)
def test_what_is_compiled_without_a_gpu_names_every_argument_once(build: Build) -> None:
    kernel, types, constants, _ = build
    assert sorted([*types, *constants]) == sorted(kernel.arg_names)
