"""Triton kernels compiled for GPUs that are not here, and what the compiler made of them."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import triton
from patience import patiently
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """One kernel for one architecture."""

    registers: int  # of a thread
    spilled_bytes: int  # of a thread: what found no register, in memory
    shared_bytes: int  # of a program
    ptx: str


def compiled(
    arch: int, kernel: Any, types: dict[str, str], constants: dict[str, Any], options: dict[str, Any]
) -> Compiled:
    """Compile `kernel` for compute capability `arch`, 90 for 9.0; arguments as in `Build`.

    Pointers and strides are multiples of 16, as torch's are and as Triton finds out at run time.
    """
    names = kernel.arg_names
    aligned = [name for name, kind in types.items() if kind.startswith("*") or name.endswith("stride")]
    source = ASTSource(
        kernel,
        {name: types.get(name, "constexpr") for name in names},
        constants,
        {(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    built = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    usage = _resources(built.asm["cubin"])
    return Compiled(
        registers=int(usage["REG"]),
        spilled_bytes=max(int(usage["STACK"]), int(usage["LOCAL"])),
        shared_bytes=built.metadata.shared,
        ptx=built.asm["ptx"],
    )


def _resources(cubin: bytes) -> dict[str, str]:
    with NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [_cuobjdump(), "--dump-resource-usage", file.name]
        printed = patiently(command, check=True).stdout
    return dict(re.findall(r"\b([A-Z]+):(\d+)", printed))


@cache
def _cuobjdump() -> str:
    """The program that comes with Triton."""
    return str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump")
