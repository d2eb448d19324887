import pytest
from papers import CHINESE, ENGLISH
from sheets import Sheet, sheets

from darkroom.pipelines.ocr.page import Box, Line, Region
from darkroom.pipelines.ocr.structure.aligned import columns, grids, rows, with_unruled

WIDTH, HEIGHT = 12.0, 30.0  # of a letter, of a line


def line(text: str, left: float, top: float) -> Line:
    right, bottom = left + WIDTH * len(text), top + HEIGHT
    return Line(text=text, score=1.0, polygon=((left, top), (right, top), (right, bottom), (left, bottom)))


def box(left: float, top: float, right: float) -> Box:
    return left, top, right, top + HEIGHT


def found(lines: list[Line]) -> list[Region]:
    return [region for region in with_unruled((), lines) if region.kind == "table"]


@pytest.mark.parametrize("sheet", sheets(), ids=lambda sheet: sheet.name)
def test_the_lines_alone_show_where_the_table_is(sheet: Sheet) -> None:
    (table,) = found(list(sheet.lines))
    inside = [line.polygon for line in sheet.lines if sheet.box[1] < line.polygon[0][1] < sheet.box[3]]
    assert table.box[1] == min(corners[0][1] for corners in inside), "the title above is no row of it"
    assert table.box[3] == max(corners[2][1] for corners in inside)


def test_the_text_it_was_taken_for_goes() -> None:
    sheet = next(sheet for sheet in sheets() if sheet.name == "borderless")
    wrong, right = (
        Region(kind="text", box=sheet.box, score=0.7),
        Region(kind="text", box=(100, 50, 1100, 200), score=0.9),
    )
    assert [region.kind for region in with_unruled([right, wrong], sheet.lines)] == ["text", "table"]


def test_a_table_that_is_known_is_not_found_again() -> None:
    sheet = sheets()[0]
    known = Region(kind="table", box=sheet.box, score=0.9)
    assert with_unruled([known], sheet.lines) == (known,)


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["english", "chinese"])
def test_prose_is_no_table_in_one_column_or_two(text: str) -> None:
    left = [line(words, 50, 100 + 45 * index) for index, words in enumerate(text.splitlines())]
    right = [line(words, 1000, 100 + 45 * index) for index, words in enumerate(text.splitlines())]
    assert not found(left)
    assert not found(left + right)


def test_three_rows_make_a_table_and_two_do_not() -> None:
    pairs = [("name", "Brandt"), ("post", "keeper"), ("since", "1893")]
    lines = [line(text, x, 45 * row) for row, pair in enumerate(pairs) for x, text in zip((0, 200), pair, strict=True)]
    assert len(found(lines)) == 1
    assert not found(lines[:4])


def test_a_row_with_empty_cells_belongs_to_the_table_unless_it_is_the_last() -> None:
    rows_of = [["a", "b", "c"], ["d", "e", "f"], ["g"], ["h", "i", "j"], ["below"]]
    lines = [line(text, 200 * x, 45 * y) for y, row in enumerate(rows_of) for x, text in enumerate(row)]
    (table,) = found(lines)
    assert (table.box[1], table.box[3]) == (0, 3 * 45 + HEIGHT)


def test_a_wide_gap_ends_a_table() -> None:
    lines = [line("ab", 200 * x, 45 * y + (200 if y > 2 else 0)) for y in range(6) for x in range(3)]
    assert len(found(lines)) == 2


def test_rows_are_lines_of_one_height_from_left_to_right() -> None:
    boxes = [box(200, 4, 250), box(0, 0, 50), box(0, 45, 50)]
    assert rows(boxes) == [[boxes[1], boxes[0]], [boxes[2]]]


def test_columns_are_what_white_strips_leave_apart() -> None:
    assert columns([[box(0, 0, 50), box(100, 0, 150)], [box(20, 40, 70), box(110, 40, 130)]]) == [(0, 70), (100, 150)]
    assert columns([[box(0, 0, 50), box(100, 0, 150)], [box(40, 40, 110)]]) == [(0, 150)]


def test_an_empty_page_has_no_tables() -> None:
    assert grids([]) == []
    assert with_unruled((), ()) == ()
