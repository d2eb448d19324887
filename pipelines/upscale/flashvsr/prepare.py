"""From a source's pictures to what the model reads: enlarged, continued by reflection to its grid, in [-1, 1]

The official scripts crop the enlarged picture to the grid and lose its border; here nothing is lost: the
picture lies at the top left of a canvas, and `crop` gives it back.
"""

from fractions import Fraction

import torch
from torch import Tensor

from darkroom.kernels.bicubic import enlarge_u8

VAE_STRIDE, PATCH, WINDOW = 8, 2, 8
GRID = VAE_STRIDE * PATCH * WINDOW  # 128 pixels: both sides of a canvas are whole windows of tokens


def enlarged_size(height: int, width: int, scale: int | Fraction) -> tuple[int, int]:
    """Give height and width of the enlarged picture; halves are rounded to even, as the official scripts do."""
    return max(1, round(height * scale)), max(1, round(width * scale))


def canvas_size(height: int, width: int) -> tuple[int, int]:
    """Give height and width of the smallest canvas that holds an enlarged picture: multiples of GRID."""
    return -(-height // GRID) * GRID, -(-width // GRID) * GRID


def low_quality(
    rgb: Tensor, height: int, width: int, dtype: torch.dtype, *, box: tuple[slice, slice] | None = None
) -> Tensor:
    """Give the low-quality frames the model sees for pictures that are to be height × width.

    rgb:      [T, 3, h, w] uint8, the source's pictures at their own size
    box:      rows and columns of the canvas to give; None: all
    returns:  [T, 3, H, W] in [-1, 1] on the same device, H and W from `canvas_size` or the box's
    """
    rows, columns = (
        reflected(size, whole, rgb.device)
        for size, whole in zip((height, width), canvas_size(height, width), strict=True)
    )
    if box is not None:
        rows, columns = rows[box[0]], columns[box[1]]
    given = torch.empty(len(rgb), 3, len(rows), len(columns), dtype=dtype, device=rgb.device)
    for frame, picture in zip(given, rgb, strict=True):  # one by one: only one is ever whole, only one in fp32
        enlarged = enlarge_u8(picture[None], height, width)[0]
        part = enlarged.index_select(1, rows).index_select(2, columns)
        frame.copy_(part.to(torch.float32).div_(255).mul_(2).sub_(1))
    return given


def reflected(size: int, length: int, device: torch.device | str = "cpu") -> Tensor:
    """Give for each of `length` places the sample of `size` that stands there: int64 [length].

    Beyond the end the samples run back and forth as often as it takes, the outermost never twice in
    a row, so that textures go on; a single sample is repeated.
    """
    period = max(1, 2 * (size - 1))
    place = torch.arange(length, device=device) % period
    return torch.minimum(place, period - place) if size > 1 else place


def crop(frames: Tensor, height: int, width: int) -> Tensor:
    """Give the picture that lies on a canvas: [..., height, width] of [..., H, W], without a copy."""
    return frames[..., :height, :width]
