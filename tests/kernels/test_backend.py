import logging
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from darkroom.kernels import backend
from darkroom.kernels.backend import TORCH, Attention, choose
from darkroom.kernels.dense_attention import dense_attention, windowed_by


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> dict[bool, Any]:
    """Stand-ins for the fused operations of a GPU, by whether products are int8; absent: refused with a reason."""
    have: dict[bool, Any] = {}

    def working(device: torch.device, dtype: torch.dtype, *, int8: bool) -> Any:
        if int8 not in have:
            raise ValueError("not on this card")
        return have[int8]

    def load(name: str) -> Any:
        return SimpleNamespace(working=working) if name.endswith("fused.backend") else import_module(name)

    monkeypatch.setattr(backend, "import_module", load)
    return have


def test_a_cpu_computes_by_the_definitions_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert choose("cpu") is TORCH
    warning, said = caplog.records
    assert warning.levelno == logging.WARNING
    assert "slow" in warning.message
    assert "on cpu: torch" in said.message


def test_the_definitions_are_no_surprise_where_they_were_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    assert choose("cpu", attention="torch") is TORCH
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize("attention", ["sparse", "sparse-int8", "sage", "flash"])
def test_what_a_cpu_cannot_do_is_refused_with_a_remedy(attention: Attention) -> None:
    with pytest.raises(ValueError, match=f"attention {attention}: .*set attention: auto"):
        choose("cpu", attention=attention)


@pytest.mark.parametrize("attention", ["sparse", "sparse-int8", "sage", "flash"])
def test_what_is_not_required_gives_way_to_the_definitions(attention: Attention) -> None:
    assert choose("cpu", attention=attention, required=False) is TORCH


def test_without_triton_the_reason_is_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'triton'")

    monkeypatch.setattr(backend, "import_module", missing)
    assert choose("cuda") is TORCH
    with pytest.raises(ValueError, match="triton"):
        choose("cuda", attention="sparse")


def test_a_gpu_computes_by_the_fused_operations(fused: dict[bool, Any]) -> None:
    fused[False], fused[True] = object_named("triton bf16"), object_named("triton bf16 int8")
    assert choose("cuda").name == "triton bf16"
    assert choose("cuda", attention="sparse").name == "triton bf16"
    assert choose("cuda", attention="sparse-int8").name == "triton bf16 int8"


def test_int8_that_is_not_required_gives_way_to_16_bits(fused: dict[bool, Any]) -> None:
    fused[False] = object_named("triton bf16")
    assert choose("cuda", attention="sparse-int8", required=False).name == "triton bf16"
    with pytest.raises(ValueError, match="not on this card"):
        choose("cuda", attention="sparse-int8")


def test_dense_attention_keeps_the_other_operations(fused: dict[bool, Any]) -> None:
    fused[False] = object_named("triton bf16")
    ops = choose("cuda", attention="dense")
    assert ops.name == "triton bf16, dense"
    assert ops.norm_rope is TORCH.norm_rope
    assert ops.dense is dense_attention
    assert getattr(ops.windowed, "__code__", None) is windowed_by(dense_attention).__code__


def test_a_library_that_is_missing_is_named_with_the_way_to_get_it(
    fused: dict[bool, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fused[False] = object_named("triton bf16")
    monkeypatch.setitem(backend.LIBRARIES, "flash", (dense_attention, "flash_attn_that_is_not_here", "flash"))
    with pytest.raises(ValueError, match="pip install flash-attn-that-is-not-here"):
        choose("cuda", attention="flash")


def object_named(name: str) -> backend.Ops:
    return replace(TORCH, name=name)
