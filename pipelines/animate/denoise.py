"""Steps of denoising: the transformer asked with and without the prompt, the solver taken one level down"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from darkroom.pipelines.animate.encode import Conditions
from darkroom.pipelines.errors import Unavailable

Predict = Callable[[Tensor, Tensor], Tensor]
"""Takes latents [1, 16, T, h, w] and a timestep, gives the velocity, guided: the seam for several devices."""


def guided(transformer: Any, conditions: Conditions, guidance: float) -> Predict:
    """Give the prediction by two passes, or one where nothing is to be guided away from."""

    def predict(latents: Tensor, timestep: Tensor) -> Tensor:
        said = one_pass(transformer, conditions, "cond", latents, timestep)
        if conditions.negative is None:
            return said
        unsaid = one_pass(transformer, conditions, "uncond", latents, timestep)
        return combined(said, unsaid, guidance)

    return predict


def one_pass(transformer: Any, conditions: Conditions, branch: str, latents: Tensor, timestep: Tensor) -> Tensor:
    """Give the velocity as one branch sees it: "cond" by the prompt, "uncond" by the negative one."""
    words = conditions.prompt if branch == "cond" else conditions.negative
    with transformer.cache_context(branch):
        velocity: Tensor = transformer(
            hidden_states=torch.cat([latents, conditions.picture], dim=1).to(transformer.dtype),
            timestep=timestep.expand(latents.shape[0]),
            encoder_hidden_states=words,
            encoder_hidden_states_image=conditions.image,
            return_dict=False,
        )[0]
    return velocity


def combined(said: Tensor, unsaid: Tensor, guidance: float) -> Tensor:
    """Give the guided velocity: away from `unsaid`, past `said` (classifier-free guidance, Ho and Salimans 2022)."""
    return unsaid + guidance * (said - unsaid)


@torch.no_grad()
def denoise(
    predict: Predict, solver: Any, latents: Tensor, start: int, stop: int, done: Callable[[int], None]
) -> Tensor:
    """Give `latents` after the steps [start, stop) of `solver`; `done` is told the number of steps after each.

    Raises Unavailable if the numbers run away: they do with some kinds of quantisation.
    """
    for step in range(start, stop):
        timestep = solver.timesteps[step]
        latents = solver.step(predict(latents, timestep), timestep, latents, return_dict=False)[0]
        if not torch.isfinite(latents).all():
            raise Unavailable(f"step {step + 1}: the latents are no numbers any more; try memory.quantize: none")
        done(step + 1)
    return latents


@contextmanager
def listening(blocks: nn.ModuleList, listen: Callable[[], None]) -> Iterator[None]:
    """Call `listen` before each block while the block lasts: what it raises ends a step within a fraction of it."""
    hooks = [block.register_forward_pre_hook(lambda *_: listen()) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
