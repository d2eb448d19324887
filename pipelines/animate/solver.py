"""The steps from noise to picture: schedulers with the reference's noise levels, and their state as plain values"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler
from torch import Tensor

from darkroom.pipelines.animate.options import Solver

MOST_NOISE = 0.999  # the reference's schedule begins there; diffusers' own differs by up to 0.004
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
# Built with the scheduler and the same for equal settings: no part of the state.
FIXED = {"_internal_dict", "betas", "alphas", "alphas_cumprod", "alpha_t", "sigma_t", "lambda_t", "config"}


def make_solver(name: Solver, steps: int, shift: float, device: torch.device | str = "cpu") -> Any:
    """Give a scheduler set to `steps` steps.

    shift: of the noise levels, sigma' = shift sigma / (1 + (shift - 1) sigma)

    UniPC gets the reference's levels, 0.999 to 0, and makes the same numbers. DPM++ takes none: it is off by at most
    4e-4 in sigma.
    """
    if name == "unipc":
        solver = UniPCMultistepScheduler(flow_shift=shift, **FLOW)
        solver.set_timesteps(sigmas=np.linspace(MOST_NOISE, 0.0, steps + 1)[:-1], device=device)
    elif name == "dpm++":
        solver = DPMSolverMultistepScheduler(flow_shift=shift, **FLOW)
        solver.set_timesteps(steps, device=device)
    else:
        solver = FlowMatchEulerDiscreteScheduler(shift=shift)
        solver.set_timesteps(steps, device=device)
    return solver


def state_of(solver: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Give what `solver` remembers between steps: tensors by name, and what JSON can hold.

    Of a list of tensors, element 1 of `model_outputs` is `model_outputs.1`; elements that are None are left out.
    """
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for name, value in vars(solver).items():
        if name in FIXED:
            continue
        if isinstance(value, Tensor):
            tensors[name] = value
        elif isinstance(value, list) and any(isinstance(item, Tensor) for item in value):
            tensors |= {f"{name}.{index}": item for index, item in enumerate(value) if isinstance(item, Tensor)}
        elif isinstance(value, bool | int | float | str | list | None):
            plain[name] = value
    return tensors, plain


def restore(solver: Any, tensors: Mapping[str, Tensor], plain: Mapping[str, Any], device: torch.device | str) -> None:
    """Put `solver`, made with the same settings, where `state_of` found it."""
    for name, value in plain.items():
        setattr(solver, name, value)
    lists: dict[str, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        base, _, index = name.partition(".")
        if index:
            lists.setdefault(base, {})[int(index)] = tensor.to(device)
        else:
            kept_home = isinstance(old := getattr(solver, name, None), Tensor) and old.device.type == "cpu"
            setattr(solver, name, tensor if kept_home else tensor.to(device))
    for name, found in lists.items():
        setattr(solver, name, [found.get(index) for index in range(len(getattr(solver, name)))])
