"""The tensors of FlashVSR's files under their official names: memory-mapped, and checked to the last name and shape"""

import logging
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.upscale.flashvsr.architecture import Architecture, Role, Shape, expected_keys, of_shapes
from darkroom.pipelines.upscale.flashvsr.files import FOLDED, Weights

log = logging.getLogger(__name__)

StateDict = Mapping[str, Tensor]

PROMPT = "prompt"  # the name we give the one tensor of its file
PREFIXES: dict[Role, str] = {"lq": FOLDED, "vae": "model."}  # that some redistributions put before every name
NESTS = ("model_state",)  # keys below which some redistributions keep the tensors
UNUSED: dict[Role, tuple[str, ...]] = {"dit": (FOLDED,), "vae": ("encoder.", "conv1.")}  # beginnings of names
LENIENT: tuple[Role, ...] = ("decoder",)  # published with more bytes than its tensors take, and not loaded strictly
NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
FEW = 8  # names of one kind that a message tells


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensors:
    """What a set of weights holds, under official names."""

    architecture: Architecture
    dit: StateDict
    lq: StateDict
    decoder: StateDict | None  # the small one; None where the variant does not read it
    vae: StateDict | None  # of the large decoder, `decoder.*` and `conv2.*`; None where the variant does not read it
    prompt: Tensor  # [1, tokens, text width]


def load(
    weights: Weights,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    *,
    heads: int | None = None,
) -> Tensors:
    """Give the tensors of `weights`, with exactly the names and shapes of their architecture.

    dtype:  None: as stored. On the CPU they then stay in the file, memory-mapped, until they are used: this takes
            milliseconds, and is also how to ask for the architecture alone.
    heads:  None: one for each 128 of the width

    Raises Unavailable if a file cannot be read, holds more than tensors, or is not what its name says: all missing
    and unknown names and all wrong shapes are in the one message.
    """
    found = {file.role: tensors_of(file.role, file.path) for file in weights.files}
    architecture = check(found, {file.role: file.path for file in weights.files}, heads=heads)
    ready = {role: {key: value.to(device, dtype) for key, value in tensors.items()} for role, tensors in found.items()}
    return Tensors(
        architecture=architecture,
        dit=ready["dit"],
        lq=ready["lq"],
        decoder=ready.get("decoder"),
        vae=ready.get("vae"),
        prompt=ready["prompt"][PROMPT],
    )


def check(found: Mapping[Role, StateDict], paths: Mapping[Role, Path], *, heads: int | None = None) -> Architecture:
    """Give the architecture of the tensors in `found`. Raises Unavailable unless they are exactly those it has.

    paths:  of the files they come from, for the message
    """
    shapes = {role: {key: tuple(value.shape) for key, value in tensors.items()} for role, tensors in found.items()}
    prompt = shapes["prompt"].get(PROMPT, ())
    try:
        architecture = of_shapes(
            shapes["dit"],
            shapes["lq"],
            shapes.get("decoder"),
            shapes.get("vae"),
            heads,
            text_tokens=prompt[1] if len(prompt) > 1 else 0,
        )
    except ValueError as error:
        names = ", ".join(str(path) for path in paths.values())
        raise Unavailable(f"{names}: not the weights of FlashVSR ({error}); fetch them again") from error
    expected = expected_keys(architecture)
    faults = []
    for role, tensors in found.items():
        unknown = sorted(tensors.keys() - expected[role].keys())
        if unknown and role in LENIENT:
            log.warning("%s: has the unknown %s, which is not used", paths[role], _some(unknown))
            unknown = []
        if told := list(_faults(tensors, shapes[role], expected[role], unknown)):
            faults.append(f"{paths[role].name} {', '.join(told)}")
    if faults:
        folder = paths["dit"].parent
        raise Unavailable(f"{folder}: not the weights of FlashVSR: {'; '.join(faults)}; fetch these files again")
    return architecture


def tensors_of(role: Role, path: Path) -> dict[str, Tensor]:
    """Give the tensors of `role` in the file at `path`, under official names, memory-mapped. Raises Unavailable."""
    prefix, unused = PREFIXES.get(role, ""), UNUSED.get(role, ())
    tensors = read(path)
    if prefix and any(key.startswith(prefix) for key in tensors):
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    return {key: value for key, value in tensors.items() if not key.startswith(unused)} if unused else tensors


def read(path: Path) -> dict[str, Tensor]:
    """Give the tensors in the file at `path` by name, as stored and where possible memory-mapped.

    Of pickles only tensors are read, never code. Raises Unavailable.
    """
    try:
        return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    except UnpicklingError as error:
        raise Unavailable(f"{path}: holds more than tensors, and is not read; fetch the published file") from error
    except (OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, SafetensorError) as error:
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise Unavailable(f"{path}: cannot be read as weights ({line}); fetch it again") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def _read_pickle(path: Path) -> dict[str, Tensor]:
    # Files older than torch 1.6 are no archives and cannot be mapped.
    found: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    if isinstance(found, Tensor):
        return {PROMPT: found}
    for nest in NESTS:
        found = found[nest] if isinstance(found, dict) and nest in found else found
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError("no list of tensors by name")
    return {str(key): value.detach() for key, value in found.items()}


def _faults(
    tensors: StateDict, shapes: Mapping[str, Shape], expected: Mapping[str, Shape], unknown: list[str]
) -> Iterator[str]:
    """Yield what is wrong with one file, one phrase for each kind of fault."""
    if missing := sorted(expected.keys() - shapes.keys()):
        yield f"lacks {_some(missing)}"
    if unknown:
        yield f"has the unknown {_some(unknown)}"
    shared = sorted(expected.keys() & shapes.keys())
    if wrong := [key for key in shared if shapes[key] != expected[key]]:
        yield _some([f"has {key} of {list(shapes[key])} and not {list(expected[key])}" for key in wrong])
    if other := [f"{key} in {tensors[key].dtype}" for key in shared if tensors[key].dtype not in NUMBERS]:
        yield f"has {_some(other)}, which is not supported"


def _some(names: list[str]) -> str:
    rest = len(names) - FEW
    return ", ".join(names[:FEW]) + (f" and {rest} more" if rest > 0 else "")
