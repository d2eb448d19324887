import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.pipelines.ocr.structure.grid import html
from darkroom.pipelines.ocr.vl.otsl import cells_of


def read(otsl: str) -> str:
    return html(cells_of(otsl)).removeprefix("<table>").removesuffix("</table>")


def test_cells_and_rows() -> None:
    assert read("<fcel>a<fcel>b<nl><fcel>c<ecel><nl>") == ("<tr><td>a</td><td>b</td></tr><tr><td>c</td><td></td></tr>")


def test_a_cell_goes_over_columns_rows_and_both() -> None:
    assert read("<fcel>a<lcel><fcel>b<nl><fcel>1<fcel>2<fcel>3<nl>") == (
        '<tr><td colspan="2">a</td><td>b</td></tr><tr><td>1</td><td>2</td><td>3</td></tr>'
    )
    assert read("<fcel>a<fcel>b<nl><ucel><fcel>c<nl>") == '<tr><td rowspan="2">a</td><td>b</td></tr><tr><td>c</td></tr>'
    assert read("<fcel>a<lcel><fcel>b<nl><ucel><xcel><fcel>c<nl>") == (
        '<tr><td rowspan="2" colspan="2">a</td><td>b</td></tr><tr><td>c</td></tr>'
    )


def test_text_keeps_its_words_and_is_escaped() -> None:
    assert read("<fcel> a <b>\n& c <nl>") == "<tr><td>a &lt;b&gt; &amp; c</td></tr>"


def test_a_last_row_needs_no_end() -> None:
    assert read("<fcel>a<nl><fcel>b") == "<tr><td>a</td></tr><tr><td>b</td></tr>"


def test_a_short_row_is_filled_up() -> None:
    assert read("<fcel>a<fcel>b<nl><fcel>c<nl>") == "<tr><td>a</td><td>b</td></tr><tr><td>c</td><td></td></tr>"


def test_a_continuation_of_nothing_is_a_cell() -> None:
    assert read("<lcel>a<fcel>b<nl><ucel>c<xcel>d<nl>") == (
        "<tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr>"
    )


def test_what_is_said_in_a_continued_cell_is_kept() -> None:
    assert read("<fcel>a<lcel>more<nl>") == '<tr><td colspan="2">a more</td></tr>'


@pytest.mark.parametrize("answer", ["", "no table here", "<table><tr></tr></table>"])
def test_an_answer_without_tokens_has_no_cells(answer: str) -> None:
    assert cells_of(answer) == ()


@given(st.lists(st.sampled_from(["<fcel>x", "<ecel>", "<lcel>", "<ucel>", "<xcel>", "<nl>"]), max_size=30))
def test_whatever_is_said_every_place_of_the_grid_belongs_to_one_cell(tokens: list[str]) -> None:
    cells = cells_of("".join(tokens))
    places = [(c.row + y, c.column + x) for c in cells for y in range(c.rows) for x in range(c.columns)]
    assert len(places) == len(set(places))
    assert len(places) == (max(p[0] for p in places) + 1) * (max(p[1] for p in places) + 1) if places else not cells
