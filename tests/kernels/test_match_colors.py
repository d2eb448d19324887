from collections.abc import Callable

import pytest
import torch
from goldens import distance, golden
from torch import Tensor

from darkroom.kernels.match_colors import LEVELS, adain, blur, low_band, wavelet

REFERENCE = golden("color")
Match = Callable[[Tensor, Tensor], Tensor]


def frames(name: str) -> Tensor:
    return REFERENCE[name][0].transpose(0, 1)


def picture(*shape: int, seed: int = 0, span: float = 0.5) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 * span - span


def test_adain_is_that_of_the_reference() -> None:
    assert distance(adain(frames("hq"), frames("lq")), frames("adain")) < 2e-5


def test_wavelet_and_its_bands_are_those_of_the_reference() -> None:
    assert int(REFERENCE.meta["levels"]) == LEVELS
    assert distance(wavelet(frames("hq"), frames("lq")), frames("wavelet")) < 2e-5
    assert distance(low_band(frames("hq")), REFERENCE["wavelet_low_of_hq"]) < 2e-5
    assert distance(blur(frames("hq")[:1], 4), REFERENCE["blur_r4"]) < 2e-5


@pytest.mark.parametrize("match", [adain, wavelet])
def test_a_frame_that_is_its_own_reference_stays(match: Match) -> None:
    x = picture(2, 3, 19, 33)
    assert (match(x, x) - x).abs().max() < 1e-6


@pytest.mark.parametrize("match", [adain, wavelet])
def test_a_reference_shifted_in_colour_shifts_the_frame_as_much(match: Match) -> None:
    x, reference = picture(2, 3, 19, 33), picture(2, 3, 19, 33, seed=1)
    shift = torch.tensor([0.1, -0.2, 0.05])[:, None, None]
    assert (match(x, reference + shift) - match(x, reference) - shift).abs().max() < 1e-5


@pytest.mark.parametrize("match", [adain, wavelet])
def test_every_frame_is_matched_to_its_own_reference_alone(match: Match) -> None:
    x, reference = picture(3, 3, 9, 7), picture(3, 3, 9, 7, seed=1)
    alone = torch.cat([match(x[i : i + 1], reference[i : i + 1]) for i in range(3)])
    assert torch.allclose(match(x, reference), alone, atol=1e-6)


@pytest.mark.parametrize("match", [adain, wavelet])
def test_bf16_frames_are_matched_in_fp32_and_rounded_once(match: Match) -> None:
    x, reference = picture(2, 3, 40, 24).bfloat16(), picture(2, 3, 40, 24, seed=1).bfloat16()
    found = match(x, reference)
    assert found.dtype is torch.bfloat16
    assert torch.equal(found, match(x.float(), reference.float()).bfloat16())


def test_adain_gives_the_means_and_spreads_of_a_reference_of_another_size() -> None:
    reference = picture(2, 3, 11, 13, seed=1, span=0.3)
    found = adain(picture(2, 3, 40, 24), reference)
    assert torch.allclose(found.mean((-2, -1)), reference.mean((-2, -1)), atol=1e-5)
    assert torch.allclose(found.var((-2, -1), correction=0), reference.var((-2, -1), correction=0), rtol=1e-3)


@pytest.mark.parametrize("match", [adain, wavelet])
def test_a_flat_frame_takes_the_colour_of_a_flat_reference(match: Match) -> None:
    assert (match(torch.full((1, 3, 8, 8), 0.3), torch.full((1, 3, 8, 8), -0.4)) + 0.4).abs().max() < 1e-6


@pytest.mark.parametrize("match", [adain, wavelet])
def test_colours_stay_in_range(match: Match) -> None:
    found = match(picture(1, 3, 32, 32, span=1), picture(1, 3, 32, 32, seed=1, span=1) + 0.5)
    assert found.min() >= -1
    assert found.max() == 1


def test_wavelet_is_detail_of_one_and_low_band_of_the_other_to_the_border() -> None:
    x, reference = picture(1, 3, 37, 21, span=0.2), picture(1, 3, 37, 21, seed=1, span=0.2)
    wanted = x - low_band(x) + low_band(reference)
    assert (wavelet(x, reference) - wanted).abs().max() < 1e-6


def test_frames_smaller_than_the_blur_are_matched_too() -> None:
    assert (wavelet(picture(1, 3, 3, 5), torch.zeros(1, 3, 3, 5))).isfinite().all()


def test_blur_weighs_neighbours_at_its_radius_alone() -> None:
    point = torch.zeros(1, 1, 11, 11)
    point[0, 0, 5, 5] = 16
    found = blur(point, 3)[0, 0]
    assert found[2::3, 2::3].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert found.sum() == 16
