from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from darkroom.pipelines.animate import tiny
from darkroom.pipelines.animate.caching import BRANCHES, reusing
from darkroom.pipelines.animate.denoise import one_pass
from darkroom.pipelines.animate.encode import Conditions
from darkroom.pipelines.animate.offload import stream, unstream
from darkroom.pipelines.animate.options import AttentionCache, MagCache
from darkroom.pipelines.animate.reuse import mag_computes

CPU = torch.device("cpu")
STEPS = 12
RATIOS = (1.0, 1.02, 0.99, 1.01, 0.98, 1.0, 1.03, 0.97, 1.0, 0.9, 1.0, 0.99)


def conditions() -> Conditions:
    noise = torch.Generator().manual_seed(1)
    words = torch.randn(2, 1, 512, 32, generator=noise)
    return Conditions(
        prompt=words[0],
        negative=words[1],
        image=torch.randn(1, 17, 160, generator=noise),
        picture=torch.randn(1, 20, 2, 8, 8, generator=noise),
    )


@contextmanager
def counted(modules: list[Any]) -> Iterator[list[str]]:
    """Count what is really computed: by the first layer inside."""
    calls: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=str(index): calls.append(name))
        for index, module in enumerate(modules)
    ]
    yield calls
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def walk(
    transformer: Any, first: int, stop: int, seen: list[int] | None = None, calls: list[str] | None = None
) -> list[torch.Tensor]:
    """Ask for both branches of each step, with latents of each step's own."""
    outputs = []
    for step in range(first, stop):
        latents = torch.randn(1, 16, 2, 8, 8, generator=torch.Generator().manual_seed(step))
        before = len(calls or ())
        for branch in BRANCHES:
            outputs.append(one_pass(transformer, conditions(), branch, latents, torch.tensor(999 - 80 * step)))
        if seen is not None and calls is not None and len(calls) > before:
            seen.append(step)
    return outputs


def test_self_attention_is_computed_in_the_steps_it_should_be_and_for_both_branches() -> None:
    transformer = tiny.components().transformer
    cache, seen = AttentionCache(start=2, interval=3, end=9), list[int]()
    with (
        counted([block.attn1.to_q for block in transformer.blocks]) as calls,
        reusing(transformer, cache, None, steps=STEPS, first=0),
    ):
        walk(transformer, 0, STEPS, seen, calls)
    assert seen == [0, 1, 2, 5, 8, 10, 11]
    assert len(calls) == 7 * 2 * 2  # steps, branches, blocks


def test_what_is_reused_is_the_branchs_own() -> None:
    transformer = tiny.components().transformer
    plain = walk(transformer, 0, 4)
    with reusing(transformer, AttentionCache(start=1, interval=4, end=5), None, steps=STEPS, first=0):
        reused = walk(transformer, 0, 4)
    assert all(torch.equal(a, b) for a, b in zip(plain[:4], reused[:4], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(plain[4:], reused[4:], strict=True))
    assert not torch.equal(reused[4], reused[5])


@pytest.mark.parametrize("first", [1, 2, 5, 8, 10])
def test_steps_begun_at_a_computed_one_give_the_same_numbers(first: int) -> None:
    transformer, cache = tiny.components().transformer, AttentionCache(start=2, interval=3, end=9)
    with reusing(transformer, cache, None, steps=STEPS, first=0):
        whole = walk(transformer, 0, STEPS)
    with reusing(transformer, cache, None, steps=STEPS, first=first):
        rest = walk(transformer, first, STEPS)
    assert all(torch.equal(a, b) for a, b in zip(whole[2 * first :], rest, strict=True))


@pytest.mark.parametrize(
    "magcache", [MagCache(ratios=RATIOS), MagCache(ratios=RATIOS, keep=0, most_skips=2, threshold=0.03)]
)
def test_whole_steps_are_skipped_where_the_plan_says_and_begun_anew_at_a_computed_one(magcache: MagCache) -> None:
    transformer, seen = tiny.components().transformer, list[int]()
    with (
        counted([transformer.blocks[0].attn1.to_q]) as calls,
        reusing(transformer, None, magcache, steps=STEPS, first=0),
    ):
        whole = walk(transformer, 0, STEPS, seen, calls)
    assert seen == [step for step, computed in enumerate(mag_computes(magcache, STEPS)) if computed]
    assert 2 < len(seen) < STEPS
    for first in seen[1:]:
        with reusing(transformer, None, magcache, steps=STEPS, first=first):
            rest = walk(transformer, first, STEPS)
        assert all(torch.equal(a, b) for a, b in zip(whole[2 * first :], rest, strict=True))


@pytest.mark.parametrize(
    ("attention_cache", "magcache"),
    [(AttentionCache(start=0, interval=4, end=9), None), (None, MagCache(ratios=RATIOS, keep=0))],
)
def test_nothing_is_left_behind_when_a_job_ends_in_the_middle(
    attention_cache: AttentionCache | None, magcache: MagCache | None
) -> None:
    transformer = tiny.components().transformer
    plain = walk(transformer, 0, 3)
    with pytest.raises(KeyError), reusing(transformer, attention_cache, magcache, steps=STEPS, first=0):
        walk(transformer, 0, 2)
        raise KeyError
    assert all(torch.equal(a, b) for a, b in zip(plain, walk(transformer, 0, 3), strict=True))
    assert not transformer.is_cache_enabled


@pytest.mark.parametrize(
    ("attention_cache", "magcache"),
    [(AttentionCache(start=2, interval=3, end=9), None), (None, MagCache(ratios=RATIOS))],
)
def test_blocks_that_come_and_go_are_reused_the_same(
    attention_cache: AttentionCache | None, magcache: MagCache | None
) -> None:
    results = []
    transformer = tiny.components().transformer
    for streamed in (False, True, False):
        stream(transformer, CPU, pinned=False) if streamed else unstream(transformer)
        with reusing(transformer, attention_cache, magcache, steps=STEPS, first=0):
            results.append(walk(transformer, 0, STEPS))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
