"""Reference tensors: read by name from the folder `DARKROOM_GOLDENS`, or from the copy beside this file."""

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

GIVEN = Path(os.environ.get("DARKROOM_GOLDENS") or Path(__file__).parent)
FOLDER = GIVEN if (GIVEN / "manifest.json").is_file() else GIVEN / "flashvsr"  # of one set, or of sets by name
LEAST = 1e-30  # of a norm: a reference of zeros is met by zeros


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """One file: its tensors as stored, and the parameters in its header."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]

    def __getitem__(self, name: str) -> Tensor:
        """The tensor `name`; halves, which hold their numbers exactly, as float32."""
        tensor = self.tensors[name]
        return tensor.float() if tensor.dtype is torch.float16 else tensor


@cache
def manifest() -> dict[str, Any]:
    """What the set holds: `config`, and `files` with shapes and parameters."""
    found: dict[str, Any] = json.loads((FOLDER / "manifest.json").read_text())
    return found


def config() -> dict[str, Any]:
    """The widths, grids, seeds and ratios of the set."""
    found: dict[str, Any] = manifest()["config"]
    return found


@cache
def golden(name: str) -> Golden:
    """The file `name`.safetensors."""
    with safe_open(FOLDER / f"{name}.safetensors", framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        meta = {key: _value(text) for key, text in (file.metadata() or {}).items()}
    return Golden(tensors=tensors, meta=meta)


def facts(name: str) -> Any:
    """The file `name`.json."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def weights(name: str) -> dict[str, Tensor]:
    """The weights `name` ("dit", "lq", "tcd", "vae") under their official keys."""
    return golden(f"weights_{name}").tensors


def distance(found: Tensor, wanted: Tensor) -> float:
    """The relative L2 error of `found`."""
    return float((found.double() - wanted.double()).norm() / wanted.double().norm().clamp(min=LEAST))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
