"""A page as blocks for the model: a crop for each region, and one for whatever writing the layout left out

What is in no region would be lost without a word: the model is never shown it. Nor would it know half a character at
the edge of a crop, and layouts are drawn tight: regions grow until they cut through no writing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from darkroom.pipelines.ocr.page import Box, Kind, Region
from darkroom.pipelines.ocr.picture import Picture, Pixels
from darkroom.pipelines.ocr.structure.grid import covered
from darkroom.pipelines.ocr.vl.request import Block, Task

TASKS: dict[Kind, Task] = {"table": "table", "equation": "formula"}  # all others: text
INSIDE = 0.8  # of a region in a table or figure: it is read with that
MARGIN = 4  # pixels around a region
STEP = 48  # of 255, from one pixel to the next: the edge of a letter, whatever the paper's shade
FEWEST_EDGES = 0.004  # of a row's pixels, in a row with writing
DENSEST_NOISE = 0.015  # of a strip's pixels: less is specks
LEAST_HEIGHT = 8  # pixels of a strip with writing
ROW_GAP = 0.008  # of the page's height: what is nearer is one strip
WORD_GAP = 0.01  # of the page's width: what is nearer to the end of a line belongs to it
REACH = 0.05  # of the page's width: a region grows no further

Marks = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A region and the block made of it."""

    region: Region
    block: Block
    at: tuple[int, int] = (0, 0)  # left and top of the crop on the page


def cuts(picture: Picture, regions: Sequence[Region]) -> tuple[Cut, ...]:
    """Give the blocks of `picture`: of each of `regions` that lies in no table or figure, then of what they leave out.

    A page without any region is one block.
    """
    outer = [region for region in regions if _has_area(region.box) and not _is_part(region, regions)]
    if not outer:
        page: Box = (0.0, 0.0, float(picture.width), float(picture.height))
        return (Cut(region=Region(kind="text", box=page), block=Block(task="text", rgb=picture.rgb)),)
    edges = _edges(picture.rgb)
    boxes = [region.box for region in outer]
    outer = [replace(region, box=_grown(edges, region.box, boxes)) for region in outer]
    rest = _painted_over(picture.rgb, [region.box for region in outer])
    missed = [Region(kind="text", box=box) for box in strips(rest)]
    return (
        *(_cut(picture.rgb, region) for region in outer),
        *(_cut(rest, region) for region in missed),
    )


def strips(rgb: Pixels) -> list[Box]:
    """Give the boxes of the strips of `rgb`, [H, W, 3], with writing, from top to bottom: by its many sharp edges."""
    height, width = rgb.shape[:2]
    edges = _edges(rgb)
    written = np.flatnonzero(edges.sum(axis=1) >= max(4, FEWEST_EDGES * width))
    gaps = [*(a + 1 for a, b in pairwise(written) if b - a > max(2, ROW_GAP * height)), height]
    found, start = [], 0
    for stop in gaps:
        rows = written[(written >= start) & (written < stop)]
        start = stop
        if rows.size and (box := _box(edges, int(rows[0]), int(rows[-1]) + 1)):
            found.append(box)
    return found


def _edges(rgb: Pixels) -> Marks:
    """Give where two pixels side by side differ as ink and paper do, [H, W - 1]."""
    gray = rgb.astype(np.int16).mean(axis=2)
    return np.asarray(np.abs(np.diff(gray, axis=1)) > STEP)


def _grown(edges: Marks, box: Box, boxes: Sequence[Box]) -> Box:
    """Give `box` with what its left and right edge cut off, up to the next of `boxes` beside it."""
    left, top, right, bottom = box
    width = edges.shape[1] + 1
    beside = [other for other in boxes if other[1] < bottom and other[3] > top]
    first = max(0.0, left - REACH * width, *(other[2] for other in beside if other[2] <= left))
    last = min(float(width), right + REACH * width, *(other[0] for other in beside if other[0] >= right))
    written = np.asarray(edges[max(0, round(top)) : round(bottom)].any(axis=0))
    more_right = _reach(written[max(0, round(right)) : round(last)], WORD_GAP * width)
    more_left = _reach(written[round(first) : max(0, round(left))][::-1], WORD_GAP * width)
    return (left - more_left, top, right + more_right, bottom)


def _reach(written: Marks, gap: float) -> int:
    """Give where the marks end that follow each other by less than `gap`; 0 if there is none so near."""
    places = [-1, *np.flatnonzero(written).tolist()]
    ends = (a for a, b in pairwise(places) if b - a > gap)
    return int(next(ends, places[-1])) + 1


def _box(edges: Marks, top: int, bottom: int) -> Box | None:
    columns = np.flatnonzero(edges[top:bottom].any(axis=0))
    left, right = int(columns[0]), int(columns[-1]) + 2  # an edge is between two pixels
    dense = edges[top:bottom, left:right].mean() > DENSEST_NOISE
    return (float(left), float(top), float(right), float(bottom)) if dense and bottom - top >= LEAST_HEIGHT else None


def _cut(rgb: Pixels, region: Region) -> Cut:
    height, width = rgb.shape[:2]
    left, top = max(0, round(region.box[0]) - MARGIN), max(0, round(region.box[1]) - MARGIN)
    right, bottom = min(width, round(region.box[2]) + MARGIN), min(height, round(region.box[3]) + MARGIN)
    block = Block(task=TASKS.get(region.kind, "text"), rgb=np.ascontiguousarray(rgb[top:bottom, left:right]))
    return Cut(region=region, block=block, at=(left, top))


def _has_area(box: Box) -> bool:
    return box[2] - box[0] >= 1 and box[3] - box[1] >= 1


def _is_part(region: Region, regions: Sequence[Region]) -> bool:
    wholes = (other for other in regions if other.kind in ("table", "figure") and other is not region)
    return any(covered(region.box, whole.box) > INSIDE and covered(whole.box, region.box) <= INSIDE for whole in wholes)


def _painted_over(rgb: Pixels, boxes: Sequence[Box]) -> Pixels:
    """Give `rgb` with `boxes` in the colour of the paper, so that nothing in them is read twice."""
    paper = np.median(rgb[::8, ::8].reshape(-1, 3), axis=0).astype(np.uint8)
    painted = rgb.copy()
    for box in boxes:
        left, top, right, bottom = (round(edge) for edge in box)
        painted[max(0, top - MARGIN) : bottom + MARGIN, max(0, left - MARGIN) : right + MARGIN] = paper
    return painted
