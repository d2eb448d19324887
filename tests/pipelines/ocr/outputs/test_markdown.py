from dataclasses import replace
from pathlib import Path

import pytest
from documents import page, rectangle, scan
from markdown_it import MarkdownIt

from darkroom.pipelines.ocr.document import DocumentFacts, probe
from darkroom.pipelines.ocr.outputs.cells import cells_of
from darkroom.pipelines.ocr.outputs.markdown import escaped, markdown
from darkroom.pipelines.ocr.outputs.settings import OutputSettings
from darkroom.pipelines.ocr.page import Line, Page, Region, Table

PLAIN = "<table><tr><td>Item|s</td><td>Price</td></tr><tr><td>Rope<br>thick</td><td>*12*</td></tr></table>"
SPANNED = '<table><tr><td colspan="2">Both</td></tr><tr><td>a &lt; b</td><td>c</td></tr></table>'


@pytest.fixture
def facts(tmp_path: Path) -> DocumentFacts:
    return probe(scan(tmp_path / "a.png"))


def written(facts: DocumentFacts, *pages: Page) -> str:
    return markdown(facts, pages, OutputSettings()).decode()


def titled(*texts: str) -> Page:
    """Give a page of titles."""
    read = page(texts)
    regions = tuple(Region(kind="title", box=(0, 0, 1, 1)) for _ in texts)
    return replace(read, regions=regions, lines=tuple(replace(line, region=n) for n, line in enumerate(read.lines)))


def test_the_first_title_is_the_documents_and_paragraphs_follow(facts: DocumentFacts) -> None:
    first = titled("A Title", "A part")
    body = Line(text="Words run", score=1.0, polygon=rectangle(0, 900, 500, 930))
    more = replace(body, text="on here.", polygon=rectangle(0, 940, 500, 970))
    first = replace(first, lines=(*first.lines, body, more))
    assert written(facts, first) == "# A Title\n\n## A part\n\nWords run on here.\n"


def test_further_pages_are_marked_and_titles_go_on(facts: DocumentFacts) -> None:
    assert written(facts, titled("One"), replace(titled("Two"), index=1)) == "# One\n\n<!-- page 2 -->\n\n## Two\n"


def test_a_document_without_text_is_empty(facts: DocumentFacts) -> None:
    assert written(facts, page([])) == ""


def table(html: str) -> Page:
    return page([], tables=(Table(box=(0, 0, 10, 10), html=html),))


def test_a_plain_table_is_a_markdown_table(facts: DocumentFacts) -> None:
    text = written(facts, table(PLAIN))
    html = MarkdownIt("gfm-like", {"linkify": False}).render(text)
    assert [cell.text for cell in cells_of(html)] == ["Item|s", "Price", "Rope\nthick", "*12*"]


def test_a_table_with_spans_is_html(facts: DocumentFacts) -> None:
    html = MarkdownIt().render(written(facts, table(SPANNED)))
    assert cells_of(html) == cells_of(SPANNED)


def test_items_are_a_list(facts: DocumentFacts) -> None:
    html = MarkdownIt().render(written(facts, page(["• rope", "• lamps"])))
    assert html.count("<li>") == 2
    html = MarkdownIt().render(written(facts, page(["1. rope", "2) lamps"])))
    assert html.count("<li>") == 2


@pytest.mark.parametrize(
    "text",
    [
        "# no heading",
        "+ no item",
        "=== and ---",
        "---",
        "> no quote",
        "a*b*c and _d_ and `e`",
        "[no](link) <b>bold</b> &amp; &#65;",
        "back\\slash",
        "~~struck~~",
        "1893. A year",
        "1234) number",
        "2,450 pounds | $7,318.60",
        "https://example.org/a_b",
        "a_b@example.org <a@b.c>",
    ],
)
def test_text_looks_in_markdown_as_it_is(text: str) -> None:
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(escaped(text))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    pieces = tokens[1].children or []
    assert {piece.type for piece in pieces} <= {"text", "text_special"}
    assert "".join(piece.content for piece in pieces) == text


def test_a_models_formula_stays_latex(facts: DocumentFacts) -> None:
    read = page(["$$a_1 * b$$"], regions=(Region(kind="equation", box=(0, 0, 1, 1)),))
    read = replace(read, lines=(replace(read.lines[0], region=0),))
    assert written(facts, read) == "$$a_1 * b$$\n"
