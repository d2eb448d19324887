"""Each pass of the transformer by several devices: each has some of the tokens, and in attention some of the heads"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from diffusers import ContextParallelConfig

from darkroom.pipelines.animate.parallel.team import RING, ULYSSES, Team
from darkroom.pipelines.errors import Unavailable


def share_tokens(transformer: Any, team: Team) -> None:
    """Have each pass of `transformer` done by all of a half; to be called when its attention has been chosen.

    Its inputs and its output stay whole. Other sums, rounded in another way: 2e-7 away in float32.
    DeepSpeed Ulysses, Jacobs et al. 2023. Raises Unavailable if the attention chosen cannot be shared.
    """
    mesh = team.mesh[RING, ULYSSES]
    config = ContextParallelConfig(ulysses_degree=mesh.size(), mesh=mesh)
    try:
        with _countable(team):
            transformer.enable_parallelism(config=config)
    except ValueError as error:
        raise Unavailable(f"attention: {str(error).splitlines()[0]} Choose another, or parallel.ulysses: 1") from error


@contextmanager
def _countable(team: Team) -> Iterator[None]:
    """Diffusers divides by the number of accelerators, for a device that it does not use; without any that is 0."""
    with patch.object(torch.accelerator, "device_count", lambda: team.size):
        yield
