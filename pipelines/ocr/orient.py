"""Pages the right way up: found out by what the engine itself reads better, and only where a page looks turned"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from PIL import Image

from darkroom.pipelines.ocr.engines.base import Engine, Reading
from darkroom.pipelines.ocr.order import line_box, runs_downwards
from darkroom.pipelines.ocr.page import Line
from darkroom.pipelines.ocr.picture import Picture, Pixels

SURE = 0.9  # mean score of a page that stands upright; on its head it is 0.6 to 0.75
MARGIN = 0.1  # by which one way must read better; measured on pages of all kinds: 0.3 and more
STRIPS = 5  # lines tried both ways
SHORTEST = 3  # characters of a line that says which way it runs; "I" and "1" are tall too
SAME = 0.3  # share of characters that a column cut into squares still has: it is written downwards


def upright(picture: Picture, engine: Engine) -> tuple[Picture, int, Reading]:
    """Give `picture` the right way up, how far it was turned clockwise for that (0, 90, 180 or 270), and its reading.

    The first reading is the answer on nearly every page. A page whose lines are tall, or that reads badly, has its
    longest lines tried both ways; one that was turned is read again. Chinese columns written downwards stay.
    """
    reading = engine.read(picture)
    lines = [line for line in reading.lines if line.score is not None and line.text.strip()]
    sideways = runs_downwards([line for line in lines if len(line.text) >= SHORTEST])
    if not lines or (not sideways and _mean(lines) >= SURE):
        return picture, 0, reading
    longest = sorted(lines, key=_extent, reverse=True)[:STRIPS]
    rotation = _rotation(engine, [_strip(picture, line) for line in longest], sideways)
    if rotation == 0:
        return picture, 0, reading
    turned = picture.turned(rotation)
    return turned, rotation, engine.read(turned)


def _rotation(engine: Engine, strips: Sequence[Pixels], sideways: bool) -> int:
    """Give by how much the page of `strips` is to be turned, 0 where that is not clear."""
    ways = (270, 90) if sideways else (0, 180)
    tried = {way: _tried(engine, [_turned(strip, way) for strip in strips]) for way in ways}
    best, other = sorted(ways, key=lambda way: tried[way][0], reverse=True)
    if tried[best][0] - tried[other][0] < MARGIN:
        return 0
    if sideways and _ideographic(text := tried[best][1]):
        # An engine reads a column written downwards lying on its left side: the page looks as if it lay so too.
        columns = [_laid_out(_turned(strip, best - 270)) for strip in strips]
        if _shared(_tried(engine, columns)[1], text) >= SAME:
            return (best + 90) % 360
    return best


def _tried(engine: Engine, strips: Sequence[Pixels]) -> tuple[float, str]:
    """Give how well `strips` read, 0 to 1, and their text."""
    lines = [line for line in engine.read(Picture(rgb=_sheet(strips))).lines if line.text.strip()]
    return _mean(lines), "".join(line.text for line in lines)


def _ideographic(text: str) -> bool:
    """Say whether most of `text` is of characters that can be written downwards: Han, kana."""
    return sum("\u3040" <= character <= "\u9fff" for character in text) > len(text) / 2


def _shared(found: str, text: str) -> float:
    """Give the share of the characters of `text` that are in `found`."""
    return (Counter(found) & Counter(text)).total() / max(1, len(text))


def _mean(lines: Sequence[Line]) -> float:
    """Give the mean score of `lines`, 0 for none, long ones counting more."""
    length = sum(len(line.text) for line in lines)
    return sum((line.score or 0) * len(line.text) for line in lines) / length if length else 0.0


def _extent(line: Line) -> float:
    left, top, right, bottom = line_box(line)
    return max(right - left, bottom - top)


def _strip(picture: Picture, line: Line) -> Pixels:
    """Give the pixels of `line`, laid straight."""
    a, b, c, d = line.polygon
    size = max(1, round(max(_length(a, b), _length(d, c)))), max(1, round(max(_length(a, d), _length(b, c))))
    corners = tuple(value for point in (a, d, c, b) for value in point)
    image = Image.fromarray(picture.rgb).transform(size, Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)
    return np.array(image)


def _length(a: Sequence[float], b: Sequence[float]) -> float:
    return float(np.hypot(a[0] - b[0], a[1] - b[1]))


def _turned(strip: Pixels, degrees: int) -> Pixels:
    return np.rot90(strip, -degrees // 90)


def _laid_out(column: Pixels) -> Pixels:
    """Cut `column` into squares and lay them side by side: characters written downwards become a line."""
    height, width = column.shape[:2]
    count = max(1, round(height / width))
    cuts = np.linspace(0, height - width, count).round().astype(int)
    return np.concatenate([column[cut : cut + width] for cut in cuts], axis=1)


def _sheet(strips: Sequence[Pixels]) -> Pixels:
    """Lay `strips` under each other on a page of their own colour, with room around each."""
    room = max(8, max(strip.shape[0] for strip in strips))
    width = max(strip.shape[1] for strip in strips) + 2 * room
    height = sum(strip.shape[0] + room for strip in strips) + room
    ground = np.median(np.concatenate([strip.reshape(-1, 3) for strip in strips]), axis=0)
    sheet = np.full((height, width, 3), ground.astype(np.uint8), dtype=np.uint8)
    top = room
    for strip in strips:
        sheet[top : top + strip.shape[0], room : room + strip.shape[1]] = strip
        top += strip.shape[0] + room
    return sheet
