"""Tables without rules, found in the lines themselves: rows of short texts that stand in the same columns

The layout model takes such a table for text as often as not (both of the tests' own: table 0.28 and 0.06, text 0.73 and
0.64). Pure geometry; prose in columns is told apart by its long lines.
"""

from collections.abc import Iterable, Sequence
from statistics import median

from darkroom.pipelines.ocr.page import Box, Kind, Line, Region
from darkroom.pipelines.ocr.structure.grid import bounds, covered

FEWEST_ROWS = 3
FEWEST_COLUMNS = 2
LONGEST = 8.0  # heights of a line: a cell's median length; columns of prose come to 12 and more
WIDEST_GAP = 2.5  # heights of a line, from one row to the next
WORD_GAP = 0.8  # heights of a line: what is nearer stands in one column
INSIDE = 0.5  # of a box

Row = list[Box]


def with_unruled(regions: Sequence[Region], lines: Iterable[Line]) -> tuple[Region, ...]:
    """Give `regions` and the tables that only the lines show, each in place of the text it was taken for.

    lines: of the page, in any order
    """
    tables = [region.box for region in regions if region.kind == "table"]
    boxes = [bounds([line.polygon]) for line in lines]
    free = [box for box in boxes if not _in_any(box, tables)]
    found = [Region(kind="table", box=grid) for grid in grids(free)]
    new = [region.box for region in found]
    taken: tuple[Kind, ...] = ("text", "reference", "figure")
    kept = [region for region in regions if not (region.kind in taken and _in_any(region.box, new))]
    return tuple(sorted((*kept, *found), key=lambda region: (region.box[1], region.box[0])))


def grids(boxes: Iterable[Box]) -> list[Box]:
    """Give the box of each table that the boxes of lines make, from top to bottom."""
    runs: list[list[Row]] = []
    for row in rows(boxes):
        if runs and _goes_on(runs[-1], row):
            runs[-1].append(row)
        elif len(row) >= FEWEST_COLUMNS:
            runs.append([row])
        else:
            runs.append([])  # nothing begins with it, nothing goes on past it
    return [_around(run) for run in map(_trimmed, runs) if _is_table(run)]


def rows(boxes: Iterable[Box]) -> list[Row]:
    """Give `boxes` in rows from top to bottom, each from left to right: those whose middles are at one height."""
    found: list[Row] = []
    for box in sorted(boxes, key=lambda box: box[1] + box[3]):
        last = found[-1][-1] if found else None
        if last and abs(box[1] + box[3] - last[1] - last[3]) < min(_height(box), _height(last)):
            found[-1].append(box)
        else:
            found.append([box])
    return [sorted(row) for row in found]


def columns(run: Iterable[Row]) -> list[tuple[float, float]]:
    """Give the columns of `run`, left and right: what no white strip from top to bottom cuts apart."""
    found: list[tuple[float, float]] = []
    for box in sorted(box for row in run for box in row):
        if found and box[0] < found[-1][1] + WORD_GAP * _height(box):
            found[-1] = found[-1][0], max(found[-1][1], box[2])
        else:
            found.append((box[0], box[2]))
    return found


def _goes_on(run: list[Row], row: Row) -> bool:
    """Say whether `row` may be the next of `run`: near enough, and it leaves the columns apart."""
    if not run:
        return False
    height = median(_height(box) for box in row)
    near = row[0][1] - max(box[3] for box in run[-1]) < WIDEST_GAP * height
    before, after = len(columns(run)), len(columns([*run, row]))
    return near and after >= (FEWEST_COLUMNS if len(row) > 1 else max(FEWEST_COLUMNS, before))


def _trimmed(run: list[Row]) -> list[Row]:
    """Leave out what has one text only at the end: the prose below."""
    while run and len(run[-1]) < FEWEST_COLUMNS:
        run = run[:-1]
    return run


def _is_table(run: list[Row]) -> bool:
    full = [row for row in run if len(row) >= FEWEST_COLUMNS]
    if len(full) < FEWEST_ROWS or len(columns(run)) < FEWEST_COLUMNS:
        return False
    return median((box[2] - box[0]) / max(1.0, _height(box)) for row in run for box in row) < LONGEST


def _around(run: list[Row]) -> Box:
    boxes = [box for row in run for box in row]
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _in_any(box: Box, others: Iterable[Box]) -> bool:
    return any(covered(box, other) > INSIDE for other in others)


def _height(box: Box) -> float:
    return box[3] - box[1]
