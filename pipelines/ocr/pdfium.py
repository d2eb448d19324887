"""PDFium, and nobody else asks it: pages as pixels, where a pixel lies on its page, and the page's own characters"""

import ctypes
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
import pypdfium2.raw as raw
from numpy.typing import NDArray

from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.ocr.affine import Affine
from darkroom.pipelines.ocr.page import Box

INVISIBLE = raw.FPDF_TEXTRENDERMODE_INVISIBLE
BREAKS = {0x0D, 0x0A}
HYPHENS = {0x02, 0xFFFE}  # what PDFium makes of a hyphen at the end of a line
FULL_PAGE = 0.5  # of the page's area: an image from there on is a scan of it

ONE_AT_A_TIME = threading.RLock()  # PDFium is not made for threads; pages of a file are read in several

Document = Any  # pypdfium2 carries no types
PdfPage = Any


@dataclass(frozen=True, slots=True)
class Character:
    """A character as it stands on its page."""

    text: str  # one code point; "\n" ends a line
    box: Box = (0, 0, 0, 0)  # points of the page, y upwards: left, bottom, right, top, as high as the font
    angle: float = 0.0  # radians counter-clockwise in that plane
    size: float = 0.0  # points an em is long
    hidden: bool = False  # drawn with no ink: the text layer of an earlier reading


BREAK = Character("\n")


@contextmanager
def opened(source: Path | bytes, name: str) -> Iterator[Document]:
    """Yield the document, closed with its pages at the end; other threads wait. Raises Rejected in `name`'s name."""
    with ONE_AT_A_TIME:
        try:
            document = pypdfium2.PdfDocument(source)
        except pypdfium2.PdfiumError as error:
            raise Rejected(_reason(name, error.err_code)) from error
        try:
            document.init_forms()  # or filled-in fields are not drawn
            yield document
        finally:
            document.close()


def _reason(name: str, code: int | None) -> str:
    if code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
        return f"{name}: encrypted with a password; save a copy without one"
    return f"{name}: damaged, cut off or with no pages, so that it cannot be read; export or download it again"


@contextmanager
def page_of(document: Document, index: int, name: str) -> Iterator[PdfPage]:
    """Yield page `index`, from 0, closed at the end. Raises Rejected if it cannot be read."""
    try:
        page = document[index]
    except pypdfium2.PdfiumError as error:
        raise Rejected(f"{name}: page {index + 1} is damaged; export the document again") from error
    try:
        yield page
    finally:
        page.close()


def drawn(page: PdfPage, scale: float) -> NDArray[np.uint8]:
    """Give the page as it is shown, on white: uint8 [H, W, 3] RGB, `scale` pixels a point, sizes rounded up."""
    bitmap = page.render(scale=scale, rev_byteorder=True)
    pixels = np.array(bitmap.to_numpy(), dtype=np.uint8)  # a copy: the bitmap's memory is PDFium's
    bitmap.close()
    return pixels


def to_page(page: PdfPage, width: int, height: int) -> Affine:
    """Give the map from pixels of the page drawn at `width` x `height` to its points, y upwards.

    PDFium's own: rotation, crop box and an origin that is not zero are in it.
    """
    corners = []
    for x, y in ((0, 0), (width, 0), (0, height)):
        page_x, page_y = ctypes.c_double(), ctypes.c_double()
        raw.FPDF_DeviceToPage(page, 0, 0, width, height, 0, x, y, page_x, page_y)
        corners.append((page_x.value, page_y.value))
    return Affine(1 / width, 0, 0, 1 / height).then(Affine.through(*corners))


def characters(page: PdfPage) -> list[Character]:
    """Give the page's own text in PDFium's order, spaces and line ends included where it sees them."""
    text = page.get_textpage()
    try:
        found = [character for index in range(text.count_chars()) for character in _character(text, index)]
    finally:
        text.close()
    return _whole(found)


def _character(text: Any, index: int) -> Iterator[Character]:
    code = raw.FPDFText_GetUnicode(text, index)
    if code in BREAKS:
        yield BREAK
        return
    owner = raw.FPDFText_GetTextObject(text, index)
    rect, matrix = raw.FS_RECTF(), raw.FS_MATRIX()
    raw.FPDFText_GetLooseCharBox(text, index, rect)
    raw.FPDFText_GetMatrix(text, index, matrix)
    yield Character(
        text="-" if code in HYPHENS else chr(code),
        box=(rect.left, rect.bottom, rect.right, rect.top),
        angle=math.atan2(matrix.b, matrix.a),  # FPDFText_GetCharAngle counts clockwise
        size=raw.FPDFText_GetFontSize(text, index) * math.hypot(matrix.c, matrix.d),
        hidden=bool(owner) and raw.FPDFTextObj_GetTextRenderMode(owner) == INVISIBLE,
    )
    if code in HYPHENS:  # PDFium leaves out the line's end there
        yield BREAK


def _whole(found: list[Character]) -> list[Character]:
    """Join the halves of characters beyond U+FFFF, which may come as two."""
    joined: list[Character] = []
    for character in found:
        if joined and "\udc00" <= character.text <= "\udfff" and "\ud800" <= joined[-1].text <= "\udbff":
            first = joined.pop()
            text = (first.text + character.text).encode("utf-16", "surrogatepass").decode("utf-16")
            joined.append(replace(first, text=text))
        else:
            joined.append(character)
    return joined


def scan_dpi(page: PdfPage) -> float:
    """Give the pixels per inch of the largest image that covers most of the page; 0 if there is none."""
    width, height = page.get_size()
    found = [0.0]
    for image in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3):
        left, bottom, right, top = image.get_bounds()
        if (right - left) * (top - bottom) >= FULL_PAGE * width * height:
            pixels = math.prod(image.get_px_size())
            found.append(72 * math.sqrt(pixels / ((right - left) * (top - bottom))))
    return max(found)


def signatures(document: Document) -> int:
    """Give the number of digital signatures in the document."""
    return max(0, int(raw.FPDF_GetSignatureCount(document)))
