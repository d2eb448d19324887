import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sheets import Sheet, sheets, teds

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.page import Box, Region
from darkroom.pipelines.ocr.picture import Pixels
from darkroom.pipelines.ocr.structure.grid import Cell
from darkroom.pipelines.ocr.structure.img2table import open_img2table
from darkroom.pipelines.ocr.structure.tables import TableReader, open_tables


@dataclass
class Finds:
    """A finder that finds what it is told to, and keeps what it was asked."""

    cells: tuple[Cell, ...]
    name: str = "told"
    models: Mapping[str, str] = field(default_factory=dict)
    asked: list[tuple[Box, Box]] = field(default_factory=list)

    def __call__(self, rgb: Pixels, region: Box, text: Box) -> tuple[tuple[Cell, ...], float | None]:
        self.asked.append((region, text))
        return self.cells, 0.7


def region(sheet: Sheet) -> Region:
    return Region(kind="table", box=sheet.box, score=0.9)


def test_a_table_holds_the_text_of_the_lines_inside_it() -> None:
    sheet = sheets()[0]
    (table,) = TableReader(finders=(open_img2table(),))(sheet.picture, [region(sheet)], sheet.lines)
    assert teds(table.html, sheet.html) == 1.0
    assert "lighthouse" not in table.html
    assert table.box == sheet.box


def test_the_finder_is_shown_the_tight_box_of_the_text() -> None:
    sheet, finder = sheets()[0], Finds(cells=(Cell(row=0, column=0),))
    (table,) = TableReader(finders=(finder,))(sheet.picture, [region(sheet)], sheet.lines)
    ((found, text),) = finder.asked
    assert found == sheet.box
    assert sheet.box[0] < text[0] and sheet.box[1] < text[1] and text[2] < sheet.box[2] and text[3] < sheet.box[3]
    assert table.score == 0.7


def test_the_next_finder_is_asked_where_one_finds_nothing() -> None:
    sheet, first, second = sheets()[0], Finds(cells=()), Finds(cells=(Cell(row=0, column=0),))
    assert len(TableReader(finders=(first, second))(sheet.picture, [region(sheet)], sheet.lines)) == 1
    assert len(first.asked) == len(second.asked) == 1


def test_no_table_where_no_finder_finds_one() -> None:
    sheet = sheets()[0]
    assert TableReader(finders=(Finds(cells=()),))(sheet.picture, [region(sheet)], sheet.lines) == ()


def test_other_regions_and_regions_without_lines_are_no_tables() -> None:
    sheet, finder = sheets()[0], Finds(cells=(Cell(row=0, column=0),))
    reader = TableReader(finders=(finder,))
    assert reader(sheet.picture, [Region(kind="figure", box=sheet.box)], sheet.lines) == ()
    assert reader(sheet.picture, [region(sheet)], sheet.lines[:3]) == ()
    assert not finder.asked


def test_what_is_missing_is_said_and_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.pipelines.ocr.structure.slanet.find_spec", lambda name: None)
    reader, warnings = open_tables(tmp_path)
    assert reader.name == "img2table"
    assert reader.models == {}
    (warning,) = warnings
    assert "slanet-1m.onnx" in warning


def test_without_any_finder_tables_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.pipelines.ocr.structure.slanet.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "img2table.document", None)
    with pytest.raises(Unavailable, match=r"slanet-1m.*img2table"):
        open_tables(tmp_path)
