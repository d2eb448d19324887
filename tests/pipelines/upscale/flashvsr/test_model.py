"""The whole model against the reference, chunk by chunk."""

from dataclasses import replace
from functools import cache

import pytest
import small_flashvsr
import torch
from goldens import config, distance, golden, weights
from torch import Tensor

from darkroom.kernels.backend import TORCH
from darkroom.kernels.bicubic import enlarge_u8
from darkroom.pipelines.upscale.flashvsr import dit, lq_projection, tcdecoder, wan_vae
from darkroom.pipelines.upscale.flashvsr.frames import AHEAD, chunk, official
from darkroom.pipelines.upscale.flashvsr.model import Chunk, FlashVSR, StreamState, begin, denoise, develop, step
from darkroom.pipelines.upscale.flashvsr.prepare import enlarged_size

CPU = torch.device("cpu")


TINY = "e2e_tiny_v11"


@cache
def model(name: str) -> FlashVSR:
    """The model of the end-to-end golden `name`, with its settings."""
    meta = golden(name).meta
    full = "VAE" in meta.get("decoder", "")
    decoder: tcdecoder.TCDecoder | wan_vae.WanDecoder
    if full:
        decoder = wan_vae.prepare(weights("vae"), dtype=torch.float32, device=CPU)
    else:
        decoder = tcdecoder.prepare(weights("tcd"), dtype=torch.float32, device=CPU)
    prompt = golden("constants")["context"]
    return FlashVSR(
        dit=dit.prepare(weights("dit"), prompt, heads=config()["heads"], dtype=torch.float32, device=CPU),
        lq=lq_projection.prepare(weights("lq"), causal=meta["lq"] == "causal", dtype=torch.float32, device=CPU),
        decoder=decoder,
        ops=TORCH,
        dtype=torch.float32,
        device=CPU,
        sparsity=dit.Sparsity(topk_ratio=meta["topk_ratio"], local_range=meta["local_range"]),
        kv_windows=int(meta["kv_ratio"]),
    )


def video() -> tuple[Tensor, Tensor, int]:
    """The low-quality frames [F, 3, H, W] in [-1, 1], the noise [T, 16, H/8, W/8] and the number of chunks."""
    given = golden("e2e_in")
    small = given.tensors["lr_u8"].permute(0, 3, 1, 2)
    small = torch.cat((small, small[-1:].expand(AHEAD, -1, -1, -1)))[: given.meta["F"]]
    large = enlarge_u8(small, *enlarged_size(small.shape[-2], small.shape[-1], given.meta["scale"]))
    height, width = given.meta["height"], given.meta["width"]
    top, left = (large.shape[-2] - height) // 2, (large.shape[-1] - width) // 2
    frames = large[..., top : top + height, left : left + width] / 255 * 2 - 1
    return frames, given["noise"][0].transpose(0, 1), official(given.meta["n_input"])


def chunks() -> list[Chunk]:
    frames, noise, count = video()
    return [
        Chunk(
            frames=frames[chunk(index).lq.start : chunk(index).lq.stop],
            noise=noise[chunk(index).latents.start : chunk(index).latents.stop],
        )
        for index in range(count)
    ]


def size(one: Chunk) -> tuple[int, int]:
    height, width = one.frames.shape[-2:]
    return height, width


@cache
def noisy() -> tuple[Chunk, ...]:
    """Three chunks of smooth random pictures of 128x256, for what must hold whatever the reference's film is."""
    generator = torch.Generator().manual_seed(2)
    frames = torch.rand(41, 3, 16, 32, generator=generator).repeat_interleave(8, 2).repeat_interleave(8, 3) * 2 - 1
    noise = torch.randn(10, 16, 16, 32, generator=generator)
    return tuple(
        Chunk(
            frames=frames[chunk(index).lq.start : chunk(index).lq.stop],
            noise=noise[chunk(index).latents.start : chunk(index).latents.stop],
        )
        for index in range(3)
    )


