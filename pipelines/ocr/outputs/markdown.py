"""Markdown: titles as headings, paragraphs as running text, tables as tables"""

import re
from collections.abc import Iterator, Sequence

from darkroom.pipelines.ocr.document import DocumentFacts
from darkroom.pipelines.ocr.outputs.cells import Cell, cells_of, html_of, is_plain, size_of
from darkroom.pipelines.ocr.outputs.paragraphs import ITEM, Paragraph, joined, paragraphs
from darkroom.pipelines.ocr.outputs.settings import OutputSettings
from darkroom.pipelines.ocr.page import Page

SPECIAL = re.compile(r"([\\`*_\[\]<>~|]|&(?=#?\w+;))")
AT_START = re.compile(r"^(\d*)([#+=.)-])")  # numbers are letters to Markdown but before a dot or bracket


def markdown(facts: DocumentFacts, pages: Sequence[Page], settings: OutputSettings) -> bytes:
    """Give `pages` as Markdown in UTF-8: CommonMark with the tables of GitHub.

    The document's first title is its heading, the others stand a level below. Tables with spans are HTML. A comment
    says where each further page begins.
    """
    written: list[str] = []
    titled = False
    for number, page in enumerate(pages):
        if number:
            written.append(f"<!-- page {page.index + 1} -->")
        for paragraph in paragraphs(page, settings.min_score):
            written.append(_block(paragraph, "##" if titled else "#"))
            titled = titled or paragraph.kind == "title"
    return "".join(f"{block}\n\n" for block in written if block)[:-1].encode()


def _block(paragraph: Paragraph, heading: str) -> str:
    if paragraph.table:
        return _table(cells_of(paragraph.table.html))
    text = joined([line.text for line in paragraph.lines])
    if paragraph.kind == "title":
        return f"{heading} {escaped(text)}"
    if paragraph.kind == "equation" and "$$" in text:
        return text  # LaTeX, as the model wrote it
    if item := ITEM.match(text):
        mark = f"{item[1][:-1]}." if item[1][0].isdigit() else "-"
        return f"{mark} {escaped(text[item.end() :])}"
    return escaped(text)


def escaped(text: str) -> str:
    """Give `text` so that Markdown shows it as it is."""
    return AT_START.sub(r"\1\\\2", SPECIAL.sub(r"\\\1", text), count=1)


def _table(cells: Sequence[Cell]) -> str:
    if not cells:
        return ""
    if not is_plain(cells):
        return html_of(cells)
    return "\n".join(_rows(cells))


def _rows(cells: Sequence[Cell]) -> Iterator[str]:
    rows, columns = size_of(cells)
    texts = {(cell.row, cell.column): SPECIAL.sub(r"\\\1", cell.text).replace("\n", "<br>") for cell in cells}
    for row in range(rows):
        yield "| " + " | ".join(texts.get((row, column), "") for column in range(columns)) + " |"
        if row == 0:
            yield "|" + " --- |" * columns
