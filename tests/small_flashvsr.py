"""A small FlashVSR with random weights of its own, for what must hold whatever the reference's weights are."""

from functools import cache

import torch
from torch import Tensor

from darkroom.kernels.backend import TORCH
from darkroom.pipelines.tiny_models import make
from darkroom.pipelines.upscale.flashvsr import dit, lq_projection, tcdecoder
from darkroom.pipelines.upscale.flashvsr.architecture import Architecture, Role, expected_keys
from darkroom.pipelines.upscale.flashvsr.model import FlashVSR

SMALL = Architecture(
    width=64,
    heads=2,
    layers=3,
    ffn=160,
    text_width=48,
    text_tokens=24,
    freq_width=256,
    lq_hidden=(8, 16),
    decoder_channels=(24, 16, 8, 8),
    vae_base=4,
)


@cache
def tensors(role: Role, seed: int = 1) -> dict[str, Tensor]:
    """Give the random weights of `role` under their official names, float32."""
    numbers = torch.Generator().manual_seed(seed)
    return {key: make(key, shape, numbers) for key, shape in expected_keys(SMALL)[role].items()}


def rounded(named: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights `named` as bf16 holds them, float32."""
    return {name: weight.bfloat16().float() for name, weight in named.items()}


@cache
def model(dtype: torch.dtype = torch.float32) -> FlashVSR:
    """Give the whole model on the CPU, with the small decoder."""
    cpu = torch.device("cpu")
    prompt = tensors("prompt")["prompt"]
    return FlashVSR(
        dit=dit.prepare(tensors("dit"), prompt, heads=SMALL.heads, dtype=dtype, device=cpu),
        lq=lq_projection.prepare(tensors("lq"), causal=True, dtype=dtype, device=cpu),
        decoder=tcdecoder.prepare(tensors("decoder"), dtype=dtype, device=cpu),
        ops=TORCH,
        dtype=dtype,
        device=cpu,
        sparsity=dit.Sparsity(topk_ratio=1.5, local_range=3),
    )
