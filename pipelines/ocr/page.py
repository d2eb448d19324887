"""A page that has been read: its lines in reading order, regions and tables; what one part holds as JSON

Coordinates are pixels of the upright page, as it was read: `rotation` says how far the source's page was turned
clockwise to get there. Polygons run clockwise from the top left corner of the text.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

SCHEMA = 1  # of a part; another one is read again

Point = tuple[float, float]
Polygon = tuple[Point, Point, Point, Point]
Box = tuple[float, float, float, float]  # left, top, right, bottom
Kind = Literal[
    "text", "title", "figure", "figure_caption", "table", "table_caption", "header", "footer", "reference", "equation"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word of a line, or a single character where words are not set apart."""

    text: str
    polygon: Polygon


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of text."""

    text: str
    score: float | None  # 0 to 1; None: of text nobody had to guess, and of engines that do not say
    polygon: Polygon
    region: int | None = None  # index of the region it lies in
    words: tuple[Word, ...] = ()
    truncated: bool = False  # the engine stopped in the middle
    own: bool = False  # text that the page carries itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A part of the page and what it is."""

    kind: Kind
    box: Box
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as HTML: `<table>` with `<tr>`, `<td rowspan colspan>` and the text of its cells."""

    box: Box
    html: str
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page, read."""

    index: int  # in the document, from 0
    width: int  # of the upright page as it was read
    height: int
    dpi: float  # pixels per inch of that size; 0: nobody knows
    rotation: int = 0  # degrees the source's page was turned clockwise: 0, 90, 180, 270
    skew: float = 0.0  # degrees by which the text is tilted clockwise
    source: Literal["ocr", "native", "mixed"] = "ocr"
    lines: tuple[Line, ...] = ()  # in reading order
    regions: tuple[Region, ...] = ()  # in reading order
    tables: tuple[Table, ...] = ()
    warnings: tuple[str, ...] = ()
    failed: str = ""  # why the page could not be read; "" if it was


def to_json(page: Page) -> bytes:
    """Give `page` as JSON that reads back equal."""
    return json.dumps({"schema": SCHEMA, **asdict(page)}, ensure_ascii=False, allow_nan=False).encode()


def from_json(data: bytes) -> Page:
    """Give the page that `to_json` wrote. Raises ValueError if it is of another schema."""
    raw: dict[str, Any] = json.loads(data)
    if (schema := raw.pop("schema", None)) != SCHEMA:
        raise ValueError(f"a page of schema {schema}, this is {SCHEMA}")
    lines = tuple(_line(line) for line in raw.pop("lines"))
    regions = tuple(Region(**region | {"box": tuple(region["box"])}) for region in raw.pop("regions"))
    tables = tuple(Table(**table | {"box": tuple(table["box"])}) for table in raw.pop("tables"))
    return Page(**raw | {"warnings": tuple(raw["warnings"])}, lines=lines, regions=regions, tables=tables)


def _line(raw: dict[str, Any]) -> Line:
    words = tuple(Word(text=word["text"], polygon=_polygon(word["polygon"])) for word in raw["words"])
    return Line(**raw | {"polygon": _polygon(raw["polygon"]), "words": words})


def _polygon(raw: list[list[float]]) -> Polygon:
    a, b, c, d = ((float(x), float(y)) for x, y in raw)
    return a, b, c, d
