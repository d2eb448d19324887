import torch

from darkroom.kernels.resize import resize


def test_a_flat_picture_stays_flat_at_any_size() -> None:
    flat = torch.full((1, 3, 40, 60), 0.4)
    assert (resize(flat, 30, 45) - 0.4).abs().max() < 1e-6


def test_detail_too_fine_for_the_new_size_becomes_grey_instead_of_moire() -> None:
    stripes = torch.arange(64).remainder(2).float().expand(1, 3, 64, 64).contiguous()
    small = resize(stripes, 21, 21)[..., 3:-3]
    assert (small - 0.5).abs().max() < 0.06  # without antialiasing the stripes alias to 0..1


def test_edges_do_not_leave_the_range() -> None:
    edge = torch.zeros(1, 3, 32, 32)
    edge[..., 16:] = 1
    small = resize(edge, 24, 24)
    assert small.min() >= 0
    assert small.max() <= 1


def test_a_picture_of_the_right_size_is_given_back_untouched() -> None:
    picture = torch.rand(1, 3, 9, 7)
    assert resize(picture, 9, 7) is picture
