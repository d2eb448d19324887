"""Every Triton kernel compiles for every kind of GPU, within its registers and shared memory; no GPU is needed."""

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING or os.environ.get("TRITON_INTERPRET") != "1":  # a process of Triton's interpreter cannot compile
    pytest.importorskip("triton", reason="Triton is not installed")
    from compiling import Compiled, compiled

    from darkroom.kernels.fused import match_colors, norms, selection, sparse_attention
    from darkroom.kernels.fused.configs import SHARED_KIB
else:
    pytest.skip("Triton's interpreter cannot compile", allow_module_level=True)

ALL = os.environ.get("DARKROOM_ALL_KERNELS") == "1"  # else each kernel once, and what differs by architecture
REGISTERS = 65_536  # of a multiprocessor
PRODUCTS = {80: "mma.sync", 86: "mma.sync", 89: "mma.sync", 90: "wgmma.mma_async", 100: "tcgen05.mma", 120: "mma.sync"}
EVERYWHERE = [*selection.builds(), *norms.builds(), *match_colors.builds()]


def cases() -> list[Any]:
    found = []
    for arch in SHARED_KIB:
        attention = sparse_attention.builds(arch)
        for build in [*attention, *EVERYWHERE] if ALL or arch == 90 else attention[:3:2]:  # bf16 and int8
            element = build[1].get("q", "").removeprefix("*")
            found.append(pytest.param(arch, build, id=f"sm{arch}-{build[0].__name__}-{element}"))
    return found


def compiled_for(arch: int, build: norms.Build) -> Compiled:
    kernel, types, constants, options = build
    return compiled(arch, kernel, types, constants, options)


@pytest.mark.parametrize(("arch", "build"), cases())
def test_a_kernel_fits_the_gpu_and_spills_nothing(arch: int, build: norms.Build) -> None:
    found = compiled_for(arch, build)
    assert found.spilled_bytes == 0
    assert found.shared_bytes <= SHARED_KIB[arch] * 1024
    assert found.registers * 32 * build[3].get("num_warps", 4) <= REGISTERS
    types = build[1]
    if "q_stride" in types and types.get("q") != "*fp32":  # products in less than fp32
        instruction = PRODUCTS[arch] if "q" in types else "mma.sync"  # means: 16 rows are too few for the larger ones
        assert instruction in found.ptx


def test_a_tile_too_large_for_the_registers_is_noticed() -> None:
    kernel, types, constants, options = sparse_attention.builds(80)[0]
    found = compiled(80, kernel, types, constants, options | {"num_warps": 4})
    assert found.spilled_bytes > 0
