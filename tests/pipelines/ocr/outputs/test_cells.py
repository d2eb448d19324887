import pytest

from darkroom.pipelines.ocr.outputs.cells import Cell, cells_of, html_of, is_plain, size_of


def test_cells_know_their_rows_and_columns() -> None:
    cells = cells_of("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr></table>")
    assert cells == (
        Cell(row=0, column=0, text="a"),
        Cell(row=0, column=1, text="b"),
        Cell(row=1, column=0, text="c"),
        Cell(row=1, column=1, text="d"),
    )
    assert size_of(cells) == (2, 2)
    assert is_plain(cells)


def test_spans_push_their_neighbours_on() -> None:
    html = '<table><tr><td rowspan="2">a</td><td colspan=2>b</td></tr><tr><td>c</td><td>d</td></tr></table>'
    cells = cells_of(html)
    assert [(cell.row, cell.column, cell.rows, cell.columns) for cell in cells] == [
        (0, 0, 2, 1),
        (0, 1, 1, 2),
        (1, 1, 1, 1),
        (1, 2, 1, 1),
    ]
    assert size_of(cells) == (2, 3)
    assert not is_plain(cells)


def test_text_is_unescaped_and_laid_out() -> None:
    html = "<table><tr><th> a &amp; <b>b</b> </th><td>c<br/>d</td><td></td></tr></table>"
    assert [cell.text for cell in cells_of(html)] == ["a & b", "c\nd", ""]


def test_only_the_first_table_counts_and_nested_ones_are_text() -> None:
    html = "<html><body>no<table><thead><tr><td>a<table><tr><td>b</td></tr></table></td></tr></thead></table>"
    html += "<table><tr><td>second</td></tr></table></body></html>"
    assert [(cell.row, cell.text) for cell in cells_of(html)] == [(0, "ab")]


@pytest.mark.parametrize("span", ["0", "x", "", "-3", "²"])
def test_a_span_that_is_none_counts_as_one(span: str) -> None:
    (cell,) = cells_of(f'<table><tr><td rowspan="{span}" colspan="{span}">a</td></tr></table>')
    assert (cell.rows, cell.columns) == (1, 1)


def test_a_span_ends_with_its_table() -> None:
    cells = cells_of('<table><tr><td rowspan="99999" colspan="99999">a</td></tr><tr></tr></table>')
    assert (cells[0].rows, cells[0].columns) == (2, 1000)


@pytest.mark.parametrize("html", ["", "<p>no table</p>", "<table></table>"])
def test_no_table_has_no_cells(html: str) -> None:
    assert cells_of(html) == ()
    assert size_of(()) == (0, 0)


def test_unclosed_tags_are_forgiven() -> None:
    assert [cell.text for cell in cells_of("<table><tr><td>a<td>b<tr><td>c")] == ["a", "b", "c"]


def test_html_reads_back_equal_and_holds_no_markup_of_the_text() -> None:
    html = '<table><tr><td colspan="2">&lt;script&gt; &amp;<br>x</td></tr><tr><td>b</td><td>c</td></tr></table>'
    cells = cells_of(html)
    assert cells_of(html_of(cells)) == cells
    assert "<script>" not in html_of(cells)
