"""Sizes and lengths that the model can make: from an image and a wish to multiples of 16, and 4n+1 frames"""

import math
import re
from dataclasses import dataclass
from typing import Literal

Fit = Literal["keep", "crop", "pad", "stretch"]

MULTIPLE = 16  # pixels: 8 of the VAE times 2 of a patch
NAMED = {"480p": (832, 480), "720p": (1280, 720)}  # width, height, lying
SMALLEST, LARGEST = 128, 1920  # pixels a side
MOST_PIXELS = 1280 * 720 * 5 // 4  # the model was trained up to 720P
SMALL_AREA = 600_000  # pixels: below, it is 480P rather than 720P
FEWEST_FRAMES, MOST_FRAMES, TRAINED_FRAMES = 5, 241, 81
SIZE = re.compile(r"(\d{2,5})\s*[x*]\s*(\d{2,5})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Size:
    """Of the video, in pixels."""

    width: int
    height: int

    @property
    def area(self) -> int:
        """In pixels."""
        return self.width * self.height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def parse_size(text: str) -> Size:
    """Give the size that "480p", "720p" or "WIDTHxHEIGHT" names. Raises ValueError with what may be given."""
    if text.lower() in NAMED:
        return Size(*NAMED[text.lower()])
    found = SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(f'expected "480p", "720p" or a size such as "832x480", got "{text}"')
    size = Size(int(found[1]), int(found[2]))
    if not (min(size.width, size.height) >= SMALLEST and max(size.width, size.height) <= LARGEST):
        raise ValueError(f"sides are {SMALLEST} to {LARGEST} pixels, got {size}")
    if size.area > MOST_PIXELS:
        raise ValueError(f"{size} has {size.area:,} pixels; the model makes {MOST_PIXELS:,} at most")
    return size


def choose_size(width: int, height: int, wish: str, fit: Fit) -> Size:
    """Give the video's size for an image of `width` x `height`.

    keep: the image's own shape in as many pixels as `wish` has, as the model's authors do it; a shape beyond 4:1 or
    1:4 is brought to that. Else: the size wished for, a named one upright for an upright image, to multiples of 16.
    """
    wished = parse_size(wish)
    if fit != "keep":
        turned = wish.lower() in NAMED and height > width
        sides = (wished.height, wished.width) if turned else (wished.width, wished.height)
        return Size(*(max(MULTIPLE, side // MULTIPLE * MULTIPLE) for side in sides))
    aspect = min(max(height / width, 0.25), 4.0)
    return Size(_floor(math.sqrt(wished.area / aspect)), _floor(math.sqrt(wished.area * aspect)))


def _floor(side: float) -> int:
    # The least over a whole multiple must not fall to the one below by rounding.
    return max(MULTIPLE, int(side + 1e-6) // MULTIPLE * MULTIPLE)


def round_frames(frames: int) -> int:
    """Give the number of frames nearest to `frames` that the model can make: 4n + 1."""
    return 4 * ((frames + 1) // 4) + 1


def default_shift(size: Size) -> float:
    """Give the shift of the noise schedule for `size`: 3 for 480P, 5 for 720P, as the model's authors advise."""
    return 3.0 if size.area < SMALL_AREA else 5.0


def tokens(size: Size, frames: int) -> int:
    """Give the length of the transformer's sequence: 32,760 for 81 frames of 480P, 75,600 of 720P."""
    latent_frames = (frames - 1) // 4 + 1
    return latent_frames * (size.height // MULTIPLE) * (size.width // MULTIPLE)
