"""AdaIN in three launches: statistics of frames and references in pieces, then one pass that matches

Definition: `darkroom.kernels.match_colors`. Bytes: each value is read twice and written once, where separate
operations pass over it about ten times. The wavelet, which no pipeline takes unasked, stays torch: its 50 passes in
fp32 come to 5 GB a step at 768 x 1408, some 2 % of the step on a GPU of 3 TB/s.
"""

# mypy: disable-error-code="untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

from darkroom.kernels.fused.norms import EXACT, INTERPRETED, Build, rounded
from darkroom.kernels.match_colors import EPS

PIECE = 16384  # values of a plane that one program holds
WARPS = 16  # 32 values for each thread: with 8, ptxas for sm_80 spills


@triton.jit
def moments_kernel(
    x: tl.tensor,  # [P, SIZE], contiguous
    means: tl.tensor,  # float32 [P, pieces]
    squares: tl.tensor,  # float32 [P, pieces]: sums of squared distances from the mean of the piece
    SIZE: tl.tensor,
    PIECE: tl.constexpr,
) -> None:
    """Give mean and squares of piece program_id(0) of plane program_id(1)."""
    plane, piece = tl.program_id(1), tl.program_id(0)
    place = piece * PIECE + tl.arange(0, PIECE)
    inside = place < SIZE
    value = tl.load(x + plane.to(tl.int64) * SIZE + place, mask=inside, other=0.0).to(tl.float32)
    count = tl.minimum(PIECE, SIZE - piece * PIECE)
    mean = tl.sum(value, 0) / count
    centred = tl.where(inside, value - mean, 0.0)  # a sum of squares alone would lose a flat sky to rounding
    slot = plane * tl.num_programs(0) + piece
    tl.store(means + slot, mean)
    tl.store(squares + slot, tl.sum(centred * centred, 0))


@triton.jit
def whole(
    means: tl.tensor,  # float32 [P, pieces]
    squares: tl.tensor,  # float32 [P, pieces]
    plane: tl.tensor,
    pieces: tl.tensor,
    SIZE: tl.tensor,
    PIECE: tl.constexpr,
    PIECES: tl.constexpr,  # power of two, at least `pieces`
) -> tuple[tl.tensor, tl.tensor]:
    """Give mean and variance of a plane from those of its pieces (Chan, Golub and LeVeque 1979)."""
    piece = tl.arange(0, PIECES)
    known = piece < pieces
    count = tl.where(known, tl.minimum(PIECE, SIZE - piece * PIECE), 0).to(tl.float32)
    part = tl.load(means + plane * pieces + piece, mask=known, other=0.0)
    square = tl.load(squares + plane * pieces + piece, mask=known, other=0.0)
    mean = tl.sum(part * count, 0) / SIZE
    away = tl.where(known, part - mean, 0.0)
    return mean, (tl.sum(square, 0) + tl.sum(away * away * count, 0)) / SIZE


@triton.jit
def match_kernel(
    x: tl.tensor,  # [P, SIZE], contiguous
    y: tl.tensor,  # [P, SIZE], contiguous
    means: tl.tensor,  # float32 [P, pieces] of x, as the next
    squares: tl.tensor,
    wanted_means: tl.tensor,  # float32 [P, wanted_pieces] of the reference, as the next
    wanted_squares: tl.tensor,
    SIZE: tl.tensor,
    WANTED_SIZE: tl.tensor,  # of a plane of the reference
    wanted_pieces: tl.tensor,
    PIECE: tl.constexpr,
    PIECES: tl.constexpr,
    WANTED_PIECES: tl.constexpr,
    EPS: tl.constexpr,
    EMU: tl.constexpr,
) -> None:
    """Match piece program_id(0) of plane program_id(1)."""
    plane, piece = tl.program_id(1), tl.program_id(0)
    mean, variance = whole(means, squares, plane, tl.num_programs(0), SIZE, PIECE, PIECES)
    wanted_mean, wanted_variance = whole(
        wanted_means, wanted_squares, plane, wanted_pieces, WANTED_SIZE, PIECE, WANTED_PIECES
    )
    gain = tl.sqrt((wanted_variance + EPS) / (variance + EPS))
    place = piece * PIECE + tl.arange(0, PIECE)
    at = plane.to(tl.int64) * SIZE + place
    value = tl.load(x + at, mask=place < SIZE, other=0.0).to(tl.float32)
    value = tl.minimum(tl.maximum((value - mean) * gain + wanted_mean, -1.0), 1.0)
    tl.store(y + at, rounded(value, y.dtype.element_ty, EMU).to(y.dtype.element_ty), mask=place < SIZE)


def adain(x: Tensor, reference: Tensor, *, piece: int = PIECE) -> Tensor:
    """Give what `darkroom.kernels.match_colors.adain` gives.

    piece:  values of a program, a power of two; other cuts change sums of fp32 in their last bits
    """
    if x.shape[:2] != reference.shape[:2]:
        raise ValueError(f"{tuple(x.shape[:2])} planes have {tuple(reference.shape[:2])} for reference")
    x, planes, size = x.contiguous(), x.shape[0] * x.shape[1], x.shape[2] * x.shape[3]
    means, squares = _moments(x, piece)
    wanted_means, wanted_squares = _moments(reference.contiguous(), piece)
    y = torch.empty_like(x)
    pieces, wanted_pieces = means.shape[1], wanted_means.shape[1]
    match_kernel[(pieces, planes)](
        x, y, means, squares, wanted_means, wanted_squares,
        size, reference.shape[2] * reference.shape[3], wanted_pieces,
        PIECE=piece, PIECES=triton.next_power_of_2(pieces), WANTED_PIECES=triton.next_power_of_2(wanted_pieces),
        EPS=EPS, EMU=INTERPRETED, num_warps=WARPS, **EXACT,
    )  # fmt: skip
    return y


def _moments(x: Tensor, piece: int) -> tuple[Tensor, Tensor]:
    planes, size = x.shape[0] * x.shape[1], x.shape[2] * x.shape[3]
    pieces = triton.cdiv(size, piece)
    means, squares = x.new_empty((2, planes, pieces), dtype=torch.float32)
    moments_kernel[(pieces, planes)](x, means, squares, size, PIECE=piece, num_warps=WARPS, **EXACT)
    return means, squares


def builds(pieces: int = 512) -> list[Build]:
    """Give every form of the kernels, for compilation without a GPU; 512 pieces make a frame of 4K."""
    options = {"num_warps": WARPS, **EXACT}
    statistics = dict.fromkeys(("means", "squares", "wanted_means", "wanted_squares"), "*fp32")
    match = {"x": "*bf16", "y": "*bf16", "SIZE": "i32", "WANTED_SIZE": "i32", "wanted_pieces": "i32"} | statistics
    shared = {"PIECE": PIECE, "PIECES": pieces, "WANTED_PIECES": pieces, "EPS": EPS, "EMU": False}
    moments = {"x": "*bf16", "means": "*fp32", "squares": "*fp32", "SIZE": "i32"}
    return [
        (moments_kernel, moments, {"PIECE": PIECE}, options),
        (match_kernel, match, shared, options),
    ]
