from typing import Any

import pytest
import torch
from goldens import golden
from torch import Tensor

from darkroom.kernels import selection as definition
from darkroom.kernels.fused.norms import INTERPRETED, Build
from darkroom.kernels.fused.selection import (
    Table,
    builds,
    live_blocks,
    probabilities,
    select_windows,
    tabulate,
    tile_order,
)
from darkroom.kernels.fused.sparse_attention import WIDTHS

DEVICE = "cpu" if INTERPRETED else "cuda"
DRAFTS = golden("mask_draft")
SMALL = [
    tag
    for tag, meta in DRAFTS.meta.items()  # the interpreter is slow, and tensor cores do not take heads of any width
    if f"{tag}.mask" in DRAFTS.tensors and meta["win_h"] * meta["win_w"] <= 12 and meta["head_dim"] in WIDTHS
]


def random_means(count: int, width: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def mask_of(table: Table, blocks: Tensor) -> Tensor:
    """The mask that `table` stands for, checked to be as a kernel may trust it."""
    mask = torch.zeros(table.blocks.shape, dtype=torch.bool)
    column_of = {int(block): column for column, block in enumerate(blocks)}
    for head, row in torch.cartesian_prod(*map(torch.arange, table.counts.shape)).tolist():
        columns = [column_of[block] for block in table.blocks[head, row, : int(table.counts[head, row])].tolist()]
        assert columns == sorted(set(columns)), "in time order, none twice"
        mask[head, row, columns] = True
    assert sorted(table.order.tolist()) == list(range(table.counts.numel()))
    return mask


@pytest.mark.parametrize("tag", SMALL)
def test_the_table_is_that_of_the_reference(tag: str) -> None:
    meta = DRAFTS.meta[tag]
    n = meta["win_h"] * meta["win_w"]
    blocks = live_blocks(tuple(range(meta["k_slices"])), n, torch.device(DEVICE))
    table = select_windows(
        DRAFTS[f"{tag}.pooled_q"].to(DEVICE),
        DRAFTS[f"{tag}.pooled_k"].to(DEVICE),
        blocks,
        heads=meta["heads"],
        grid=(meta["win_h"], meta["win_w"]),
        local_range=meta["local_range"],
        topk=meta["topk"],
    )
    assert torch.equal(mask_of(table, blocks), DRAFTS[f"{tag}.mask"])


# 2 x 3 windows with rows that end inside a tile, 5 x 7 with more keys than a tile, 1 x 1 with a single pair.
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("grid", "slices", "local_range"), [((2, 3), 3, 2), ((5, 7), 2, 5), ((1, 1), 1, 11)])
def test_probabilities_agree_with_the_definition(
    dtype: torch.dtype, grid: tuple[int, int], slices: int, local_range: int
) -> None:
    n, heads = grid[0] * grid[1], 2
    slots = tuple(range(slices, 0, -1))  # slot 0 of the ring is not live: it holds what must not be read
    q, ring = random_means(n, 32, 1, dtype), random_means(n * (slices + 1), 32, 2, dtype)
    ring[:n] = torch.nan
    blocks = live_blocks(slots, n, q.device)
    options: dict[str, Any] = {"heads": heads, "grid": grid, "local_range": local_range}
    found = probabilities(q, ring, blocks, **options)
    wanted = definition.probabilities(q, ring[blocks], **options)
    # fp32 sums in another order; in 16 bits such a sum may round to the neighbouring score, 2^-8 of 4 at most.
    bound = 1e-6 if dtype is torch.float32 else 2e-2
    assert torch.allclose(found, wanted, rtol=bound, atol=1e-7)
    assert torch.equal(found == 0, wanted == 0)


@pytest.mark.parametrize("topk", [0, 5, 23, 10_000])
@pytest.mark.parametrize("values", [3, 100_000])  # few values: nearly all of them are ties
def test_the_table_holds_exactly_what_the_definition_selects(topk: int, values: int) -> None:
    p = torch.randint(values, (2, 6, 10), generator=torch.Generator().manual_seed(values)).float().to(DEVICE) / values
    blocks = torch.tensor([7, 8, 9, 10, 11, 0, 1, 2, 3, 4], dtype=torch.int32, device=DEVICE)
    table = tabulate(p, blocks, n=3, topk=topk)
    assert torch.equal(mask_of(table, blocks), definition.select(p, n=3, topk=topk).cpu())


def test_a_matrix_longer_than_a_chunk_has_its_threshold_counted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.kernels.fused.selection.CHUNK", 16)
    p = torch.rand(1, 5, 9, generator=torch.Generator().manual_seed(3)).to(DEVICE)
    blocks = torch.arange(9, dtype=torch.int32, device=DEVICE)
    table = tabulate(p, blocks, n=5, topk=20)
    assert torch.equal(mask_of(table, blocks), definition.select(p, n=5, topk=20).cpu())


def test_tiles_come_pair_by_pair_of_heads_and_the_longest_first() -> None:
    counts = torch.tensor([[1, 5], [3, 0], [9, 2]], dtype=torch.int32)
    assert tile_order(counts, 9).tolist() == [1, 2, 0, 3, 4, 5]


def test_a_negative_number_of_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="topk"):
        tabulate(torch.ones(1, 4, 4), torch.arange(4), n=4, topk=-1)


@pytest.mark.parametrize("build", builds(), ids=lambda build: build[0].__name__)
def test_what_is_compiled_without_a_gpu_names_every_argument_once(build: Build) -> None:
    kernel, types, constants, _ = build
    assert sorted([*types, *constants]) == sorted(kernel.arg_names)
