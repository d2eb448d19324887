"""One step of FlashVSR: a chunk of low-quality frames in, as many enlarged ones out, and the state for the next"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from darkroom.kernels.backend import Ops
from darkroom.pipelines.upscale.flashvsr import lq_projection, ring, tcdecoder, wan_tiles, wan_vae
from darkroom.pipelines.upscale.flashvsr.dit import DiT, Sparsity
from darkroom.pipelines.upscale.flashvsr.dit import denoise as denoise_tokens
from darkroom.pipelines.upscale.flashvsr.frames import AHEAD, NEXT

ColorFix = Literal["adain", "wavelet", "off"]
PIXELS = 128  # both sides of a frame are multiples: 8 (latents) x 2 (patches) x 8 (windows)
FRAMES = 4  # of a latent
CHANNELS = 16  # of a latent


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashVSR:
    """The weights and how they are run; nothing here changes."""

    dit: DiT
    lq: lq_projection.LQProjection
    decoder: tcdecoder.TCDecoder | wan_vae.WanDecoder
    ops: Ops
    dtype: torch.dtype
    device: torch.device
    sparsity: Sparsity
    kv_windows: int = 3  # slices kept from chunk to chunk
    color_fix: ColorFix = "adain"
    kv_offload: bool = False  # keep the ring in host memory
    decoder_at_once: int | None = None  # latents the small decoder takes together; None: all of a chunk
    decoder_strips: int = 1  # horizontal strips it decodes one after the other; of the large one, more mean tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What one step takes.

    frames: [25, 3, H, W] for the first chunk of a stream, [8, 3, H, W] for each later one: low-quality frames at
            the size of the result, RGB in [-1, 1]
    noise:  [6 or 2, 16, H/8, W/8], standard normal
    """

    frames: Tensor
    noise: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """What one step leaves for the next; a state that was given to `step` must not be used again."""

    shown: tuple[int, int]  # height and width of what is kept of each frame
    latents: int = 0  # latent frames so far: the position of the next in RoPE
    ring: ring.Ring
    lq: lq_projection.LQState | None = None
    decoder: tcdecoder.TCState | tuple[wan_vae.WanState, ...] | None = None  # of the large decoder: one for each tile
    tail: Tensor | None = None  # [4, 3, H, W], low-quality frames that were looked at but not yet enlarged


def begin(model: FlashVSR, height: int, width: int, shown: tuple[int, int] | None = None) -> StreamState:
    """Give the state of a new stream of `height` x `width` pixels. Raises ValueError off the grid.

    shown: height and width of the true picture, in the top left corner; None: all of it. Frames come back so cut,
           and what was added around a picture has no part in its colours.
    """
    if height % PIXELS or width % PIXELS or not height or not width:
        raise ValueError(f"{width}x{height}: both sides must be multiples of {PIXELS}")
    return StreamState(
        shown=shown or (height, width),
        ring=ring.empty(
            layers=len(model.dit.blocks),
            windows=(height // PIXELS) * (width // PIXELS),
            width=model.dit.width,
            kept=max(2, model.kv_windows),  # of the first chunk's three only one is dropped, and one for each later one
            dtype=model.dtype,
            device=model.device,
            offload=model.kv_offload,
        ),
    )


def step(model: FlashVSR, chunk: Chunk, state: StreamState) -> tuple[Tensor, StreamState]:
    """Give the frames of `chunk`, [21 or 8, 3, height, width] RGB in [-1, 1], and the state for the next chunk.

    The frames given lag four behind those taken: the projection looks ahead. The result is on the model's device
    and in its dtype.
    """
    latents, seen, state = denoise(model, chunk, state)
    frames, state = develop(model, latents, seen, state)
    height, width = state.shown
    frames, seen = frames[..., :height, :width], seen[..., :height, :width]
    few = FRAMES * (model.decoder_at_once or len(frames))  # matched as they were decoded, for the same want of memory
    pairs = zip(torch.split(frames, few), torch.split(seen, few), strict=True)
    return torch.cat([match_colors(model)(some, shown) for some, shown in pairs]), state


def denoise(model: FlashVSR, chunk: Chunk, state: StreamState) -> tuple[Tensor, Tensor, StreamState]:
    """Give the latents [6 or 2, 16, H/8, W/8] of `chunk` and the low-quality frames [21 or 8, 3, H, W] they show."""
    frames = chunk.frames.to(model.device, model.dtype)
    if state.lq is None or state.tail is None:
        lq, clips, seen = lq_projection.start(model.lq, frames[:1]), frames[1:], frames
    else:
        lq, clips, seen = state.lq, frames, torch.cat((state.tail, frames))
    parts = []
    for some in torch.split(clips, NEXT):  # a first chunk at once would need three times the memory of a later one
        part, lq = lq_projection.project(model.lq, some, lq)
        parts.append(part)
    tokens = torch.cat(parts)
    noise = chunk.noise.to(model.device, model.dtype)
    latents, slices = denoise_tokens(model.dit, model.ops, noise, tokens, state.latents, state.ring, model.sparsity)
    shown = len(seen) - AHEAD
    state = replace(state, latents=state.latents + len(noise), ring=slices, lq=lq, tail=seen[shown:].clone())
    return latents, seen[:shown], state


def develop(model: FlashVSR, latents: Tensor, seen: Tensor, state: StreamState) -> tuple[Tensor, StreamState]:
    """Give the frames [T, 3, H, W] of `latents`, nominally in [-1, 1], before the colours are matched."""
    if isinstance(model.decoder, wan_vae.WanDecoder):
        assert state.decoder is None or isinstance(state.decoder, tuple)
        if model.decoder_strips > 1:
            frames, tiles = wan_tiles.decode_tiled(model.decoder, latents, state.decoder, rest="cpu")
            return frames, replace(state, decoder=tiles)
        frames, whole = wan_vae.decode(model.decoder, latents, state.decoder[0] if state.decoder else None)
        return frames.clamp(-1, 1), replace(state, decoder=(whole,))
    assert state.decoder is None or isinstance(state.decoder, tcdecoder.TCState)
    raw, memory = tcdecoder.decode(
        model.decoder, latents, seen, state.decoder, at_once=model.decoder_at_once, strips=model.decoder_strips
    )
    return raw * 2 - 1, replace(state, decoder=memory)


def match_colors(model: FlashVSR) -> Callable[[Tensor, Tensor], Tensor]:
    """Give what brings the colours of frames back to those of the low-quality frames they show, and into [-1, 1].

    "off" leaves frames as they are: a few numbers lie beyond.
    """
    fixes: dict[ColorFix, Callable[[Tensor, Tensor], Tensor]] = {
        "adain": model.ops.adain,
        "wavelet": model.ops.wavelet,
        "off": lambda frames, seen: frames,
    }
    return fixes[model.color_fix]
