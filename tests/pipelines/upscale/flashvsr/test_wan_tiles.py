import torch
from goldens import distance, golden, weights

from darkroom.pipelines.upscale.flashvsr.wan_tiles import decode_tiled
from darkroom.pipelines.upscale.flashvsr.wan_vae import prepare


def test_tiles_are_blended_as_in_the_reference() -> None:
    model = prepare(weights("vae"), dtype=torch.float32, device="cpu")
    found = golden("vae_tiled")
    tile, stride = tuple(found.meta["tile_size"]), tuple(found.meta["tile_stride"])
    frames, _ = decode_tiled(model, found["latents"][0].transpose(0, 1), None, tile=tile, stride=stride)
    (name,) = (name for name in found.tensors if name.startswith("frames_"))  # and the frames' numbers
    numbers = [int(number) for number in name.split("_")[1:]]
    assert distance(frames[numbers], found[name][0].transpose(0, 1)) < 2e-5
