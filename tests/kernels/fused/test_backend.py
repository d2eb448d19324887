from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from darkroom.kernels.backend import Ops
from darkroom.kernels.fused.backend import BOUNDS, INT8_BOUND, fused, prove, working
from darkroom.kernels.fused.norms import INTERPRETED

DEVICE = torch.device("cpu" if INTERPRETED else "cuda")


@pytest.mark.parametrize("dtype", BOUNDS)
def test_the_fused_operations_prove_right(dtype: torch.dtype) -> None:
    prove(fused(dtype), DEVICE, dtype, BOUNDS[dtype])


def test_int8_proves_right_within_its_rounding_only() -> None:
    ops = fused(torch.bfloat16, int8=True)
    assert ops.name == "triton bf16 int8"
    prove(ops, DEVICE, torch.bfloat16, INT8_BOUND)
    with pytest.raises(ValueError, match="windowed is off by"):
        prove(ops, DEVICE, torch.bfloat16, BOUNDS[torch.float32])


def spoilt(ops: Ops, name: str) -> Ops:
    """`ops` in which the last window or row of one operation is not written."""
    right = getattr(ops, name)

    def wrong(*arguments: Any, **options: Any) -> Any:
        result = right(*arguments, **options)
        last: Tensor = result[-1] if isinstance(result, tuple) else result
        last[-1] = torch.nan
        return result

    changed: dict[str, Any] = {name: wrong}
    return replace(ops, **changed)


@pytest.mark.parametrize("name", ["norm_rope", "rms_norm", "gated_norm", "adain", "windowed"])
def test_an_operation_that_leaves_a_row_unwritten_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"of {name} is off"):
        prove(spoilt(fused(torch.float32), name), DEVICE, torch.float32, BOUNDS[torch.float32])


def test_an_operation_that_does_not_run_is_named_with_its_reason() -> None:
    def broken(x: Tensor, weight: Tensor) -> Tensor:
        raise RuntimeError("no kernel image")

    with pytest.raises(ValueError, match="rms_norm does not run here: no kernel image"):
        prove(replace(fused(torch.float32), rms_norm=broken), DEVICE, torch.float32, 1.0)


def test_a_cpu_is_refused() -> None:
    with pytest.raises(ValueError, match="need a CUDA device"):
        working(torch.device("cpu"), torch.bfloat16)
