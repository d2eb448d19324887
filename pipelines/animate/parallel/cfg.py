"""Guidance by two halves of a team: one looks at the prompt, the other at the negative one"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from darkroom.pipelines.animate.denoise import Predict, combined, one_pass
from darkroom.pipelines.animate.encode import Conditions
from darkroom.pipelines.animate.parallel.team import CFG, Team


def halved(transformer: Any, conditions: Conditions, guidance: float, team: Team) -> Predict:
    """Give the guided prediction, by one pass here and one in the other half; equal to `denoise.guided` to the bit."""
    group = team.mesh.get_group(CFG)

    def predict(latents: Tensor, timestep: Tensor) -> Tensor:
        own = one_pass(transformer, conditions, team.branch, latents, timestep).contiguous()
        said, unsaid = torch.empty_like(own), torch.empty_like(own)
        dist.all_gather([said, unsaid], own, group=group)
        return combined(said, unsaid, guidance)

    return predict
