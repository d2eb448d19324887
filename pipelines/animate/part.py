"""Parts on disk: tensors by name, and beside them what JSON can hold, in one safetensors file"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from darkroom.pipelines.errors import Unavailable

SCHEMA = 1
ABOUT = "darkroom"  # the entry of the file's metadata

Stage = Literal["encoded", "denoised", "decoded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one segment hands on to the next."""

    stage: Stage
    step: int  # of denoising that are done
    tensors: Mapping[str, Tensor]
    solver: Mapping[str, Any] = field(default_factory=dict)  # its plain values


def write_part(path: Path, part: Part) -> None:
    """Write `part` to `path`."""
    about = {"schema": SCHEMA, "stage": part.stage, "step": part.step, "solver": dict(part.solver)}
    # Copied: a solver's tensors may be views of each other, which the format does not hold.
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in part.tensors.items()}
    save_file(tensors, path, metadata={ABOUT: json.dumps(about, sort_keys=True)})


def read_part(path: Path, stage: Stage, step: int) -> Part:
    """Give the part at `path`, its tensors in memory of their own.

    Raises Unavailable if it is damaged, or not of `stage` with `step` steps done.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[ABOUT])
            # Copied: a mapped tensor may lie where the CPU computes with other instructions, and other last bits.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as error:
        raise Unavailable(f"{path}: a damaged part ({error}); remove it, and it is made again") from error
    found = about.get("schema"), about.get("stage"), about.get("step")
    if found != (SCHEMA, stage, step):
        raise Unavailable(f"{path}: holds {found}, not {stage} of step {step}; remove it, and it is made again")
    return Part(stage=stage, step=step, tensors=tensors, solver=about["solver"])
