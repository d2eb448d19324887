"""The operations of the transformer for one device, chosen once and aloud"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from darkroom.kernels import match_colors, norms, sparse_attention
from darkroom.kernels.dense_attention import dense_attention

log = logging.getLogger(__name__)

PRECISIONS = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}


class NormRope(Protocol):
    """See `norms.norm_rope`."""

    def __call__(
        self, x: Tensor, weight: Tensor, cos: Tensor, sin: Tensor, *, out: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Give the normed and turned tokens, and the means of their windows."""


class Windowed(Protocol):
    """See `sparse_attention.windowed`."""

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        q_means: Tensor,
        k_means: Tensor,
        *,
        slots: tuple[int, ...],
        heads: int,
        grid: tuple[int, int],
        local_range: int,
        topk: int,
    ) -> Tensor:
        """Give the attention of windows of queries to the live slices of a ring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ops:
    """One way of computing each operation; all ways agree within the rounding of their precision."""

    name: str  # for the log and the report
    norm_rope: NormRope
    rms_norm: Callable[[Tensor, Tensor], Tensor]
    gated_norm: Callable[[Tensor, Tensor | None, Tensor | None, Tensor, Tensor], tuple[Tensor, Tensor]]
    windowed: Windowed
    dense: Callable[[Tensor, Tensor, Tensor], Tensor]
    adain: Callable[[Tensor, Tensor], Tensor]
    wavelet: Callable[[Tensor, Tensor], Tensor]


TORCH = Ops(
    name="torch",
    norm_rope=norms.norm_rope,
    rms_norm=norms.rms_norm,
    gated_norm=norms.gated_norm,
    windowed=sparse_attention.windowed,
    dense=dense_attention,
    adain=match_colors.adain,
    wavelet=match_colors.wavelet,
)


def choose(device: str, *, attention: str = "auto", dtype: torch.dtype = torch.bfloat16) -> Ops:
    """Give the operations for `device`, and say in the log which they are and why.

    device:     as torch names it: "cpu", "cuda", "cuda:1"
    attention:  "auto": the fastest that is exact to the model
    dtype:      in which the model will run

    Raises ValueError if `attention` names what this machine does not have.
    """
    log.info("attention: %s, %s on %s: the definitions in torch", TORCH.name, PRECISIONS[dtype], device)
    return TORCH
