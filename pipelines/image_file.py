"""Image files, opened by Pillow in this one place; what it trips over in a file is the file's fault, and is said so"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from darkroom.pipelines.errors import DarkroomError, Rejected, Unavailable
from darkroom.pipelines.trust import PICTURES

DEEPEST_PIXELS = 175_000_000  # of a picture: more takes gigabytes to decode; Pillow itself refuses 179 million
MOST_BYTES = 4 * 2**30  # of a file, all of which is read to tell it from others


@contextmanager
def opened_image(path: Path, verdict: str = "damaged or not an image") -> Iterator[Image.Image]:
    """Yield the image at `path`, its pixels not read; little but Pillow is to be at work within the block.

    verdict: of a file that it cannot read, for people
    Raises Rejected where anything goes wrong within the block, Unavailable where the file cannot be reached.
    """
    check_bytes(path)
    try:
        # Pillow's own warnings are of what is checked here, or does not matter.
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=PICTURES) as image:
            yield image
    except DarkroomError:
        raise
    except MemoryError as error:  # asked for at once: what is taken bit by bit ends the worker instead
        raise Rejected(f"{path.name}: asks for more memory than there is; scale it down or save it anew") from error
    except Image.DecompressionBombError as error:
        raise Rejected(f"{path.name}: too large to be decoded ({_said(path, error)}); scale it down") from error
    except Exception as error:  # of any kind: damaged AVIF is a RuntimeError, damaged TIFF a TypeError or KeyError
        if isinstance(error, OSError) and error.errno is not None and not _readable(path):
            raise Unavailable(f"{path}: cannot be read ({error.strerror}); is its disk there?") from error
        raise Rejected(f"{path.name}: {verdict} ({_said(path, error)}); save it anew") from error


def check_bytes(path: Path) -> None:
    """Return if the file is small enough to be read from end to end. Raises Rejected, Unavailable."""
    try:
        size_bytes = path.stat().st_size
    except OSError as error:
        raise Unavailable(f"{path}: cannot be read ({error.strerror}); is its disk there?") from error
    if size_bytes > MOST_BYTES:
        raise Rejected(f"{path.name}: {size_bytes:,} bytes, over {MOST_BYTES:,}; split it or save it anew")


def check_size(path: Path, image: Image.Image) -> None:
    """Return if the present picture of `image` is small enough to be decoded. Raises Rejected."""
    if image.width * image.height > DEEPEST_PIXELS:
        limit = DEEPEST_PIXELS // 1_000_000
        raise Rejected(f"{path.name}: {image.width}x{image.height} pixels, over {limit} million; scale it down")


def _readable(path: Path) -> bool:
    """Say whether the bytes of `path` can be had at all, so that what Pillow makes of them is the file's fault."""
    try:
        with path.open("rb") as file:
            file.read(1)
        return True
    except OSError:
        return False


def _said(path: Path, error: Exception) -> str:
    told = "" if isinstance(error, LookupError) else str(error)  # of which only a key or a number is told
    words = " ".join(told.split()) or type(error).__name__
    return words.replace(str(path), path.name)
