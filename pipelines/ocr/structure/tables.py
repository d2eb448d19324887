"""The tables of a page: each region of that kind, its cells found, the text of our own lines put into them

SLANet where its file is there, img2table otherwise and where SLANet gives up (a table too long for it).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.page import Box, Line, Region, Table
from darkroom.pipelines.ocr.picture import Picture, Pixels
from darkroom.pipelines.ocr.structure.grid import Cell, bounds, covered, filled, html
from darkroom.pipelines.ocr.structure.img2table import open_img2table
from darkroom.pipelines.ocr.structure.slanet import open_slanet

INSIDE = 0.5  # of a line's box: so much of it in the region, and it belongs to the table
FEWEST = 2  # lines: below, there is nothing to arrange


class Finder(Protocol):
    """Finds the cells of one table of the page `rgb`; (), 0 where it finds none."""

    @property
    def name(self) -> str:
        """What the report calls it."""

    @property
    def models(self) -> Mapping[str, str]:
        """SHA-256 of each model file, by name."""

    def __call__(self, rgb: Pixels, region: Box, text: Box) -> tuple[tuple[Cell, ...], float | None]:
        """Give the cells, in pixels of the page, and the score; region: as detected, text: tight around the lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableReader:
    """Reads the tables of pages: asks `finders` in turn until one finds cells."""

    finders: tuple[Finder, ...]

    @property
    def name(self) -> str:
        """What the report calls it."""
        return " then ".join(finder.name for finder in self.finders)

    @property
    def models(self) -> Mapping[str, str]:
        """SHA-256 of each model file, by name."""
        return {name: digest for finder in self.finders for name, digest in finder.models.items()}

    def __call__(self, picture: Picture, regions: Sequence[Region], lines: Sequence[Line]) -> tuple[Table, ...]:
        """Give the tables of `picture`, one for each region of that kind whose cells were found, in their order."""
        found = (self.read(picture, region, lines) for region in regions if region.kind == "table")
        return tuple(table for table in found if table)

    def read(self, picture: Picture, region: Region, lines: Sequence[Line]) -> Table | None:
        """Give the table in `region`, or None if its lines have no order that could be found."""
        inside = [line for line in lines if covered(bounds([line.polygon]), region.box) > INSIDE]
        if len(inside) < FEWEST:
            return None
        text = bounds(line.polygon for line in inside)
        for finder in self.finders:
            cells, score = finder(picture.rgb, region.box, text)
            if cells:
                return Table(box=region.box, html=html(filled(cells, inside)), score=score)
        return None


def open_tables(models: Path, threads: int = 0) -> tuple[TableReader, tuple[str, ...]]:
    """Load what finds tables: SLANet if its file is there, and img2table; also say what could not be had and why.

    Raises Unavailable if neither can be had.
    """
    finders: list[Finder] = []
    reasons: list[str] = []
    for load in (lambda: open_slanet(models, threads), open_img2table):
        try:
            finders.append(load())
        except Unavailable as reason:
            reasons.append(str(reason))
    if not finders:
        raise Unavailable(f"tables: nothing can find their cells: {'; '.join(reasons)}")
    return TableReader(finders=tuple(finders)), tuple(reasons)
