import re

import pytest
import torch
from goldens import distance, golden

from darkroom.kernels.rope import angles, rotate

REFERENCE = golden("rope")
CASES = [  # tag, then frames, rows, columns, offset, heads, head width
    (tag, *map(int, numbers.split(",")))
    for tag, numbers in re.findall(r"([\w.-]+):\s*\(([\d,\s]+)\)", REFERENCE.meta["cases"])
]
Case = tuple[str, int, int, int, int, int, int]


def test_every_case_of_the_reference_is_tested() -> None:
    assert {case[0] for case in CASES} == {name.rpartition(".")[0] for name in REFERENCE.tensors}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_angles_are_those_of_the_reference(case: Case) -> None:
    tag, f, h, w, offset, _, width = case
    turn = angles(f, h, w, offset, width)
    assert (turn.cos() - REFERENCE[f"{tag}.angle_cos"]).abs().max() < 1e-12
    assert (turn.sin() - REFERENCE[f"{tag}.angle_sin"]).abs().max() < 1e-12


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_rotation_in_float64_is_that_of_the_reference_in_bf16_to_the_bit(case: Case) -> None:
    tag, f, h, w, offset, _, width = case
    turn, x = angles(f, h, w, offset, width), REFERENCE[f"{tag}.x"][0]
    assert distance(rotate(x, turn.cos(), turn.sin()), REFERENCE[f"{tag}.y"][0]) < 1e-6
    rounded = rotate(x.bfloat16(), turn.cos(), turn.sin())
    assert torch.equal(rounded, REFERENCE.tensors[f"{tag}.y_bf16"][0])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_rotation_in_float32_differs_in_one_of_a_thousand_bf16_values_at_most(case: Case) -> None:
    tag, f, h, w, offset, _, width = case
    turn, x = angles(f, h, w, offset, width), REFERENCE[f"{tag}.x"][0]
    cos, sin = turn.cos().float(), turn.sin().float()
    assert distance(rotate(x, cos, sin), REFERENCE[f"{tag}.y"][0]) < 1e-6
    differ = rotate(x.bfloat16(), cos, sin) != REFERENCE.tensors[f"{tag}.y_bf16"][0]
    assert differ.float().mean() <= 1e-3  # only what lies half-way between two bf16 numbers


def test_rotation_keeps_the_length_of_every_pair() -> None:
    x = torch.randn(30, 3 * 44, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    turn = angles(2, 3, 5, 1000, 44)
    turned = rotate(x, turn.cos(), turn.sin())
    assert not torch.allclose(turned, x)
    assert torch.allclose(turned.reshape(30, -1, 2).norm(dim=-1), x.reshape(30, -1, 2).norm(dim=-1))


def test_a_later_chunk_has_the_last_positions_of_the_whole() -> None:
    whole = angles(8, 3, 5, 0, 32)
    assert torch.equal(angles(2, 3, 5, 6, 32), whole[6 * 3 * 5 :])


def test_scores_depend_on_the_distance_in_time_alone() -> None:
    generator = torch.Generator().manual_seed(2)
    q, k = torch.randn(2, 12, 48, generator=generator, dtype=torch.float64)

    def scores(offset: int) -> torch.Tensor:
        at, before = angles(1, 3, 4, offset + 5, 48), angles(1, 3, 4, offset, 48)
        return rotate(q, at.cos(), at.sin()) @ rotate(k, before.cos(), before.sin()).T

    assert torch.allclose(scores(0), scores(5000), atol=1e-9)


def test_a_head_whose_channels_cannot_be_paired_is_refused() -> None:
    with pytest.raises(ValueError, match="head width 64"):
        angles(1, 1, 1, 0, 64)
