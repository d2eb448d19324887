"""The order in which people read lines: by geometry alone, columns one after the other, rows of a table as rows

A page is cut where white runs through it. A gutter from top to bottom between two columns of prose comes first; where
something wide stands over or under columns, the page is cut across so that each piece has its gutters to itself. What
is left are rows, read from the left. Cells of a table are short, and so never taken for columns of prose.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, pairwise, takewhile
from math import atan2, cos, degrees, hypot, sin
from statistics import median

from darkroom.pipelines.ocr.page import Box, Line, Point

TALL = 1.5  # times as high as wide: a line written downwards
PROSE = 6.0  # a column of prose is so many line heights wide; cells are narrower
FEWEST = 2  # lines in a column of prose
TABLE_ROWS = 3  # rows of cells, one under the other, are a table
LEVEL = 0.25  # line heights by which the middles of a table's row differ at most
WIDE = 0.7  # of the page's writing: what stands across all columns
ROOM = 0.6  # line heights of white that a gutter has at least
TIGHT = 0.25  # and where it runs past MANY lines: one chance gap in each of them does not line up
MANY = 10
OVERLAP = 0.5  # of the lower height: two boxes share a row


@dataclass(frozen=True, slots=True)
class _Place:
    """Where line `index` lies, on a page laid straight."""

    index: int
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def width(self) -> float:
        return self.right - self.left


def in_order(lines: Sequence[Line], width: int, height: int) -> tuple[Line, ...]:
    """Give `lines` as they are read; `width` and `height` are the page's, in pixels.

    Where most of the writing runs downwards, as in Chinese books, columns are read from the right.
    """
    if not lines:
        return ()
    if runs_downwards(lines):
        turned = [(top, width - right, bottom, width - left) for left, top, right, bottom in map(line_box, lines)]
        places = [_Place(index, *box) for index, box in enumerate(turned)]
    else:
        angle = tilt(lines)
        places = [_straight(index, line, angle) for index, line in enumerate(lines)]
    return tuple(lines[place.index] for place in _read(places))


def line_box(line: Line) -> Box:
    """Give the upright box around `line`."""
    xs, ys = zip(*line.polygon, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def runs_downwards(lines: Sequence[Line]) -> bool:
    """Say whether most of the writing, by area, stands in lines higher than wide."""
    tall = wide = 0.0
    for left, top, right, bottom in map(line_box, lines):
        area = (right - left) * (bottom - top)
        if bottom - top > TALL * (right - left):
            tall += area
        else:
            wide += area
    return tall > wide


def tilt(lines: Sequence[Line]) -> float:
    """Give the angle the writing runs at, in radians, clockwise: the median, long lines counting more."""
    angles = sorted((angle, length) for angle, length in map(_run, lines))
    half, passed = sum(length for _angle, length in angles) / 2, 0.0
    for angle, length in angles:
        passed += length
        if passed >= half:
            return angle
    return 0.0


def skew(lines: Sequence[Line]) -> float:
    """Give the tilt of the writing in degrees, clockwise."""
    return round(degrees(tilt(lines)), 2)


def _run(line: Line) -> tuple[float, float]:
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = line.polygon
    across, down = bx + cx - ax - dx, by + cy - ay - dy
    return atan2(down, across), hypot(across, down)


def _straight(index: int, line: Line, angle: float) -> _Place:
    """Lay `line` as if the page were not tilted: middle and lengths of its edges, not its slanted hull."""
    a, b, c, d = line.polygon
    x, y = _turned((sum(p[0] for p in line.polygon) / 4, sum(p[1] for p in line.polygon) / 4), -angle)
    half = (hypot(b[0] - a[0], b[1] - a[1]) + hypot(c[0] - d[0], c[1] - d[1])) / 4
    rise = (hypot(d[0] - a[0], d[1] - a[1]) + hypot(c[0] - b[0], c[1] - b[1])) / 4
    return _Place(index, x - half, y - rise, x + half, y + rise)


def _turned(point: Point, angle: float) -> Point:
    x, y = point
    return x * cos(angle) - y * sin(angle), x * sin(angle) + y * cos(angle)


def _read(places: Sequence[_Place]) -> Iterator[_Place]:
    """Yield `places` in order."""
    bands = _bands(places)
    tables = _tables(bands)
    start = 0
    while start < len(bands):
        stop, gutter = _columns(bands[start : next((stop for stop in tables if stop >= start), None)])
        together = list(chain.from_iterable(bands[start : start + stop]))
        left = [place for place in together if place.right <= gutter]
        right = [place for place in together if place.right > gutter]
        if gutter and left and right:  # a line may be wider than its words, and stand across the gutter
            yield from _read(left)
            yield from _read(right)
        else:
            yield from chain.from_iterable(_rows(together))
        start += stop


def _tables(bands: Sequence[Sequence[_Place]]) -> list[int]:
    """Give the indices of bands that belong to a table: three on end whose places stand in line and are short."""
    cells = [all(map(_cells, _rows(band))) for band in bands]
    runs = groupby(range(len(bands)), key=cells.__getitem__)
    found = [list(run) for is_table, run in runs if is_table]
    return [index for run in found if len(run) >= TABLE_ROWS for index in run]


def _cells(row: Sequence[_Place]) -> bool:
    """Say whether `row` looks like one of a table: at most one place is long, and all stand on one line."""
    middles = [(place.top + place.bottom) / 2 for place in row]
    level = max(middles) - min(middles) <= LEVEL * min(place.height for place in row)
    return level and len(row) > 1 and sum(_length(place) >= PROSE for place in row) <= 1


def _columns(bands: Sequence[Sequence[_Place]]) -> tuple[int, float]:
    """Give how many of `bands`, from the first, share a gutter at most, and its x; 1 and 0 where none do."""
    if not bands:
        return 1, 0.0
    wide = WIDE * _reach(chain.from_iterable(bands))
    places: list[_Place] = []
    best = 1, 0.0
    for count, band in enumerate(bands, 1):
        places.extend(band)
        if _reach(places) > wide and not any(_white((place.left, place.right) for place in places)):
            break  # something stands across the page, and no band below will open it
        if gutter := _gutter(places):
            best = count, gutter
    count, gutter = best
    return count - (_headings(bands[:count], bands[count], gutter) if gutter and count < len(bands) else 0), gutter


def _headings(bands: Sequence[Sequence[_Place]], below: Sequence[_Place], gutter: float) -> int:
    """Give how many of the last `bands` head what stands `below` across the columns, and so are not the left one's."""
    if not any(place.left < gutter < place.right for place in below):
        return 0
    tail = list(takewhile(lambda band: all(place.right <= gutter for place in band), reversed(bands)))
    if not tail or len(tail) == len(bands):
        return 0
    stack = [below, *tail, bands[-len(tail) - 1]]
    whites = [min(p.top for p in lower) - max(p.bottom for p in upper) for lower, upper in pairwise(stack)]
    return max(range(len(whites)), key=whites.__getitem__)


