"""A page's lines as paragraphs: by the regions that were found, else by the gaps between the lines"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from darkroom.pipelines.ocr.outputs.legible import legible
from darkroom.pipelines.ocr.page import Box, Kind, Line, Page, Polygon, Table

GAP = 0.8  # of a line's height: from there on a new paragraph begins
ITEM = re.compile(r"([•‣◦▪●○■·]|[-*–—](?=\s)|\d{1,3}[.)](?=\s))\s*")
HYPHENS = "-\u2010\u00ad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """What belongs together on a page: lines of one kind, or a table in their place."""

    kind: Kind
    lines: tuple[Line, ...] = ()
    table: Table | None = None


def box_of(polygon: Polygon) -> Box:
    """Give the upright box around `polygon`."""
    xs, ys = zip(*polygon, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def paragraphs(page: Page, min_score: float) -> tuple[Paragraph, ...]:
    """Give the paragraphs of `page` in reading order, each table where its text stands."""
    found: list[Paragraph] = []
    rows: list[Line] = []
    done: set[int] = set()  # tables
    for line in legible(page, min_score):
        inside = _table_of(line, page.tables)
        if rows and (inside is not None or _begins(line, rows[-1], page)):
            found.append(_paragraph(rows, page))
            rows = []
        if inside is None:
            rows.append(line)
        elif inside not in done:
            done.add(inside)
            found.append(Paragraph(kind="table", table=page.tables[inside]))
    if rows:
        found.append(_paragraph(rows, page))
    for index in sorted(set(range(len(page.tables))) - done):  # a model's own, with no lines to stand for
        _insert(found, page.tables[index])
    return tuple(found)


def _paragraph(rows: Sequence[Line], page: Page) -> Paragraph:
    region = rows[0].region
    return Paragraph(kind="text" if region is None else page.regions[region].kind, lines=tuple(rows))


def _table_of(line: Line, tables: Sequence[Table]) -> int | None:
    left, top, right, bottom = box_of(line.polygon)
    x, y = (left + right) / 2, (top + bottom) / 2
    around = (
        n for n, table in enumerate(tables) if table.box[0] <= x <= table.box[2] and table.box[1] <= y <= table.box[3]
    )
    return next(around, None)


def _begins(line: Line, before: Line, page: Page) -> bool:
    """Say whether `line` begins a paragraph after `before`."""
    if line.region != before.region or ITEM.match(line.text):
        return True
    if line.region is not None and page.regions[line.region].kind == "title":
        return False
    (_, top, _, bottom), (_, top_before, _, bottom_before) = box_of(line.polygon), box_of(before.polygon)
    height = median((bottom - top, bottom_before - top_before))
    back_up = bottom < top_before  # the head of the next column
    return back_up or top - bottom_before > GAP * height


def _insert(found: list[Paragraph], table: Table) -> None:
    """Put `table` before the first paragraph that begins below its middle."""
    middle = (table.box[1] + table.box[3]) / 2
    tops = [paragraph.table.box[1] if paragraph.table else _top(paragraph.lines) for paragraph in found]
    place = next((n for n, top in enumerate(tops) if top > middle), len(found))
    found.insert(place, Paragraph(kind="table", table=table))


def _top(lines: Iterable[Line]) -> float:
    return min(box_of(line.polygon)[1] for line in lines)


def joined(texts: Sequence[str]) -> str:
    """Give lines as one running text: no space between Chinese characters, words put together at a hyphen.

    A hyphen goes where letters stand before it and a small letter after: "exam-", "ple".
    """
    running = ""
    for text in texts:
        if not running:
            running = text
        elif running[-1] in HYPHENS and running[-2:-1].isalpha() and text[:1].islower():
            running = running[:-1] + text
        else:
            running += ("" if _unspaced(running[-1]) and _unspaced(text[:1]) else " ") + text
    return running


def _unspaced(character: str) -> bool:
    """Say whether `character` is of a script that sets no spaces: Han and kana, and their full-width marks."""
    korean = "\uac00" <= character <= "\ud7a3"
    return not korean and unicodedata.east_asian_width(character) in "WF"
