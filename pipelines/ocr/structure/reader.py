"""The structure of a page in one call: regions by the model, unruled tables by their lines, the cells of tables"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from darkroom.pipelines.ocr.page import Line, Region, Table
from darkroom.pipelines.ocr.picture import Picture
from darkroom.pipelines.ocr.structure.aligned import with_unruled
from darkroom.pipelines.ocr.structure.layout import Layout, open_layout
from darkroom.pipelines.ocr.structure.tables import TableReader, open_tables

Depth = Literal["tables", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureReader:
    """Finds regions and tables; one per worker, for it holds its models in memory."""

    depth: Depth
    layout: Layout
    tables: TableReader
    warnings: tuple[str, ...] = ()  # of how it came up: what it had to do without

    @property
    def name(self) -> str:
        """What the report calls it."""
        return f"rapid-layout, {self.tables.name}"

    @property
    def models(self) -> Mapping[str, str]:
        """SHA-256 of each model file, by name."""
        return {**self.layout.models, **self.tables.models}

    def __call__(self, picture: Picture, lines: Sequence[Line]) -> tuple[tuple[Region, ...], tuple[Table, ...]]:
        """Give the regions of `picture` from top to bottom (tables only, unless `depth` is "full") and its tables.

        lines: of the page, in any order; their text fills the cells
        """
        regions = with_unruled(self.layout(picture), lines)
        tables = self.tables(picture, regions, lines)
        if self.depth == "tables":
            regions = tuple(region for region in regions if region.kind == "table")
        return regions, tables


def open_structure(depth: Depth, models: Path, threads: int = 0) -> StructureReader:
    """Load what `depth` needs. Raises Unavailable where it is not installed.

    models:  the folder of weights; SLANet is looked for in its folder ocr
    threads: of one operation; 0: as many as there are cores
    """
    tables, warnings = open_tables(models, threads)
    return StructureReader(depth=depth, layout=open_layout(threads), tables=tables, warnings=warnings)