def _reach(places: Iterable[_Place]) -> float:
    spans = [(place.left, place.right) for place in places]
    return max(right for _left, right in spans) - min(left for left, _right in spans)


def _gutter(places: Sequence[_Place]) -> float:
    """Give the x of the widest white that runs from top to bottom between two columns of prose; 0 if none does."""
    room = (TIGHT if len(places) >= MANY else ROOM) * median(place.height for place in places)
    whites = [(start - end, start) for start, end in _white((place.left, place.right) for place in places)]
    return next((x for width, x in sorted(whites) if -width >= room and _parts_prose(places, x)), 0.0)


def _parts_prose(places: Sequence[_Place], x: float) -> bool:
    return _prose([place for place in places if place.right <= x]) and _prose(
        [place for place in places if place.right > x]
    )


def _prose(places: Sequence[_Place]) -> bool:
    """Say whether `places` may be a column: most lines are long, or most rows where a table stands in it."""
    if len(places) < FEWEST:
        return False
    if median(map(_length, places)) >= PROSE:
        return True
    rows = _rows(places)
    return len(rows) > TABLE_ROWS and median(_reach(row) / max(row[0].height, 1) for row in rows) >= PROSE


def _length(place: _Place) -> float:
    return place.width / max(place.height, 1)


def _white(spans: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Yield the gaps between `spans`."""
    ordered = sorted(spans)
    reach = ordered[0][1]
    for start, end in ordered[1:]:
        if start > reach:
            yield reach, start
        reach = max(reach, end)


def _bands(places: Sequence[_Place]) -> list[list[_Place]]:
    """Give `places` in bands that white separates from top to bottom."""
    cuts = [(start + end) / 2 for start, end in _white([_core(place) for place in places])]
    bands: list[list[_Place]] = [[] for _ in range(len(cuts) + 1)]
    for place in places:
        bands[sum(cut < (place.top + place.bottom) / 2 for cut in cuts)].append(place)
    return bands


def _core(place: _Place) -> tuple[float, float]:
    # Boxes of lines set close together overlap a little: their middle halves do not.
    return place.top + place.height / 4, place.bottom - place.height / 4


def _rows(places: Iterable[_Place]) -> list[list[_Place]]:
    """Give the rows of `places`, each from the left; what overlaps by half is in one row."""
    rows: list[list[_Place]] = []
    for place in sorted(places, key=lambda place: place.top + place.bottom):
        if rows and _shares(rows[-1][0], place):
            rows[-1].append(place)
        else:
            rows.append([place])
    return [sorted(row, key=lambda place: place.left) for row in rows]


def _shares(a: _Place, b: _Place) -> bool:
    return min(a.bottom, b.bottom) - max(a.top, b.top) >= OVERLAP * min(a.height, b.height)
