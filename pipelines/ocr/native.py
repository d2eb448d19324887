"""The text a digital page carries itself, as lines where a reader would have found them"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from darkroom.pipelines.ocr.affine import Affine
from darkroom.pipelines.ocr.page import Line, Point, Polygon, Word
from darkroom.pipelines.ocr.pdfium import Character

OFF = 0.7  # of an em from the line: another line
STRAIGHT = math.radians(2)  # a line turned by less from an edge of the page runs along it


def lines_of(characters: Iterable[Character], to_pixels: Affine) -> tuple[Line, ...]:
    """Give the lines of `characters`, in their order; empty ones are left out.

    characters: of one page, "\\n" after each line
    to_pixels:  from the page's points to pixels of the upright picture
    """
    rows = (row for row in _rows(characters) if any(not character.text.isspace() for character in row))
    return tuple(_line(row, to_pixels) for row in rows)


def _rows(characters: Iterable[Character]) -> Iterator[list[Character]]:
    """Yield the characters of each line: PDFium leaves out the end of some short ones, so their places count too."""
    row: list[Character] = []
    before: Character | None = None
    for character in characters:
        ends = character.text == "\n"
        if row and (ends or (before and _leaves(before, character))):
            yield row
            row = []
        if not ends:
            row.append(character)
        if not character.text.isspace():
            before = character
    if row:
        yield row


def _leaves(before: Character, character: Character) -> bool:
    """Say whether `character` stands off the line of the one before it: by over a superscript's height."""
    if character.text.isspace():
        return False
    x, y = (_middle(character)[axis] - _middle(before)[axis] for axis in (0, 1))
    off = y * math.cos(before.angle) - x * math.sin(before.angle)
    return abs(off) > OFF * max(before.size, character.size)


def _middle(character: Character) -> Point:
    left, bottom, right, top = character.box
    return (left + right) / 2, (bottom + top) / 2


def _line(row: Sequence[Character], to_pixels: Affine) -> Line:
    along = _direction(row, to_pixels)
    words = tuple(
        Word(text="".join(character.text for character in word), polygon=_around(word, along, to_pixels))
        for word in _words(row)
    )
    ink = [character for word in _words(row) for character in word]
    return Line(
        text=" ".join(word.text for word in words),
        score=None,
        polygon=_around(ink, along, to_pixels),
        words=words if len(words) > 1 else (),
        own=True,
    )


def _words(row: Iterable[Character]) -> Iterator[list[Character]]:
    for blank, word in groupby(row, lambda character: character.text.isspace()):
        if not blank:
            yield list(word)


def _direction(row: Sequence[Character], to_pixels: Affine) -> Point:
    """Give the unit vector in pixels along which most of the row is written."""
    angles = sorted(character.angle for character in row if not character.text.isspace())
    angle = angles[len(angles) // 2]
    x, y = to_pixels.vector((math.cos(angle), math.sin(angle)))
    quarter = round(math.atan2(y, x) / (math.pi / 2)) * math.pi / 2
    turn = math.atan2(y, x)
    turn = quarter if abs(turn - quarter) < STRAIGHT else turn
    return math.cos(turn), math.sin(turn)


def _around(characters: Iterable[Character], along: Point, to_pixels: Affine) -> Polygon:
    """Give the smallest rectangle lying along `along` that holds `characters`."""
    (x, y), across = along, (-along[1], along[0])
    straight = min(abs(x), abs(y)) < 1e-6
    corners = [to_pixels.point(corner) for character in characters for corner in _corners(character, straight)]
    far = [px * x + py * y for px, py in corners]
    deep = [px * across[0] + py * across[1] for px, py in corners]
    left, right, top, bottom = min(far), max(far), min(deep), max(deep)
    return Affine(x, y, *across).polygon(((left, top), (right, top), (right, bottom), (left, bottom)))


def _corners(character: Character, straight: bool) -> Iterator[Point]:
    """Yield points of the page around `character`: the corners of its box, which is not tight where it is slanted."""
    left, bottom, right, top = character.box
    if straight:
        yield from ((left, bottom), (right, bottom), (right, top), (left, top))
        return
    cos, sin = math.cos(character.angle), math.sin(character.angle)
    em = Affine(cos, sin, -sin, cos, (left + right) / 2, (bottom + top) / 2)
    for x, y in ((-0.25, -0.6), (0.25, -0.6), (0.25, 0.6), (-0.25, 0.6)):  # of a middling letter, from its centre
        yield em.point((x * character.size, y * character.size))
