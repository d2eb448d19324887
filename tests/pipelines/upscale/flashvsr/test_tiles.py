from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
import torch
from goldens import facts, golden
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from darkroom.pipelines.upscale.flashvsr.noise import latent_noise
from darkroom.pipelines.upscale.flashvsr.prepare import GRID, VAE_STRIDE, canvas_size, low_quality
from darkroom.pipelines.upscale.flashvsr.tiles import Tile, spans, starts, tiles

SIZES = st.integers(1, 1500)


def blend(parts: Iterable[tuple[Tile, Tensor]], height: int, width: int) -> Tensor:
    """Sum the frames [T, C, H, W] of all tiles by their weights, and drop what lies beyond the picture."""
    laid = [(tile, frames, whole_of(tile)) for tile, frames in parts]
    bottom, right = (max(tile.box[side].stop for tile, *_ in laid) for side in (0, 1))
    whole = laid[0][1].new_zeros((*laid[0][1].shape[:2], bottom, right), dtype=torch.float32)
    for tile, frames, weights in laid:
        whole[..., *tile.box] += frames * weights
    return whole[..., :height, :width]


def whole_of(tile: Tile) -> Tensor:
    """Return the share [H, W] that a tile has in each of its pixels."""
    return torch.outer(torch.tensor(tile.down.weights), torch.tensor(tile.across.weights))


