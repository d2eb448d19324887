import pytest
import torch
from tiny_wan import tiny_components
from torch import Tensor
from wan_team import on_team

from darkroom.pipelines.animate.parallel.team import Team
from darkroom.pipelines.animate.parallel.ulysses import share_tokens
from darkroom.pipelines.errors import Unavailable

ROUNDING = 2e-6  # of sums in float32 that are taken over other rows


@torch.no_grad()
def test_each_has_half_of_the_tokens_and_both_have_the_whole_output() -> None:
    transformer = tiny_components().transformer
    noise = torch.Generator().manual_seed(0)
    arguments = {
        "hidden_states": torch.randn(1, 36, 3, 4, 6, generator=noise),
        "timestep": torch.tensor([500]),
        "encoder_hidden_states": torch.randn(1, 512, 32, generator=noise),
        "encoder_hidden_states_image": torch.randn(1, 17, 160, generator=noise),
        "return_dict": False,
    }
    shapes = []
    transformer.blocks[1].register_forward_pre_hook(lambda _, given: shapes.append(given[0].shape[1]))

    def share(team: Team) -> tuple[Tensor, list[int]]:
        share_tokens(transformer, team)
        return transformer(**arguments)[0], shapes

    shared = on_team(share, ulysses=2)
    alone = transformer(**arguments)[0]
    for output, tokens in shared:
        assert tokens == [9]  # of 18
        torch.testing.assert_close(output, alone, atol=ROUNDING, rtol=0)


def test_an_attention_that_cannot_be_shared_is_told() -> None:
    transformer = tiny_components().transformer

    def share(team: Team) -> str:
        for block in transformer.blocks:
            block.attn1.processor._attention_backend = "flex"
        with pytest.raises(Unavailable) as told:
            share_tokens(transformer, team)
        return str(told.value)

    told = on_team(share, ulysses=2)
    assert "flex" in told[0]
    assert "parallel.ulysses: 1" in told[0]
