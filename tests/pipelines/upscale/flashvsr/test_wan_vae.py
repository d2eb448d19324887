import torch
from goldens import distance, golden, weights

from darkroom.pipelines.upscale.flashvsr.wan_vae import decode, prepare


def test_a_whole_stream_gives_the_reference_frames() -> None:
    model = prepare(weights("vae"), dtype=torch.float32, device="cpu")
    found = golden("vae_decode")
    frames, _ = decode(model, found["latents"][0].transpose(0, 1), None)
    wanted = found["frames_unclamped"][0].transpose(0, 1)
    assert frames.shape == wanted.shape
    assert distance(frames, wanted) < 2e-5
