import torch
import torch.nn.functional as F

from darkroom.kernels.channel_norm import channel_norm, norm_silu


def test_every_pixel_gets_the_norm_of_its_channels() -> None:
    x = torch.randn(2, 24, 3, 5, dtype=torch.float64)
    norms = channel_norm(x, torch.ones(24, 1, 1, 1, dtype=torch.float64)).norm(dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, 24**0.5))


def test_gamma_scales_each_channel() -> None:
    x, gamma = torch.randn(2, 6, 3, 5), torch.randn(6)
    plain = channel_norm(x, torch.ones(6))
    torch.testing.assert_close(channel_norm(x, gamma), plain * gamma[:, None, None])


def test_a_pixel_of_zeros_stays_zero() -> None:
    assert not channel_norm(torch.zeros(1, 8, 2, 2), torch.ones(8)).any()


def test_the_input_is_left_as_it_is() -> None:
    x = torch.randn(1, 8, 2, 2)
    before = x.clone()
    norm_silu(x, torch.ones(8))
    assert torch.equal(x, before)


def test_norm_and_silu_in_one_are_the_two_in_a_row() -> None:
    x, gamma = torch.randn(2, 6, 3, 5), torch.randn(6)
    torch.testing.assert_close(norm_silu(x, gamma), F.silu(channel_norm(x, gamma)))
