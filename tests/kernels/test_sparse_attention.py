from typing import Any

import pytest
import torch
from einops import rearrange, reduce
from goldens import distance, golden
from torch import Tensor

from darkroom.kernels import sparse_attention as module
from darkroom.kernels.selection import select_windows
from darkroom.kernels.sparse_attention import ring_blocks, sparse_attention, windowed

WINDOW = 128


def tokens(windows: int, width: int, seed: int) -> Tensor:
    return torch.randn(windows * WINDOW, width, generator=torch.Generator().manual_seed(seed))


def random_mask(heads: int, rows: int, columns: int, density: float) -> Tensor:
    return torch.rand(heads, rows, columns, generator=torch.Generator().manual_seed(9)) < density


def oracle(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention over all tokens in float64 under the mask made 128 times as large."""
    heads = len(mask)
    q, k, v = (rearrange(x.double(), "l (a d) -> a l d", a=heads) for x in (q, k, v))
    visible = mask.repeat_interleave(WINDOW, 1).repeat_interleave(WINDOW, 2)
    scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~visible, -torch.inf)
    out: Tensor = rearrange(scores.softmax(-1).nan_to_num(0) @ v, "a l d -> l (a d)")
    return out


def test_the_attention_under_a_mask_is_the_reference() -> None:
    found = golden("attention")
    q, k, v = (found[name].flatten(1) for name in "qkv")
    mask = found["block_mask"][0]
    heads = len(mask)
    assert distance(sparse_attention(q, k, v, mask, heads=heads), found["out_masked"].flatten(1)) < 1e-5
    whole = sparse_attention(q, k, v, torch.ones_like(mask), heads=heads)
    assert distance(whole, found["out_dense"].flatten(1)) < 1e-5


@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 0.97, 1.1])
@pytest.mark.parametrize(("heads", "width"), [(1, 16), (3, 8)])
def test_every_density_gives_what_dense_attention_under_the_mask_gives(density: float, heads: int, width: int) -> None:
    q, k, v = tokens(3, heads * width, 1), tokens(5, heads * width, 2), tokens(5, heads * width, 3)
    mask = random_mask(heads, 3, 5, density)
    out = sparse_attention(q, k, v, mask, heads=heads)
    assert torch.allclose(out.double(), oracle(q, k, v, mask), atol=3e-6)


def test_a_window_that_selects_nothing_gets_exact_zeros() -> None:
    q, k, v = tokens(2, 16, 1), tokens(3, 16, 2), tokens(3, 16, 3)
    mask = torch.ones(2, 2, 3, dtype=torch.bool)
    mask[0, 1] = False
    out = sparse_attention(q, k, v, mask, heads=2)
    assert not out[WINDOW:, :8].any()
    assert out[WINDOW:, 8:].all()


def test_keys_that_are_not_selected_are_never_read() -> None:
    q, k, v = tokens(2, 16, 1), tokens(3, 16, 2), tokens(3, 16, 3)
    mask = torch.tensor([[[True, False, True], [True, False, False]]])
    clean = sparse_attention(q, k, v, mask, heads=1)
    k[WINDOW : 2 * WINDOW] = v[WINDOW : 2 * WINDOW] = torch.nan
    assert torch.equal(sparse_attention(q, k, v, mask, heads=1), clean)


def test_groups_of_heads_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = tokens(2, 24, 1), tokens(3, 24, 2), tokens(3, 24, 3)
    mask = random_mask(3, 2, 3, 0.6)
    whole = sparse_attention(q, k, v, mask, heads=3)
    monkeypatch.setattr(module, "GATHERED_BYTES", 1)
    assert torch.allclose(sparse_attention(q, k, v, mask, heads=3), whole, atol=1e-6)


def test_queries_may_be_columns_of_a_wider_tensor() -> None:
    qkv, k, v = tokens(2, 48, 1), tokens(3, 16, 2), tokens(3, 16, 3)
    mask = random_mask(2, 2, 3, 0.6)
    q = qkv[:, 16:32]
    assert torch.equal(sparse_attention(q, k, v, mask, heads=2), sparse_attention(q.contiguous(), k, v, mask, heads=2))


def test_half_precision_stays_near() -> None:
    q, k, v = tokens(2, 32, 1), tokens(4, 32, 2), tokens(4, 32, 3)
    mask = random_mask(1, 2, 4, 0.7)
    for dtype, bound in ((torch.float16, 6e-4), (torch.bfloat16, 4e-3)):  # P and V rounded: bounds of a flash kernel
        few = q.to(dtype), k.to(dtype), v.to(dtype)
        assert distance(sparse_attention(*few, mask, heads=1), oracle(*few, mask)) < bound


def test_a_ring_gives_what_its_slices_in_time_order_give() -> None:
    grid, heads, width, slots = (1, 3), 2, 16, (2, 3, 0)
    n = 3
    k, v = (tokens(4 * n, width, seed).reshape(4, n * WINDOW, width) for seed in (1, 2))
    q = tokens(n, width, 3)
    q_means = reduce(q, "(i t) c -> i c", "mean", t=WINDOW)
    k_means = reduce(k, "s (j t) c -> s j c", "mean", t=WINDOW)
    k[1] = v[1] = k_means[1] = torch.nan  # the slot that is not live
    options: dict[str, Any] = {"heads": heads, "grid": grid, "local_range": 3, "topk": 7}
    out = windowed(q, k, v, q_means, k_means, slots=slots, **options)
    live = [x[list(slots)].flatten(0, 1) for x in (k, v, k_means)]
    mask = select_windows(q_means, live[2], **options)
    assert torch.equal(out, sparse_attention(q, live[0], live[1], mask, heads=heads))


def test_the_blocks_of_a_ring_are_in_time_order() -> None:
    assert ring_blocks((2, 0), 3).tolist() == [6, 7, 8, 0, 1, 2]
