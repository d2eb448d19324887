import pytest
import torch
from goldens import golden

from darkroom.kernels.windows import WINDOW_TOKENS, from_windows, local_windows, to_windows, window_order


@pytest.mark.parametrize("name", golden("window_order").tensors)
def test_the_window_order_is_the_reference(name: str) -> None:
    f, h, w = map(int, name.split("_")[1:])
    assert torch.equal(window_order(f, h, w), golden("window_order")[name].long())


@pytest.mark.parametrize("name", golden("mask_local").tensors)
def test_the_local_windows_are_the_reference(name: str) -> None:
    bh, bw, local_range = map(int, name.split("_")[1:])
    assert torch.equal(local_windows(bh, bw, local_range), golden("mask_local")[name])


def test_tokens_return_to_their_raster_places() -> None:
    x = torch.arange(4 * 16 * 24 * 3.0).reshape(4, 16, 24, 3)
    windowed = to_windows(x)
    assert windowed.shape == (4 * 16 * 24, 3)
    assert torch.equal(windowed, x.flatten(0, 2)[window_order(4, 16, 24)])
    assert torch.equal(from_windows(windowed, 4, 16, 24), x)


def test_the_first_window_holds_the_first_two_frames_of_the_upper_left_corner() -> None:
    frame, row, column = torch.meshgrid(torch.arange(4), torch.arange(16), torch.arange(16), indexing="ij")
    window = to_windows(torch.stack((frame, row, column), -1))[:WINDOW_TOKENS]
    assert window.min(0).values.tolist() == [0, 0, 0]
    assert window.max(0).values.tolist() == [1, 7, 7]


def test_a_window_always_sees_itself() -> None:
    for local_range in range(1, 12):
        assert local_windows(3, 4, local_range).diagonal().all()
