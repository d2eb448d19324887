"""Run a picture-to-picture net on horizontal strips: the same bits as the whole picture, in less memory."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor


def in_strips(
    net: Callable[[Tensor], Tensor], frames: Tensor, *, scale: int, halo: int, rows: int, valid: bool = False
) -> Tensor:
    """Give `net(frames)`, computed `rows` input rows at a time.

    net:      [1, 3, h, w] → [1, 3, scale·h, scale·w]; each output pixel depends on input pixels at
              most `halo` away
    frames:   [T, 3, H, W]
    valid:    the net consumes its halo on all sides, [1, 3, h + 2·halo, w + 2·halo] → [1, 3, scale·h, scale·w];
              the picture is continued by its outermost pixels
    returns:  [T, 3, scale·H, scale·W], dtype and device of `frames`

    With an exact halo the result has the bits of one call, as long as the net's sums do not depend
    on where a pixel lies (direct convolution: yes; Winograd tiles: no).
    """
    count, channels, height, width = frames.shape
    out = frames.new_empty((count, channels, scale * height, scale * width))
    for index in range(count):
        frame = frames[index : index + 1]
        if valid:
            frame = F.pad(frame, (halo, halo, halo, halo), mode="replicate")
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            # In a padded picture the row `top` lies `halo` rows lower, so its halo starts at `top`.
            first, last = (top, bottom + 2 * halo) if valid else (max(0, top - halo), min(height, bottom + halo))
            strip = net(frame[:, :, first:last])
            skip = 0 if valid else scale * (top - first)
            out[index, :, scale * top : scale * bottom] = strip[0, :, skip : skip + scale * (bottom - top)]
    return out


def strip_rows(width: int, bytes_per_pixel: int, halo: int, budget_bytes: int) -> int:
    """Give the strip height at which a net's widest layers fit `budget_bytes`; at least four halos.

    bytes_per_pixel: of the layer inputs and outputs alive at one moment, per input pixel. Lower
    strips would spend most of their time on halos (2·halo of rows + 2·halo are computed twice).
    """
    return max(budget_bytes // (bytes_per_pixel * max(1, width)), 4 * halo)
