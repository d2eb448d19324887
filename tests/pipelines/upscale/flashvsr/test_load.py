import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.upscale.flashvsr import dit
from darkroom.pipelines.upscale.flashvsr.dit import DiT
from darkroom.pipelines.upscale.flashvsr.files import find
from darkroom.pipelines.upscale.flashvsr.load import kept, load, told
from darkroom.pipelines.upscale.flashvsr.plan import FlashPlan
from darkroom.pipelines.upscale.flashvsr.tcdecoder import TCDecoder
from darkroom.pipelines.upscale.flashvsr.wan_vae import WanDecoder
from darkroom.pipelines.upscale.machine import architecture


def plan(models: Path, height: int, width: int) -> FlashPlan:
    return FlashPlan(
        version="1.1",
        variant="tiny",
        architecture=architecture(find(models, "1.1", "tiny")),
        sparse_ratio=1.5,
        kv_windows=2,
        local_range=9,
        attention="auto",
        attention_named=False,
        color_fix="wavelet",
        seed=0,
        lead_in=29,
        scale=4,
        height=height,
        width=width,
        tiles=None,
        cuts=(),
    )


def test_jobs_that_want_the_same_weights_share_them_whatever_their_size_and_settings(models: Path) -> None:
    weights = find(models, "1.1", "tiny")
    first = load(weights, "auto", "fp32", "cpu")
    assert load(find(models, "1.1", "tiny"), "auto", "fp32", "cpu") is first
    small, large = (told(first, plan(models, *size)) for size in ((256, 256), (768, 1408)))
    assert small.dit is large.dit
    assert small.sparsity.topk_ratio == 1.5 * 768 * 1280 / (256 * 256)
    assert (large.kv_windows, large.color_fix, large.sparsity.local_range) == (2, "wavelet", 9)


def test_a_size_off_the_grid_attends_by_its_canvas(models: Path) -> None:
    model = told(load(find(models, "1.1", "tiny"), "auto", "fp32", "cpu"), plan(models, 1080, 1920))
    assert model.sparsity.topk_ratio == 1.5 * 768 * 1280 / (1152 * 1920)


def test_each_version_gets_its_projection_and_each_variant_its_decoder(models: Path) -> None:
    old, new = (load(find(models, version, "tiny"), "auto", "fp32", "cpu") for version in ("1", "1.1"))
    assert (old.lq.causal, new.lq.causal) == (False, True)
    assert isinstance(new.decoder, TCDecoder)
    assert isinstance(load(find(models, "1.1", "full"), "auto", "bf16", "cpu").decoder, WanDecoder)


def test_the_precision_is_that_of_all_weights(models: Path) -> None:
    model = load(find(models, "1.1", "tiny"), "auto", "bf16", "cpu")
    assert model.dtype is torch.bfloat16
    assert {block.qkv.weight.dtype for block in model.dit.blocks} == {torch.bfloat16}


def test_attention_that_is_not_here_is_unavailable(models: Path) -> None:
    with pytest.raises(Unavailable, match="flashvsr: "):
        load(find(models, "1.1", "tiny"), "sparse-int8", "fp32", "cpu")


def test_attention_that_only_a_preset_wishes_for_falls_back(models: Path) -> None:
    model = load(find(models, "1.1", "tiny"), "sparse-int8", "fp32", "cpu", required=False)
    assert model.ops.name == "torch"


@pytest.fixture
def room_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device with room for one transformer."""
    held: list[weakref.ref[torch.Tensor]] = []
    prepare = dit.prepare

    def tight(*arguments: Any, **options: Any) -> DiT:
        if any(weight() is not None for weight in held):
            raise torch.OutOfMemoryError("CUDA out of memory")
        made = prepare(*arguments, **options)
        held.append(weakref.ref(made.patch.weight))
        return made

    kept.cache_clear()
    gc.collect()
    monkeypatch.setattr(dit, "prepare", tight)


def test_weights_that_are_kept_make_way_for_others_where_both_do_not_fit(models: Path, room_for_one: None) -> None:
    load(find(models, "1", "tiny"), "auto", "fp32", "cpu")
    assert load(find(models, "1.1", "tiny"), "auto", "fp32", "cpu").lq.causal


def test_weights_that_do_not_fit_are_unavailable_and_leave_nothing(models: Path, room_for_one: None) -> None:
    mine = load(find(models, "1", "tiny"), "auto", "fp32", "cpu")
    with pytest.raises(Unavailable, match="do not fit in the memory of cpu now; free it, or set model: photo"):
        load(find(models, "1.1", "tiny"), "auto", "fp32", "cpu")
    del mine
    assert load(find(models, "1.1", "tiny"), "auto", "fp32", "cpu").lq.causal


def test_a_fault_that_is_not_of_memory_is_not_hidden(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> DiT:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(dit, "prepare", broken)
    kept.cache_clear()
    with pytest.raises(RuntimeError, match="shapes"):
        load(find(models, "1.1", "tiny"), "auto", "fp32", "cpu")
