import json

import numpy as np
import pytest
import torch

from darkroom.pipelines.animate.options import Solver
from darkroom.pipelines.animate.solver import make_solver, restore, state_of

STEPS = 6


def run(name: Solver, broken_at: int | None) -> torch.Tensor:
    """Walk the steps with a made-up velocity, through a saved state after step `broken_at`."""
    solver = make_solver(name, STEPS, 3.0)
    latents = torch.randn(1, 16, 2, 4, 6, generator=torch.Generator().manual_seed(1))
    for step, timestep in enumerate(solver.timesteps):
        if step == broken_at:
            tensors, plain = state_of(solver)
            solver = make_solver(name, STEPS, 3.0)
            restore(
                solver, {key: tensor.clone() for key, tensor in tensors.items()}, json.loads(json.dumps(plain)), "cpu"
            )
        velocity = torch.sin(3 * latents) + latents.mean()
        latents = solver.step(velocity, timestep, latents, return_dict=False)[0]
    return latents


@pytest.mark.parametrize("name", ["unipc", "dpm++", "euler"])
@pytest.mark.parametrize("broken_at", range(1, STEPS))
def test_a_restored_solver_goes_on_to_the_bit(name: Solver, broken_at: int) -> None:
    assert torch.equal(run(name, broken_at), run(name, None))


def test_latents_alone_are_not_enough() -> None:
    solver = make_solver("unipc", STEPS, 3.0)
    tensors, plain = state_of(solver)
    assert plain["_step_index"] is None and not any(key.startswith("model_outputs") for key in tensors)
    solver.step(torch.ones(1, 2), solver.timesteps[0], torch.ones(1, 2), return_dict=False)
    tensors, plain = state_of(solver)
    assert {"model_outputs.1", "last_sample"} <= set(tensors)
    assert plain["_step_index"] == 1


@pytest.mark.parametrize(("steps", "shift"), [(30, 3.0), (40, 5.0), (50, 5.0)])
def test_the_noise_levels_are_the_references(steps: int, shift: float) -> None:
    levels = np.linspace(0.999, 0.0, steps + 1)[:-1]
    levels = shift * levels / (1 + (shift - 1) * levels)
    solver = make_solver("unipc", steps, shift)
    assert solver.sigmas[:-1].tolist() == pytest.approx(levels.tolist(), abs=1e-6)
    assert solver.timesteps.tolist() == [int(level * 1000) for level in levels]


@pytest.mark.parametrize("name", ["dpm++", "euler"])
def test_the_others_go_from_noise_to_none_in_as_many_steps(name: Solver) -> None:
    solver = make_solver(name, 30, 3.0)
    assert len(solver.timesteps) == 30
    assert solver.sigmas[0] > 0.99
    assert solver.sigmas[-1] == 0
    assert (solver.sigmas.diff() < 0).all()
