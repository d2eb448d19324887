"""What a device is and what it computes fast, by asking it rather than by its name."""

import gc
import os
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

Precision = Literal["bf16", "fp16", "fp32"]

FULL = ("out of memory", "can't allocate memory", "_STATUS_ALLOC_FAILED")  # what errors without a type of their own say

DTYPES: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def fast_precision(device: str) -> Precision:
    """Give the number format in which `device` convolves fastest at a quality fit for 8-bit pictures.

    device: as torch names it: "cpu", "cuda", "cuda:1".

    A CPU without bf16 instructions emulates them at half the speed of fp32, or worse: it gets fp32.
    CUDA gets fp16 (11 bits of mantissa; the embedded nets stay far inside its range), which every
    card since 2016 computes at full speed.
    """
    if torch.device(device).type == "cuda":
        return "fp16"
    # The public torch.cpu.get_capabilities is younger than the oldest torch we allow; these are not.
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What there is to know of a device before anything runs on it."""

    name: str  # as its maker calls it: "NVIDIA H100 80GB HBM3", "AMD EPYC 9354, 2 threads"
    kind: Literal["cpu", "cuda"]
    capability: tuple[int, int] = (0, 0)  # of CUDA devices: (8, 0) is an A100
    total_bytes: int = 0
    free_bytes: int = 0  # now, for this process: with all it holds already, such as weights that are kept warm


def describe(device: str) -> Device:
    """Say what `device` ("cpu", "cuda", "cuda:1") is. On CUDA this makes the process a user of the card."""
    if torch.device(device).type == "cpu":
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        name = f"{_cpu_name()}, {torch.get_num_threads()} threads"
        return Device(name=name, kind="cpu", total_bytes=total, free_bytes=_available_bytes(total))
    free, total = torch.cuda.mem_get_info(device)
    return Device(
        name=torch.cuda.get_device_name(device),
        kind="cuda",
        capability=torch.cuda.get_device_capability(device),
        total_bytes=total,
        free_bytes=free + torch.cuda.memory_reserved(device),
    )


def release() -> None:
    """Give back what torch holds in reserve: on its devices, and on the host, where it unpins nothing unasked."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        if (empty_host := getattr(torch.accelerator, "empty_host_cache", None)) is not None:  # younger than torch 2.11
            empty_host()


def is_full(error: BaseException) -> bool:
    """Say whether `error` tells that memory ran out, of a device or of the host.

    Only torch's own allocator for GPUs says so by its type. Pinned host memory, the libraries' workspaces and
    torch's allocator for CPUs raise plain errors, which tell it in words.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in FULL)


def matmul_rate(device: str, precision: Precision, *, budget_s: float = 0.5) -> float:
    """Measure how fast `device` multiplies large matrices in `precision`: 10¹² operations a second, two a multiply-add.

    budget_s: how long to measure, about; the median of what fits, three times at least. Another job on the same
              device makes it look slower: ask once and keep the answer.
    """
    on_cuda = torch.device(device).type == "cuda"
    side = 8192 if on_cuda else 1024  # large enough to fill a card, 17 ms for a plain CPU
    a, b = (torch.randn(side, side, device=device).to(DTYPES[precision]) for _ in range(2))
    seconds: list[float] = []
    for _ in range(2):  # the first picks its kernel and wakes the clock
        _seconds_of_matmul(a, b)
    while len(seconds) < 3 or sum(seconds) < budget_s:
        seconds.append(_seconds_of_matmul(a, b))
    return 2 * side**3 / statistics.median(seconds) / 1e12


def _seconds_of_matmul(a: torch.Tensor, b: torch.Tensor) -> float:
    began = time.perf_counter()
    torch.matmul(a, b)
    if a.is_cuda:
        torch.cuda.synchronize(a.device)
    return time.perf_counter() - began


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine() or "CPU")


def _available_bytes(total: int) -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return total // 2
    kib = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return total // 2 if kib is None else int(kib) << 10
