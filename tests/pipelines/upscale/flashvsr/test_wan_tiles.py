from itertools import pairwise

import pytest
import torch
from goldens import distance, golden, weights
from torch import Tensor

from darkroom.pipelines.upscale.flashvsr.wan_tiles import Size, decode_tiled
from darkroom.pipelines.upscale.flashvsr.wan_vae import WanDecoder, decode, prepare


def decoder() -> WanDecoder:
    return prepare(weights("vae"), dtype=torch.float32, device="cpu")


def latents() -> Tensor:
    """Give the reference's latents, [T, 16, h, w]."""
    return golden("vae_tiled")["latents"][0].transpose(0, 1)


def random(count: int, height: int, width: int) -> Tensor:
    """Give latents of any size."""
    return torch.randn(count, 16, height, width, generator=torch.Generator().manual_seed(9))


def sizes() -> tuple[Size, Size]:
    """Give the reference's tile and stride."""
    meta = golden("vae_tiled").meta
    (height, width), (down, right) = meta["tile_size"], meta["tile_stride"]
    return (height, width), (down, right)


def test_tiles_are_blended_as_in_the_reference() -> None:
    tile, stride = sizes()
    frames, _ = decode_tiled(decoder(), latents(), None, tile=tile, stride=stride)
    wanted = golden("vae_tiled")
    (name,) = (name for name in wanted.tensors if name.startswith("frames_"))  # and the frames' numbers
    numbers = [int(number) for number in name.split("_")[1:]]
    assert distance(frames[numbers], wanted[name][0].transpose(0, 1)) < 2e-5


@pytest.mark.parametrize("cuts", [[1], [2, 3], [1, 2, 3]])
def test_latents_may_come_in_any_portions(cuts: list[int]) -> None:
    model, given, tile, stride = decoder(), random(4, 8, 12), (6, 8), (4, 5)
    wanted, _ = decode_tiled(model, given, None, tile=tile, stride=stride)
    states, found = None, []
    for first, end in pairwise([0, *cuts, len(given)]):
        frames, states = decode_tiled(model, given[first:end], states, tile=tile, stride=stride, rest="cpu")
        found.append(frames)
    assert distance(torch.cat(found), wanted) < 1e-6


def test_one_tile_over_all_is_the_whole_frame() -> None:
    small = random(2, 4, 5)
    frames, states = decode_tiled(decoder(), small, None, tile=(4, 5), stride=(2, 3))
    whole, _ = decode(decoder(), small, None)
    assert len(states) == 1
    assert torch.equal(frames, whole.clamp(-1, 1))


def test_tiles_side_by_side_are_each_their_own() -> None:
    small = random(2, 4, 4)
    frames, _ = decode_tiled(decoder(), small, None, tile=(4, 2), stride=(4, 2))
    left, _ = decode(decoder(), small[..., :2], None)
    assert torch.equal(frames[..., :16], left.clamp(-1, 1))


def test_a_last_tile_shorter_than_the_overlap_is_blended_smoothly() -> None:
    small = random(1, 1, 7)
    frames, states = decode_tiled(decoder(), small, None, tile=(1, 6), stride=(1, 2))
    assert len(states) == 2
    assert frames.isfinite().all()


def test_a_stride_that_leaves_gaps_is_refused() -> None:
    with pytest.raises(ValueError, match="at most a tile"):
        decode_tiled(decoder(), random(1, 4, 4), None, tile=(4, 4), stride=(4, 5))
