from dataclasses import replace

import pytest
import torch
from diffusers import WanTransformer3DModel
from live_bytes import LiveBytes

from darkroom.pipelines.animate.fits import OFFICIAL, demand
from darkroom.pipelines.animate.memory import (
    ACTIVATIONS,
    Bytes,
    Demand,
    Offload,
    Placement,
    Profile,
    begin,
    block_tensors,
    cache_bytes,
    card,
    decide,
    estimate,
    further,
    lighter,
    offloads,
    outer_numbers,
    placement_of,
)
from darkroom.pipelines.animate.options import MemoryOptions
from darkroom.pipelines.animate.sizes import Size, tokens
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.upscale.flashvsr.memory import FRAGMENTED, SLACK

GIB = 2**30
SMALL = demand(Size(832, 480))
LARGE = demand(Size(1280, 720))
ALL: tuple[Offload, ...] = ("none", "model", "blocks")


def decided(
    gib: float, wanted: Demand = SMALL, host_gib: int = 128, ways: tuple[Offload, ...] = ALL, **memory: object
) -> Profile:
    return decide(
        MemoryOptions.model_validate(memory),
        wanted,
        ways,
        precision="bf16",
        attention="sdpa",
        device_bytes=int(gib * GIB),
        host_bytes=host_gib * GIB,
        on_cpu=False,
    )


def test_the_numbers_of_the_transformer_are_those_of_the_real_class() -> None:
    with torch.device("meta"):
        real = WanTransformer3DModel(in_channels=36, text_dim=4096, image_dim=1280, added_kv_proj_dim=5120)
    assert sum(block_tensors(OFFICIAL)) == sum(tensor.numel() for tensor in real.blocks[0].parameters())
    whole = 40 * sum(block_tensors(OFFICIAL)) + outer_numbers(OFFICIAL)
    assert whole == sum(tensor.numel() for tensor in real.parameters())


# Published peaks: everything on one card, 480P and 720P.
@pytest.mark.parametrize(("wanted", "published_gb"), [(SMALL, 50), (LARGE, 57)])
def test_all_on_the_device_takes_about_what_is_published(wanted: Demand, published_gb: int) -> None:
    profile = Profile(text_on_device=True, vae_tiled=True)
    with_reserve = estimate(wanted, profile, Placement(tiled=True)).denoising
    bare = (with_reserve - SLACK) / (1 + FRAGMENTED)
    assert bare / 1e9 == pytest.approx(published_gb, rel=0.06)  # CLIP and VAE are in fp32 here


def test_streaming_and_eight_bits_take_less() -> None:
    def gb(profile: Profile, placement: Placement) -> float:
        return estimate(SMALL, profile, placement).denoising / 1e9

    assert gb(Profile(), Placement(offload="blocks")) == pytest.approx(8.5, rel=0.1)
    assert gb(Profile(quantize="int8"), Placement(offload="model")) == pytest.approx(22, rel=0.1)
    assert gb(Profile(), Placement(offload="model")) > 32


def test_streamed_weights_are_pinned_in_powers_of_two() -> None:
    host = estimate(SMALL, Profile(), Placement(offload="blocks")).host
    assert host > 40 * 2 * sum(block_tensors(OFFICIAL))
    assert estimate(SMALL, Profile(), Placement(offload="model")).host == 0


def test_kept_attention_is_tokens_by_width_by_layers_by_branches_and_shared_among_devices() -> None:
    assert cache_bytes(SMALL, "bf16") / 1e9 == pytest.approx(26.8, rel=0.01)
    assert cache_bytes(LARGE, "bf16") / 1e9 == pytest.approx(61.9, rel=0.01)
    assert cache_bytes(replace(LARGE, ulysses=8), "bf16") / 1e9 == pytest.approx(7.7, rel=0.01)
    assert cache_bytes(replace(SMALL, cfg=2), "bf16") == cache_bytes(replace(SMALL, branches=1), "bf16")


@pytest.mark.parametrize(
    ("gib", "wanted", "tiled", "text"),
    [
        (80, SMALL, False, True),
        (80, LARGE, False, True),
        (24, SMALL, False, True),
        (24, LARGE, True, True),
        (10, SMALL, True, False),
    ],
)
def test_pictures_are_changed_only_where_nothing_else_fits(gib: int, wanted: Demand, tiled: bool, text: bool) -> None:
    assert decided(gib, wanted) == Profile(vae_tiled=tiled, text_on_device=text)


def test_eight_bits_are_chosen_where_the_host_cannot_hold_what_would_stream() -> None:
    assert decided(24, host_gib=32).quantize == "int8"
    assert decided(24, host_gib=32, offload="blocks").quantize == "none"
    assert decided(24, quantize="fp8").quantize == "fp8"
    with pytest.raises(Unavailable):
        decided(24, host_gib=32, quantize="none")


def test_what_fits_nowhere_is_refused_with_the_numbers() -> None:
    with pytest.raises(Unavailable, match=r"needs about \d+\.\d GiB of device memory at least, 4\.0 GiB may be used"):
        decided(4)
    with pytest.raises(
        Unavailable, match=r"attention_cache keeps 57\.7 GiB, .*; leave it out, or set parallel\.ulysses"
    ):
        decided(32, replace(LARGE, cached=True))


def test_options_that_are_set_are_kept() -> None:
    found = decided(80, vae_tiles="on", text_encoder="cpu", quantize="int8")
    assert (found.vae_tiled, found.text_on_device, found.quantize) == (True, False, "int8")
    with pytest.raises(Unavailable):
        decided(24, LARGE, vae_tiles="off")


