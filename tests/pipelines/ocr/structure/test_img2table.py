import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sheets import Sheet, sheets, teds

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.structure.grid import bounds, filled, html
from darkroom.pipelines.ocr.structure.img2table import Img2Table, cells_of, open_img2table


@pytest.fixture(scope="module")
def finder() -> Img2Table:
    return open_img2table()


@pytest.mark.parametrize("sheet", sheets(), ids=lambda sheet: sheet.name)
def test_each_table_is_read_cell_by_cell(finder: Img2Table, sheet: Sheet) -> None:
    inside = [line for line in sheet.lines if sheet.box[1] < line.polygon[0][1] < sheet.box[3]]
    cells, score = finder(sheet.picture.rgb, sheet.box, bounds(line.polygon for line in inside))
    assert teds(html(filled(cells, inside)), sheet.html, text=False) >= 0.99
    assert teds(html(filled(cells, inside)), sheet.html) >= 0.99
    assert score is None


def test_an_empty_region_has_no_cells(finder: Img2Table) -> None:
    page = np.full((300, 400, 3), 255, np.uint8)
    assert finder(page, (10, 10, 390, 290), (20, 20, 100, 100)) == ((), None)


def test_a_merged_cell_repeats_its_box_and_is_one() -> None:
    wide, a, b = (
        SimpleNamespace(x1=x1, y1=y1, x2=x2, y2=y2) for x1, y1, x2, y2 in ((0, 0, 9, 4), (0, 5, 4, 9), (5, 5, 9, 9))
    )
    top, left, right = cells_of([[wide, wide], [a, b]], left=100, top=10)
    assert (top.row, top.column, top.rows, top.columns, top.box) == (0, 0, 1, 2, (100, 10, 109, 14))
    assert (left.row, left.column) == (1, 0)
    assert (right.row, right.column, right.box) == (1, 1, (105, 15, 109, 19))


def test_a_missing_package_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "img2table.document", None)
    with pytest.raises(Unavailable, match=r"img2table: cannot be loaded .*ocr-structure"):
        open_img2table()
