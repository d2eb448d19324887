"""The way of one page: drawn, turned upright, read, put in reading order, its regions and tables found"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.ocr.affine import turned_back
from darkroom.pipelines.ocr.document import DocumentFacts, native_lines, render
from darkroom.pipelines.ocr.engines.base import Engine, Reading
from darkroom.pipelines.ocr.order import in_order, tilt
from darkroom.pipelines.ocr.orient import upright
from darkroom.pipelines.ocr.page import Line, Page, Region, Table
from darkroom.pipelines.ocr.picture import Picture
from darkroom.pipelines.ocr.plan import OcrPlan, Way
from darkroom.pipelines.ocr.structure.grid import bounds, covered
from darkroom.pipelines.ocr.structure.reader import StructureReader

HALF = 0.5  # of a line's box: so much of it inside another, and it is that one's


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """What reads a page; one for each thread, for engines are not made to be shared."""

    engine: Engine | None  # None: the plan has only pages with text of their own
    structure: StructureReader | None


def read_page(plan: OcrPlan, index: int, way: Way, reader: Reader) -> Page:
    """Give page `index` of the document as `plan` wants it read; one that is damaged says so in `failed`.

    Raises Unavailable where the machine fails.
    """
    facts = plan.facts
    try:
        picture = render(facts, index, plan.dpi)
        own = () if way == "ocr" else native_lines(facts, index, plan.dpi, hidden=plan.settings.mode == "skip")
    except Rejected as error:
        return failed_page(facts, index, str(error))
    if way == "native":
        return _page(index, picture, 0, way, Reading(lines=()), own, reader)
    assert reader.engine is not None, "the plan says which pages are read"
    if plan.orientation:
        picture, rotation, reading = upright(picture, reader.engine)
    else:
        rotation, reading = 0, reader.engine.read(picture)
    turn = turned_back(picture.width, picture.height, rotation).inverse()
    own = tuple(replace(line, polygon=turn.polygon(line.polygon), words=()) for line in own)
    return _page(index, picture, rotation, way, reading, own, reader)


def failed_page(facts: DocumentFacts, index: int, reason: str) -> Page:
    """Give the page that could not be read, empty."""
    page = facts.pages[index]
    return Page(index=index, width=round(page.width), height=round(page.height), dpi=page.dpi, failed=reason)


def _page(
    index: int,
    picture: Picture,
    rotation: int,
    way: Way,
    reading: Reading,
    own: Sequence[Line],
    reader: Reader,
) -> Page:
    """Put together what was found, in the order people read."""
    width, height = picture.width, picture.height
    lines = tuple(own) if way == "native" else in_order((*own, *_besides(reading.lines, own)), width, height)
    regions, tables = _structure(picture, reading, lines, reader)
    lines = tuple(_placed(line, regions) for line in lines)
    regions, lines = _ordered(regions, lines)
    return Page(
        index=index,
        width=width,
        height=height,
        dpi=picture.dpi,
        rotation=rotation,
        skew=round(math.degrees(tilt(lines)), 2) if lines else 0.0,
        source=way,
        lines=lines,
        regions=regions,
        tables=tables,
        warnings=(*picture.warnings, *reading.warnings),
    )


def _besides(lines: Sequence[Line], own: Sequence[Line]) -> list[Line]:
    """Give what was read where the page has no text of its own."""
    boxes = [bounds([line.polygon]) for line in own]
    return [line for line in lines if all(covered(bounds([line.polygon]), box) <= HALF for box in boxes)]


def _structure(
    picture: Picture, reading: Reading, lines: Sequence[Line], reader: Reader
) -> tuple[tuple[Region, ...], tuple[Table, ...]]:
    """Give the regions and tables that the engine saw, or else those that the structure reader finds."""
    if reading.regions or reading.tables or reader.structure is None:
        return reading.regions, reading.tables
    return reader.structure(picture, lines)


def _placed(line: Line, regions: Sequence[Region]) -> Line:
    """Give `line` with the region most of it lies in, the smallest if there are several."""
    if line.region is not None or not regions:
        return line
    box = bounds([line.polygon])
    around = [number for number, region in enumerate(regions) if covered(box, region.box) > HALF]
    return replace(line, region=min(around, key=lambda number: _area(regions[number]), default=None))


def _area(region: Region) -> float:
    left, top, right, bottom = region.box
    return (right - left) * (bottom - top)


def _ordered(regions: Sequence[Region], lines: Sequence[Line]) -> tuple[tuple[Region, ...], tuple[Line, ...]]:
    """Give the regions in the order of their first lines, those without lines by their place, and lines to match."""
    first = {
        number: position for position, line in reversed([*enumerate(lines)]) if (number := line.region) is not None
    }
    tops = {number: regions[number].box[1] for number in first}

    def rank(number: int) -> tuple[int, float]:
        if number in first:
            return first[number], 0.0
        above = [other for other in first if tops[other] <= regions[number].box[1]]
        return max((first[other] for other in above), default=-1), regions[number].box[1] + 1

    order = sorted(range(len(regions)), key=rank)
    place = {number: position for position, number in enumerate(order)}
    moved = tuple(line if line.region is None else replace(line, region=place[line.region]) for line in lines)
    return tuple(regions[number] for number in order), moved
