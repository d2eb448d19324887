"""Weights in shares: each device holds its part of every block and borrows the others' while the block runs"""

from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import nn
from torch.distributed.fsdp import fully_shard

from darkroom.pipelines.animate.parallel.team import Team

Model = TypeVar("Model", bound=nn.Module)


def sharded(model: Model, blocks: Iterable[nn.Module], team: Team) -> Model:
    """Give `model` on the team's devices, its weights shared out by block; to be called before anything moves it.

    It is moved block by block, so that no device ever holds more than its share and a block.
    The numbers that come out are those of one device, to the bit.
    """
    others = exceptions(model)
    for block in blocks:
        fully_shard(block, mesh=team.everyone, ignored_params=others)
    # What is in no block too: torch would keep it whole after the first pass, 2 GB of a text encoder's vocabulary.
    fully_shard(model, mesh=team.everyone, ignored_params=others, reshard_after_forward=True)
    for parameter in others:
        parameter.data = parameter.data.to(team.device)
    return model


def exceptions(model: nn.Module) -> set[nn.Parameter]:
    """Give the parameters that are not of the type that most numbers have: they stay whole on each device.

    Shares are of one type. Of Wan's 16 billion numbers 29 million (117 MB) are float32 where the rest is bfloat16.
    """
    counts: Counter[torch.dtype] = Counter()
    for parameter in model.parameters():
        counts[parameter.dtype] += parameter.numel()
    usual = counts.most_common(1)[0][0]
    return {parameter for parameter in model.parameters() if parameter.dtype != usual}
