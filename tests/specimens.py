"""Whole files of the formats that are taken, small ones, to be damaged; and bombs, which are whole and absurd."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pikepdf
from clips.shapes import B_FRAMES, film
from documents import pdf, scan, shown
from PIL import Image

SIZE = (96, 64)
FRAMES = 12

FILMS: dict[str, dict[str, Any]] = {  # by suffix: how each is encoded
    "mp4": {"sound": True},
    "mov": {"codec": "mjpeg", "layout": "yuvj420p", "options": {}},
    "mkv": {"sound": True},
    "webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "avi": {"codec": "mpeg4", "options": {}},
    "ts": {"sound": True},
    "mpg": {"codec": "mpeg2video", "options": {}},
    "flv": {"codec": "flv", "options": {}},
    "wmv": {"codec": "wmv2", "options": {}},
    "nut": {"codec": "ffv1", "options": {}},
    "m4v": {"options": {**B_FRAMES, "g": "4"}, "muxing": {"movflags": "frag_keyframe+empty_moov"}},
}
IMAGES = ("png", "jpg", "webp", "tif", "bmp", "gif", "jp2", "avif", "ppm")


def films(folder: Path) -> list[Path]:
    """Write one film of each kind of container."""
    return [film(folder / f"film.{suffix}", frames=FRAMES, size=SIZE, **how) for suffix, how in FILMS.items()]


def images(folder: Path) -> list[Path]:
    """Write one picture of each format; the TIFF has two."""
    more: dict[str, dict[str, Any]] = {
        "tif": {"save_all": True, "append_images": [Image.new("L", (40, 30), 200)], "compression": "tiff_lzw"},
    }
    return [scan(folder / f"page.{suffix}", width=240, height=160, **more.get(suffix, {})) for suffix in IMAGES]


def pdfs(folder: Path) -> list[Path]:
    """Write a PDF that carries text, and one that holds a picture in a compressed stream."""
    words = pdf(folder / "words.pdf", [shown("its own words"), shown("a second page")])
    picture = folder / "picture.pdf"
    with pikepdf.Pdf.new() as document:
        page = document.add_blank_page(page_size=(120, 80)).obj
        pixels = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
        page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(P=_image_object(document, pixels)))
        page.Contents = document.make_stream(b"120 0 0 80 0 0 cm /P Do")
        document.save(picture, static_id=True)
    return [words, picture]


def _image_object(document: pikepdf.Pdf, pixels: "np.ndarray[Any, Any]") -> pikepdf.Object:
    stream = pikepdf.Stream(document, zlib.compress(pixels.tobytes()), Filter=pikepdf.Name.FlateDecode)
    height, width = pixels.shape[:2]
    for name, value in {"Width": width, "Height": height, "BitsPerComponent": 8}.items():
        stream[f"/{name}"] = value
    stream.Type, stream.Subtype, stream.ColorSpace = (
        pikepdf.Name.XObject,
        pikepdf.Name.Image,
        pikepdf.Name.DeviceRGB,
    )
    return document.make_indirect(stream)