@st.composite
def layouts(draw: st.DrawFn) -> tuple[int, int, tuple[Tile, ...]]:
    height, width, tile = draw(SIZES), draw(SIZES), draw(st.integers(32, 300))
    scale = draw(st.sampled_from([Fraction(1), Fraction(2), Fraction(3), Fraction(4), Fraction(5, 2)]))
    overlap = draw(st.integers(0, tile // 2))
    return height, width, tiles(height, width, scale=scale, tile=tile, overlap=overlap)


@pytest.mark.parametrize("case", facts("tile_coords"), ids=lambda case: f"{case['H']}x{case['W']}")
def test_tiles_lie_where_the_reference_s_do(case: dict[str, Any]) -> None:
    length, overlap = case["tile"], case["overlap"]
    found = [
        [left, top, min(left + length, case["W"]), min(top + length, case["H"])]
        for top in starts(case["H"], length, overlap)
        for left in starts(case["W"], length, overlap)
    ]
    assert found == case["coords"]


def test_blending_agrees_with_the_reference_where_one_tile_lies_alone_and_mixes_the_same_tiles_elsewhere() -> None:
    wanted = golden("tiling")
    height, width, length, overlap = (wanted.meta[key] * wanted.meta["scale"] for key in ("H", "W", "tile", "overlap"))
    laid = [
        Tile(down=down, across=across)
        for down in spans(height, length, overlap)
        for across in spans(width, length, overlap)
    ]
    frames = [wanted[f"tile{index}"].permute(0, 3, 1, 2) for index in range(len(laid))]
    found = blend(zip(laid, frames, strict=True), height, width)
    stitched = wanted["stitched"].permute(0, 3, 1, 2)
    covered, low, high = (
        torch.zeros(height, width),
        torch.full_like(found, torch.inf),
        torch.full_like(found, -torch.inf),
    )
    for tile, frame in zip(laid, frames, strict=True):
        covered[tile.box] += 1
        low[..., *tile.box] = low[..., *tile.box].minimum(frame)
        high[..., *tile.box] = high[..., *tile.box].maximum(frame)
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[1:-1, 1:-1] = True  # on the outermost lines the reference is black: its defect, not ours
    alone = inside & (covered == 1)
    assert alone.any()
    torch.testing.assert_close(found[..., alone], stitched[..., alone], rtol=0, atol=1e-6)
    assert ((found >= low - 1e-6) & (found <= high + 1e-6)).all()


@given(layouts())
def test_tiles_are_of_one_size_on_the_grid_and_within_the_canvas(layout: tuple[int, int, tuple[Tile, ...]]) -> None:
    height, width, found = layout
    rows, columns = canvas_size(height, width)
    assert len({(len(tile.down.weights), len(tile.across.weights)) for tile in found}) == 1
    for tile in found:
        for side, end in ((tile.down, rows), (tile.across, columns)):
            assert side.start % VAE_STRIDE == 0
            assert (side.stop - side.start) % GRID == 0
            assert 0 <= side.start < side.stop <= end


@given(layouts())
def test_weights_are_positive_and_add_up_to_one_everywhere(layout: tuple[int, int, tuple[Tile, ...]]) -> None:
    height, width, found = layout
    for side, size in (("down", height), ("across", width)):
        total = torch.zeros(2 * max(GRID, size) + GRID, dtype=torch.float64)
        for span in {getattr(tile, side) for tile in found}:
            assert min(span.weights) > 0
            total[span.start : span.stop] += torch.tensor(span.weights, dtype=torch.float64)
        torch.testing.assert_close(total[:size], torch.ones(size, dtype=torch.float64), rtol=0, atol=1e-12)


@given(SIZES, st.integers(32, 300), st.integers(1, 4), st.data())
def test_neighbours_share_what_was_asked_for(size: int, tile: int, scale: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, tile // 2))
    laid = tiles(1, size, scale=scale, tile=tile, overlap=overlap)
    assert all(left.across.stop - right.across.start >= overlap * scale for left, right in pairwise(laid))
    assert len(laid[0].across.weights) < tile * scale + GRID


def picture(height: int, width: int) -> Tensor:
    """Gradients along both sides, and one flat channel."""
    rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    flat = torch.full((height, width), 0.7)
    return torch.stack((rows[:, None].expand(height, width), columns.expand(height, width), flat))[None]


@pytest.mark.parametrize("size", [(300, 520), (100, 700), (641, 383)])
def test_a_picture_cut_into_tiles_comes_back(size: tuple[int, int]) -> None:
    height, width = size
    whole = torch.zeros(2, 3, *canvas_size(height, width))
    whole[..., :height, :width] = picture(height, width)
    laid = tiles(height, width, scale=2, tile=100, overlap=20)
    assert len(laid) > 1
    found = blend(((tile, whole[..., *tile.box]) for tile in laid), height, width)
    torch.testing.assert_close(found, whole[..., :height, :width], rtol=0, atol=1e-6)


def test_a_seam_is_crossed_in_a_straight_ramp() -> None:
    left, right = spans(20, 12, 4)
    torch.testing.assert_close(torch.tensor(left.weights), torch.tensor([1.0] * 8 + [0.8, 0.6, 0.4, 0.2]))
    assert right.weights == left.weights[::-1]


def test_without_tiles_the_canvas_is_one() -> None:
    (only,) = tiles(270, 300)
    assert only.box == (slice(0, 384), slice(0, 384))
    frames = torch.rand(1, 3, 384, 384)
    assert torch.equal(blend([(only, frames)], 270, 300), frames[..., :270, :300])


def test_tiles_are_no_larger_than_it_takes() -> None:
    found = tiles(1080, 1920, scale=4, tile=256, overlap=24)
    assert [tile.box for tile in found] == [
        (rows, columns) for rows in (slice(0, 640), slice(440, 1080)) for columns in (slice(0, 1024), slice(896, 1920))
    ]


def test_tiles_share_the_low_quality_frames_and_the_noise_of_the_canvas() -> None:
    rgb = torch.randint(0, 256, (1, 3, 50, 90), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    whole = low_quality(rgb, 200, 360, torch.float32)
    noise = latent_noise(0, 5, 16, whole.shape[-2] // VAE_STRIDE, whole.shape[-1] // VAE_STRIDE)
    laid = tiles(200, 360, scale=4, tile=32, overlap=8)
    for tile in laid:
        assert torch.equal(low_quality(rgb, 200, 360, torch.float32, box=tile.box), whole[..., *tile.box])
        assert noise[..., *tile.latents].shape == (16, GRID // VAE_STRIDE, GRID // VAE_STRIDE)
    one, next_one = laid[0], laid[1]
    shift = next_one.latents[1].start
    assert torch.equal(noise[..., *one.latents][..., shift:], noise[..., *next_one.latents][..., :, : 16 - shift])


@pytest.mark.parametrize("overlap", [-1, 65])
def test_an_overlap_beyond_half_a_tile_is_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match="half of the tile's 128"):
        tiles(500, 500, tile=128, overlap=overlap)
