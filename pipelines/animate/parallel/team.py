"""The processes that share one job: which device is whose, and who exchanges what with whom"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from darkroom.pipelines.animate.device import opened
from darkroom.pipelines.animate.options import ParallelOptions

CFG, RING, ULYSSES = "cfg", "ring", "ulysses"


@dataclass(frozen=True, kw_only=True)
class Team:
    """One process as it sees the others."""

    rank: int
    size: int
    device: torch.device
    mesh: DeviceMesh  # [cfg, ring, ulysses]; the ring, which diffusers asks for, has one member
    everyone: DeviceMesh  # [size]

    @property
    def branch(self) -> str:
        """What this half of the team sees where the halves see different prompts."""
        return ("cond", "uncond")[self.mesh.get_local_rank(CFG)]


@contextmanager
def joined(meeting: Path, rank: int, first: str, parallel: ParallelOptions, patience_s: float) -> Iterator[Team]:
    """Yield the team once all have come.

    meeting:    a file, not there yet, by which they find each other: no port is open for it
    first:      the device of rank 0, "cuda:1"; the others' follow it
    patience_s: how long one may wait for another

    Measured with Gloo alone; NCCL and HCCL are not measured.
    Raises RuntimeError if somebody does not come. It is not left in order after an error: the others may be gone.
    """
    opened(first)
    device, size = device_of(first, rank), parallel.devices
    if device.type != "cpu":
        torch.get_device_module(device).set_device(device)
    dist.init_process_group(
        dist.get_default_backend_for_device(device),  # NCCL, HCCL or Gloo
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=patience_s),
        device_id=device if device.type == "cuda" else None,
    )
    mesh = init_device_mesh(device.type, (parallel.cfg, 1, parallel.ulysses), mesh_dim_names=(CFG, RING, ULYSSES))
    everyone = init_device_mesh(device.type, (size,), mesh_dim_names=("everyone",))
    dist.barrier()  # one that came and went at once would cut off those that are still coming
    yield Team(rank=rank, size=size, device=device, mesh=mesh, everyone=everyone)
    dist.destroy_process_group()


def device_of(first: str, rank: int) -> torch.device:
    """Give the device of `rank` where rank 0 has `first`. CPUs are shared."""
    device = torch.device(first)
    return device if device.type == "cpu" else torch.device(device.type, (device.index or 0) + rank)
