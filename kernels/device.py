"""What a device computes fast, by asking it rather than by its name."""

from typing import Literal

import torch

Precision = Literal["bf16", "fp16", "fp32"]

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
