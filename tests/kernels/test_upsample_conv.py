import pytest
import torch
from torch import Tensor

from darkroom.kernels.upsample_conv import merge_taps, upsample_conv, upsample_conv_plain

F64 = torch.float64


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 4), (6, 9)])
@pytest.mark.parametrize("bias", [None, torch.randn(8, dtype=F64)], ids=["no bias", "bias"])
def test_four_small_kernels_equal_the_doubling_and_the_large_one(size: tuple[int, int], bias: Tensor | None) -> None:
    x, weight = torch.randn(3, 5, *size, dtype=F64), torch.randn(8, 5, 3, 3, dtype=F64)
    found, wanted = upsample_conv(x, merge_taps(weight), bias), upsample_conv_plain(x, weight, bias)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_growth_makes_new_pictures_of_the_channels_in_order() -> None:
    x, weight = torch.randn(2, 5, 3, 4, dtype=F64), torch.randn(3 * 2, 5, 3, 3, dtype=F64)
    wanted = upsample_conv_plain(x, weight).reshape(6, 2, 6, 8)
    torch.testing.assert_close(upsample_conv(x, merge_taps(weight), growth=3), wanted, rtol=0, atol=1e-12)


def test_the_result_is_channels_last() -> None:
    out = upsample_conv(torch.randn(2, 5, 3, 4), merge_taps(torch.randn(6, 5, 3, 3)))
    assert out.is_contiguous(memory_format=torch.channels_last)
