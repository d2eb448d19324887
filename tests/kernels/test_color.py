from itertools import product
from typing import get_args

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from darkroom.kernels.color import LUMA, STEPS, YUV, Matrix, Planes, Siting, to_planes, to_rgb

Floats = NDArray[np.float64]
ALL = [
    YUV(layout=layout, matrix=matrix, full_range=full, siting=siting)
    for layout, matrix, full in product(STEPS, LUMA, (False, True))
    for siting in get_args(Siting)
]


def encode(rgb: Floats, yuv: YUV) -> list[Floats]:
    """The definition, pixel by pixel in double precision: matrix first, then chroma at its place."""
    red, blue = LUMA[yuv.matrix]
    y = red * rgb[0] + (1 - red - blue) * rgb[1] + blue * rgb[2]
    chroma = [(rgb[2] - y) / (2 - 2 * blue), (rgb[0] - y) / (2 - 2 * red)]
    if yuv.down:
        chroma = [halve(c, yuv.siting == "topleft") for c in chroma]
    if yuv.across:
        chroma = [halve(np.transpose(c), yuv.siting != "center").transpose() for c in chroma]
    black, luma, span = (0, 255, 255) if yuv.full_range else (16, 219, 224)
    planes: list[Floats] = [black + luma * y, *(128 + span * c for c in chroma)]
    return planes


def halve(c: Floats, cosited: bool) -> Floats:
    """Rows two by two: their mean, or 1:2:1 around the first of them."""
    at = np.arange(0, len(c), 2)
    before, after = np.maximum(at - 1, 0), np.minimum(at + 1, len(c) - 1)
    result: Floats = (c[before] + 2 * c[at] + c[after]) / 4 if cosited else (c[at] + c[after]) / 2
    return result


def decode(planes: list[Floats], yuv: YUV) -> Floats:
    """The definition of the way in: linear interpolation at each pixel's place, then the matrix."""
    height, width = planes[0].shape
    black, luma, span = (0, 255, 255) if yuv.full_range else (16, 219, 224)
    y, (u, v) = (planes[0] - black) / luma, ((p - 128.0) / span for p in planes[1:])
    if yuv.down:
        u, v = (double(c, height, yuv.siting == "topleft") for c in (u, v))
    if yuv.across:
        u, v = (double(np.transpose(c), width, yuv.siting != "center").transpose() for c in (u, v))
    red, blue = LUMA[yuv.matrix]
    r, b = y + (2 - 2 * red) * v, y + (2 - 2 * blue) * u
    rgb: Floats = np.clip(np.array([r, (y - red * r - blue * b) / (1 - red - blue), b]), 0, 1)
    return rgb


def double(c: Floats, size: int, cosited: bool) -> Floats:
    places = np.arange(size) / 2 - (0 if cosited else 0.25)
    low = np.floor(places)
    part = (places - low)[:, None]
    rows = np.clip(np.array([low, low + 1]).astype(int), 0, len(c) - 1)
    result: Floats = (1 - part) * c[rows[0]] + part * c[rows[1]]
    return result


def random_planes(yuv: YUV, height: int, width: int) -> Planes:
    down, across = STEPS[yuv.layout]
    generator = torch.Generator().manual_seed(height * width)
    chroma = (-(-height // down), -(-width // across))
    shapes = ((height, width), chroma, chroma)
    y, u, v = (torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8) for shape in shapes)
    return y, u, v


@pytest.mark.parametrize("yuv", ALL, ids=str)
@pytest.mark.parametrize(("height", "width"), [(16, 24), (17, 23), (1, 1), (2, 3)])
def test_planes_become_rgb_as_defined(yuv: YUV, height: int, width: int) -> None:
    planes = random_planes(yuv, height, width)
    expected = decode([plane.numpy().astype(np.float64) for plane in planes], yuv)
    assert np.abs(to_rgb(planes, yuv)[0].numpy() - expected).max() < 2e-6  # fp32 sums


@pytest.mark.parametrize("yuv", ALL, ids=str)
@pytest.mark.parametrize(("height", "width"), [(16, 24), (17, 23), (1, 1), (2, 3)])
def test_rgb_becomes_planes_as_defined(yuv: YUV, height: int, width: int) -> None:
    rgb = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(width))
    for plane, exact in zip(to_planes(rgb, yuv), encode(rgb[0].double().numpy(), yuv), strict=True):
        assert plane.shape == exact.shape
        assert plane.is_contiguous()
        # nearest level, with fp32's doubt at the halves; a level beyond 255 is 255
        assert np.abs(plane.numpy() - np.clip(exact, 0, 255)).max() < 0.5005


@pytest.mark.parametrize("yuv", ALL, ids=str)
def test_black_white_and_primaries_have_their_standard_levels(yuv: YUV) -> None:
    black, luma, span = (0, 255, 255) if yuv.full_range else (16, 219, 224)
    for color in product((0.0, 1.0), repeat=3):
        y, u, v = to_planes(torch.tensor(color).reshape(1, 3, 1, 1).expand(1, 3, 4, 4), yuv)
        red, blue = LUMA[yuv.matrix]
        brightness = red * color[0] + (1 - red - blue) * color[1] + blue * color[2]
        assert (y.float() - (black + luma * brightness)).abs().max() <= 0.501
        u_exact = min(128 + span * (color[2] - brightness) / (2 - 2 * blue), 255)
        v_exact = min(128 + span * (color[0] - brightness) / (2 - 2 * red), 255)
        assert (u.float() - u_exact).abs().max() <= 0.501
        assert (v.float() - v_exact).abs().max() <= 0.501


@pytest.mark.parametrize("matrix", LUMA)
@pytest.mark.parametrize("full", [False, True])
def test_a_picture_survives_the_way_there_and_back(matrix: Matrix, full: bool) -> None:
    """4:4:4 of colours inside the RGB cube: at most one level off, for RGB between is not rounded."""
    yuv = YUV(layout="yuv444p", matrix=matrix, full_range=full)
    planes = to_planes(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3)), yuv)
    again = to_planes(to_rgb(planes, yuv), yuv)
    for plane, back in zip(planes, again, strict=True):
        assert (plane.int() - back.int()).abs().max() <= 1


@pytest.mark.parametrize("layout", STEPS)
@pytest.mark.parametrize(("matrix", "space"), [("bt601", Colorspace.ITU601), ("bt709", Colorspace.ITU709)])
@pytest.mark.parametrize("full", [False, True])
def test_swscale_agrees_on_a_smooth_picture(layout: str, matrix: Matrix, space: Colorspace, full: bool) -> None:
    down, right = np.mgrid[0:96, 0:128]
    rgb = np.stack((right * 1.5 + 20, down * 2 + 10, 180 - right - down / 2), -1).clip(0, 255).astype(np.uint8)
    color_range = ColorRange.JPEG if full else ColorRange.MPEG
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
        format=layout, dst_colorspace=space, dst_color_range=color_range, interpolation="BICUBIC"
    )
    yuv = YUV(layout=layout, matrix=matrix, full_range=full)
    ours = to_planes(torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255, yuv)
    for plane, swscale in zip(ours, frame.planes, strict=True):
        theirs = np.frombuffer(memoryview(swscale), np.uint8).reshape(swscale.height, swscale.line_size)[
            :, : swscale.width
        ]
        inner = np.abs(plane.numpy().astype(int) - theirs)[2:-2, 2:-2]
        # swscale computes in 14-bit integers and leans down by up to a level in full range
        assert inner.max() <= 2
        assert inner.mean() < 1
