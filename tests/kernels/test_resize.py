import pytest
import torch
import torch.nn.functional as F

from darkroom.kernels.resize import doubled, resize


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


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (17, 23)])
def test_doubled_along_both_axes_is_bilinear_interpolation(size: tuple[int, int]) -> None:
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(4))
    ours = doubled(doubled(x, -2, cosited=False), -1, cosited=False)
    theirs = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    assert (ours - theirs).abs().max() < 3e-7  # fp32: order of the sums


def test_cosited_samples_keep_the_old_ones_and_lie_half_way_between() -> None:
    assert doubled(torch.tensor([0.0, 4.0, 2.0]), -1, cosited=True).tolist() == [0, 2, 4, 3, 2, 2]


def test_the_number_of_threads_does_not_change_a_bit() -> None:
    x = torch.rand(1, 3, 271, 483, generator=torch.Generator().manual_seed(5))
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append((resize(x, 200, 361), doubled(doubled(x, -2, cosited=False), -1, cosited=False)))
    finally:
        torch.set_num_threads(threads)
    for small, large in results[1:]:
        assert torch.equal(small, results[0][0])
        assert torch.equal(large, results[0][1])
