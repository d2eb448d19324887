import io
from pathlib import Path
from zipfile import ZipFile

import openpyxl
import pytest
from documents import page, scan
from openpyxl import Workbook

from darkroom.pipelines.ocr.document import DocumentFacts, probe
from darkroom.pipelines.ocr.outputs.settings import OutputSettings
from darkroom.pipelines.ocr.outputs.xlsx import xlsx
from darkroom.pipelines.ocr.page import Page, Table


@pytest.fixture
def facts(tmp_path: Path) -> DocumentFacts:
    return probe(scan(tmp_path / "a.png"))


def read_back(facts: DocumentFacts, *pages: Page) -> Workbook:
    return openpyxl.load_workbook(io.BytesIO(xlsx(facts, pages, OutputSettings())))


def tables(*htmls: str, index: int = 0) -> Page:
    return page([], index=index, tables=tuple(Table(box=(0, 0, 1, 1), html=f"<table>{html}</table>") for html in htmls))


def test_each_table_has_its_sheet(facts: DocumentFacts) -> None:
    book = read_back(
        facts, tables("<tr><td>a</td></tr>", "<tr><td>b</td></tr>"), tables("<tr><td>c</td></tr>", index=4)
    )
    assert book.sheetnames == ["Page 1 table 1", "Page 1 table 2", "Page 5 table 1"]
    assert [sheet["A1"].value for sheet in book.worksheets] == ["a", "b", "c"]


def test_cells_lie_where_the_table_has_them(facts: DocumentFacts) -> None:
    html = '<tr><td rowspan="2">a</td><td>b</td></tr><tr><td>c<br>d</td></tr>'
    sheet = read_back(facts, tables(html)).worksheets[0]
    assert [str(area) for area in sheet.merged_cells.ranges] == ["A1:A2"]
    assert (sheet["A1"].value, sheet["B1"].value, sheet["B2"].value) == ("a", "b", "c\nd")


@pytest.mark.parametrize(
    ("text", "value", "shown_as"),
    [
        ("12", 12, "0"),
        ("-0.5", -0.5, "0.0"),
        ("1.10", 1.1, "0.00"),
        ("007", "007", "General"),
        ("1,234.50", "1,234.50", "General"),
        ("1234567890123456789", "1234567890123456789", "General"),
        ("12%", "12%", "General"),
        ("1e5", "1e5", "General"),
    ],
)
def test_plain_numbers_are_numbers(facts: DocumentFacts, text: str, value: object, shown_as: str) -> None:
    cell = read_back(facts, tables(f"<tr><td>{text}</td></tr>")).worksheets[0]["A1"]
    assert (cell.value, cell.number_format) == (value, shown_as)


def test_text_is_never_a_formula(facts: DocumentFacts) -> None:
    cell = read_back(facts, tables('<tr><td>=HYPERLINK("x")</td></tr>')).worksheets[0]["A1"]
    assert (cell.data_type, cell.value) == ("s", '=HYPERLINK("x")')


def test_characters_a_sheet_cannot_hold_become_spaces(facts: DocumentFacts) -> None:
    assert read_back(facts, tables("<tr><td>a\x0bb</td></tr>")).worksheets[0]["A1"].value in ("a b", "a\nb")


def test_no_tables_are_told(facts: DocumentFacts) -> None:
    assert read_back(facts, page([])).sheetnames == ["No tables"]


def test_no_time_is_in_the_file(facts: DocumentFacts) -> None:
    data = xlsx(facts, [tables("<tr><td>a</td></tr>")], OutputSettings())
    with ZipFile(io.BytesIO(data)) as book:
        assert {entry.date_time[0] for entry in book.infolist()} == {1980}
        assert not [name for name in book.namelist() if b"dcterms:m" in book.read(name)]
        assert b"openpyxl" in book.read("docProps/core.xml"), "the file the times are taken from is another"
    assert xlsx(facts, [tables("<tr><td>a</td></tr>")], OutputSettings()) == data
