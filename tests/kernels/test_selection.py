import pytest
import torch
from einops import reduce
from goldens import golden
from torch import Tensor

from darkroom.kernels.selection import probabilities, select, select_windows
from darkroom.kernels.windows import local_windows

DRAFTS = golden("mask_draft")
TAGS = [name.removesuffix(".mask") for name in DRAFTS.tensors if name.endswith(".mask")]


def means(count: int, width: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("tag", TAGS)
def test_the_selected_windows_are_the_reference(tag: str) -> None:
    meta = DRAFTS.meta[tag]
    mask = select_windows(
        DRAFTS[f"{tag}.pooled_q"],
        DRAFTS[f"{tag}.pooled_k"],
        heads=meta["heads"],
        grid=(meta["win_h"], meta["win_w"]),
        local_range=meta["local_range"],
        topk=meta["topk"],
    )
    assert torch.equal(mask, DRAFTS[f"{tag}.mask"])


def test_probabilities_add_up_to_one_and_are_nothing_beyond_the_local_range() -> None:
    p = probabilities(means(12, 16, 1), means(18, 16, 2), heads=2, grid=(2, 3), local_range=2)
    assert p.dtype is torch.float32
    assert torch.allclose(p.sum(-1), torch.ones(2, 12))
    assert torch.equal(p[0] > 0, local_windows(2, 3, 2).repeat(2, 3))


def test_half_precision_means_give_scores_rounded_twice() -> None:
    q, k = means(4, 32, 3, torch.bfloat16), means(4, 32, 4, torch.bfloat16)
    exact = q.double() @ k.double().T
    scores = (exact.bfloat16() / 32**0.5).float()
    p = probabilities(q, k, heads=1, grid=(2, 2), local_range=11)
    assert torch.allclose(p[0], scores.softmax(-1), atol=1e-6)


def sorted_rule(p: Tensor, n: int, topk: int) -> Tensor:
    """The rule as it is written: sort the whole matrix of a head and query slice, and take its (k+1)-th value."""
    mask = torch.zeros_like(p, dtype=torch.bool)
    for head in range(len(p)):
        for first in range(0, p.shape[1], n):
            part = p[head, first : first + n]
            ranked = part.flatten().sort(descending=True).values
            mask[head, first : first + n] = part > ranked[min(part.numel() - 1, topk)]
    return mask


@pytest.mark.parametrize("topk", [0, 1, 7, 53, 10_000])
@pytest.mark.parametrize("values", [3, 40, 100_000])  # few values: nearly all of them are ties
def test_the_threshold_is_that_of_a_sort(topk: int, values: int) -> None:
    p = torch.randint(values, (3, 8, 12), generator=torch.Generator().manual_seed(values)) / values
    mask = select(p, n=4, topk=topk)
    assert torch.equal(mask, sorted_rule(p, 4, topk))
    assert int(reduce(mask.long(), "a (g i) j -> a g", "sum", i=4).max()) <= topk


def test_flat_scores_select_nothing_at_all() -> None:
    flat = torch.ones(6, 16)
    assert not select_windows(flat, flat, heads=2, grid=(2, 3), local_range=11, topk=12).any()


def test_each_query_slice_has_its_own_threshold() -> None:
    p = torch.cat((torch.rand(1, 4, 8, generator=torch.Generator().manual_seed(5)), torch.full((1, 4, 8), 2.0)), 1)
    p[0, 4:, 0] = 3
    mask = select(p, n=4, topk=5)
    assert int(mask[0, :4].sum()) == 5
    assert torch.equal(mask[0, 4:], p[0, 4:] == 3)


def test_a_negative_number_of_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="topk"):
        select(torch.ones(1, 4, 4), n=4, topk=-1)
