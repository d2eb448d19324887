import pytest
import torch
from tiny_wan import tiny_components
from torch import Tensor
from torch.distributed.tensor import DTensor
from wan_team import on_team

from darkroom.pipelines.animate.parallel.fsdp import exceptions, sharded
from darkroom.pipelines.animate.parallel.team import Team


def held(model: torch.nn.Module) -> int:
    """Count the numbers that this rank has."""
    weights = list(model.parameters())
    return sum((one.to_local() if isinstance(one, DTensor) else one).numel() for one in weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_each_holds_half_of_the_transformer_and_it_computes_the_same(dtype: torch.dtype) -> None:
    transformer = tiny_components().transformer.to(dtype)
    for name, parameter in transformer.named_parameters():
        if "norm" in name or "scale_shift_table" in name:  # as the library keeps them
            parameter.data = parameter.data.float()
    noise = torch.Generator().manual_seed(0)
    arguments = {
        "hidden_states": torch.randn(1, 36, 3, 4, 6, generator=noise).to(dtype),
        "timestep": torch.tensor([500]),
        "encoder_hidden_states": torch.randn(1, 512, 32, generator=noise).to(dtype),
        "encoder_hidden_states_image": torch.randn(1, 17, 160, generator=noise).to(dtype),
        "return_dict": False,
    }
    whole = sum(parameter.numel() for parameter in transformer.parameters())
    alone = transformer(**arguments)[0]

    def share(team: Team) -> tuple[Tensor, int]:
        sharded(transformer, transformer.blocks, team)
        return transformer(**arguments)[0], held(transformer)

    for output, count in on_team(share, ulysses=2):
        assert torch.equal(output, alone)
        assert count < 0.6 * whole


@torch.no_grad()
def test_each_holds_half_of_the_text_encoder_and_it_reads_the_same() -> None:
    encoder = tiny_components().text_encoder
    words = torch.arange(1, 33).reshape(1, 32)
    whole = sum(parameter.numel() for parameter in encoder.parameters())
    alone = encoder(words).last_hidden_state

    def share(team: Team) -> tuple[Tensor, int]:
        sharded(encoder, encoder.encoder.block, team)
        return encoder(words).last_hidden_state, held(encoder)

    for output, count in on_team(share, ulysses=2):
        assert torch.equal(output, alone)
        assert count < 0.6 * whole


def test_numbers_of_another_type_than_most_stay_whole() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 8).bfloat16(), torch.nn.LayerNorm(8))
    assert exceptions(model) == set(model[1].parameters())
