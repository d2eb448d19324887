"""Which steps of denoising compute, and which reuse what a step before left: known before the first one

A crash falls back to a part on disk, and what is reused is on no disk: so parts end where the next step computes.
"""

import torch
from diffusers.hooks.mag_cache import nearest_interp

from darkroom.pipelines.animate.options import AttentionCache, MagCache


def computes(cache: AttentionCache, step: int) -> bool:
    """Tell whether self-attention is computed in `step`, counted from 0.

    It is reused iff start < step <= end and interval does not divide step - start, as MindIE-SD has it.
    """
    return not cache.start < step <= cache.end or (step - cache.start) % cache.interval == 0


def fresh_steps(steps: int, attention_cache: AttentionCache | None, magcache: MagCache | None) -> tuple[int, ...]:
    """Give those of the `steps` that need nothing of the steps before them but the latents."""
    if attention_cache is not None:
        return tuple(step for step in range(steps) if computes(attention_cache, step))
    if magcache is not None:
        return tuple(step for step, computed in enumerate(mag_computes(magcache, steps)) if computed)
    return tuple(range(steps))


def mag_computes(cache: MagCache, steps: int) -> tuple[bool, ...]:
    """Tell of each step whether MagCache computes it: its ratios decide, and no picture.

    After diffusers' MagCacheHeadHook, in its types and order, so that sums at the threshold fall to the same side. A
    stream of steps that begins at a computed one goes on in the same way: what is summed up is then zero.
    """
    ratios = torch.tensor(cache.ratios)
    if len(ratios) != steps:
        ratios = nearest_interp(ratios, steps)
    computed: list[bool] = []
    ratio: torch.Tensor | float = 1.0
    error: torch.Tensor | float = 0.0
    skipped = 0
    for step in range(steps):
        if step >= int(cache.keep * steps + 0.5):
            ratio = ratio * ratios[step]
            skipped += 1
            error = error + abs(1.0 - ratio)
            if step and bool(error <= cache.threshold) and skipped <= cache.most_skips:
                computed.append(False)
                continue
            ratio, error, skipped = 1.0, 0.0, 0
        computed.append(True)
    return tuple(computed)
