from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from goldens import golden
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from darkroom.kernels.bicubic import enlarge_u8
from darkroom.pipelines.upscale.flashvsr.frames import AHEAD
from darkroom.pipelines.upscale.flashvsr.prepare import GRID, canvas_size, crop, enlarged_size, low_quality, reflected


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_the_low_quality_frames_are_the_reference_s() -> None:
    wanted = golden("e2e_in")
    rgb = wanted.tensors["lr_u8"].permute(0, 3, 1, 2)
    rgb = torch.cat((rgb, rgb[-1:].expand(AHEAD, -1, -1, -1)))[: wanted.meta["F"]]
    height, width = enlarged_size(rgb.shape[-2], rgb.shape[-1], wanted.meta["scale"])
    down, across = wanted.meta["height"], wanted.meta["width"]
    top, left = (height - down) // 2, (width - across) // 2  # the reference crops what lies off the grid
    found = low_quality(rgb, height, width, torch.float32)[..., top : top + down, left : left + across]
    assert torch.equal(((found[0] + 1) * 127.5).round().to(torch.uint8), wanted.tensors["lq_frame0_u8"])
    torch.testing.assert_close(found[:, :, ::8, ::8].transpose(0, 1), wanted["lq_strided"], rtol=0, atol=1e-6)


def test_inside_the_border_the_official_crop_is_the_same_picture() -> None:
    wanted = golden("input_prep")
    rgb = wanted.tensors["image_u8"].permute(2, 0, 1)[None]
    width, height = wanted.meta["scaled"]
    across, down = wanted.meta["target"]
    top, left = (height - down) // 2, (width - across) // 2
    found = low_quality(rgb, height, width, torch.float32)[0, :, top : top + down, left : left + across]
    assert torch.equal(((found + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0), wanted.tensors["official_u8"])
    torch.testing.assert_close(found[:, ::4, ::4], wanted["official_float_strided"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("height", "width", "scale", "enlarged", "canvas"),
    [
        (720, 1280, 4, (2880, 5120), (2944, 5120)),
        (1080, 1920, 2, (2160, 3840), (2176, 3840)),
        (33, 5, Fraction(5, 2), (82, 12), (128, 128)),  # 82.5 and 12.5: to even
        (1, 1, Fraction(1, 4), (1, 1), (128, 128)),
    ],
)
def test_sizes(
    height: int, width: int, scale: int | Fraction, enlarged: tuple[int, int], canvas: tuple[int, int]
) -> None:
    assert enlarged_size(height, width, scale) == enlarged
    assert canvas_size(*enlarged) == canvas


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 3), (64, 32), (37, 50)])
def test_any_picture_lies_whole_on_a_canvas_of_the_grid(size: tuple[int, int]) -> None:
    rgb = noise(2, 3, *size)
    height, width = enlarged_size(*size, 3)
    found = low_quality(rgb, height, width, torch.float32)
    assert found.shape[-2] % GRID == 0
    assert found.shape[-1] % GRID == 0
    picture = enlarge_u8(rgb, height, width).float() / 255 * 2 - 1
    assert torch.equal(crop(found, height, width), picture)


def test_the_border_goes_on_as_its_mirror_image() -> None:
    found = low_quality(noise(1, 3, 30, 25), 120, 100, torch.float32)[0]
    assert torch.equal(found[:, 120:], found[:, 111:119].flip(1))
    assert torch.equal(found[:, :, 100:], found[:, :, 71:99].flip(2))


def test_the_working_type_is_rounded_to_from_single_precision() -> None:
    rgb = noise(1, 3, 32, 32)
    single = low_quality(rgb, 128, 128, torch.float32)
    assert torch.equal(low_quality(rgb, 128, 128, torch.bfloat16), single.to(torch.bfloat16))
    assert single.abs().max() <= 1


@given(st.integers(1, 40), st.integers(0, 200))
def test_reflection_never_jumps(size: int, more: int) -> None:
    places = reflected(size, size + more).tolist()
    assert places[:size] == list(range(size))
    assert set(places) == set(range(size))
    assert all(abs(a - b) == (size > 1) for a, b in pairwise(places))
