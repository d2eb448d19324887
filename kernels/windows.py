"""Tokens in window order: the 2 x 8 x 8 neighbours in time, height and width lie together"""

import torch
from einops import rearrange
from torch import Tensor

FRAMES, ROWS, COLUMNS = 2, 8, 8  # latent tokens of one window along time, height and width
WINDOW_TOKENS = FRAMES * ROWS * COLUMNS  # 128: also the block of the sparse attention

RASTER = "(s df) (by dy) (bx dx) c"
WINDOWED = "(s by bx df dy dx) c"
SIZES = {"df": FRAMES, "dy": ROWS, "dx": COLUMNS}


def to_windows(x: Tensor) -> Tensor:
    """Give the tokens of `x` window after window: slice-major, then window row, then window column.

    x:        [f, h, w, C]; f even, h and w multiples of 8
    returns:  [f·h·w, C]; each 128 rows are one window, in its own raster order

    Attention in windows needs this order, and all other operations of the net look at one token at
    a time: so tokens stay in it from end to end, and no layer pays for a rearrangement.
    """
    return rearrange(x, f"{RASTER} -> {WINDOWED}", **SIZES)


def from_windows(x: Tensor, f: int, h: int, w: int) -> Tensor:
    """Give the tokens of `x` in raster order: the inverse of `to_windows`, [f·h·w, C] → [f, h, w, C]."""
    by, bx = h // ROWS, w // COLUMNS
    return rearrange(x, f"{WINDOWED} -> {RASTER}", by=by, bx=bx, **SIZES)


def window_order(f: int, h: int, w: int) -> Tensor:
    """Give the raster number (width fastest) of the token at each position of the window order: int64 [f·h·w]."""
    return to_windows(torch.arange(f * h * w).reshape(f, h, w, 1)).flatten()


def local_windows(bh: int, bw: int, local_range: int, device: torch.device | str | None = None) -> Tensor:
    """Say which windows of a slice a window may look at: those at most half of `local_range` away.

    bh, bw:       windows of a slice along height and width; they are numbered row by row
    local_range:  windows, 1 or more; an even one reaches one further up and left
    returns:      bool [n, n], n = bh·bw: from the query window (row) to the key window (column)

    At the border of the picture a window sees fewer neighbours: the range is neither moved nor cut.
    """
    number = torch.arange(bh * bw, device=device)
    row, column = number // bw, number % bw
    return _near(row, local_range) & _near(column, local_range)


def _near(position: Tensor, local_range: int) -> Tensor:
    distance = position[None, :] - position[:, None] + local_range // 2
    return (distance >= 0) & (distance < local_range)
