import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from darkroom.kernels.strips import in_strips, strip_rows


def blurred_twice_as_large(x: Tensor) -> Tensor:
    kernel = torch.arange(1.0, 26.0).reshape(1, 1, 5, 5).expand(3, 1, 5, 5) / 325
    return F.interpolate(F.conv2d(x, kernel, padding=2, groups=3), scale_factor=2, mode="nearest")


def valid_twice_as_large(x: Tensor) -> Tensor:
    kernel = torch.arange(1.0, 26.0).reshape(1, 1, 5, 5).expand(3, 1, 5, 5) / 325
    return F.interpolate(F.conv2d(x, kernel, groups=3), scale_factor=2, mode="nearest")


@pytest.mark.parametrize("rows", [1, 3, 7, 16, 17, 100])
def test_strips_with_an_exact_halo_have_the_bits_of_the_whole_picture(rows: int) -> None:
    frames = torch.rand(2, 3, 17, 23, generator=torch.Generator().manual_seed(1))
    whole = blurred_twice_as_large(frames)
    assert torch.equal(in_strips(blurred_twice_as_large, frames, scale=2, halo=2, rows=rows), whole)


def test_a_halo_one_row_short_shows() -> None:
    frames = torch.rand(1, 3, 17, 23, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(
        in_strips(blurred_twice_as_large, frames, scale=2, halo=1, rows=5), blurred_twice_as_large(frames)
    )


@pytest.mark.parametrize("rows", [1, 5, 17, 40])
def test_a_net_that_consumes_its_halo_sees_the_picture_continued_by_its_border(rows: int) -> None:
    frames = torch.rand(1, 3, 17, 23, generator=torch.Generator().manual_seed(2))
    whole = valid_twice_as_large(F.pad(frames, (2, 2, 2, 2), mode="replicate"))
    assert torch.equal(in_strips(valid_twice_as_large, frames, scale=2, halo=2, rows=rows, valid=True), whole)


def test_strips_fit_the_budget_but_are_never_mostly_halo() -> None:
    assert strip_rows(width=1000, bytes_per_pixel=100, halo=7, budget_bytes=10_000_000) == 100
    assert strip_rows(width=100_000, bytes_per_pixel=100, halo=7, budget_bytes=10_000_000) == 28
