import pytest
import torch
from torch import Tensor

from darkroom.kernels import match_colors as definition
from darkroom.kernels.fused.match_colors import adain, builds
from darkroom.kernels.fused.norms import INTERPRETED, Build

DEVICE = "cpu" if INTERPRETED else "cuda"
STEPS = {torch.float32: 2e-6, torch.bfloat16: 2**-8, torch.float16: 2**-11}  # sums in another order; one rounding


def picture(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0, span: float = 0.8) -> Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 * span - span).to(DEVICE, dtype)


@pytest.mark.parametrize("piece", [256, 4096])  # several pieces with a ragged last one, and one piece
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_adain_gives_what_its_definition_gives(dtype: torch.dtype, piece: int) -> None:
    x, reference = picture(2, 3, 33, 21, dtype=dtype), picture(2, 3, 33, 21, dtype=dtype, seed=1, span=1)
    found, wanted = adain(x, reference, piece=piece), definition.adain(x, reference)
    assert found.dtype is dtype
    assert torch.allclose(found.float(), wanted.float(), rtol=STEPS[dtype], atol=STEPS[dtype])
    assert found.float().abs().max() == 1  # some of it is clamped


def test_the_reference_may_have_another_size() -> None:
    x, reference = picture(1, 3, 33, 21), picture(1, 3, 50, 47, seed=1)
    assert torch.allclose(adain(x, reference, piece=512), definition.adain(x, reference), atol=2e-6)


def test_a_sky_all_but_flat_keeps_its_spread() -> None:
    x, reference = picture(1, 3, 33, 21, span=1e-4) + 0.9, picture(1, 3, 33, 21, seed=1, span=1e-2) - 0.9
    assert torch.allclose(adain(x, reference, piece=256), definition.adain(x, reference), atol=2e-6)


def test_frames_stored_channels_last_are_matched_as_any() -> None:
    x, reference = picture(2, 3, 9, 7), picture(2, 3, 9, 7, seed=1)
    found = adain(x.to(memory_format=torch.channels_last), reference.to(memory_format=torch.channels_last))
    assert torch.equal(found, adain(x, reference))


def test_frames_without_a_reference_each_are_refused() -> None:
    with pytest.raises(ValueError, match="for reference"):
        adain(picture(2, 3, 9, 7), picture(1, 3, 9, 7))


@pytest.mark.parametrize("build", builds(), ids=lambda build: build[0].__name__)
def test_what_is_compiled_without_a_gpu_names_every_argument_once(build: Build) -> None:
    kernel, types, constants, _ = build
    assert sorted([*types, *constants]) == sorted(kernel.arg_names)
