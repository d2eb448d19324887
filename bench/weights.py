"""FlashVSR with random weights of any widths, and a film for it: as costly as trained ones, without a download."""

import torch
from torch import Tensor

from darkroom.kernels.backend import Ops
from darkroom.pipelines.tiny_models import TINY, make
from darkroom.pipelines.upscale.flashvsr import dit, lq_projection, tcdecoder, wan_vae
from darkroom.pipelines.upscale.flashvsr.architecture import OFFICIAL, Architecture, Role, expected_keys
from darkroom.pipelines.upscale.flashvsr.dit import Sparsity, topk_ratio
from darkroom.pipelines.upscale.flashvsr.model import FlashVSR
from darkroom.pipelines.upscale.flashvsr.options import Variant

ARCHITECTURES = {"tiny": TINY, "official": OFFICIAL}
# Of queries and of keys, in spread. With 1, random windows look alike to the selection, and ties leave it little.
SHARPNESS = 2.0
SEED = 20


def model(
    a: Architecture,
    height: int,
    width: int,
    *,
    ops: Ops,
    dtype: torch.dtype,
    device: torch.device,
    variant: Variant = "tiny",
    seed: int = SEED,
) -> FlashVSR:
    """Return the model for frames of height x width, with the published settings."""

    def part(role: Role) -> dict[str, Tensor]:
        return drawn(a, role, dtype, device, seed)

    small = variant != "full"
    return FlashVSR(
        dit=dit.prepare(part("dit"), part("prompt")["prompt"], heads=a.heads, dtype=dtype, device=device),
        lq=lq_projection.prepare(part("lq"), causal=True, dtype=dtype, device=device),
        decoder=tcdecoder.prepare(part("decoder"), dtype=dtype, device=device)
        if small
        else wan_vae.prepare(part("vae"), dtype=dtype, device=device),
        ops=ops,
        dtype=dtype,
        device=device,
        sparsity=Sparsity(topk_ratio=topk_ratio(2.0, height, width), local_range=11),
    )


def drawn(a: Architecture, role: Role, dtype: torch.dtype, device: torch.device, seed: int = SEED) -> dict[str, Tensor]:
    """Return random weights of one part of the model: the same each time, and the same on every device."""
    numbers = torch.Generator().manual_seed(seed)
    return {
        key: (make(key, shape, numbers) * (SHARPNESS if ".self_attn.norm_" in key else 1)).to(device, dtype)
        for key, shape in expected_keys(a)[role].items()
    }


def moving(count: int, height: int, width: int) -> Tensor:
    """Return pictures [count, 3, height, width] uint8 of smooth shapes that move three pixels a frame, with grain."""
    numbers = torch.Generator().manual_seed(SEED)
    ground = torch.rand(1, 3, 9, 16, generator=numbers)
    ground = torch.nn.functional.interpolate(ground, size=(height, width + 3 * count), mode="bicubic")
    moved = torch.cat([ground[..., 3 * at : 3 * at + width] for at in range(count)])
    return (255 * (moved + 0.1 * torch.randn(moved.shape, generator=numbers)).clamp(0, 1)).to(torch.uint8)
