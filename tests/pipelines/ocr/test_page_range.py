import pytest

from darkroom.pipelines.ocr.page_range import parse_pages


@pytest.mark.parametrize(
    ("text", "pages"),
    [
        ("", range(12)),
        ("  ", range(12)),
        ("1-3,7,10-", (0, 1, 2, 6, 9, 10, 11)),
        ("-2", (0, 1)),
        (" 3 , 1 - 2 ", (0, 1, 2)),
        ("5,5,4-5", (3, 4)),
        ("12-99", (11,)),
        ("13-", ()),
        ("99999999999999999999", ()),
    ],
)
def test_ranges_name_pages_from_one(text: str, pages: range | tuple[int, ...]) -> None:
    assert parse_pages(text, 12) == tuple(pages)


@pytest.mark.parametrize("text", ["0", "3-1", "a", "1,,2", "1-2-3", "-", ",", "3 7", "1.5", "0-4", "+1"])
def test_what_names_no_page_is_told_with_the_piece(text: str) -> None:
    with pytest.raises(ValueError, match=r"^pages: "):
        parse_pages(text, 12)
