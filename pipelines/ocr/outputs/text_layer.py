"""The invisible text of a page: a blank font with an entry for each character, and the operators that lay the lines"""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from pikepdf import Array, Dictionary, Name, Object, Pdf

from darkroom.pipelines.ocr.affine import Affine
from darkroom.pipelines.ocr.outputs.blank_font import ASCENT, DESCENT, EM, NARROW, WIDE, blank_font
from darkroom.pipelines.ocr.page import Line, Point

FONT = "/DarkroomBlank"
SIZE = 0.8  # of a line's height: the font's
BASELINE = 0.2  # of a line's height above its lower edge
LEVEL = math.radians(7)  # tilts under this are laid flat, or pdftotext and viewers sort the lines apart
THIN = 1.0  # points: a line's least width and height; readers drop what is set smaller, and no text is to be lost
TALL = 2.0  # a line so many times higher than wide runs downwards
ENTRIES = 100  # a block of a ToUnicode map holds


@dataclass(frozen=True, slots=True)
class Alphabet:
    """The characters of a document and their numbers in its font, from 1: narrow ones first, then wide ones."""

    narrow: tuple[str, ...]
    wide: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """Give the alphabet `texts` are written in."""
        characters = sorted({character for text in texts for character in text})
        return cls(
            tuple(character for character in characters if not is_wide(character)),
            tuple(character for character in characters if is_wide(character)),
        )

    @property
    def numbers(self) -> dict[str, int]:
        """The number of each character."""
        return {character: number for number, character in enumerate((*self.narrow, *self.wide), 1)}


def is_wide(character: str) -> bool:
    """Say whether `character` takes an em instead of half of one: Chinese, kana, hangul, most emoji."""
    return unicodedata.east_asian_width(character) in "WF"


def font(pdf: Pdf, alphabet: Alphabet) -> Object:
    """Add to `pdf` the font of `alphabet` and return it: Type0 over TrueType, embedded, with ToUnicode."""
    first_wide = len(alphabet.narrow) + 1
    program = blank_font()
    descriptor = Dictionary(
        Type=Name.FontDescriptor,
        FontName=Name(FONT),
        Flags=5,  # fixed pitch, symbolic
        FontBBox=Array([0, DESCENT, EM, ASCENT]),
        ItalicAngle=0,
        Ascent=ASCENT,
        Descent=DESCENT,
        CapHeight=ASCENT,
        StemV=80,
        FontFile2=pdf.make_stream(program, Length1=len(program)),
    )
    glyphs = [0] + [NARROW] * len(alphabet.narrow) + [WIDE] * len(alphabet.wide)
    descendant = Dictionary(
        Type=Name.Font,
        Subtype=Name.CIDFontType2,
        BaseFont=Name(FONT),
        CIDSystemInfo=Dictionary(Registry=b"Adobe", Ordering=b"Identity", Supplement=0),
        FontDescriptor=pdf.make_indirect(descriptor),
        DW=EM // 2,
        W=Array([first_wide, len(glyphs) - 1, EM] if alphabet.wide else []),
        CIDToGIDMap=pdf.make_stream(b"".join(glyph.to_bytes(2, "big") for glyph in glyphs)),
    )
    return pdf.make_indirect(
        Dictionary(
            Type=Name.Font,
            Subtype=Name.Type0,
            BaseFont=Name(FONT),
            Encoding=Name("/Identity-H"),
            DescendantFonts=Array([pdf.make_indirect(descendant)]),
            ToUnicode=pdf.make_stream(_to_unicode(alphabet)),
        )
    )


def _to_unicode(alphabet: Alphabet) -> bytes:
    """Give the map from numbers to UTF-16, as PDF 32000-1 9.10.3 has it."""
    entries = [f"<{number:04X}> <{_utf16(character)}>" for character, number in alphabet.numbers.items()]
    blocks = [entries[start : start + ENTRIES] for start in range(0, len(entries), ENTRIES)]
    maps = "".join(f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar\n" for block in blocks)
    return (
        "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n"
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def\n"
        "/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n"
        "1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n"
        f"{maps}endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n"
    ).encode()


def _utf16(character: str) -> str:
    return character.encode("utf-16-be").hex().upper()


def layer(lines: Sequence[Line], alphabet: Alphabet, to_page: Affine, font_name: str) -> bytes:
    """Give the operators that write `lines` invisibly, in their order.

    to_page:   from the pixels of the lines to the page's points
    font_name: of the alphabet's font in the page's resources, with its slash
    """
    numbers = alphabet.numbers
    shown = "".join(f"{font_name} {_shown(line, numbers, to_page)}" for line in lines)
    return f"q\nBT\n3 Tr\n{shown}ET\nQ\n".encode()


def _shown(line: Line, numbers: dict[str, int], to_page: Affine) -> str:
    strip = strip_of(line)
    (ax, ay), width = _directed(to_page.vector(strip.along), (1.0, 0.0))
    (ux, uy), height = _directed(to_page.vector(strip.up), (0.0, 1.0))
    x, y = to_page.point((strip.origin[0] + BASELINE * strip.up[0], strip.origin[1] + BASELINE * strip.up[1]))
    size = SIZE * height
    advance = size * sum(1.0 if is_wide(character) else 0.5 for character in line.text)
    matrix = " ".join(_number(value) for value in (ax, ay, ux, uy, x, y))
    text = "".join(f"{numbers[character]:04X}" for character in line.text)
    return f"{_number(size)} Tf {_number(100 * width / advance)} Tz {matrix} Tm <{text}> Tj\n"


def _directed(way: Point, otherwise: Point) -> tuple[Point, float]:
    """Give the direction of `way`, or `otherwise` where it leads nowhere, and its length."""
    length = math.hypot(*way)
    return (way[0] / length, way[1] / length) if length else otherwise, max(length, THIN)


def _number(value: float) -> str:
    rounded = round(value, 4) + 0.0  # + 0.0: no minus before a zero
    return f"{rounded:.4f}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True)
class Strip:
    """A line's rectangle: its lower left corner as one reads, and the ways to the lower right and the upper left."""

    origin: Point
    along: Point
    up: Point


def strip_of(line: Line) -> Strip:
    """Give the rectangle of `line`, in its pixels: flat where it nearly is, downwards where the line is tall."""
    top_left, top_right, bottom_right, bottom_left = line.polygon
    along = _mean(_way(top_left, top_right), _way(bottom_left, bottom_right))
    up = _mean(_way(bottom_left, top_left), _way(bottom_right, top_right))
    centre = _mean(_mean(top_left, bottom_right), _mean(top_right, bottom_left))
    if len(line.text) > 1 and math.hypot(*up) > TALL * math.hypot(*along):
        along, up = (-up[0], -up[1]), along
    along, up = _flat(along, up)
    return Strip((centre[0] - (along[0] + up[0]) / 2, centre[1] - (along[1] + up[1]) / 2), along, up)


def _flat(along: Point, up: Point) -> tuple[Point, Point]:
    turn = math.atan2(along[1], along[0])
    quarters = round(turn / (math.pi / 2))
    if abs(turn - quarters * math.pi / 2) >= LEVEL:
        return along, up
    x, y = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarters % 4]
    length, height = math.hypot(*along), math.hypot(*up)
    return (x * length, y * length), (y * height, -x * height)


def _way(start: Point, end: Point) -> Point:
    return end[0] - start[0], end[1] - start[1]


def _mean(a: Point, b: Point) -> Point:
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2
