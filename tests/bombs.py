"""Files of a few kilobytes that claim, or unfold to, more than any machine has; each is refused or survived."""

import io
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pikepdf
from clips.shapes import film
from fuzz import pieces
from pikepdf import Array, Dictionary, Name
from PIL import Image

SIDE = 60_000
WITHIN = 13_200  # a side of a picture of nearly as many pixels as are still decoded
FILMS = {"size": (96, 64), "frames": 12}


def png(path: Path, side: int, *, depth: int = 1, color: int = 3, whole: bool = True) -> Path:
    """Write a PNG of one color, `side` pixels a side, by default of two entries of a palette that are half clear."""
    row = bytes(1 + side * depth * {3: 1, 0: 1, 6: 4}[color] // 8)
    squeeze = zlib.compressobj(1)
    pixels = b"".join(squeeze.compress(row) for _ in range(side if whole else 8)) + squeeze.flush()
    header = struct.pack(">2I5B", side, side, depth, color, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"PLTE", bytes(6)), (b"tRNS", b"\x80\x80"), (b"IDAT", pixels), (b"IEND", b"")]
    kept = [chunk for chunk in chunks if color == 3 or chunk[0] not in (b"PLTE", b"tRNS")]
    written = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in kept
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + written)
    return path


def tiff_of_many(path: Path, pages: int = 20_000) -> Path:
    """Write a TIFF with so many directories that all show the same few pixels."""
    tags = ((256, 20), (257, 20), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 20), (279, 400))
    size = 2 + 12 * len(tags) + 4
    made = bytearray(struct.pack("<2sHI", b"II", 42, 408) + bytes(400))
    for page in range(pages):
        made += struct.pack("<H", len(tags)) + b"".join(struct.pack("<2H2I", tag, 4, 1, value) for tag, value in tags)
        made += struct.pack("<I", 408 + (page + 1) * size if page + 1 < pages else 0)
    path.write_bytes(made)
    return path


def claims(path: Path, at: int, width: str, *sides: int) -> Path:
    """Write a small picture whose header claims other sides."""
    small = io.BytesIO()
    Image.new("RGB", (32, 32)).save(small, path.suffix[1:].upper())
    data = bytearray(small.getvalue())
    struct.pack_into(width, data, at, *sides)
    path.write_bytes(data)
    return path


# -- films -----------------------------------------------------------------------------------------------------------


def patched(path: Path, source: Path, box: bytes, at: int, *numbers: int) -> Path:
    """Write `source`, an mp4, with 32-bit `numbers` from byte `at` on of the body of each `box`."""
    data = bytearray(source.read_bytes())
    for piece in pieces(bytes(data)):
        if data[piece.start + 4 : piece.body] == box:
            struct.pack_into(f">{len(numbers)}I", data, piece.body + at, *numbers)
    path.write_bytes(data)
    return path


def vp8(path: Path) -> Path:
    """Write a WebM whose pictures are far larger than the container says."""
    film(path, codec="libvpx", options={"deadline": "realtime", "cpu-used": "8"}, size=(96, 64), frames=12)
    data = bytearray(path.read_bytes())
    start = data.index(b"\x9d\x01\x2a")
    data[start + 3 : start + 7] = b"\xff\x3f\xff\x3f"
    path.write_bytes(data)
    return path


def mp4(path: Path, box: bytes, at: int, *numbers: int) -> Path:
    """Write a film of which one box lies."""
    return patched(path, film(path, size=(96, 64), frames=12), box, at, *numbers)


# -- PDFs ------------------------------------------------------------------------------------------------------------


def pdf(path: Path, draw: Callable[[pikepdf.Pdf, pikepdf.Object], None]) -> Path:
    """Write a PDF of one page, which `draw` completes."""
    with pikepdf.Pdf.new() as document:
        page = document.add_blank_page(page_size=(200, 100)).obj
        draw(document, page)
        document.save(path, static_id=True, stream_decode_level=pikepdf.StreamDecodeLevel.none)
    return path


def deflated_twice(document: pikepdf.Pdf, page: pikepdf.Object) -> None:
    """Give the page a content of 256 MiB in some hundred bytes."""
    squeeze = zlib.compressobj()
    block = b"0 0 m 9 9 l S\n" * 75_000
    once = b"".join(squeeze.compress(block) for _ in range(256)) + squeeze.flush()
    page.Contents = pikepdf.Stream(document, zlib.compress(once), Filter=Array([Name.FlateDecode] * 2))


