"""Reuse between steps while a segment lasts: of self-attention by a hook of our own, of whole steps by MagCache"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffusers import MagCacheConfig
from diffusers.hooks import HookRegistry, ModelHook
from diffusers.hooks.hooks import BaseState, StateManager
from torch import Tensor, nn

from darkroom.pipelines.animate.options import AttentionCache, MagCache
from darkroom.pipelines.animate.reuse import computes

NAME = "darkroom_attention_cache"
BRANCHES = ("cond", "uncond")  # as the loop names its two passes: each remembers for itself


class _Kept(BaseState):  # type: ignore[misc]
    """What one block remembers of one branch."""

    def __init__(self, first: int) -> None:
        self.step = first
        self.output: Tensor | None = None

    def reset(self) -> None:
        self.output = None


class _Reusing(ModelHook):  # type: ignore[misc]
    """Gives a block's self-attention anew, or as it was."""

    _is_stateful = True

    def __init__(self, cache: AttentionCache, first: int) -> None:
        super().__init__()
        self.cache = cache
        self.states = StateManager(_Kept, (first,))  # found by the library, which tells it the branch

    def new_forward(self, module: nn.Module, *args: Any, **given: Any) -> Tensor:
        kept: _Kept = self.states.get_state()
        step, kept.step = kept.step, kept.step + 1
        if kept.output is not None and not computes(self.cache, step):
            return kept.output
        output: Tensor = self.fn_ref.original_forward(*args, **given)
        # Only from `start` on, so that memory is not taken earlier than it is of use.
        kept.output = output if self.cache.start <= step < self.cache.end else None
        return output

    def reset_state(self, module: nn.Module) -> nn.Module:
        self.states.reset()
        return module


@contextmanager
def reusing(
    transformer: Any, attention_cache: AttentionCache | None, magcache: MagCache | None, *, steps: int, first: int
) -> Iterator[None]:
    """Let `transformer` reuse as the caches say, for steps from `first` on, while this lasts; then nothing is left.

    first: a step that computes; what `reuse.fresh_steps` gives
    """
    if attention_cache is not None:
        with _attention_reused(transformer, attention_cache, first):
            yield
    elif magcache is not None:
        with _steps_reused(transformer, magcache, steps, first):
            yield
    else:
        yield


@contextmanager
def _attention_reused(transformer: Any, cache: AttentionCache, first: int) -> Iterator[None]:
    try:
        for block in transformer.blocks:
            HookRegistry.check_if_exists_or_initialize(block.attn1).register_hook(_Reusing(cache, first), NAME)
        _registries_of(transformer).invalidate_child_registries_cache()
        yield
    finally:
        _registries_of(transformer).remove_hook(NAME)
        _registries_of(transformer).invalidate_child_registries_cache()


@contextmanager
def _steps_reused(transformer: Any, cache: MagCache, steps: int, first: int) -> Iterator[None]:
    transformer.enable_cache(
        MagCacheConfig(
            threshold=cache.threshold,
            max_skip_steps=cache.most_skips,
            retention_ratio=cache.keep,
            num_inference_steps=steps,
            mag_ratios=list(cache.ratios),
        )
    )
    try:
        _registries_of(transformer).invalidate_child_registries_cache()
        for branch in BRANCHES:
            with transformer.cache_context(branch):
                _mag_states(transformer.blocks[0]).get_state().step_index = first
        yield
    finally:
        transformer.disable_cache()


def _mag_states(block: nn.Module) -> Any:
    """Give what MagCache remembers: all blocks share it."""
    hooks = HookRegistry.check_if_exists_or_initialize(block).hooks.values()
    return next(hook.state_manager for hook in hooks if hasattr(hook, "state_manager"))


def _registries_of(transformer: Any) -> Any:
    return HookRegistry.check_if_exists_or_initialize(transformer)
