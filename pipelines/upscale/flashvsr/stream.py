"""A segment's frames, chunk by chunk: whole pictures, or tile by tile where these are too large for the device"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.pipelines.upscale.flashvsr.dit import Sparsity
from darkroom.pipelines.upscale.flashvsr.frames import Window, chunk
from darkroom.pipelines.upscale.flashvsr.model import CHANNELS, Chunk, FlashVSR, begin, match_colors, step
from darkroom.pipelines.upscale.flashvsr.noise import latent_noise
from darkroom.pipelines.upscale.flashvsr.prepare import VAE_STRIDE, canvas_size, low_quality
from darkroom.pipelines.upscale.flashvsr.tiles import Tile

Halves = NDArray[np.float16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is the same for all chunks of a segment."""

    model: FlashVSR
    window: Window
    height: int  # of the enlarged picture, before its canvas
    width: int
    seed: int


class Pictures(Protocol):
    """The source's pictures by their place in the window; past the last one, the last again."""

    def __getitem__(self, places: range) -> Tensor:
        """Give [len(places), 3, h, w] uint8 RGB. Places come in ascending order, without a step."""


def frames(job: Job, pictures: Pictures) -> Iterator[Tensor | None]:
    """Yield the enlarged frames of the segment in order, [3, height, width] in [-1, 1]; None while one is in work.

    Every chunk gives a None first, so that whoever waits sees that something moves.
    """
    state = begin(job.model, *canvas_size(job.height, job.width), shown=(job.height, job.width))
    for index in range(job.window.chunks):
        shown, state = step(job.model, _chunk(job, pictures, index, None), state)
        yield None
        for place, frame in zip(chunk(index).frames, shown, strict=True):
            if place in _kept(job.window):
                yield frame


def frames_by_tiles(job: Job, pictures: Pictures, tiles: tuple[Tile, ...], scratch: Path) -> Iterator[Tensor | None]:
    """Yield what `frames` does, having run one tile after the other through the whole segment.

    So the device holds the state of one tile only. The picture grows in a file in the folder `scratch`, six bytes a
    pixel and frame, which has no name and is gone with the process. Colours are matched over the whole picture.
    Raises OSError if the disk is too full for it.
    """
    plain = replace(job.model, color_fix="off", sparsity=_for_tile(job, tiles[0]))
    kept = _kept(job.window)
    with _canvas(scratch, (len(kept), 3, job.height, job.width)) as canvas:
        for tile in tiles:
            rows, columns = tile.box
            state = begin(plain, rows.stop - rows.start, columns.stop - columns.start)
            for index in range(job.window.chunks):
                shown, state = step(plain, _chunk(job, pictures, index, tile), state)
                _add(canvas, kept, chunk(index).frames, shown, tile)
                yield None
            del state, shown
        match = match_colors(job.model)
        for number, place in enumerate(kept):
            whole = torch.from_numpy(canvas[number]).to(job.model.device, torch.float32)
            seen = _low_quality(job, pictures[range(place, place + 1)], None)[..., : job.height, : job.width]
            yield match(whole[None], seen.to(torch.float32))[0]


def _chunk(job: Job, pictures: Pictures, index: int, tile: Tile | None) -> Chunk:
    schedule = chunk(index)
    height, width = (side // VAE_STRIDE for side in canvas_size(job.height, job.width))
    noise = torch.stack(
        [latent_noise(job.seed, job.window.first_latent + at, CHANNELS, height, width) for at in schedule.latents]
    )
    return Chunk(
        frames=_low_quality(job, pictures[schedule.lq], tile),
        noise=noise if tile is None else noise[..., *tile.latents],
    )


def _low_quality(job: Job, rgb: Tensor, tile: Tile | None) -> Tensor:
    return low_quality(
        rgb.to(job.model.device), job.height, job.width, job.model.dtype, box=None if tile is None else tile.box
    )


def _for_tile(job: Job, tile: Tile) -> Sparsity:
    """Give the sparsity with which a query in a tile sees as many keys as it would in the whole picture."""
    rows, columns = tile.box
    height, width = canvas_size(job.height, job.width)
    whole_to_tile = height * width / ((rows.stop - rows.start) * (columns.stop - columns.start))
    return replace(job.model.sparsity, topk_ratio=job.model.sparsity.topk_ratio * whole_to_tile)


def _kept(window: Window) -> range:
    return range(window.kept.start, window.kept.stop)


@contextmanager
def _canvas(folder: Path, shape: tuple[int, ...]) -> Iterator[Halves]:
    """Yield zeros of `shape` in a file whose room is reserved: a full disk is an error now, not a signal later."""
    size_bytes = prod(shape) * 2
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size_bytes)
        except OSError as error:
            wanted = f"{error.strerror}: the picture of a segment in tiles takes {size_bytes / 1e9:.1f} GB"
            raise OSError(error.errno, wanted, str(folder)) from error
        yield np.memmap(file, np.float16, "r+", shape=shape)


def _add(canvas: Halves, kept: range, places: range, shown: Tensor, tile: Tile) -> None:
    """Add the frames of `tile`, weighted, to those of the canvas."""
    rows, columns = tile.box
    down, across = (np.asarray(side.weights, np.float32) for side in (tile.down, tile.across))
    for place, frame in zip(places, shown, strict=True):
        if place in kept:
            here = canvas[place - kept.start][:, rows, columns]  # cut where the canvas's own rim begins
            height, width = here.shape[1:]
            weights = np.outer(down[:height], across[:width])
            here += (frame[:, :height, :width].float().cpu().numpy() * weights).astype(np.float16)
