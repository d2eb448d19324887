import io
from pathlib import Path
from typing import Any

import numpy as np
import pikepdf
import pypdfium2
import pytest
from documents import scan, streams_of
from PIL import Image

from darkroom.pipelines.ocr.document import probe, render
from darkroom.pipelines.ocr.outputs.embed import compressed, image_pdf, reduced
from darkroom.pipelines.ocr.picture import Picture


def embedded(path: Path, **how: bool) -> pikepdf.Pdf:
    return pikepdf.open(io.BytesIO(image_pdf(probe(path), **how)))


def shown(path: Path) -> np.ndarray[Any, Any]:
    """Give the first page as it is drawn, with the pixels of the image file."""
    facts = probe(path)
    with pypdfium2.PdfDocument(image_pdf(facts)) as document:
        page = document[0]
        scale = facts.pages[0].width / page.get_width()
        drawn: np.ndarray[Any, Any] = page.render(scale=scale, rev_byteorder=True).to_numpy().copy()
        return drawn


def test_a_jpeg_keeps_its_bytes(tmp_path: Path) -> None:
    path = scan(tmp_path / "a.jpg", quality=60)
    out = tmp_path / "a.pdf"
    out.write_bytes(image_pdf(probe(path)))
    assert streams_of(out) == [path.read_bytes()]


def test_a_png_keeps_its_compressed_pixels(tmp_path: Path) -> None:
    path = scan(tmp_path / "a.png")
    out = tmp_path / "a.pdf"
    out.write_bytes(image_pdf(probe(path)))
    (stream,) = streams_of(out)
    pieces, data = [], path.read_bytes()[8:]
    while data:
        length, kind = int.from_bytes(data[:4], "big"), data[4:8]
        pieces += [data[8 : 8 + length]] if kind == b"IDAT" else []
        data = data[12 + length :]
    assert stream == b"".join(pieces)


def test_a_fax_keeps_its_compressed_pixels(tmp_path: Path) -> None:
    Image.new("1", (640, 400), 1).save(tmp_path / "a.tif", compression="group4", dpi=(200, 200))
    with embedded(tmp_path / "a.tif") as document:
        image = next(iter(document.pages[0].get_images().values()))
        assert list(image.Filter) == ["/CCITTFaxDecode"]


def test_every_frame_of_a_tiff_is_a_page_of_its_size(tmp_path: Path) -> None:
    frames = [Image.new("L", (300, 200 + 100 * number), 200) for number in range(3)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:], dpi=(150, 150))
    with embedded(tmp_path / "a.tif") as document:
        assert [[float(side) for side in page.mediabox] for page in document.pages] == [
            [0, 0, 144, 96],
            [0, 0, 144, 144],
            [0, 0, 144, 192],
        ]


def test_a_picture_that_cannot_be_taken_over_as_it_is_stored_is_compressed_again(tmp_path: Path) -> None:
    path = scan(tmp_path / "a.png")
    path.write_bytes(path.read_bytes() + b"\0\0\xff\0tEXt" + b"of no use")  # behind the end of the picture
    with embedded(path) as document:
        assert len(document.pages) == 1


def test_a_picture_of_unknown_resolution_fits_a4(tmp_path: Path) -> None:
    with embedded(scan(tmp_path / "a.png", width=3000, height=2000, dpi=(72, 72))) as document:
        _, _, width, height = (float(side) for side in document.pages[0].mediabox)
    assert (width, height) == pytest.approx((841.89, 561.26), abs=0.1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_shown_as_it_is_read(orientation: int, tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 200), "white")
    image.paste((200, 0, 0), (0, 0, 60, 60))
    image.paste((0, 0, 200), (240, 0, 300, 30))
    exif = Image.Exif()
    exif[0x112] = orientation
    path = tmp_path / "a.jpg"
    image.save(path, exif=exif, dpi=(150, 150), quality=95)
    drawn, read = shown(path), render(probe(path), 0, 0).rgb
    assert drawn.shape == read.shape
    assert np.abs(drawn.astype(int) - read).mean() < 3


@pytest.mark.parametrize(
    ("name", "mode", "colour"),
    [
        ("a.png", "RGBA", (250, 250, 250, 255)),
        ("a.png", "LA", (250, 128)),
        ("a.png", "P", 3),
        ("a.png", "I;16", 40_000),
        ("a.tif", "I;16", 40_000),
        ("a.tif", "CMYK", (10, 200, 30, 0)),
        ("a.jpg", "CMYK", (10, 200, 30, 0)),
        ("a.jpg", "L", 90),
        ("a.bmp", "RGB", (1, 2, 3)),
        ("a.gif", "P", 3),
        ("a.webp", "RGB", (90, 80, 70)),
    ],
)
def test_any_image_pillow_reads_becomes_a_page(name: str, mode: str, colour: Any, tmp_path: Path) -> None:
    image = Image.new(mode, (80, 60), 0)
    image.paste(colour, (20, 20, 60, 40))
    image.save(tmp_path / name)
    with embedded(tmp_path / name) as document:
        assert len(document.pages) == 1
        assert len(document.pages[0].get_images()) == 1


def test_only_rgb_leaves_no_cmyk(tmp_path: Path) -> None:
    Image.new("CMYK", (80, 60), (10, 200, 30, 0)).save(tmp_path / "a.jpg")
    for only_rgb, space in ((False, "/DeviceCMYK"), (True, "/DeviceRGB")):
        with embedded(tmp_path / "a.jpg", only_rgb=only_rgb) as document:
            (image,) = document.pages[0].get_images().values()
            assert image.ColorSpace == space


def test_a_lossy_format_pdf_does_not_know_does_not_grow_tenfold(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (75, 100, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((1000, 750), Image.Resampling.BICUBIC).save(tmp_path / "a.webp", quality=80)
    assert len(image_pdf(probe(tmp_path / "a.webp"))) < 4 * (tmp_path / "a.webp").stat().st_size


@pytest.mark.parametrize(
    ("pixels", "mode"),
    [
        (np.zeros((4, 4, 3), np.uint8), "1"),
        (np.full((4, 4, 3), 128, np.uint8), "L"),
        (np.array([[[0, 0, 1]]], np.uint8), "RGB"),
    ],
)
def test_pixels_take_no_more_bits_than_they_need(pixels: np.ndarray[Any, Any], mode: str) -> None:
    image = reduced(pixels)
    assert image.mode == mode
    assert np.array_equal(np.array(image.convert("RGB")), pixels)


def test_lossless_means_equal_pixels() -> None:
    noise = np.random.default_rng(2).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(compressed(Picture(rgb=noise, dpi=300), lossy=False))) as image:
        assert np.array_equal(np.array(image), noise)
        assert round(image.info["dpi"][0]) == 300
