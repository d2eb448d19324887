"""Documents in: what a PDF or an image file is, its pages as pictures, and the text that pages carry themselves"""

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from darkroom.pipelines.errors import Rejected, Unavailable
from darkroom.pipelines.image_file import check_bytes, check_size, opened_image
from darkroom.pipelines.ocr import pdfium
from darkroom.pipelines.ocr.native import lines_of
from darkroom.pipelines.ocr.page import Line
from darkroom.pipelines.ocr.picture import LARGEST_PIXELS, Picture, load_picture, said_dpi

PDF_MAGIC = b"%PDF-"
MOST_PAGES = 10_000  # a book of a thousand sheets ten times over; a few bytes can claim millions
MAGIC_WITHIN = 1024  # bytes: mail gateways put junk before the header, and readers accept it
SIDEWAYS = range(5, 9)  # EXIF orientations that swap width and height
EXIF_ORIENTATION = 0x112


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFacts:
    """What is known of a page before it is read."""

    index: int  # in the document, from 0
    width: float  # as the page is shown: points of a PDF, pixels of an image
    height: float
    rotation: int = 0  # the page's own /Rotate, already in its width and height
    native_chars: int = 0  # of the page's own text, white space not counted
    hidden_chars: int = 0  # of these, drawn without ink: the layer of an earlier reading
    dpi: float = 0.0  # of an image, or of the scan that fills a PDF's page; 0: nobody knows
    damaged: str = ""  # why the page cannot be shown, if it cannot


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentFacts:
    """What is known of a document before it is read."""

    source: Path
    size_bytes: int
    mtime_ns: int
    sha256: str
    kind: Literal["pdf", "image"]
    pages: tuple[PageFacts, ...]
    warnings: tuple[str, ...] = ()


def probe(source: Path) -> DocumentFacts:
    """Read what `source` is and what its pages are like.

    A PDF is told by its content, whatever its name. Of images, only TIFF has several pages.
    Raises Rejected for one that is encrypted, damaged in all its pages, without pages or no image;
    Unavailable where it cannot be reached.
    """
    check_bytes(source)
    try:
        with source.open("rb") as file:
            start = file.read(MAGIC_WITHIN)
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        stat = source.stat()
    except OSError as error:
        raise Unavailable(f"{source}: cannot be read ({error.strerror}); is its disk there?") from error
    if not stat.st_size:
        raise Rejected(f"{source.name}: empty; copy it again")
    is_pdf = PDF_MAGIC in start
    pages, warnings = _pdf_pages(source) if is_pdf else (_image_pages(source), ())
    if all(page.damaged for page in pages):
        raise Rejected(pages[0].damaged)
    return DocumentFacts(
        source=source,
        size_bytes=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        sha256=sha256,
        kind="pdf" if is_pdf else "image",
        pages=pages,
        warnings=(*warnings, *(page.damaged for page in pages if page.damaged)),
    )


def _pdf_pages(source: Path) -> tuple[tuple[PageFacts, ...], tuple[str, ...]]:
    with pdfium.opened(source, source.name) as document:
        if len(document) > MOST_PAGES:
            raise Rejected(f"{source.name}: {len(document)} pages, over {MOST_PAGES}; split it")
        pages = tuple(_pdf_page(document, index, source.name) for index in range(len(document)))
        signed = pdfium.signatures(document)
    told = (f"{source.name}: signed; a searchable copy no longer carries a valid signature",) if signed else ()
    return pages, told


def _pdf_page(document: pdfium.Document, index: int, name: str) -> PageFacts:
    try:
        with pdfium.page_of(document, index, name) as page:
            width, height = page.get_size()
            text = [character for character in pdfium.characters(page) if not character.text.isspace()]
            return PageFacts(
                index=index,
                width=width,
                height=height,
                rotation=page.get_rotation(),
                native_chars=len(text),
                hidden_chars=sum(character.hidden for character in text),
                dpi=pdfium.scan_dpi(page),
            )
    except Rejected as error:
        return PageFacts(index=index, width=0, height=0, damaged=str(error))


def _image_pages(source: Path) -> tuple[PageFacts, ...]:
    with opened_image(source, "neither a PDF nor an image that can be read") as image:
        # The further frames of other formats are an animation's, or a phone's preview of the same picture.
        frames = _count_frames(source, image) if image.format == "TIFF" else 1
        return tuple(_image_page(source, image, index) for index in range(frames))


def _count_frames(source: Path, image: Image.Image) -> int:
    """Count the pictures of a TIFF, each of which tells where the next one is, for no longer than may be."""
    for count in range(1, MOST_PAGES + 1):
        try:
            image.seek(count)
        except EOFError:
            image.seek(0)
            return count
    raise Rejected(f"{source.name}: over {MOST_PAGES} pages; split it")


def _image_page(source: Path, image: Image.Image, index: int) -> PageFacts:
    if index:
        image.seek(index)
    width, height = image.size
    if image.getexif().get(EXIF_ORIENTATION) in SIDEWAYS:
        width, height = height, width
    try:
        check_size(source, image)
    except Rejected as error:
        return PageFacts(index=index, width=width, height=height, damaged=str(error))
    return PageFacts(index=index, width=width, height=height, dpi=said_dpi(image.info))


def drawn_scale(page: PageFacts, dpi: float) -> float:
    """Give the pixels per point at which a PDF's page is drawn for `dpi`: fewer where it would pass 25 million."""
    largest = math.sqrt(LARGEST_PIXELS / (page.width * page.height))
    # Sizes are rounded up to whole pixels, which must not lift the product over the limit again.
    spare = 1 - (page.width + page.height + 1) / (page.width * page.height * largest)
    return min(dpi / 72, largest * max(0.5, spare))


def render(facts: DocumentFacts, index: int, dpi: float) -> Picture:
    """Give page `index` as it is shown, before it is turned upright.

    dpi: of a PDF's page; an image comes as it is. Pages over 25 million pixels come smaller, and say so.
    Raises Rejected where the page is damaged.
    """
    page_facts = _sound(facts, index)
    if facts.kind == "image":
        return load_picture(facts.source, index)
    scale = drawn_scale(page_facts, dpi)
    with _page(facts, index) as page:
        rgb = pdfium.drawn(page, scale)
    smaller = (f"drawn at {scale * 72:.0f} dpi instead of {dpi:.0f}: the page is that large",)
    return Picture(rgb=rgb, dpi=scale * 72, warnings=smaller if scale < dpi / 72 else ())


def native_lines(facts: DocumentFacts, index: int, dpi: float, *, hidden: bool = True) -> tuple[Line, ...]:
    """Give the text that page `index` carries itself, in its own order, in the pixels of `render`.

    hidden: with what is drawn without ink, as the layer of an earlier reading. Images carry no text.
    """
    if facts.kind == "image":
        return ()
    scale = drawn_scale(page_facts := _sound(facts, index), dpi)
    width, height = math.ceil(page_facts.width * scale), math.ceil(page_facts.height * scale)
    with _page(facts, index) as page:
        to_pixels = pdfium.to_page(page, width, height).inverse()
        text = [character for character in pdfium.characters(page) if hidden or not character.hidden]
    return lines_of(text, to_pixels)


@contextmanager
def _page(facts: DocumentFacts, index: int) -> Iterator[pdfium.PdfPage]:
    name = facts.source.name
    with pdfium.opened(facts.source, name) as document, pdfium.page_of(document, index, name) as page:
        yield page


def _sound(facts: DocumentFacts, index: int) -> PageFacts:
    if reason := facts.pages[index].damaged:
        raise Rejected(reason)
    return facts.pages[index]
