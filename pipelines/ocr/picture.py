"""Pictures as the engines want them, upright by their own word, RGB, not too large, whatever the file held"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.image_file import check_size, opened_image

LARGEST_PIXELS = 25_000_000  # of a picture as it is read: A3 at 300 dpi; engines shrink further
LIKELY_DPI = range(50, 2401)  # files say 1, 72 or 65535 when nobody knows
NO_DPI = (72, 96)  # what programs write into pictures that were never measured
WIDE_MODES = ("I", "F")  # and "I;16", "I;16B": more than 8 bits a pixel

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A picture of a page."""

    rgb: Pixels  # [H, W, 3]
    dpi: float = 0.0  # 0: nobody knows
    warnings: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.rgb.shape[0])

    def turned(self, degrees: int) -> "Picture":
        """Give the picture turned clockwise by 0, 90, 180 or 270 degrees."""
        return replace(self, rgb=np.ascontiguousarray(np.rot90(self.rgb, -degrees // 90)))


def load_picture(path: Path, frame: int = 0) -> Picture:
    """Give frame `frame` of the image file at `path`, as its EXIF orientation has it.

    Transparency is laid on black or white, whichever the visible pixels stand out from. More than 8 bits are
    stretched from the darkest to the brightest pixel. More than LARGEST_PIXELS are scaled down.

    Raises Rejected if it cannot be decoded to its end or has no such frame, Unavailable if it cannot be reached.
    """
    with opened_image(path) as image:
        try:
            image.seek(frame)
        except EOFError as error:
            raise Rejected(f"{path.name}: it has no picture {frame + 1}; save it anew") from error
        check_size(path, image)
        return picture_of(image)


def picture_of(image: Image.Image) -> Picture:
    """Give Pillow's `image` as a picture. Raises what Pillow raises where it is damaged."""
    image.load()
    dpi = said_dpi(image.info)
    upright = ImageOps.exif_transpose(image)
    before = upright.width
    flat = _capped(_flat(upright))
    shrunk = flat.width < before
    warnings = (f"scaled from {before}x{upright.height} to {flat.width}x{flat.height} pixels",) if shrunk else ()
    return Picture(rgb=np.array(flat), dpi=dpi * flat.width / before, warnings=warnings)


def _flat(image: Image.Image) -> Image.Image:
    """Give `image` as opaque RGB with 8 bits a channel."""
    if image.mode in WIDE_MODES or image.mode.startswith("I;16"):
        return _stretched(image)
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        return _on_ground(_capped(image.convert("RGBA")))
    return image.convert("RGB")  # palettes and CMYK too


def _stretched(image: Image.Image) -> Image.Image:
    # By what is there: scanners put 10 or 12 bits into 16, and a fixed shift would leave such a page black.
    # In place and in single precision: a picture of the largest size is near a gigabyte in each of its forms.
    values = np.array(image, dtype=np.float32)
    np.nan_to_num(values, copy=False, posinf=0.0, neginf=0.0)
    dark, bright = float(values.min()), float(values.max())
    if not 0 < bright - dark < np.inf:
        return Image.new("RGB", image.size, "white")
    values -= dark
    values *= 255 / (bright - dark)
    return Image.fromarray(values.round(out=values).astype(np.uint8)).convert("RGB")


def _on_ground(image: Image.Image) -> Image.Image:
    alpha = np.array(image.getchannel("A"), dtype=np.float64)
    gray = np.array(image.convert("L"), dtype=np.float64)
    visible = float((gray * alpha).sum() / max(float(alpha.sum()), 1.0))
    ground = Image.new("RGBA", image.size, "black" if visible > 127 else "white")
    return Image.alpha_composite(ground, image).convert("RGB")


def _capped(image: Image.Image) -> Image.Image:
    if (pixels := image.width * image.height) <= LARGEST_PIXELS:
        return image
    scale = sqrt(LARGEST_PIXELS / pixels)
    size = max(1, int(image.width * scale)), max(1, int(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def said_dpi(info: Mapping[Any, Any]) -> float:
    """Give the pixels per inch that an image's `info` states; 0 where it states none, or what means nothing."""
    try:
        dpi = float(info["dpi"][0])
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return known_dpi(dpi)


def known_dpi(dpi: float) -> float:
    """Give `dpi`, or 0 for a value that programs write where nobody measured."""
    likely = LIKELY_DPI.start <= dpi < LIKELY_DPI.stop and round(dpi) not in NO_DPI
    return dpi if likely else 0.0
