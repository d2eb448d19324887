"""Documents made for the tests: PDFs with text of their own in all positions, scans, and pages as they are read"""

import math
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pikepdf
import pypdfium2
from patience import PATIENCE_S
from pikepdf import Array, Dictionary, Name, Pdf
from PIL import Image, ImageDraw

from darkroom.pipelines.ocr.outputs.text_layer import is_wide
from darkroom.pipelines.ocr.page import Line, Page, Polygon

MIXED = (
    "The quick brown fox jumps over the lazy dog",
    "Größe: 12,50 € — Straße, naïve café",
    "你好，世界！这是一个测试。",
    "emoji 😀👍🏽 and 𝄞 done",
    "中文 mixed with English 日本語カナ 한국어",
    "short",
    "1 2 3",
)


def rectangle(left: float, top: float, right: float, bottom: float, tilt: float = 0, about: float = 0) -> Polygon:
    """Give a box turned clockwise by `tilt` degrees about the point (about, about)."""
    cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))

    def turned(x: float, y: float) -> tuple[float, float]:
        x, y = x - about, y - about
        return about + x * cos - y * sin, about + x * sin + y * cos

    return turned(left, top), turned(right, top), turned(right, bottom), turned(left, bottom)


def page(
    texts: Sequence[str] = MIXED, *, width: int = 1000, height: int = 1400, tilt: float = 0, **more: object
) -> Page:
    """Give a page read from `texts`, one line below the other, 30 pixels high each, tilted clockwise."""
    lines = []
    for number, text in enumerate(texts):
        length = sum(2 if is_wide(character) else 1 for character in text)
        top = 120 + 50 * number
        polygon = rectangle(120, top, 120 + 14 * length, top + 30, tilt, about=500)
        lines.append(Line(text=text, score=0.97, polygon=polygon))
    given: dict[str, object] = {"index": 0, "dpi": 150.0, "lines": tuple(lines)}
    return Page(width=width, height=height, **given | more)  # type: ignore[arg-type]


def scan(path: Path, *, width: int = 1000, height: int = 1400, **saving: object) -> Path:
    """Write a picture of a page at 150 dpi, in the format of the suffix."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for top in range(120, 500, 50):
        draw.rectangle((width // 8, top, width // 8 * 6, top + 20), fill=(30, 30, 60))
    image.save(path, **{"dpi": (150, 150)} | saving)  # type: ignore[arg-type]
    return path


def pdf(
    path: Path,
    contents: Sequence[str],
    *,
    rotate: int = 0,
    box: tuple[float, ...] = (0, 0, 300, 400),
    crop: tuple[float, ...] | None = None,
    encryption: pikepdf.Encryption | None = None,
) -> Path:
    """Write a PDF with a page for each content stream; its font /F1 is Helvetica."""
    document = Pdf.new()
    font = document.make_indirect(Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica))
    for content in contents:
        leaf = document.add_blank_page(page_size=(300, 400)).obj
        leaf.MediaBox, leaf.Rotate = Array(box), rotate
        if crop:
            leaf.CropBox = Array(crop)
        leaf.Resources = Dictionary(Font=Dictionary(F1=font))
        leaf.Contents = document.make_stream(content.encode())
    plain = pikepdf.ObjectStreamMode.disable
    document.save(path, encryption=encryption or False, static_id=encryption is None, object_stream_mode=plain)
    return path


def shown(text: str, x: float = 50, y: float = 300, size: float = 20, mode: int = 0) -> str:
    """Give the operators that show `text`; mode 3 is invisible."""
    return f"BT {mode} Tr /F1 {size} Tf {x} {y} Td ({text}) Tj ET\n"


def text_of(path: Path, index: int = 0) -> str:
    """Give the text of a page as PDFium extracts it, lines ended by line feeds."""
    with pypdfium2.PdfDocument(path) as document:
        found: str = document[index].get_textpage().get_text_range()
        return found.replace("\r\n", "\n").replace("\r", "\n")


def streams_of(path: Path) -> list[bytes]:
    """Give the raw bytes of all images in a PDF."""
    with pikepdf.open(path) as document:
        images = [found for found in document.objects if isinstance(found, pikepdf.Stream)]
        return [image.read_raw_bytes() for image in images if image.get(Name.Subtype) == Name.Image]


def pdftotext(path: Path) -> str:
    """Give the text of a PDF as Poppler finds it, in the order of its content; a form feed ends each page."""
    command = ["pdftotext", "-raw", "-enc", "UTF-8", str(path), "-"]
    return subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S).stdout.decode()


def said(text: str) -> list[list[str]]:
    """Give the words of each page of what `pdftotext` or the output txt says."""
    return [page.split() for page in text.removesuffix("\f").split("\f")]
