import random

import numpy as np
import pytest
import torch
from goldens import golden
from PIL import Image
from torch import Tensor

from darkroom.kernels import bicubic
from darkroom.kernels.bicubic import enlarge_u8

Size = tuple[int, int]  # width, height


def noise(size: Size, *, count: int = 1, levels: int = 256) -> Tensor:
    """Random pictures; of two levels, black and white, they overshoot nearly everywhere."""
    generator = torch.Generator().manual_seed(hash((size, levels)) % 2**31)
    picture = torch.randint(0, levels, (count, 3, size[1], size[0]), generator=generator)
    return (picture * (255 // (levels - 1))).to(torch.uint8)


def by_pillow(rgb: Tensor, size: Size) -> Tensor:
    picture = Image.fromarray(rgb.permute(1, 2, 0).contiguous().numpy())
    return torch.from_numpy(np.array(picture.resize(size, Image.Resampling.BICUBIC))).permute(2, 0, 1)


def sizes(count: int) -> list[tuple[Size, Size]]:
    chance = random.Random(20)
    old = [(chance.randint(1, 70), chance.randint(1, 50)) for _ in range(count)]
    return [((w, h), (w + chance.randint(0, 4 * w), h + chance.randint(0, 4 * h))) for w, h in old]


def test_every_larger_size_has_the_bits_of_pillow() -> None:
    for old, new in [*sizes(60), ((1, 1), (9, 4)), ((2, 3), (301, 3)), ((3, 2), (3, 301)), ((480, 5), (1920, 20))]:
        for levels in (256, 2):
            rgb = noise(old, levels=levels)
            assert torch.equal(enlarge_u8(rgb, new[1], new[0])[0], by_pillow(rgb[0], new)), (old, new, levels)


@pytest.mark.parametrize("wanted", [1, 2, 7, 20, 33, 66, 67, 99])
def test_a_shrunk_axis_has_the_bits_of_pillow(wanted: int) -> None:
    rgb = noise((100, 100))
    for new in ((wanted, 100), (100, wanted)):
        assert torch.equal(enlarge_u8(rgb, new[1], new[0])[0], by_pillow(rgb[0], new))


def test_the_input_of_the_reference_is_made_from_its_picture() -> None:
    reference = golden("input_prep")
    (scaled_width, scaled_height), (width, height) = reference.meta["scaled"], reference.meta["target"]
    large = enlarge_u8(reference["image_u8"].permute(2, 0, 1)[None], scaled_height, scaled_width)
    left, top = (scaled_width - width) // 2, (scaled_height - height) // 2
    cropped = large[0, :, top : top + height, left : left + width]
    assert torch.equal(cropped.permute(1, 2, 0), reference["official_u8"])


def test_pictures_enlarged_together_are_those_enlarged_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = noise((21, 13), count=5)
    whole = enlarge_u8(rgb, 40, 50)
    monkeypatch.setattr(bicubic, "AT_ONCE", 40 * 50 * 2)  # two planes at once: cuts fall inside pictures
    assert torch.equal(enlarge_u8(rgb, 40, 50), whole)
    for one, found in zip(rgb, whole, strict=True):
        assert torch.equal(found, by_pillow(one, (50, 40)))


def test_a_picture_of_the_right_size_stays() -> None:
    rgb = noise((21, 13))
    assert torch.equal(enlarge_u8(rgb, 13, 21), rgb)


def test_a_view_of_a_larger_picture_is_read_where_it_lies() -> None:
    rgb = noise((40, 30))[..., 3:20, 5:35]
    assert torch.equal(enlarge_u8(rgb, 51, 77)[0], by_pillow(rgb[0], (77, 51)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_bits() -> None:
    rgb = noise((63, 45), count=2)
    assert torch.equal(enlarge_u8(rgb.cuda(), 180, 252).cpu(), enlarge_u8(rgb, 180, 252))
