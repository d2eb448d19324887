from dataclasses import replace

import pytest
import torch
from tables import bench

from darkroom.kernels.backend import TORCH
from darkroom.pipelines.tiny_models import TINY
from darkroom.pipelines.upscale.flashvsr.architecture import OFFICIAL, expected_keys
from darkroom.pipelines.upscale.flashvsr.model import Chunk, begin, step
from darkroom.pipelines.upscale.flashvsr.prepare import low_quality

weights = bench("weights")
CPU = torch.device("cpu")
DEEP = replace(TINY, layers=OFFICIAL.layers, ffn=512)


@pytest.mark.parametrize("variant", ["tiny", "full"])
def test_numbers_stay_tame_in_bf16_through_all_layers(variant: str) -> None:
    model = weights.model(DEEP, 128, 128, ops=TORCH, dtype=torch.bfloat16, device=CPU, variant=variant)
    frames = low_quality(weights.moving(25, 32, 32), 128, 128, torch.bfloat16)
    shown, _ = step(
        replace(model, color_fix="off"), Chunk(frames=frames, noise=torch.randn(6, 16, 16, 16)), begin(model, 128, 128)
    )
    assert shown.isfinite().all()
    assert 0.01 < shown.float().std() < 10


def test_names_and_shapes_are_those_of_the_architecture() -> None:
    found = weights.drawn(TINY, "dit", torch.float32, CPU)
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == expected_keys(TINY)["dit"]


def test_weights_are_the_same_each_time_and_others_for_another_seed() -> None:
    first, again, other = (weights.drawn(TINY, "lq", torch.float32, CPU, seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_the_film_moves_and_has_grain() -> None:
    film = weights.moving(5, 32, 48)
    assert film.shape == (5, 3, 32, 48)
    assert film.dtype == torch.uint8
    apart = (film[1:].float() - film[:-1].float()).abs().mean()
    along = (film[1:, ..., :-3].float() - film[:-1, ..., 3:].float()).abs().mean()
    assert 0 < along < apart
