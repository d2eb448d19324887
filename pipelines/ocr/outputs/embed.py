"""Images as pages of a PDF: the file's own compressed bytes wherever PDF can hold them"""

import io
import logging
from collections.abc import Iterable

import img2pdf
import numpy as np
from PIL import Image

from darkroom.pipelines.image_file import opened_image
from darkroom.pipelines.ocr.document import DocumentFacts
from darkroom.pipelines.ocr.picture import Picture, Pixels, known_dpi, load_picture

log = logging.getLogger(__name__)

A4_PT = (595.28, 841.89)  # a picture of unknown resolution is put on it
QUALITY = 90  # of JPEG, where there is no way but to compress again
HELD = {"JPEG", "MPO", "PNG", "TIFF", "GIF", "BMP"}  # formats whose pixels PDF holds without loss or growth
LOSSY = {"JPEG", "MPO", "JPEG2000", "WEBP", "AVIF"}  # formats whose pixels lossless compression would blow up


def image_pdf(facts: DocumentFacts, *, only_rgb: bool = False) -> bytes:
    """Give the image file of `facts` as a PDF, a page for each of its pictures, shown as EXIF turns them.

    JPEG, and PNG and TIFF's fax format as far as they can be, keep their bytes. What is transparent, mirrored or of
    a format PDF does not know is compressed again, from the picture that is read.

    only_rgb: compress CMYK again as RGB too, as PDF/A has it beside an sRGB intent
    Raises Rejected where a picture cannot be decoded.
    """
    if _held(facts, only_rgb):
        try:
            return _converted([facts.source.read_bytes()], all_frames=len(facts.pages) > 1)
        except Exception as error:  # of any kind: it refuses what it would have to change, and trips over damage
            log.info("%s: its pictures are compressed again for the PDF (%s)", facts.source.name, error)
    with opened_image(facts.source) as image:
        lossy = image.format in LOSSY
    pictures = (load_picture(facts.source, page.index) for page in facts.pages)
    return _converted([compressed(picture, lossy=lossy) for picture in pictures], all_frames=False)


def _held(facts: DocumentFacts, only_rgb: bool) -> bool:
    with opened_image(facts.source) as image:
        for page in facts.pages:
            if page.index:
                image.seek(page.index)
            if image.format not in HELD or image.has_transparency_data or (only_rgb and image.mode == "CMYK"):
                return False
    return True


def _converted(images: Iterable[bytes], *, all_frames: bool) -> bytes:
    pdf: bytes = img2pdf.convert(
        list(images),
        layout_fun=_layout,
        nodate=True,  # equal pictures give equal files
        rotation=img2pdf.Rotation.auto,
        first_frame_only=not all_frames,
    )
    return pdf


def _layout(width: int, height: int, dpi: tuple[float, float]) -> tuple[float, float, float, float]:
    """Give the sizes in points of a page and of the picture on it, which fills it."""
    x, y = (known_dpi(value) for value in dpi)
    if not (x and y):
        short, long = sorted((width, height))
        x = y = 72 * max(short / A4_PT[0], long / A4_PT[1])
    size = 72 * width / x, 72 * height / y
    return *size, *size


def compressed(picture: Picture, *, lossy: bool) -> bytes:
    """Give `picture` as a file that PDF can hold: JPEG if `lossy`, else PNG; black and white in one bit a pixel."""
    image = reduced(picture.rgb)
    dpi = {"dpi": (picture.dpi, picture.dpi)} if picture.dpi else {}
    written = io.BytesIO()
    if lossy and image.mode != "1":
        image.save(written, "JPEG", quality=QUALITY, **dpi)
    else:
        image.save(written, "PNG", **dpi)
    return written.getvalue()


def reduced(rgb: Pixels) -> Image.Image:
    """Give uint8 [H, W, 3] pixels as Pillow's image of the fewest bits that hold them: 1, 8 or 24."""
    gray = rgb[..., 1]
    if not (np.array_equal(rgb[..., 0], gray) and np.array_equal(gray, rgb[..., 2])):
        return Image.fromarray(rgb)
    image = Image.fromarray(np.ascontiguousarray(gray))
    bilevel = bool(np.isin(gray, (0, 255)).all())
    return image.convert("1", dither=Image.Dither.NONE) if bilevel else image
