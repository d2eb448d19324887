from hypothesis import given
from hypothesis import strategies as st

from darkroom.pipelines.ocr.page import Box, Line, Polygon, Word
from darkroom.pipelines.ocr.structure.grid import Cell, Span, bounds, covered, filled, html, laid_out


def polygon(left: float, top: float, right: float, bottom: float) -> Polygon:
    return (left, top), (right, top), (right, bottom), (left, bottom)


def line(text: str, *box: float, words: tuple[Word, ...] = ()) -> Line:
    return Line(text=text, score=0.9, polygon=polygon(*box), words=words)


def cell(column: int, *box: float) -> Cell:
    left, top, right, bottom = box
    return Cell(row=0, column=column, box=(left, top, right, bottom))


LEFT = cell(0, 0, 0, 100, 40)
RIGHT = cell(1, 100, 0, 200, 40)


def texts(*lines: Line) -> list[str]:
    return [cell.text for cell in filled((LEFT, RIGHT), lines)]


def test_cells_take_the_first_free_column_as_in_a_browser() -> None:
    cells = laid_out([[Span(rows=2), Span(columns=2)], [Span(), Span()]])
    assert [(cell.row, cell.column) for cell in cells] == [(0, 0), (0, 1), (1, 1), (1, 2)]


@given(st.lists(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), max_size=4), max_size=5))
def test_a_place_that_hangs_down_from_above_is_never_taken_as_a_start(rows: list[list[tuple[int, int]]]) -> None:
    cells = laid_out([[Span(rows=tall, columns=wide) for tall, wide in row] for row in rows])
    starts = [(cell.row, cell.column) for cell in cells]
    assert len(set(starts)) == len(starts) == sum(map(len, rows))
    for a in cells:
        reach = {(a.row + y, a.column + x) for y in range(1, a.rows) for x in range(a.columns)}
        assert not reach & set(starts)


def test_html_says_spans_and_escapes_text() -> None:
    cells = laid_out([[Span(text="a < b & c", columns=2)], [Span(text="1", rows=2), Span(text="2")], [Span(text="3")]])
    assert html(cells) == (
        '<table><tr><td colspan="2">a &lt; b &amp; c</td></tr>'
        '<tr><td rowspan="2">1</td><td>2</td></tr><tr><td>3</td></tr></table>'
    )


def test_a_row_covered_from_above_keeps_its_place_in_html() -> None:
    cells = (Cell(row=0, column=0, rows=2), Cell(row=2, column=0, text="x"))
    assert html(cells) == '<table><tr><td rowspan="2"></td></tr><tr></tr><tr><td>x</td></tr></table>'


def test_a_line_goes_into_the_cell_that_covers_it() -> None:
    assert texts(line("here", 110, 5, 160, 30), line("there", 10, 5, 60, 30)) == ["there", "here"]


def test_a_line_outside_all_cells_goes_into_the_nearest() -> None:
    assert texts(line("far", 230, 60, 260, 80)) == ["", "far"]


def test_a_line_over_two_cells_is_taken_apart_by_its_words() -> None:
    words = (Word(text="12", polygon=polygon(60, 5, 95, 30)), Word(text="pounds", polygon=polygon(105, 5, 180, 30)))
    assert texts(line("12 pounds", 60, 5, 180, 30, words=words)) == ["12", "pounds"]


def test_a_line_in_one_cell_keeps_its_text_whatever_its_words() -> None:
    words = (Word(text="1", polygon=polygon(10, 5, 20, 30)), Word(text="2", polygon=polygon(30, 5, 40, 30)))
    assert texts(line("1 , 2", 10, 5, 40, 30, words=words)) == ["1 , 2", ""]


def test_lines_of_a_cell_are_joined_in_reading_order() -> None:
    below, right, left = line("three", 5, 22, 50, 38), line("two", 50, 3, 90, 18), line("one", 5, 4, 45, 19)
    assert texts(below, right, left) == ["one two three", ""]


def test_chinese_lines_of_a_cell_are_joined_without_a_blank() -> None:
    assert texts(line("清晨的", 5, 2, 50, 18), line("市场", 5, 22, 50, 38)) == ["清晨的市场", ""]
    assert texts(line("清晨", 5, 2, 50, 18), line("9 am", 5, 22, 50, 38)) == ["清晨 9 am", ""]


def test_shares_and_bounds_of_boxes() -> None:
    box: Box = (0, 0, 10, 10)
    assert covered(box, (5, 0, 20, 10)) == 0.5
    assert covered(box, (10, 0, 20, 10)) == 0.0
    assert covered((3, 3, 3, 9), box) == 0.0, "an empty box has no share"
    assert bounds([((1, 2), (5, 1), (6, 4), (2, 5)), polygon(3, 3, 9, 4)]) == (1, 1, 9, 5)
