"""Tables by img2table: rules and white space, no model; works as installed"""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

from darkroom.pipelines.ocr.engines.base import load
from darkroom.pipelines.ocr.page import Box
from darkroom.pipelines.ocr.picture import Pixels
from darkroom.pipelines.ocr.structure.grid import Cell

MARGIN = 10  # pixels around region and text: the outer rules are to be seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Img2Table:
    """Finds the cells of one table."""

    documents: Any  # the module img2table.document
    name: str = "img2table"

    @property
    def models(self) -> Mapping[str, str]:
        """None: it needs no model."""
        return {}

    def __call__(self, rgb: Pixels, region: Box, text: Box) -> tuple[tuple[Cell, ...], float | None]:
        """Give the cells of the largest table in `region` or `text` of the page `rgb`, without a score."""
        height, width = rgb.shape[:2]
        left = max(0, int(min(region[0], text[0])) - MARGIN)
        top = max(0, int(min(region[1], text[1])) - MARGIN)
        right = min(width, int(max(region[2], text[2])) + MARGIN)
        bottom = min(height, int(max(region[3], text[3])) + MARGIN)
        picture = BytesIO()
        Image.fromarray(rgb[top:bottom, left:right]).save(picture, "png", compress_level=1)
        found = self.documents.Image(src=picture).extract_tables(borderless_tables=True)
        rows = max((list(table.content.values()) for table in found), key=_extent, default=[])
        return cells_of([[cell.bbox for cell in row] for row in rows], left, top), None


def open_img2table() -> Img2Table:
    """Load img2table. Raises Unavailable if it is not installed."""
    return Img2Table(documents=load("img2table.document", "img2table", "ocr-structure"))


def cells_of(rows: list[list[Any]], left: int, top: int) -> tuple[Cell, ...]:
    """Give the cells of a full grid of boxes (x1, y1, x2, y2), in which a merged cell repeats its box."""
    places: dict[Box, list[tuple[int, int]]] = {}
    for row, boxes in enumerate(rows):
        for column, box in enumerate(boxes):
            at = (float(box.x1 + left), float(box.y1 + top), float(box.x2 + left), float(box.y2 + top))
            places.setdefault(at, []).append((row, column))
    return tuple(_cell(box, at) for box, at in places.items())


def _cell(box: Box, places: list[tuple[int, int]]) -> Cell:
    (row, column), (last_row, last_column) = min(places), max(places)
    return Cell(row=row, column=column, rows=last_row - row + 1, columns=last_column - column + 1, box=box)


def _extent(rows: list[list[Any]]) -> int:
    return sum(map(len, rows))
