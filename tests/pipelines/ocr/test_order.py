from collections.abc import Sequence
from math import cos, radians, sin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.pipelines.ocr.order import in_order, line_box, skew
from darkroom.pipelines.ocr.page import Line

SIZE = 1000, 1400


def line(text: str, left: float, top: float, width: float, height: float = 20) -> Line:
    right, bottom = left + width, top + height
    return Line(text=text, score=1.0, polygon=((left, top), (right, top), (right, bottom), (left, bottom)))


def leaned(lines: Sequence[Line], degrees: float) -> list[Line]:
    """The lines of a page that lies turned clockwise by a few degrees."""
    c, s = cos(radians(degrees)), sin(radians(degrees))

    def moved(point: tuple[float, float]) -> tuple[float, float]:
        x, y = point[0] - 500, point[1] - 700
        return 500 + x * c - y * s, 700 + x * s + y * c

    return [
        Line(text=found.text, score=1.0, polygon=(moved(a), moved(b), moved(c_), moved(d)))
        for found in lines
        for a, b, c_, d in [found.polygon]
    ]


def column(name: str, left: float, top: float, count: int, width: float = 400, leading: float = 30) -> list[Line]:
    return [line(f"{name}{index}", left, top + index * leading, width) for index in range(count)]


def read(lines: Sequence[Line]) -> list[str]:
    """What is read of `lines`, given in the order engines give them: by their top."""
    jumbled = sorted(lines, key=lambda found: (line_box(found)[1], found.text[::-1]))
    return [found.text for found in in_order(jumbled, *SIZE)]


def names(lines: Sequence[Line]) -> list[str]:
    return [found.text for found in lines]


TWO = [*column("a", 50, 200, 12), *column("b", 520, 200, 10)]
THREE = [*column("a", 40, 100, 8, 270), *column("b", 360, 100, 8, 270), *column("c", 680, 107, 8, 270)]
HEADED = [line("head", 200, 100, 600, 40), *TWO, line("foot", 300, 1300, 400)]
TWICE = [
    *column("a", 50, 100, 5),
    *column("b", 520, 100, 5),
    line("between", 100, 300, 780, 36),
    *column("c", 50, 400, 5),
    *column("d", 520, 400, 5),
]


@pytest.mark.parametrize("lines", [TWO, THREE, HEADED, TWICE], ids=["two", "three", "headed", "twice"])
@pytest.mark.parametrize("degrees", [0, 1.5, -3, 6])
def test_columns_are_read_one_after_the_other(lines: list[Line], degrees: float) -> None:
    assert read(leaned(lines, degrees)) == names(lines)


def test_a_heading_below_the_columns_heads_what_stands_across_the_page() -> None:
    below = [line("heading", 50, 620, 200), line("across0", 50, 650, 880), line("across1", 50, 680, 880)]
    assert read([*TWO, *below]) == names([*TWO, *below])
    two_lines = [line("heading0", 50, 620, 300), line("heading1", 50, 650, 200), *column("across", 50, 690, 3, 880)]
    assert read([*TWO, *two_lines]) == names([*TWO, *two_lines])


def test_the_end_of_a_longer_left_column_is_no_heading() -> None:
    lines = [*column("a", 50, 200, 14), *column("b", 520, 200, 10), line("across", 50, 650, 880)]
    assert read(lines) == names(lines)


@pytest.mark.parametrize("gap", [6, 11])
def test_a_gutter_narrower_than_a_line_is_seen_where_many_lines_keep_to_it(gap: int) -> None:
    lines = [line("head", 50, 100, 870), *column("a", 50, 200, 12, 430), *column("b", 480 + gap, 200, 12, 430)]
    assert read(lines) == names(lines)
    few = [*column("a", 50, 200, 2, 430), *column("b", 480 + gap, 200, 2, 430)]
    assert read(few) == ["a0", "b0", "a1", "b1"]


def test_a_paragraph_gap_at_the_same_height_does_not_join_columns() -> None:
    lines = [*column("a", 50, 100, 4), *column("b", 50, 260, 4), *column("c", 520, 100, 4), *column("d", 520, 260, 4)]
    assert read(lines) == names(lines)


def test_columns_with_different_leading_stay_apart() -> None:
    lines = [*column("a", 50, 100, 12, leading=27), *column("b", 520, 113, 10, leading=33)]
    assert read(lines) == names(lines)


@pytest.mark.parametrize("degrees", [0, 2])
def test_a_table_is_read_by_rows(degrees: float) -> None:
    cells = [line(f"{row}{column}", 60 + 220 * column, 100 + 40 * row, 90) for row in range(6) for column in range(4)]
    assert read(leaned(cells, degrees)) == names(cells)


def test_a_table_with_one_wide_column_is_read_by_rows() -> None:
    cells = [
        found
        for row in range(6)
        for found in (line(f"{row}what", 60, 100 + 40 * row, 420), line(f"{row}price", 760, 102 + 40 * row, 80))
    ]
    assert read(cells) == names(cells)


def test_a_table_under_two_columns_does_not_disturb_them() -> None:
    cells = [line(f"{row}{column}", 60 + 220 * column, 700 + 40 * row, 90) for row in range(5) for column in range(4)]
    assert read([*TWO, *cells]) == names([*TWO, *cells])


def test_pieces_of_one_line_are_read_from_the_left() -> None:
    pieces = [line("one", 50, 104, 200), line("two", 260, 100, 300), line("three", 600, 98, 90, 24)]
    assert read(pieces) == ["one", "two", "three"]


def test_lines_set_so_close_that_boxes_overlap_stay_in_order() -> None:
    lines = [line(str(index), 50, 100 + 17 * index, 600, 22) for index in range(9)]
    assert read(lines) == names(lines)


def test_writing_that_runs_downwards_is_read_from_the_right() -> None:
    columns = [line(str(index), 800 - 60 * index, 100 + 3 * (index % 2), 36, 700) for index in range(8)]
    assert read(columns) == names(columns)


def test_two_storeys_of_downward_writing_are_read_one_after_the_other() -> None:
    upper = [line(f"u{index}", 800 - 60 * index, 100, 36, 400) for index in range(8)]
    lower = [line(f"l{index}", 800 - 60 * index, 640, 36, 400) for index in range(8)]
    assert read([*upper, *lower]) == names([*upper, *lower])


def test_skew_is_the_tilt_of_long_lines() -> None:
    assert skew(leaned(TWO, 2.5)) == pytest.approx(2.5, abs=0.01)
    assert skew([*TWO, *leaned([line("stamp", 300, 600, 40)], 40)]) == pytest.approx(0, abs=0.01)
    assert skew([]) == 0


boxes = st.builds(
    line,
    st.uuids().map(str),
    st.integers(0, 900),
    st.integers(0, 1300),
    st.integers(0, 500),
    st.integers(0, 200),
)


@given(st.lists(boxes, max_size=40))
def test_no_line_is_lost_or_doubled_and_the_order_is_settled(lines: list[Line]) -> None:
    found = in_order(lines, *SIZE)
    assert sorted(names(found)) == sorted(names(lines))


def test_a_line_across_what_looked_like_a_gutter_is_read_all_the_same() -> None:
    lines = [
        line("a", 0, 2, 19, 2),
        line("b", 3, 2, 180, 2),
        line("c", 1, 5, 0, 1),
        line("d", 0, 4, 184, 1),
        line("e", 184, 0, 8, 1),
        line("f", 195, 0, 57, 1),
    ]
    assert sorted(names(in_order(lines, *SIZE))) == sorted(names(lines))
