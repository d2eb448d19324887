"""CUDA, NPU or CPU: what a device string means, what the device is, and what its processes need around them"""

import gc
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import torch

from darkroom.kernels import device as plain
from darkroom.pipelines.errors import Unavailable

Kind = Literal["cuda", "npu", "cpu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What devices of one kind have in common."""

    kind: Kind
    visible: str  # environment variable with the numbers of the devices a process sees
    streams: bool  # weights can travel while others compute


FAMILIES: dict[str, Family] = {
    "cuda": Family(kind="cuda", visible="CUDA_VISIBLE_DEVICES", streams=True),
    "npu": Family(kind="npu", visible="ASCEND_RT_VISIBLE_DEVICES", streams=True),
    "cpu": Family(kind="cpu", visible="", streams=False),
}
# Fewer gaps in memory, as the makers of both advise for sizes that change; a group that hangs is to end.
SETTINGS: dict[str, dict[str, str]] = {
    "cuda": {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"},
    "npu": {
        "PYTORCH_NPU_ALLOC_CONF": "expandable_segments:True",
        "HCCL_CONNECT_TIMEOUT": "600",
        "HCCL_EXEC_TIMEOUT": "1800",
    },
    "cpu": {},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One device, as it is now."""

    family: Family
    name: str  # as its maker calls it
    capability: tuple[int, int] = (0, 0)  # of CUDA devices
    total_bytes: int
    free_bytes: int  # with what this process holds in reserve

    @property
    def kind(self) -> Kind:
        """Which family it is of."""
        return self.family.kind


def family_of(device: str) -> Family:
    """Give the family that "cuda", "npu:1" or "cpu" names. Raises Unavailable for any other."""
    kind = device.partition(":")[0]
    if kind not in FAMILIES:
        raise Unavailable(f"{device}: animate runs on cuda, npu or cpu; set worker.devices to one of them")
    return FAMILIES[kind]


def opened(device: str) -> torch.device:
    """Give `device` for torch, which learns of NPUs from a package of its own. Raises Unavailable without it."""
    if family_of(device).kind == "npu":
        _torch_npu(device)
    return torch.device(device)


def look(device: str) -> Accelerator:
    """Say what `device` is, now. Raises Unavailable if it is not there."""
    family = family_of(device)
    if family.kind == "npu":
        return _npu(device, family)
    try:
        found = plain.describe(device)
    except (RuntimeError, AssertionError) as error:
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise Unavailable(f"{device}: cannot be used ({line}); is its driver running?") from error
    return Accelerator(
        family=family,
        name=found.name,
        capability=found.capability,
        total_bytes=found.total_bytes,
        free_bytes=found.free_bytes,
    )


def release(device: str) -> None:
    """Give back what torch holds in reserve."""
    plain.release()
    if family_of(device).kind == "npu":
        gc.collect()
        _torch_npu(device).empty_cache()


def environment(device: str, numbers: tuple[int, ...], given: Mapping[str, str]) -> dict[str, str]:
    """Give what a process that is to see the devices `numbers` of the kind of `device` needs in its environment.

    given: the environment it would have; what a user has set there is left as it is
    """
    family = family_of(device)
    settings = {name: given.get(name, value) for name, value in SETTINGS[family.kind].items()}
    seen = {family.visible: ",".join(map(str, numbers))} if family.visible and numbers else {}
    return {**given, **settings, **seen}


def _torch_npu(device: str) -> Any:
    """Give `torch.npu`; what its package reads as it is loaded is set before, unless it is set already."""
    os.environ.update(environment("npu", (), os.environ))
    try:
        import_module("torch_npu")
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"{device}: the package torch_npu is not installed; install the one for torch {torch.__version__}"
        ) from error
    except (ImportError, OSError) as error:  # of CANN's own libraries
        line = str(error).splitlines()[0]
        raise Unavailable(f"{device}: torch_npu cannot be loaded ({line}); is CANN's environment set?") from error
    npu: Any = torch.get_device_module("npu")
    return npu


def _npu(device: str, family: Family) -> Accelerator:
    npu = _torch_npu(device)
    if not npu.is_available():
        raise Unavailable(f"{device}: no NPU is seen; is its driver running, and ASCEND_RT_VISIBLE_DEVICES right?")
    free, total = npu.mem_get_info(device)
    reserved = npu.memory_reserved(device)
    return Accelerator(family=family, name=npu.get_device_name(device), total_bytes=total, free_bytes=free + reserved)
