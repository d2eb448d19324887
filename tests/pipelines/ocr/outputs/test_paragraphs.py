from dataclasses import replace

import pytest
from documents import page, rectangle

from darkroom.pipelines.ocr.outputs.paragraphs import Paragraph, joined, paragraphs
from darkroom.pipelines.ocr.page import Line, Page, Region, Table


def lines_at(*tops: float, height: float = 30) -> Page:
    lines = (
        Line(text=f"line {number}", score=1.0, polygon=rectangle(100, top, 400, top + height))
        for number, top in enumerate(tops)
    )
    return Page(index=0, width=1000, height=1000, dpi=100, lines=tuple(lines))


def texts(read: Page) -> list[list[str]]:
    return [[line.text for line in paragraph.lines] for paragraph in paragraphs(read, 0.5)]


def test_a_gap_begins_a_paragraph() -> None:
    assert texts(lines_at(100, 140, 180, 260, 300)) == [["line 0", "line 1", "line 2"], ["line 3", "line 4"]]


def test_the_next_column_begins_a_paragraph() -> None:
    assert texts(lines_at(700, 740, 100, 140)) == [["line 0", "line 1"], ["line 2", "line 3"]]


def test_regions_part_what_no_gap_does_and_say_what_it_is() -> None:
    read = lines_at(100, 140, 180)
    regions = Region(kind="title", box=(0, 90, 999, 135)), Region(kind="text", box=(0, 136, 999, 999))
    lines = tuple(replace(line, region=region) for line, region in zip(read.lines, (0, 1, 1), strict=True))
    found = paragraphs(replace(read, lines=lines, regions=regions), 0.5)
    assert [(paragraph.kind, len(paragraph.lines)) for paragraph in found] == [("title", 1), ("text", 2)]


def test_a_title_of_two_lines_is_one() -> None:
    read = lines_at(100, 190)
    lines = tuple(replace(line, region=0) for line in read.lines)
    assert texts(replace(read, lines=lines, regions=(Region(kind="title", box=(0, 0, 9, 9)),))) == [
        ["line 0", "line 1"]
    ]


def test_an_item_of_a_list_begins_a_paragraph() -> None:
    read = page(["Bring:", "• rope", "• lamps and", "oil", "1. First", "2) Second", "- third"])
    assert texts(read) == [["Bring:"], ["• rope"], ["• lamps and", "oil"], ["1. First"], ["2) Second"], ["- third"]]


def test_a_table_stands_once_where_its_text_does() -> None:
    read = lines_at(100, 200, 240, 340)
    table = Table(box=(90, 190, 500, 280), html="<table></table>")
    found = paragraphs(replace(read, tables=(table,)), 0.5)
    assert [paragraph.kind for paragraph in found] == ["text", "table", "text"]
    assert found[1] == Paragraph(kind="table", table=table)


def test_a_table_without_lines_comes_before_what_is_below_it() -> None:
    read = lines_at(100, 600)
    tables = Table(box=(90, 200, 500, 400), html="a"), Table(box=(90, 700, 500, 900), html="b")
    assert [paragraph.kind for paragraph in paragraphs(replace(read, tables=tables), 0.5)] == [
        "text",
        "table",
        "text",
        "table",
    ]


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["one", "two"], "one two"),
        (["an exam-", "ple of it"], "an example of it"),
        (["Müller-", "Lüdenscheidt"], "Müller- Lüdenscheidt"),
        (["1893-", "present"], "1893- present"),
        (["市场总是最热闹的", "地方，卖菜的"], "市场总是最热闹的地方，卖菜的"),
        (["使用 Python", "语言"], "使用 Python 语言"),
        (["한국어", "문장"], "한국어 문장"),
        (["-"], "-"),
        (["-", "a"], "- a"),
        ([], ""),
    ],
)
def test_lines_join_as_their_script_does(lines: list[str], text: str) -> None:
    assert joined(lines) == text
