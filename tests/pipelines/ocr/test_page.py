import pytest

from darkroom.pipelines.ocr.page import Line, Page, Region, Table, Word, from_json, to_json

BOX = ((1.5, 2.0), (9.0, 2.0), (9.0, 4.0), (1.5, 4.0))


def test_a_page_reads_back_equal() -> None:
    word = Word(text="größer", polygon=BOX)
    page = Page(
        index=3,
        width=800,
        height=600,
        dpi=200.0,
        rotation=90,
        skew=-1.25,
        source="mixed",
        lines=(Line(text="größer 漢字 🙂", score=0.93, polygon=BOX, region=0, words=(word,)),),
        regions=(Region(kind="title", box=(0, 0, 10, 10), score=0.5),),
        tables=(Table(box=(0, 0, 5, 5), html="<table><tr><td>1</td></tr></table>"),),
        warnings=("faint",),
    )
    assert from_json(to_json(page)) == page


def test_equal_pages_give_equal_bytes() -> None:
    page = Page(index=0, width=1, height=1, dpi=0)
    assert to_json(page) == to_json(from_json(to_json(page)))


def test_a_page_of_another_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="schema 99"):
        from_json(to_json(Page(index=0, width=1, height=1, dpi=0)).replace(b'"schema": 1', b'"schema": 99'))
