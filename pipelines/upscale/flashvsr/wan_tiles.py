"""The Wan2.1 video decoder on overlapping tiles, each a stream of its own, blended into whole frames"""

from collections.abc import Iterator

import torch
from torch import Tensor

from darkroom.pipelines.upscale.flashvsr.wan_vae import SCALE, WanDecoder, WanState, decode

Size = tuple[int, int]  # height, width
Span = tuple[int, int]  # first, end

TILE: Size = (60, 104)  # latent pixels, the reference's
STRIDE: Size = (30, 52)


def decode_tiled(
    model: WanDecoder,
    latents: Tensor,
    states: tuple[WanState, ...] | None,
    *,
    tile: Size = TILE,
    stride: Size = STRIDE,
    rest: torch.device | str | None = None,
) -> tuple[Tensor, tuple[WanState, ...]]:
    """Give the frames of the next latents, decoded tile by tile, and the state of each tile after them.

    latents:      [T, 16, h, w], at least one
    tile, stride: latent pixels; all calls of a stream must name the same
    rest:         the device where states wait for their turn (None: where they are): the states of all
                  tiles together are larger than that of the whole frame
    returns:      [F, 3, 8·h, 8·w] clamped to [-1, 1]; F as of `decode`

    The result is not that of the whole frame: a tile's attention and borders end at its edge.
    """
    if not (0 < stride[0] <= tile[0] and 0 < stride[1] <= tile[1]):
        raise ValueError(f"decoder: tiles of {tile} at steps of {stride}; a step must be at most a tile")
    device, (height, width) = model.mean.device, latents.shape[-2:]
    places = [(y, x) for y in _spans(height, tile[0], stride[0]) for x in _spans(width, tile[1], stride[1])]
    sums: Tensor | None = None
    weights = torch.zeros(SCALE * height, SCALE * width, device=device)
    kept = []
    for index, (y, x) in enumerate(places):
        state = _moved(states[index], device) if states else None
        frames, state = decode(model, latents[:, :, y[0] : y[1], x[0] : x[1]], state)
        kept.append(_moved(state, rest or device))
        if sums is None:
            sums = torch.zeros(*frames.shape[:2], *weights.shape, device=device)
        down, right = _ramp(y, height, tile[0] - stride[0]), _ramp(x, width, tile[1] - stride[1])
        mask = torch.minimum(down[:, None], right).to(device)
        rows, columns = slice(SCALE * y[0], SCALE * y[1]), slice(SCALE * x[0], SCALE * x[1])
        sums[:, :, rows, columns] += frames * mask
        weights[rows, columns] += mask
    assert sums is not None
    return sums.div_(weights).clamp_(-1, 1).to(model.mean.dtype), tuple(kept)


def _spans(length: int, tile: int, stride: int) -> Iterator[Span]:
    """Yield where the tiles lie along one side: at multiples of `stride`, until one has reached the end."""
    for first in range(0, length, stride):
        if first and first - stride + tile >= length:
            return
        yield first, min(first + tile, length)


def _ramp(span: Span, length: int, overlap: int) -> Tensor:
    """Give the weights of a tile's pixels along one side: rising over the overlap, 1 at the picture's border."""
    first, end = span
    rise = ((torch.arange(SCALE * (end - first)) + 1) / (SCALE * overlap)).clamp(max=1)  # without overlap: 1
    weights = torch.ones_like(rise)
    if first > 0:
        weights = torch.minimum(weights, rise)
    if end < length:
        weights = torch.minimum(weights, rise.flip(0))
    return weights


def _moved(state: WanState, device: torch.device | str) -> WanState:
    return WanState(memories=tuple(memory.to(device) for memory in state.memories))
