from typing import Any

import torch
from tiny_wan import tiny_components
from torch import Tensor
from wan_team import on_team

from darkroom.pipelines.animate.denoise import guided
from darkroom.pipelines.animate.encode import Conditions
from darkroom.pipelines.animate.parallel.cfg import halved
from darkroom.pipelines.animate.parallel.team import Team


def seen(transformer: Any) -> tuple[Conditions, Tensor]:
    noise = torch.Generator().manual_seed(0)
    wan = transformer.config
    conditions = Conditions(
        prompt=torch.randn(1, 512, wan.text_dim, generator=noise),
        negative=torch.randn(1, 512, wan.text_dim, generator=noise),
        image=torch.randn(1, 17, wan.image_dim, generator=noise),
        picture=torch.randn(1, 20, 2, 4, 4, generator=noise),
    )
    return conditions, torch.randn(1, 16, 2, 4, 4, generator=noise)


@torch.no_grad()
def test_two_halves_predict_what_one_device_does_to_the_bit_and_each_looks_once() -> None:
    transformer = tiny_components().transformer
    conditions, latents = seen(transformer)
    timestep = torch.tensor(500)
    passes = []
    transformer.register_forward_hook(lambda *_: passes.append(1))

    def half(team: Team) -> tuple[Tensor, int]:
        return halved(transformer, conditions, 5.0, team)(latents, timestep), len(passes)

    both = on_team(half, cfg=2)
    alone = guided(transformer, conditions, 5.0)(latents, timestep)
    for predicted, count in both:
        assert torch.equal(predicted, alone)
        assert count == 1
