import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkroom.pipelines import image_file
from darkroom.pipelines.errors import Rejected, Unavailable
from darkroom.pipelines.ocr import picture as module
from darkroom.pipelines.ocr.picture import load_picture

DARK, BRIGHT = 60, 200


def drawing(size: tuple[int, int] = (120, 80)) -> Image.Image:
    """A white page, black in its upper left quarter."""
    image = Image.new("L", size, 255)
    image.paste(0, (0, 0, size[0] // 2, size[1] // 2))
    return image


def corners(path: Path) -> list[bool]:
    """Whether each corner of the picture is dark: upper left, upper right, lower right, lower left."""
    rgb = load_picture(path).rgb
    assert rgb.dtype == np.uint8
    return [bool(rgb[y, x].max() < DARK) for y, x in ((2, 2), (2, -3), (-3, -3), (-3, 2))]


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("1", "png"), ("1", "tif"), ("L", "jpg"), ("LA", "png"), ("P", "tif"), ("P", "gif"), ("RGB", "webp"),
        ("RGBA", "png"), ("CMYK", "jpg"), ("CMYK", "tif"), ("YCbCr", "jpg"), ("LAB", "tif"), ("I", "tif"), ("F", "tif"),
    ],
)  # fmt: skip
def test_every_kind_of_pixel_becomes_rgb(mode: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"page.{suffix}"
    source = drawing().convert("RGB" if mode not in ("I", "F") else "L")
    (source.convert(mode) if mode != "LAB" else lab(source)).save(path)
    assert corners(path) == [True, False, False, False]


def lab(image: Image.Image) -> Image.Image:
    bright = image.convert("L")
    even = Image.new("L", image.size, 128)
    return Image.merge("LAB", (bright, even, even))


@pytest.mark.parametrize("deepest", [1023, 4095, 65535])
def test_ten_twelve_and_sixteen_bits_are_stretched(deepest: int, tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    values = (np.array(drawing(), dtype=np.float64) / 255 * deepest).astype(np.uint16)
    Image.fromarray(values).save(path)
    assert corners(path) == [True, False, False, False]


def test_one_even_deep_page_is_white(tmp_path: Path) -> None:
    path = tmp_path / "even.png"
    Image.fromarray(np.full((20, 30), 40_000, dtype=np.uint16)).save(path)
    assert load_picture(path).rgb.min() == 255


@pytest.mark.parametrize("ink", ["white", "black"])
def test_transparency_is_laid_on_what_the_ink_stands_out_from(ink: str, tmp_path: Path) -> None:
    image = Image.new("RGBA", (60, 40), (128, 128, 128, 0))
    image.paste(ink, (0, 0, 30, 20))
    image.save(tmp_path / "ink.png")
    rgb = load_picture(tmp_path / "ink.png").rgb
    assert abs(int(rgb[5, 5, 0]) - int(rgb[35, 55, 0])) == 255
    image.convert("P").save(tmp_path / "palette.png", transparency=image.convert("P").getpixel((50, 30)))
    rgb = load_picture(tmp_path / "palette.png").rgb
    assert abs(int(rgb[5, 5, 0]) - int(rgb[35, 55, 0])) > BRIGHT


@pytest.mark.parametrize(("orientation", "dark"), [(1, 0), (3, 2), (6, 1), (8, 3), (2, 1)])
def test_the_orientation_in_exif_is_obeyed(orientation: int, dark: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    drawing().save(tmp_path / "photo.jpg", exif=exif)
    assert corners(tmp_path / "photo.jpg") == [index == dark for index in range(4)]


def test_each_frame_of_a_tiff_is_a_page(tmp_path: Path) -> None:
    path = tmp_path / "fax.tif"
    sizes = [(120, 80), (60, 90)]
    first, *rest = (drawing(size).convert("1") for size in sizes)
    first.save(path, save_all=True, append_images=rest, dpi=(204, 204), compression="group4")
    assert [(load_picture(path, frame).width, load_picture(path, frame).height) for frame in (0, 1)] == sizes
    assert load_picture(path).dpi == pytest.approx(204, abs=0.1)
    with pytest.raises(Rejected, match="no picture 3"):
        load_picture(path, 2)


@pytest.mark.parametrize(("said", "known"), [(300, 300), (72, 0), (96, 0), (1, 0), (65535, 0)])
def test_a_resolution_nobody_measured_is_not_known(said: int, known: int, tmp_path: Path) -> None:
    drawing().save(tmp_path / "page.jpg", dpi=(said, said))
    assert load_picture(tmp_path / "page.jpg").dpi == pytest.approx(known)


def test_too_many_pixels_are_scaled_down_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_PIXELS", 2400)
    drawing().save(tmp_path / "poster.png", dpi=(300, 300))
    found = load_picture(tmp_path / "poster.png")
    assert (found.width, found.height) == (60, 40)
    assert found.dpi == pytest.approx(150, abs=0.1)
    assert found.warnings == ("scaled from 120x80 to 60x40 pixels",)


def test_a_file_that_would_fill_the_memory_is_rejected_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing().save(tmp_path / "bomb.png")
    monkeypatch.setattr(image_file, "DEEPEST_PIXELS", 9599)
    with pytest.raises(Rejected, match="120x80 pixels"):
        load_picture(tmp_path / "bomb.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "gif", "webp"])
def test_a_file_cut_short_is_rejected(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(1).integers(0, 255, (80, 120, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for kept in (0, 3, 40, len(whole) // 2):
        path.write_bytes(whole[:kept])
        with pytest.raises(Rejected, match=rf"^cut\.{suffix}: .*save it anew$"):
            load_picture(path)


def test_a_file_that_is_gone_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        load_picture(tmp_path / "gone.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_the_machines_fault(tmp_path: Path) -> None:
    drawing().save(tmp_path / "closed.png")
    (tmp_path / "closed.png").chmod(0)
    with pytest.raises(Unavailable, match="cannot be read"):
        load_picture(tmp_path / "closed.png")


def test_turning_is_clockwise_and_four_times_is_none(tmp_path: Path) -> None:
    drawing().save(tmp_path / "page.png", dpi=(200, 200))
    found = load_picture(tmp_path / "page.png")
    quarter = found.turned(90)
    assert (quarter.width, quarter.height, quarter.dpi) == (80, 120, found.dpi)
    assert quarter.rgb[2, -3].max() < DARK
    assert np.array_equal(quarter.turned(270).rgb, found.rgb)
    assert np.array_equal(found.turned(180).rgb, quarter.turned(90).rgb)
