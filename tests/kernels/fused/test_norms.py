# mypy: disable-error-code="untyped-decorator"

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from darkroom.kernels import norms as definition
from darkroom.kernels.fused.norms import INTERPRETED, Build, builds, gated_norm, norm_rope, rms_norm, rounded
from darkroom.kernels.rope import angles

DEVICE = "cpu" if INTERPRETED else "cuda"
WIDTHS = [(32, 2), (44, 3), (44, 27)]  # head width, heads: whole and masked blocks, one step of rows and eight
# Values that may differ at all, and by how much. On a GPU sums have another order and 1/sqrt is an
# approximation: a value half-way between two bf16 ones may fall to the other side, twice at worst.
TOLERANCES = {torch.float32: (1.0, 1e-5), torch.bfloat16: (2e-3, 2**-6), torch.float16: (2e-3, 2**-9)}


def normal(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def tables(slices: int, width: int) -> tuple[Tensor, Tensor]:
    turn = angles(2 * slices, 8, 8, 5, width)
    return turn.cos().to(DEVICE, torch.float32), turn.sin().to(DEVICE, torch.float32)


def agree(found: Tensor, wanted: Tensor) -> bool:
    share, step = TOLERANCES[found.dtype]
    near = torch.allclose(found.float(), wanted.float(), rtol=step, atol=step)
    return found.dtype is wanted.dtype and near and float((found != wanted).float().mean()) <= share


@triton.jit
def round_kernel(x: tl.tensor, y: tl.tensor, SIZE: tl.constexpr, EMU: tl.constexpr) -> None:
    at = tl.arange(0, SIZE)
    tl.store(y + at, rounded(tl.load(x + at), tl.bfloat16, EMU))


def test_rounding_to_bf16_goes_to_the_nearest_and_from_half_way_to_the_even_one() -> None:
    x = normal(1024, dtype=torch.float32)
    x[:512] = (x[:512].view(torch.int32) & -65536 | 32768).view(torch.float32)  # half-way exactly
    y = torch.empty_like(x)
    round_kernel[(1,)](x, y, SIZE=1024, EMU=INTERPRETED)
    assert torch.equal(y, x.bfloat16().float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("width", "heads"), WIDTHS)
def test_norm_rope_gives_what_its_definition_gives(width: int, heads: int, dtype: torch.dtype) -> None:
    slices, d = (1 if heads > 3 else 2), width * heads
    x, weight = normal(128 * slices, d, dtype=dtype), normal(d, dtype=dtype, seed=1)
    y, means = norm_rope(x, weight, *tables(slices, width))
    wanted, wanted_means = definition.norm_rope(x, weight, *tables(slices, width))
    assert agree(y, wanted)
    assert agree(means, wanted_means)


def test_norm_rope_turns_in_fp32_with_tables_of_fp64() -> None:
    x, weight = normal(128, 64, dtype=torch.bfloat16), normal(64, dtype=torch.bfloat16, seed=1)
    cos, sin = (table.double() for table in tables(1, 32))
    assert torch.equal(norm_rope(x, weight, cos, sin)[0], norm_rope(x, weight, *tables(1, 32))[0])


def test_rows_of_a_fused_projection_go_to_a_slot_of_a_ring() -> None:
    fused, weight = normal(256, 3 * 132, dtype=torch.bfloat16), normal(132, dtype=torch.bfloat16, seed=1)
    ring = torch.full((3, 256, 140), torch.nan, dtype=torch.bfloat16, device=DEVICE)
    slot = ring[1, :, 4:136]  # rows of the slot lie apart too
    y, means = norm_rope(fused[:, 132:264], weight, *tables(2, 44), out=slot)
    wanted, wanted_means = norm_rope(fused[:, 132:264].contiguous(), weight, *tables(2, 44))
    assert y is slot
    assert torch.equal(slot, wanted)
    assert torch.equal(means, wanted_means)
    assert ring.isnan().sum() == ring.numel() - slot.numel()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("width", "heads"), WIDTHS)
def test_rms_norm_gives_what_its_definition_gives(width: int, heads: int, dtype: torch.dtype) -> None:
    x, weight = normal(17, width * heads, dtype=dtype), normal(width * heads, dtype=dtype, seed=1)
    assert agree(rms_norm(x, weight), definition.rms_norm(x, weight))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("width", "heads"), WIDTHS)
@pytest.mark.parametrize("added", ["gated", "plain", "nothing"])
def test_gated_norm_gives_what_its_definition_gives(added: str, width: int, heads: int, dtype: torch.dtype) -> None:
    d = width * heads
    x, other, (gate, scale, shift) = (normal(*s, dtype=dtype, seed=i) for i, s in enumerate([(17, d), (17, d), (3, d)]))
    y = None if added == "nothing" else other
    total, normed = gated_norm(x, y, gate if added == "gated" else None, scale, shift)
    wanted_total, wanted = definition.gated_norm(x, y, gate if added == "gated" else None, scale, shift)
    assert agree(total, wanted_total)
    assert agree(normed, wanted)
    assert (total is x) == (y is None)


def test_what_lies_beyond_the_tokens_and_channels_is_neither_read_nor_written() -> None:
    whole, other = (torch.full((40, 150), torch.nan, device=DEVICE) for _ in range(2))
    x, y = whole[3:22, 7:139], other[3:22, 7:139]
    x.copy_(normal(19, 132, dtype=torch.float32))
    y.copy_(normal(19, 132, dtype=torch.float32, seed=1))
    weight, gate = normal(2, 132, dtype=torch.float32, seed=2)
    assert rms_norm(x, weight).isfinite().all()
    total, normed = gated_norm(x, y, gate, weight, gate)
    assert total.isfinite().all()
    assert normed.isfinite().all()
    assert whole.isnan().sum() == other.isnan().sum() == 40 * 150 - 19 * 132


def test_channels_that_lie_apart_and_tokens_that_fill_no_window_are_refused() -> None:
    x, weight = normal(64, 64, dtype=torch.float32), normal(64, dtype=torch.float32)
    with pytest.raises(ValueError, match="contiguous rows"):
        rms_norm(x.T, weight)
    with pytest.raises(ValueError, match="not windows of 128"):
        norm_rope(x, weight, *(table[:64] for table in tables(1, 32)))
    with pytest.raises(ValueError, match="cannot be added"):
        gated_norm(x, x[:63], None, weight, weight)


@pytest.mark.parametrize("build", builds(), ids=lambda build: build[0].__name__)
def test_what_is_compiled_without_a_gpu_names_every_argument_once(build: Build) -> None:
    kernel, types, constants, _ = build
    assert sorted([*types, *constants]) == sorted(kernel.arg_names)
