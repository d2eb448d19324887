"""The before/after picture: one frame of the source, enlarged the plain way, beside the same frame of the result."""

from itertools import islice
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

SHOWN = (104, 80)  # pixels of the source that are shown: in the whole picture the difference would drown
ZOOM = 3  # each pixel of the result is drawn as a square of 3 x 3, lest the screen smooth it
MARGIN, LABEL_HEIGHT = 12, 34
PAPER, INK = (250, 250, 250), (30, 30, 30)


def frame(video: Path, number: int) -> Image.Image:
    """The picture `number`, from 0, of `video`. Raises IndexError if it has fewer."""
    with av.open(str(video)) as container:
        for found in islice(container.decode(video=0), number, None):
            return Image.fromarray(found.to_ndarray(format="rgb24"))
    raise IndexError(f"{video}: has no frame {number}; name an earlier one")


def crop(picture: Image.Image, corner: tuple[float, float], size: tuple[int, int]) -> Image.Image:
    """`size` pixels of `picture` from `corner`, which is given in shares of the width and height."""
    left, top = round(corner[0] * picture.width), round(corner[1] * picture.height)
    return picture.crop((left, top, left + size[0], top + size[1]))


def before_after(
    source: Image.Image, result: Image.Image, corner: tuple[float, float], labels: tuple[str, str]
) -> Image.Image:
    """A cutting of both pictures side by side under their labels, the source's enlarged by bicubic interpolation.

    result: the same picture as `source`, larger by a whole factor
    """
    scale = result.width // source.width
    size = (SHOWN[0] * scale, SHOWN[1] * scale)
    plain = source.resize(result.size, Image.Resampling.BICUBIC)
    return _beside([crop(plain, corner, size), crop(result, corner, size)], labels)


def _beside(pictures: list[Image.Image], labels: tuple[str, str]) -> Image.Image:
    width, height = pictures[0].width * ZOOM, pictures[0].height * ZOOM
    sheet = Image.new("RGB", (2 * width + 3 * MARGIN, height + 2 * MARGIN + LABEL_HEIGHT), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(18)
    for column, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        left = MARGIN + column * (width + MARGIN)
        pen.text((left, MARGIN), label, fill=INK, font=font)
        sheet.paste(picture.resize((width, height), Image.Resampling.NEAREST), (left, MARGIN + LABEL_HEIGHT))
    return sheet
