"""Tables as a workbook, one sheet each"""

import io
import re
from collections.abc import Sequence
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from openpyxl import Workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Alignment
from openpyxl.worksheet.worksheet import Worksheet

from darkroom.pipelines.ocr.document import DocumentFacts
from darkroom.pipelines.ocr.outputs.cells import Cell, cells_of
from darkroom.pipelines.ocr.outputs.settings import OutputSettings
from darkroom.pipelines.ocr.page import Page

NO_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a ZIP file knows
TIMES = re.compile(rb"<dcterms:(created|modified)[^>]*>[^<]*</dcterms:\1>")
NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,10})?")  # exact in a sheet; "007" and phone numbers stay text
LONGEST = 32_767  # characters a cell holds


def xlsx(facts: DocumentFacts, pages: Sequence[Page], settings: OutputSettings) -> bytes:
    """Give the tables of `pages` as an .xlsx workbook; one empty sheet says so where there are none."""
    book = Workbook()
    book.remove(book.worksheets[0])
    for page in pages:
        for place, table in enumerate(page.tables, 1):
            _fill(book.create_sheet(f"Page {page.index + 1} table {place}"), cells_of(table.html))
    if not book.worksheets:
        book.create_sheet("No tables")
    written = io.BytesIO()
    book.save(written)
    return _timeless(written.getvalue())


def _fill(sheet: Worksheet, cells: Sequence[Cell]) -> None:
    for cell in cells:
        row, column = cell.row + 1, cell.column + 1
        text = ILLEGAL_CHARACTERS_RE.sub(" ", cell.text)[:LONGEST]
        target = sheet.cell(row, column)
        if NUMBER.fullmatch(text):
            target.value = float(text) if "." in text else int(text)
            _, dot, decimals = text.partition(".")
            target.number_format = "0" + dot + "0" * len(decimals)  # 1.10 is shown as 1.10
        else:
            target.value = text
            target.data_type = "s"  # text that begins with "=" is no formula here
        if "\n" in text:
            target.alignment = Alignment(wrap_text=True)
        if cell.rows > 1 or cell.columns > 1:
            sheet.merge_cells(None, row, column, row + cell.rows - 1, column + cell.columns - 1)


def _timeless(data: bytes) -> bytes:
    """Give the workbook without the times openpyxl writes, so that equal tables give equal bytes."""
    written = io.BytesIO()
    with ZipFile(io.BytesIO(data)) as old, ZipFile(written, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "docProps/core.xml":
                content = TIMES.sub(b"", content)
            entry = ZipInfo(name, NO_TIME)
            entry.compress_type = ZIP_DEFLATED
            new.writestr(entry, content)
    return written.getvalue()
