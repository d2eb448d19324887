"""How the attention kernel is cut for each kind of GPU and precision; the compile gate holds every entry"""

from dataclasses import dataclass
from typing import Any, Literal

import torch

from darkroom.kernels.fused.norms import INTERPRETED

Precision = Literal["16 bit", "int8", "fp32"]

FUSED = {"enable_fp_fusion": True}  # said aloud: the default changes with Triton 3.10
SHARED_KIB = {80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}  # that one program may take; CUDA guide, table 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One way of cutting the attention: its tile, and what the compiler is told."""

    queries: int  # rows of a program: 64 or 128, a divisor of the window
    keys: int  # of one step
    warps: int
    stages: int  # buffers of K and V in flight; one of them goes to the block numbers, which are loaded first

    @property
    def options(self) -> dict[str, Any]:
        """What Triton's compiler takes."""
        return {"num_warps": self.warps, "num_stages": self.stages} | FUSED


# None of these has been timed. 128 rows with 4 warps spill below Hopper. On Hopper 128 keys give long products to
# one program per multiprocessor; two programs need 128 registers at most, and without descriptors some 8 spill.
TENSOR_CORES: dict[tuple[int, Precision], Launch] = {
    (80, "16 bit"): Launch(queries=128, keys=64, warps=8, stages=3),
    (80, "int8"): Launch(queries=128, keys=64, warps=8, stages=3),
    (86, "16 bit"): Launch(queries=128, keys=64, warps=8, stages=3),
    (86, "int8"): Launch(queries=128, keys=64, warps=8, stages=3),
    (89, "16 bit"): Launch(queries=128, keys=64, warps=8, stages=3),
    (89, "int8"): Launch(queries=128, keys=64, warps=8, stages=3),
    (90, "16 bit"): Launch(queries=128, keys=128, warps=8, stages=3),
    (90, "int8"): Launch(queries=128, keys=128, warps=8, stages=3),
    (100, "16 bit"): Launch(queries=128, keys=64, warps=8, stages=3),
    (100, "int8"): Launch(queries=128, keys=64, warps=8, stages=3),
    (120, "16 bit"): Launch(queries=128, keys=64, warps=8, stages=3),
    (120, "int8"): Launch(queries=128, keys=64, warps=8, stages=3),
}
EXACT: dict[tuple[int, Precision], Launch] = {  # for tests: no tensor cores
    (arch, "fp32"): Launch(queries=64, keys=32, warps=8, stages=2) for arch in SHARED_KIB
}
LAUNCHES = TENSOR_CORES | EXACT
ANYWHERE = Launch(queries=64, keys=64, warps=4, stages=2)  # the interpreter takes no notice of the rest


def architecture(capability: tuple[int, int]) -> int:
    """Give the newest kind of GPU in the table that is not newer than `capability`, as (8, 7) → 86.

    Raises ValueError below 8.0: those have no bf16 and no int8 products that Triton could use.
    """
    number = 10 * capability[0] + capability[1]
    older = [arch for arch in SHARED_KIB if arch <= number]
    if not older:
        raise ValueError(f"compute capability {capability[0]}.{capability[1]} is below 8.0: no tensor cores for Triton")
    return max(older)


def launch(device: torch.device, precision: Precision) -> Launch:
    """Give the entry for `device`."""
    if INTERPRETED or device.type != "cuda":
        return ANYWHERE
    return LAUNCHES[architecture(torch.cuda.get_device_capability(device)), precision]
