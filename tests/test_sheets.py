"""The measure of tables measures: TEDS on cases worked out by hand."""

import pytest
from sheets import sheets, teds

ONE = "<table><tr><td>xy</td><td>c</td></tr><tr><td>d</td><td>e</td></tr></table>"  # 7 tags


def test_a_table_is_like_itself() -> None:
    assert teds(ONE, ONE) == 1.0


@pytest.mark.parametrize(
    ("other", "distance"),
    [
        (ONE.replace("xy", "xz"), 0.5),  # half of a cell's text
        (ONE.replace("<td>e</td>", ""), 1),  # a cell less
        (ONE.replace("<tr><td>d</td><td>e</td></tr>", ""), 3),  # a row less
        (ONE.replace("<td>xy", '<td colspan="2">xy'), 1),  # another span
        (ONE.replace("</td></tr><tr><td>d", "</td><td>d"), 3),  # two rows in one: both rows go, a new one comes
    ],
)
def test_what_differs_counts_by_the_number_of_tags(other: str, distance: float) -> None:
    assert teds(other, ONE) == pytest.approx(1 - distance / 7)
    assert teds(ONE, other) == pytest.approx(1 - distance / 7)


def test_text_counts_only_where_asked() -> None:
    assert teds(ONE.replace("xy", "gh"), ONE, text=False) == 1.0


def test_nothing_is_like_no_table() -> None:
    assert teds("", ONE) == 0.0


def test_the_sheets_are_eight_and_differ() -> None:
    assert len({sheet.html for sheet in sheets()}) >= 6
    assert len({sheet.name for sheet in sheets()}) == 8
    assert any("rowspan" in sheet.html for sheet in sheets()) and any("colspan" in sheet.html for sheet in sheets())
