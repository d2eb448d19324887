"""Large pictures in tiles that overlap: where each lies on the canvas, and how they are blended without a seam

All numbers are pixels of the canvas (prepare.py). A tile is cut from the canvas after enlarging, so its pixels
are those of the whole picture; it is a canvas of its own for the model, never cropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import ceil

import numpy as np

from darkroom.pipelines.upscale.flashvsr.prepare import GRID, VAE_STRIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A tile's extent along one side of the canvas, and its share of each line there."""

    start: int
    weights: tuple[float, ...]  # above 0; those of all spans over one line add up to 1

    @property
    def stop(self) -> int:
        """The first line behind it."""
        return self.start + len(self.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A box of the canvas; its weight at a pixel is that of the row times that of the column."""

    down: Span
    across: Span

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns on the canvas: `low_quality(..., box=tile.box)`."""
        return slice(self.down.start, self.down.stop), slice(self.across.start, self.across.stop)

    @property
    def latents(self) -> tuple[slice, slice]:
        """The same in latents: `noise[..., *tile.latents]`, for tiles share the noise of the canvas."""
        rows, columns = (slice(side.start // VAE_STRIDE, side.stop // VAE_STRIDE) for side in (self.down, self.across))
        return rows, columns


def tiles(
    height: int, width: int, *, scale: int | Fraction = 1, tile: int | None = None, overlap: int = 0
) -> tuple[Tile, ...]:
    """Give the tiles of an enlarged picture of height × width, row by row; all are of one size.

    tile:     longest side in pixels of the source (1/scale of the picture's), rounded up to the grid; None:
              one tile, the whole canvas
    overlap:  pixels of the source that neighbours share at least, up to half of `tile`

    Sides are multiples of GRID and no longer than it takes: 2 tiles over 1080 lines are of 640, not of 1024.
    Tiles begin at whole latents, so that they can share noise.
    Raises ValueError if the overlap is more than half a tile.
    """
    if tile is not None and not 0 <= 2 * overlap <= tile:
        raise ValueError(f"overlap {overlap}: not between 0 and half of the tile's {tile}")
    shared = _up(overlap * scale, VAE_STRIDE)
    sides = []
    for size in (height, width):
        length = _length(size, _up((tile or size) * scale, GRID), shared) if tile else _up(size, GRID)
        sides.append(spans(_up(size, VAE_STRIDE), length, shared))
    return tuple(Tile(down=down, across=across) for down, across in product(*sides))


def spans(size: int, length: int, overlap: int) -> tuple[Span, ...]:
    """Give the spans of `length` that cover `size` lines, weighted so that a picture cut into them comes back.

    Toward a neighbour the weight falls in a straight ramp over what they share, and never to 0; at the
    rim of the picture it does not fall. Then the weights over each line are divided by their sum.
    """
    begins = starts(size, length, overlap)
    ramps = []
    for index, start in enumerate(begins):
        rising = begins[index - 1] + length - start if index else 0
        falling = start + length - begins[index + 1] if index + 1 < len(begins) else 0
        ramps.append(np.minimum(_ramp(length, rising), _ramp(length, falling)[::-1]))
    total = np.zeros(begins[-1] + length)
    for start, ramp in zip(begins, ramps, strict=True):
        total[start : start + length] += ramp
    return tuple(
        Span(start=start, weights=tuple((ramp / total[start : start + length]).tolist()))
        for start, ramp in zip(begins, ramps, strict=True)
    )


def starts(size: int, length: int, overlap: int) -> Sequence[int]:
    """Give where spans of `length` begin that cover `size` lines; the last is moved back to end with them."""
    if size <= length:
        return [0]
    stride = length - overlap
    count = ceil((size - overlap) / stride)
    return [min(index * stride, size - length) for index in range(count)]


def _length(size: int, longest: int, overlap: int) -> int:
    """The shortest side on the grid with which no more spans are needed than with the `longest`."""
    if _up(size, GRID) <= longest:
        return _up(size, GRID)
    count = len(starts(_up(size, VAE_STRIDE), longest, overlap))
    return _up(Fraction(_up(size, VAE_STRIDE) + (count - 1) * overlap, count), GRID)


def _ramp(length: int, shared: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Weights 1/(shared+1), 2/(shared+1), … up to 1, which holds from there on."""
    return np.minimum(np.arange(1, length + 1, dtype=np.float64) / (shared + 1), 1.0)


def _up(number: int | Fraction, step: int) -> int:
    """The next multiple of `step`."""
    return ceil(Fraction(number) / step) * step
