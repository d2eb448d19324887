from typing import Any

import pytest
import torch
from goldens import distance, golden
from torch import Tensor

from darkroom.kernels.dense_attention import (
    dense_attention,
    flash_attention,
    library,
    sage_attention,
    windowed_by,
)
from darkroom.kernels.sparse_attention import sparse_attention


def tokens(count: int, heads: int, width: int, seed: int) -> Tensor:
    return torch.randn(count, heads, width, generator=torch.Generator().manual_seed(seed))


def batched(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    """What the libraries' functions compute, [batch, tokens, heads, d], as one that spoils its keys on request."""
    assert options in ({}, {"tensor_layout": "NHD", "is_causal": False, "smooth_k": False})
    out = dense_attention(q[0], k[0], v[0])[None]
    if options:
        k.zero_()  # they are the callee's
    return out


def test_dense_attention_is_the_reference() -> None:
    found = golden("attention")
    assert distance(dense_attention(found["q"], found["k"], found["v"]), found["out_dense"]) < 1e-5


def test_sageattention_is_given_keys_of_its_own() -> None:
    q, k, v = tokens(10, 2, 64, 1), tokens(128, 2, 64, 2) + 3, tokens(128, 2, 64, 3)
    kept = k.clone()
    assert distance(sage_attention(batched, q, k, v), dense_attention(q, kept, v)) < 1e-5
    assert torch.equal(k, kept)


@pytest.mark.parametrize(("keys", "width"), [(200, 64), (128, 32)])
def test_sageattention_is_refused_what_it_would_compute_wrongly(keys: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"{width} channels and {keys} keys"):
        sage_attention(batched, tokens(8, 1, width, 1), tokens(keys, 1, width, 2), tokens(keys, 1, width, 3))


def test_flash_attention_is_given_a_batch_of_one() -> None:
    q, k, v = tokens(10, 2, 32, 1), tokens(20, 2, 32, 2), tokens(20, 2, 32, 3)
    assert torch.equal(flash_attention(batched, q, k, v), dense_attention(q, k, v))


def test_a_library_is_found_or_named_with_the_way_to_get_it() -> None:
    assert library("math", "hypot")(3, 4) == 5
    for module, function in (("no_such_module", "attend"), ("math", "attend")):
        with pytest.raises(ValueError, match="pip install"):
            library(module, function)


@pytest.mark.parametrize("slots", [(2, 0), (1, 2, 0)])
def test_the_dense_mode_sees_all_live_keys_and_no_others(slots: tuple[int, ...]) -> None:
    heads, grid, width = 2, (1, 2), 16
    q, k, v = (tokens(count, 1, width, count).flatten(1) for count in (256, 3 * 256, 3 * 256 + 1))
    k, v = k.reshape(3, 256, width), v[1:].reshape(3, 256, width)
    for slot in {0, 1, 2} - set(slots):
        k[slot] = v[slot] = torch.nan
    means = torch.empty(0)
    out = windowed_by(dense_attention)(
        q, k, v, means, means, slots=slots, heads=heads, grid=grid, local_range=1, topk=0
    )
    live = [x[list(slots)].flatten(0, 1) for x in (k, v)]
    whole = torch.ones(heads, 2, 2 * len(slots), dtype=torch.bool)
    assert torch.allclose(out, sparse_attention(q, live[0], live[1], whole, heads=heads), atol=1e-5)
