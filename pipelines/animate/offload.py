"""Where models are while they wait: in host memory, or back in their files; a transformer block by block"""

from collections.abc import Iterator
from typing import Any

import torch
from diffusers.hooks import HookRegistry
from torch import nn

from darkroom.pipelines.animate.components import Components
from darkroom.pipelines.animate.device import FAMILIES

# As the library calls its hooks, which it takes away itself only to lay them on again.
HOOKS = ("group_offloading", "layer_execution_tracker", "lazy_prefetch_group_offloading")


def stream(transformer: Any, device: torch.device, *, pinned: bool) -> None:
    """Keep the blocks of `transformer` in host memory; each is on `device` while it computes, and the next on its way.

    The numbers are the same to the bit.
    pinned: all of them page-locked, for the fastest transfers; else only what travels
    """
    if is_streamed(transformer):
        return
    transformer.to("cpu")
    transformer.enable_group_offload(
        onload_device=device,
        offload_device=torch.device("cpu"),
        offload_type="block_level",
        num_blocks_per_group=1,
        use_stream=FAMILIES[device.type].streams,
        low_cpu_mem_usage=not pinned,
    )


def settle(transformer: Any, device: torch.device) -> None:
    """Put the whole of `transformer` on `device`, to stay."""
    unstream(transformer)
    transformer.to(device)


def unstream(transformer: Any) -> None:
    """Let `transformer` be as if it had never been streamed: in host memory as a whole."""
    if not is_streamed(transformer):
        return
    registry = HookRegistry.check_if_exists_or_initialize(transformer)
    for name in HOOKS:
        registry.remove_hook(name, recurse=True)
    registry.invalidate_child_registries_cache()
    transformer.to("cpu")  # a pass that was broken off left a block behind


def is_streamed(model: nn.Module) -> bool:
    """Tell whether blocks of `model` come and go."""
    hooked: Iterator[Any] = (part for part in model.modules() if hasattr(part, "_diffusers_hook"))
    return any(HOOKS[0] in part._diffusers_hook.hooks for part in hooked)


def leave(components: Components, name: str, device: torch.device, free_bytes: int) -> None:
    """Take the component `name` off `device`, if it is there: to host memory, or where that is short, out of it.

    free_bytes: of host memory
    """
    if device.type == "cpu" or name not in components:
        return
    model = components.get(name)
    if is_streamed(model) or next(model.parameters()).device.type != device.type:
        return
    if size_bytes(model) <= free_bytes:
        model.to("cpu")
    else:
        components.release(name)


def size_bytes(model: nn.Module) -> int:
    """Give what the weights of `model` take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
