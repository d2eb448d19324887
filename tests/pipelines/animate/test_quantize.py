import pytest
import torch
from diffusers.hooks import apply_layerwise_casting
from torch import nn

from darkroom.pipelines.animate import tiny
from darkroom.pipelines.animate.quantize import EightBit, Format, format_of, quantize, rounded


def layer(seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    made = nn.Linear(64, 48).requires_grad_(False)
    made.weight.mul_(0.02 / made.weight.std())  # about as large as those of the real model
    return made


FORMATS: list[Format] = ["fp8", "int8"]


@pytest.mark.parametrize(("format", "most"), [("int8", 0.0045), ("fp8", 0.04)])
def test_each_row_is_off_by_a_share_of_its_largest(format: Format, most: float) -> None:
    weight = layer().weight * torch.logspace(-3, 3, 48)[:, None]
    values, scale = rounded(weight, format)
    assert values.element_size() == 1
    off = (values.float() * scale - weight).abs() / weight.abs().amax(dim=1, keepdim=True)
    assert off.max() < most


def test_a_row_of_zeros_stays_one() -> None:
    values, scale = rounded(torch.zeros(2, 8), "int8")
    assert not (values.float() * scale).any()


def test_scaled_fp8_is_closer_than_plain_casting() -> None:
    plain, scaled, x = nn.Sequential(layer()), EightBit(layer(), "fp8"), torch.randn(16, 64)
    exact = layer()(x)
    apply_layerwise_casting(plain, torch.float8_e4m3fn, torch.float32, skip_modules_pattern=())
    assert (scaled(x) - exact).abs().mean() < 0.8 * (plain(x) - exact).abs().mean()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_computes_in_the_type_of_its_input(format: Format, dtype: torch.dtype) -> None:
    exact = layer().to(dtype)
    x = torch.randn(2, 5, 64).to(dtype)
    found = EightBit(exact, format)(x)
    assert found.dtype == dtype
    assert (found - exact(x)).abs().max() < 0.05 * exact(x).abs().max()


@pytest.mark.parametrize("format", FORMATS)
def test_all_linear_layers_of_the_blocks_are_changed_and_nothing_else(format: Format) -> None:
    transformer = tiny.components().transformer
    assert format_of(transformer.blocks) == "none"
    before = {name for name, module in transformer.named_modules() if type(module) is nn.Linear}
    quantize(transformer.blocks, format)
    assert format_of(transformer.blocks) == format
    left = {name for name, module in transformer.named_modules() if type(module) is nn.Linear}
    assert {name for name in before - left} == {name for name in before if name.startswith("blocks.")}
    assert len(before - left) == 2 * 12


def test_the_model_gives_nearly_the_same_and_takes_less() -> None:
    exact, eight = tiny.components().transformer, tiny.components().transformer
    quantize(eight.blocks, "int8")
    given = {
        "hidden_states": torch.randn(1, 36, 2, 8, 8),
        "timestep": torch.tensor([500]),
        "encoder_hidden_states": torch.randn(1, 512, 32),
        "encoder_hidden_states_image": torch.randn(1, 17, 160),
        "return_dict": False,
    }
    a, b = exact(**given)[0], eight(**given)[0]
    assert 0 < (a - b).abs().max() < 0.03 * a.abs().max()


def test_what_was_broken_off_is_ended_by_the_next_call() -> None:
    half, whole = tiny.components().transformer, tiny.components().transformer
    quantize(half.blocks[:1], "int8")
    for transformer in (half, whole):
        quantize(transformer.blocks, "int8")
        quantize(transformer.blocks, "int8")
    for a, b in zip(half.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(a, b)
