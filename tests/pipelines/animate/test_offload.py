from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.hooks import group_offloading
from tiny_wan import tiny_components, velocity

from darkroom.pipelines.animate.offload import HOOKS, is_streamed, leave, settle, size_bytes, stream, unstream
from darkroom.pipelines.animate.quantize import quantize

CPU = torch.device("cpu")


def test_the_hooks_are_called_as_the_library_calls_them() -> None:
    names = ("_GROUP_OFFLOADING", "_LAYER_EXECUTION_TRACKER", "_LAZY_PREFETCH_GROUP_OFFLOADING")
    assert tuple(getattr(group_offloading, name) for name in names) == HOOKS


def plain(transformer: Any) -> None:
    """Leave it as it is."""


@pytest.mark.parametrize("form", [plain, lambda transformer: quantize(transformer.blocks, "int8")])
def test_streaming_changes_no_bit_and_can_be_undone(form: Callable[[Any], None]) -> None:
    transformer = tiny_components().transformer
    form(transformer)
    before = velocity(transformer)
    stream(transformer, CPU, pinned=False)
    assert is_streamed(transformer)
    assert torch.equal(velocity(transformer), before)
    stream(transformer, CPU, pinned=False)  # again: nothing happens
    settle(transformer, CPU)
    assert not is_streamed(transformer)
    assert torch.equal(velocity(transformer), before)


def test_a_pass_that_was_broken_off_leaves_nothing_wrong() -> None:
    transformer = tiny_components().transformer
    before = velocity(transformer)
    stream(transformer, CPU, pinned=False)

    def stop(*_: object) -> None:
        raise KeyError

    hook = transformer.blocks[1].attn2.register_forward_pre_hook(stop)
    with pytest.raises(KeyError):
        velocity(transformer)
    hook.remove()
    assert torch.equal(velocity(transformer), before)
    unstream(transformer)
    assert torch.equal(velocity(transformer), before)


def test_weights_are_counted_in_bytes() -> None:
    model = torch.nn.Linear(3, 2)
    assert size_bytes(model) == (6 + 2) * 4
    assert size_bytes(model.bfloat16()) == (6 + 2) * 2


def test_a_model_that_leaves_goes_to_host_memory_or_where_that_is_short_back_to_its_file() -> None:
    meta = torch.device("meta")  # stands for a device: nothing is on it but shapes
    parts = tiny_components()
    parts.vae.to(meta)
    leave(parts, "vae", meta, free_bytes=0)
    assert "vae" not in parts
    kept = parts.vae
    leave(parts, "vae", meta, free_bytes=10**9)  # it is not there
    assert parts.vae is kept
    leave(parts, "transformer", meta, free_bytes=0)  # it was never loaded
    assert "transformer" not in parts


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("pinned", [True, False])
def test_blocks_travel_to_a_gpu_while_others_compute(pinned: bool) -> None:
    cuda = torch.device("cuda", 0)
    transformer = tiny_components().transformer
    settle(transformer, cuda)
    before = velocity(transformer)
    stream(transformer, cuda, pinned=pinned)
    assert next(transformer.blocks[1].parameters()).device == CPU
    for _ in range(3):
        assert torch.equal(velocity(transformer), before)