@cache
def reference_film(name: str) -> Tensor:
    """All frames that the model of the golden `name` makes of the reference's film."""
    return film(model(name), tuple(chunks()))


@cache
def film(made: FlashVSR, given: tuple[Chunk, ...]) -> Tensor:
    """All frames, [T, 3, H, W]."""
    state, frames = begin(made, *size(given[0])), []
    for one in given:
        shown, state = step(made, one, state)
        frames.append(shown)
    return torch.cat(frames)


def strided(frames: Tensor) -> Tensor:
    return frames.transpose(0, 1)[:, :, ::8, ::8]


def test_the_low_quality_frames_are_those_of_the_reference() -> None:
    frames, _, count = video()
    assert distance(strided(frames), golden("e2e_in")["lq_strided"]) < 1e-6
    assert sum(len(one.frames) for one in chunks()) == golden("e2e_in").meta["F"] == 8 * count + 17


@pytest.mark.parametrize("name", [TINY, "e2e_tiny_v1", "e2e_full_v11"])
def test_a_film_is_that_of_the_reference(name: str) -> None:
    wanted = golden(name)
    frames = reference_film(name)
    assert distance(strided(frames), wanted["frames_strided"]) < 2e-4
    if "frame_last" in wanted.tensors:
        assert distance(frames[-1:].transpose(0, 1), wanted["frame_last"]) < 2e-4


def test_latents_and_raw_frames_on_the_way_are_those_of_the_reference() -> None:
    wanted = golden(TINY)
    made, given = model(TINY), chunks()
    state: StreamState = begin(made, *size(given[0]))
    latents, raw = [], []
    for one in given:
        found, seen, state = denoise(made, one, state)
        frames, state = develop(made, found, seen, state)
        latents.append(found)
        raw.append((frames + 1) / 2)
    assert distance(torch.cat(latents), wanted["latents"][0].transpose(0, 1)) < 2e-4
    assert distance(strided(torch.cat(raw)), wanted["raw01_strided"]) < 2e-4


def test_eight_bit_pictures_are_those_of_the_reference() -> None:
    wanted = golden(TINY)
    frames = reference_film(TINY)
    indices = wanted.meta["frame_indices"]
    assert distance(frames[indices].transpose(0, 1), wanted["frames"]) < 2e-4
    found = ((frames[-1] + 1) * 127.5).clamp(0, 255).to(torch.uint8).permute(1, 2, 0)  # truncated, as the scripts do
    off = (found.int() - wanted.tensors["frame_u8"][0].int()).abs()
    assert off.max() <= 1
    assert (off > 0).float().mean() < 1e-3


@pytest.mark.parametrize(
    "change",
    [{"kv_offload": True}, {"decoder_at_once": 1}, {"decoder_strips": 3}, {"decoder_at_once": 2, "decoder_strips": 2}],
)
def test_what_saves_memory_changes_no_picture(change: dict[str, int]) -> None:
    made = small_flashvsr.model()
    assert distance(film(replace(made, **change), noisy()), film(made, noisy())) < 1e-5  # type: ignore[arg-type]


def test_bf16_gives_nearly_the_pictures_of_fp32() -> None:
    exact, rounded = (film(small_flashvsr.model(dtype), noisy()).float() for dtype in (torch.float32, torch.bfloat16))
    psnr = -10 * ((rounded - exact) / 2).square().mean().log10()
    assert psnr > 30  # windows near a threshold flip, and random weights carry that far


def test_what_is_added_around_a_picture_is_cut_off_and_has_no_part_in_its_colours() -> None:
    made, given = small_flashvsr.model(), noisy()[0]
    found, _ = step(made, given, begin(made, *size(given), shown=(100, 200)))
    latents, seen, state = denoise(made, given, begin(made, *size(given)))
    frames, _ = develop(made, latents, seen, state)
    assert torch.equal(found, TORCH.adain(frames[..., :100, :200], seen[..., :100, :200]))


def test_a_size_off_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="200x128: both sides must be multiples of 128"):
        begin(small_flashvsr.model(), 128, 200)
