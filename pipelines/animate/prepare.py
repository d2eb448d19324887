"""The transformer in the form a plan wants it: in 8 bits, with LoRAs laid over it, compiled"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from darkroom.pipelines.animate.components import Components
from darkroom.pipelines.animate.lora import wearing
from darkroom.pipelines.animate.offload import unstream
from darkroom.pipelines.animate.plan import AnimatePlan
from darkroom.pipelines.animate.quantize import format_of, quantize


def prepare(components: Components, plan: AnimatePlan, device: torch.device, undo: ExitStack) -> None:
    """Bring the transformer into the form of `plan`; a kept one of another form is let go and loaded anew.

    undo: gets what takes off again that which is for this job alone; 8 bits stay for the next job that wants them
    Raises Unavailable.
    """
    wanted = plan.profile.quantize
    if format_of(components.transformer.blocks) not in ("none", wanted):
        components.release("transformer")
    transformer = components.transformer
    if wanted != "none":
        quantize(transformer.blocks, wanted, device)
    if plan.lora or plan.compiled:
        unstream(transformer)  # what streams is a list of weights, and hooks in the place of what a block computes
    if plan.lora:
        undo.enter_context(wearing(transformer, plan.lora))
        undo.callback(unstream, transformer)
    if plan.compiled:
        undo.enter_context(compiled(transformer))


@contextmanager
def compiled(transformer: Any, make: Callable[..., Any] = torch.compile) -> Iterator[None]:
    """Compile the blocks of `transformer` while this lasts: one of them, for all are alike.

    Only what a block computes: what listens to the blocks from outside stays as it is.
    """
    for block in transformer.blocks:
        block.forward = make(block.forward)
    try:
        yield
    finally:
        for block in transformer.blocks:
            block.__dict__.pop("forward", None)
