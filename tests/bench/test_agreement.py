from dataclasses import replace
from typing import Any

import pytest
import torch
from tables import bench
from torch import Tensor

from darkroom.kernels.backend import TORCH

agreement = bench("agreement")
WHERE = {"heads": 2, "width": 64, "dtype": torch.float32, "device": torch.device("cpu")}


def test_the_definitions_agree_with_themselves() -> None:
    agreement.hold_ops(TORCH, **WHERE)


@pytest.mark.parametrize("name", ["rms_norm", "norm_rope", "gated_norm", "dense", "adain", "wavelet"])
def test_an_operation_that_is_off_by_a_thousandth_is_named(name: str) -> None:
    def off(*given: Any, **options: Any) -> Any:
        found = getattr(TORCH, name)(*given, **options)
        return tuple(1.001 * part for part in found) if isinstance(found, tuple) else 1.001 * found

    changed: dict[str, Any] = {name: off}
    with pytest.raises(agreement.Disagreement, match=f"torch, {name}: off by 0.001"):
        agreement.hold_ops(replace(TORCH, **changed), **WHERE)


def test_means_that_are_wrong_are_found() -> None:
    def off(*given: Any, **options: Any) -> tuple[Tensor, Tensor]:
        y, means = TORCH.norm_rope(*given, **options)
        return y, means + 1

    with pytest.raises(agreement.Disagreement, match="means of windows"):
        agreement.hold_ops(replace(TORCH, norm_rope=off), **WHERE)


def test_what_is_not_finite_is_infinitely_wrong() -> None:
    assert agreement.error(torch.tensor([float("nan")]), torch.ones(1)) == float("inf")
    assert agreement.error(torch.full((4,), 1.1), torch.ones(4)) == pytest.approx(0.1)