def test_shared_out_weights_are_never_put_into_eight_bits_unasked() -> None:
    with pytest.raises(Unavailable):
        decided(12, replace(SMALL, fsdp=True, ulysses=2), ways=("none",), text_encoder="cpu")
    eight = replace(SMALL, fsdp=True, ulysses=8)
    assert estimate(eight, Profile(), Placement()).denoising < estimate(SMALL, Profile(), Placement()).denoising / 3


def test_a_card_may_be_named() -> None:
    assert card(MemoryOptions(profile="24GB"), 80 * GIB) < 24 * GIB
    assert 79 * GIB < card(MemoryOptions(), 80 * GIB) < 80 * GIB


@pytest.mark.parametrize(
    ("memory", "movable", "compiled", "ways"),
    [
        ({}, True, False, ALL),
        ({}, True, True, ("none", "model")),
        ({}, False, False, ("none",)),
        ({"offload": "blocks"}, True, False, ("blocks",)),
        ({"offload": "blocks"}, False, False, ("none",)),
    ],
)
def test_the_ways_are_those_the_options_and_the_device_allow(
    memory: dict[str, object], movable: bool, compiled: bool, ways: tuple[Offload, ...]
) -> None:
    assert offloads(MemoryOptions.model_validate(memory), movable=movable, compiled=compiled) == ways


def test_a_job_begins_with_the_fastest_way_that_fits_what_is_free() -> None:
    needs = {"none": 50, "model": 40, "blocks": 9}

    def need(placement: Placement) -> Bytes:
        return Bytes(reading=0, denoising=needs[placement.offload], decoding=0, host=0)

    ways = [begin(Profile(vae_tiled=True), ALL, need, free).offload for free in (50, 49, 39, 1)]
    assert ways == ["none", "model", "blocks", "blocks"]
    assert begin(Profile(vae_tiled=True), ALL, need, 50).tiled


def test_what_was_learned_counts_where_it_needs_less() -> None:
    taught = Placement(offload="model", tiled=True)
    assert further(Placement(), taught, ALL, tiles=True) == taught
    assert further(Placement(offload="blocks"), taught, ALL, tiles=True) == Placement(offload="blocks", tiled=True)
    assert further(Placement(), None, ALL, tiles=True) == Placement()


def test_what_was_learned_does_not_go_against_the_options() -> None:
    taught = Placement(offload="model", tiled=True)
    assert further(Placement(), taught, ("none",), tiles=True) == Placement(tiled=True)
    assert further(Placement(), taught, ALL, tiles=False) == Placement(offload="model")


def test_the_ladder_takes_what_helps_and_tiles_last() -> None:
    def down(stage: str, tiles: bool = True, ways: tuple[Offload, ...] = ALL) -> list[Placement]:
        found, at = [], Placement()
        while (lower := lighter(at, stage, ways, tiles=tiles)) is not None:  # type: ignore[arg-type]
            found.append(at := lower)
        return found

    assert down("denoising") == [Placement(offload="model"), Placement(offload="blocks")]
    assert down("decoding") == [Placement(offload="model"), Placement(offload="model", tiled=True)]
    assert down("reading", tiles=False) == [Placement(offload="model")]
    assert down("decoding", ways=("none",)) == [Placement(tiled=True)]
    assert down("denoising", ways=("blocks",)) == []


def test_a_placement_is_stored_and_read_back_and_foreign_ones_are_not() -> None:
    placement = Placement(offload="blocks", tiled=True)
    assert placement_of({**placement.values(), "step_s": 3.0}) == placement
    for foreign in (
        None,
        {},
        {"offload": "blocks"},
        {"offload": "disk", "tiled": True},
        {"offload": "none", "tiled": 1},
    ):
        assert placement_of(foreign) is None


@torch.no_grad()
def counted(wanted: Demand, monkeypatch: pytest.MonkeyPatch) -> int:
    """Give the peak of a pass through one block of the real width, run with tensors that have no content."""
    # As a kernel does it that keeps no scores.
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda query, key, value, **_: torch.empty_like(query)
    )
    kinds = {"in_channels": 36, "text_dim": 4096, "image_dim": 1280, "added_kv_proj_dim": 5120}
    with torch.device("meta"):
        model = WanTransformer3DModel(**kinds, num_layers=1).requires_grad_(False)
        for name, parameter in model.named_parameters():
            if not any(kept in name for kept in model._keep_in_fp32_modules):
                parameter.data = parameter.data.bfloat16()
        height, width = wanted.size.height // 8, wanted.size.width // 8
        latents = torch.empty(1, 36, (wanted.frames - 1) // 4 + 1, height, width, dtype=torch.bfloat16)
        words, image = (torch.empty(1, *shape, dtype=torch.bfloat16) for shape in ((512, 4096), (257, 1280)))
        with LiveBytes() as live:
            model(latents, torch.empty(1), words, image, return_dict=False)
    return int(live.peak)


def test_a_block_holds_no_more_than_the_estimate_for_each_token(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [replace(SMALL, frames=frames) for frames in (41, 81)]
    # The difference of two lengths: what does not grow with the tokens is weights, which the counting sees too.
    first, second = (counted(one, monkeypatch) for one in wanted)
    each = (second - first) / (tokens(SMALL.size, 81) - tokens(SMALL.size, 41))
    assert 10 < each / (5120 * 2) < ACTIVATIONS
