from pathlib import Path

import pikepdf
import pytest
from documents import pdf, shown, text_of
from pikepdf import Array, Dictionary, Name

from darkroom.pipelines.ocr.outputs.hidden_text import remove_hidden_text


def swept(path: Path) -> int:
    """Take the hidden text out of the first page, in place."""
    with pikepdf.open(path, allow_overwriting_input=True) as document:
        removed = remove_hidden_text(document, document.pages[0])
        document.save(path)
    return removed


def test_hidden_text_goes_and_the_rest_stays(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", [shown("seen") + shown("hidden", y=200, mode=3) + shown("too", y=100)])
    assert swept(path) == 1
    assert text_of(path) == "seen\ntoo"


def test_a_page_without_hidden_text_keeps_its_bytes(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", ["  " + shown("seen")])
    with pikepdf.open(path) as document:
        assert remove_hidden_text(document, document.pages[0]) == 0
        assert document.pages[0].obj.Contents.read_bytes() == ("  " + shown("seen")).encode()


@pytest.mark.parametrize(
    "content",
    [
        "3 Tr BT /F1 20 Tf 50 300 Td (a) Tj ET",
        "BT /F1 20 Tf 3 Tr 50 300 Td [(a) -20 (b)] TJ T* (c) ' ET",
        "q 3 Tr q BT /F1 20 Tf 50 300 Td (a) Tj ET Q Q",
    ],
)
def test_the_mode_holds_where_pdf_says_it_does(content: str, tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", [content])
    assert swept(path) > 0
    assert text_of(path) == ""


def test_the_mode_ends_with_its_state(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", ["q 3 Tr Q " + "BT /F1 20 Tf 50 300 Td (seen) Tj ET"])
    assert swept(path) == 0
    assert text_of(path) == "seen"


def test_what_hangs_on_hidden_text_keeps_its_place(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", ["BT /F1 20 Tf 50 300 Td 3 Tr (hid) Tj 0 Tr (seen) Tj ET"])
    assert swept(path) == 0
    assert "seen" in text_of(path)


def test_forms_are_swept_once_even_if_they_draw_themselves(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", ["/Layer Do /Layer Do " + shown("seen")])
    with pikepdf.open(path, allow_overwriting_input=True) as document:
        leaf = document.pages[0].obj
        form = document.make_stream(shown("hidden", y=100, mode=3).encode() + b"/Layer Do")
        form.Type, form.Subtype, form.BBox = Name.XObject, Name.Form, Array([0, 0, 300, 400])
        leaf.Resources.XObject = Dictionary(Layer=form)
        form.Resources = Dictionary(Font=leaf.Resources.Font, XObject=Dictionary(Layer=form))
        document.save(path)
    assert swept(path) == 1
    assert text_of(path) == "seen"
    assert swept(path) == 0


def test_a_form_takes_the_mode_it_is_drawn_in(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", ["3 Tr /Layer Do"])
    with pikepdf.open(path, allow_overwriting_input=True) as document:
        leaf = document.pages[0].obj
        form = document.make_stream(b"BT /F1 20 Tf 50 300 Td (hidden) Tj ET")
        form.Type, form.Subtype, form.BBox = Name.XObject, Name.Form, Array([0, 0, 300, 400])
        leaf.Resources.XObject = Dictionary(Layer=form)
        document.save(path)
    assert swept(path) == 1


def test_a_group_that_held_nothing_else_goes_whole(tmp_path: Path) -> None:
    hidden = shown("hidden", mode=3)
    path = pdf(tmp_path / "a.pdf", [f"q 2 0 0 2 0 0 cm {hidden} {hidden} Q q {hidden} 0 0 9 9 re f Q {shown('seen')}"])
    assert swept(path) == 3
    with pikepdf.open(path) as document:
        left = document.pages[0].obj.Contents.read_bytes().decode().split()
    assert left.count("q") == left.count("Q") == 1
    assert "f" in left
    assert text_of(path) == "seen"


def test_what_a_text_object_sets_outside_of_groups_stays_set(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", ["BT 3 Tr /F1 20 Tf 50 300 Td (hid) Tj ET BT 0 Tr 50 200 Td (seen) Tj ET"])
    assert swept(path) == 1
    assert text_of(path) == "seen"
