"""The operations of the transformer for one device, chosen once and aloud"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Literal, Protocol

import torch
from torch import Tensor

from darkroom.kernels import match_colors, norms, sparse_attention
from darkroom.kernels.dense_attention import (
    dense_attention,
    flash_attention,
    library,
    sage_attention,
    windowed_by,
)

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


LIBRARIES = {
    "sage": (sage_attention, "sageattention", "sageattn"),
    "flash": (flash_attention, "flash_attn", "flash_attn_func"),
}
Attention = Literal["auto", "sparse", "sparse-int8", "torch", "dense", "sage", "flash"]
"""auto         the official selection, exact, by what is fastest here
sparse       the same, by the Triton kernels and nothing else
sparse-int8  the same, products of queries and keys in int8: several times the error of bf16
torch        the same, by the definitions: any device, slow
dense        no selection, every query sees all remembered keys: other pictures, more work; by torch
sage, flash  as dense, by the library sageattention (int8) or flash-attn; these do the cross attention too"""


def choose(
    device: str, *, attention: Attention = "auto", dtype: torch.dtype = torch.bfloat16, required: bool = True
) -> Ops:
    """Give the operations for `device`, and say in the log which they are and why.

    device:    as torch names it: "cpu", "cuda", "cuda:1"
    dtype:     in which the model will run
    required:  False: where `attention` cannot be had, the next best with a warning, as for "auto"

    Raises ValueError if what is required cannot be had.
    """
    must = required and attention != "auto"
    ops = TORCH if attention == "torch" else _sparse(torch.device(device), attention, dtype, must)
    if attention in ("dense", "sage", "flash"):
        try:
            ops = _dense(ops, attention, torch.device(device), dtype)
        except ValueError as reason:
            if must:
                raise
            log.warning("attention %s: %s", attention, str(reason))
    log.info("attention on %s: %s, computing in %s", device, ops.name, PRECISIONS[dtype])
    return ops


def _sparse(device: torch.device, attention: Attention, dtype: torch.dtype, must: bool) -> Ops:
    """Give the fused operations, or the definitions with a warning; the latter not where the former `must` be."""
    for int8 in (True, False) if attention == "sparse-int8" else (False,):
        try:
            # Not imported above: Triton is optional, and imports torch's GPU side with it.
            found: Ops = import_module("darkroom.kernels.fused.backend").working(device, dtype, int8=int8)
            return found
        except (ImportError, ValueError) as reason:
            if must and attention.startswith("sparse"):
                raise ValueError(f"attention {attention}: {reason}; set attention: auto") from reason
            next_best = "sparse" if int8 else "the definitions in torch, which are slow"
            log.warning("attention on %s: %s; taking %s", device, str(reason), next_best)  # its frames hold the model
    return TORCH


def _dense(ops: Ops, attention: Attention, device: torch.device, dtype: torch.dtype) -> Ops:
    """Give `ops` with dense attention. Raises ValueError where its library or the device cannot do it."""
    if attention == "dense":
        return replace(ops, name=f"{ops.name}, dense", windowed=windowed_by(dense_attention))
    if device.type != "cuda" or dtype is torch.float32:
        raise ValueError(f"attention {attention}: needs a CUDA device and 16 bits; set attention: auto")
    way, module, function = LIBRARIES[attention]
    attend = partial(way, library(module, function))
    return replace(ops, name=f"{ops.name}, {attention} dense", windowed=windowed_by(attend), dense=attend)
