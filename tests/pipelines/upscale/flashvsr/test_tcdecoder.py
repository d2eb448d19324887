import torch
from goldens import distance, golden, weights
from torch import Tensor

from darkroom.pipelines.upscale.flashvsr.tcdecoder import decode, prepare


def stream() -> tuple[Tensor, Tensor, Tensor]:
    """Give the reference's latents, condition and frames, each [T, ...]."""
    found = golden("tcd_stream")
    latents, condition, frames = (found[name][0].transpose(0, 1) for name in ("latents", "cond", "frames01"))
    return latents, condition, frames


def test_a_whole_stream_gives_the_reference_frames() -> None:
    model = prepare(weights("tcd"), dtype=torch.float32, device="cpu")
    latents, condition, wanted = stream()
    frames, _ = decode(model, latents, condition, None)
    assert frames.shape == wanted.shape
    assert distance(frames, wanted) < 2e-5
