import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from darkroom.kernels.norms import EPS, gated_norm, norm_rope, rms_norm
from darkroom.kernels.rope import angles, rotate
from darkroom.kernels.windows import WINDOW_TOKENS

WIDTH, HEADS = 44, 3
D = WIDTH * HEADS


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tables(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    turn = angles(2, 8, 16, 3, WIDTH)  # two windows
    return turn.cos().to(dtype), turn.sin().to(dtype)


def test_rms_norm_divides_by_the_root_mean_square_of_the_full_width() -> None:
    x, weight = normal(5, D), normal(D, seed=1)
    wanted = F.rms_norm(x, (D,), weight, EPS)
    assert torch.allclose(rms_norm(x.float(), weight.float()).double(), wanted, atol=1e-5)


def test_rms_norm_in_bf16_rounds_before_the_weight_and_after() -> None:
    x, weight = normal(64, D).bfloat16(), normal(D, seed=1).bfloat16()
    normed = x.double() / (x.double().square().mean(-1, keepdim=True) + EPS).sqrt()
    wanted = (normed.float().bfloat16().float() * weight.float()).bfloat16()
    once = (normed * weight).bfloat16()
    found = rms_norm(x, weight)
    assert (found != wanted).float().mean() < 1e-3  # fp32 sums against fp64
    assert (found != once).float().mean() > 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norm_rope_is_the_norm_and_then_the_rotation(dtype: torch.dtype) -> None:
    cos, sin = tables()
    x, weight = normal(256, D).to(dtype), normal(D, seed=1).to(dtype)
    y, means = norm_rope(x, weight, cos, sin)
    assert y.dtype is means.dtype is dtype
    assert torch.equal(y, rotate(rms_norm(x, weight), cos, sin))
    for window, mean in zip(y.reshape(-1, WINDOW_TOKENS, D), means, strict=True):
        assert torch.allclose(mean.double(), window.double().mean(0), rtol=2**-8, atol=1e-6)


def test_the_order_of_tokens_is_that_of_their_positions() -> None:
    cos, sin = tables()
    x, weight = normal(256, D), normal(D, seed=1)
    order = torch.randperm(256, generator=torch.Generator().manual_seed(2))
    y, _ = norm_rope(x.float(), weight.float(), cos, sin)
    shuffled, _ = norm_rope(x.float()[order], weight.float(), cos[order], sin[order])
    assert torch.equal(shuffled, y[order])


def test_float32_tables_give_nearly_the_same_bf16_numbers() -> None:
    x, weight = normal(256, D).bfloat16(), normal(D, seed=1).bfloat16()
    exact, _ = norm_rope(x, weight, *tables())
    found, _ = norm_rope(x, weight, *tables(torch.float32))
    assert (found != exact).float().mean() < 1e-3


def test_rows_of_a_fused_projection_go_to_a_slot_of_a_ring() -> None:
    cos, sin = tables()
    fused, weight = normal(256, 3 * D).float(), normal(D, seed=1).float()
    ring = torch.full((3, 256, D), torch.nan)
    y, means = norm_rope(fused[:, D : 2 * D], weight, cos, sin, out=ring[1])
    wanted, wanted_means = norm_rope(fused[:, D : 2 * D].contiguous(), weight, cos, sin)
    assert y.data_ptr() == ring[1].data_ptr()
    assert torch.equal(ring[1], wanted)
    assert torch.equal(means, wanted_means)
    assert ring[0].isnan().all()
    assert ring[2].isnan().all()


@pytest.mark.parametrize("gated", [True, False])
def test_gated_norm_adds_and_then_normalises_the_sum(gated: bool) -> None:
    x, y, gate, scale, shift = normal(7, D), normal(7, D, seed=1), *normal(3, D, seed=2)
    total, normed = gated_norm(x.float(), y.float(), gate.float() if gated else None, scale.float(), shift.float())
    wanted = x + gate * y if gated else x + y
    assert torch.allclose(total.double(), wanted, atol=1e-5)
    assert torch.allclose(normed.double(), F.layer_norm(wanted, (D,), scale, shift, EPS), atol=1e-5)


def test_gated_norm_of_nothing_added_gives_x_back() -> None:
    x, scale, shift = normal(7, D), *normal(2, D, seed=2)
    total, normed = gated_norm(x, None, None, scale, shift)
    assert total is x
    assert torch.allclose(normed, F.layer_norm(x, (D,), scale, shift, EPS))


def test_gated_norm_in_bf16_rounds_after_each_step() -> None:
    x, y, gate, scale, shift = (t.bfloat16() for t in (normal(64, D), normal(64, D, seed=1), *normal(3, D, seed=2)))
    product = (gate.float() * y.float()).bfloat16()
    total = (x.float() + product.float()).bfloat16()
    normed = F.layer_norm(total.double(), (D,), eps=EPS).bfloat16()
    scaled = (normed.float() * scale.float()).bfloat16()
    wanted = (scaled.float() + shift.float()).bfloat16()
    found_total, found = gated_norm(x, y, gate, scale, shift)
    assert torch.equal(found_total, total)
    assert (found != wanted).float().mean() < 2e-3  # fp32 statistics against fp64