def huge_picture(document: pikepdf.Pdf, page: pikepdf.Object) -> None:
    """Show a picture on the page that claims 60,000 pixels a side."""
    image = pikepdf.Stream(document, zlib.compress(bytes(10**6)), Filter=Name.FlateDecode)
    image.Type, image.Subtype, image.ColorSpace = Name.XObject, Name.Image, Name.DeviceRGB
    image.Width, image.Height, image.BitsPerComponent = SIDE, SIDE, 8
    page.Resources = Dictionary(XObject=Dictionary(P=document.make_indirect(image)))
    page.Contents = document.make_stream(b"200 0 0 100 0 0 cm /P Do")


def huge_page(document: pikepdf.Pdf, page: pikepdf.Object) -> None:
    """Make the page 160 km wide."""
    page.MediaBox, page.UserUnit = Array([0, 0, 10**9, 10**9]), 1000
    page.Contents = document.make_stream(b"0 0 100 100 re f")


def forms_of_forms(document: pikepdf.Pdf, page: pikepdf.Object) -> None:
    """Draw a form of ten forms of ten forms: a hundred million rectangles."""
    inner = document.make_stream(b"0 0 9 9 re f", Type=Name.XObject, Subtype=Name.Form, BBox=Array([0, 0, 9, 9]))
    for _ in range(8):
        outer = document.make_stream(b"/F Do " * 10, Type=Name.XObject, Subtype=Name.Form, BBox=Array([0, 0, 9, 9]))
        outer.Resources = Dictionary(XObject=Dictionary(F=inner))
        inner = outer
    page.Resources = Dictionary(XObject=Dictionary(F=inner))
    page.Contents = document.make_stream(b"/F Do")


def endless_kids(document: pikepdf.Pdf, page: pikepdf.Object) -> None:
    """Have 10 kids on each of 9 levels of the page tree: a billion pages, all the same."""
    node = page
    for level in range(9):
        kids = Array([node] * 10)
        node = document.make_indirect(Dictionary(Type=Name.Pages, Kids=kids, Count=10 ** (level + 1)))
    document.Root.Pages = node


BOMBS: dict[str, tuple[str, Callable[[Path], Path]]] = {  # by file name: the verb that gets it, and how it is made
    "claims.png": ("ocr", lambda path: png(path, SIDE, whole=False)),
    "palette.png": ("ocr", lambda path: png(path, WITHIN)),
    "deep.png": ("ocr", lambda path: png(path, WITHIN, depth=16, color=0)),
    "still.png": ("animate", lambda path: png(path, WITHIN)),
    "claims.bmp": ("animate", lambda path: claims(path, 18, "<2i", SIDE, -SIDE)),
    "claims.gif": ("ocr", lambda path: claims(path, 6, "<2H", 65535, 65535)),
    "many.tif": ("ocr", tiff_of_many),
    "twice.pdf": ("ocr", lambda path: pdf(path, deflated_twice)),
    "picture.pdf": ("ocr", lambda path: pdf(path, huge_picture)),
    "page.pdf": ("ocr", lambda path: pdf(path, huge_page)),
    "forms.pdf": ("ocr", lambda path: pdf(path, forms_of_forms)),
    "kids.pdf": ("ocr", lambda path: pdf(path, endless_kids)),
    "inside.webm": ("upscale", vp8),
    "wide.mp4": ("upscale", lambda path: mp4(path, b"stsd", 40, 16384 << 16 | 16384)),
    "samples.mp4": ("upscale", lambda path: mp4(path, b"stsz", 4, 1, 2**28)),
    "times.mp4": ("upscale", lambda path: mp4(path, b"stts", 4, 1, 2**31, 512)),
    "long.mp4": ("upscale", lambda path: mp4(path, b"mdhd", 16, 3_600_000_000)),
    "clock.mp4": ("upscale", lambda path: mp4(path, b"mdhd", 12, 0)),
    "fast.mkv": ("upscale", lambda path: film(path, clock=Fraction(1, 10**6), size=(96, 64), frames=12)),
    "dot.mkv": ("upscale", lambda path: film(path, codec="ffv1", options={}, size=(1, 1), frames=3)),
    "loop.gif": ("upscale", lambda path: film(path, codec="gif", options={}, layout="rgb8", frames=6)),
}
