from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pikepdf
import pytest
from documents import MIXED, page, pdf, pdftotext, rectangle, said, scan, shown, streams_of, text_of
from papers import CHINESE, ENGLISH, GERMAN
from pikepdf import Array, Dictionary, Name
from PIL import Image

from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.ocr import pdfium
from darkroom.pipelines.ocr.document import DocumentFacts, probe, render
from darkroom.pipelines.ocr.outputs.pdf import write_pdf
from darkroom.pipelines.ocr.outputs.settings import OutputSettings
from darkroom.pipelines.ocr.outputs.text import text
from darkroom.pipelines.ocr.page import Line, Page

SETTINGS = OutputSettings()
DPI = 144.0  # two pixels a point


def written(source: Path, pages: Sequence[Page], settings: OutputSettings = SETTINGS) -> Path:
    out = source.with_name("out.pdf")
    write_pdf(probe(source), pages, settings, out)
    return out


def reading(facts: DocumentFacts, texts: Sequence[str] = ("read here", "and there"), **more: object) -> Page:
    """Give the first page of a PDF as if `texts` had been read on it, at DPI, after the turn that `more` says."""
    picture = render(facts, 0, DPI).turned(int(str(more.get("rotation", 0))))
    lines = tuple(
        Line(text=words, score=0.9, polygon=rectangle(40, 60 + 40 * row, 240, 84 + 40 * row))
        for row, words in enumerate(texts)
    )
    return Page(
        **{"index": 0, "width": picture.width, "height": picture.height, "dpi": DPI, "lines": lines} | more  # type: ignore[arg-type]
    )


def drawn(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with pdfium.opened(path, path.name) as document, pdfium.page_of(document, 0, path.name) as shown_page:
        return pdfium.drawn(shown_page, 1.0)


TEXTS = {
    "english": ENGLISH.splitlines(),
    "german": GERMAN.splitlines(),
    "chinese": CHINESE.splitlines(),
    "mixed": MIXED,
    "greek and kana": ["Ωκεανός ἀρχή", "ひらがな カタカナ", "½ ² ① Ⅷ"],
    "one letter": ["I"],
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("tilt", [0, 4, -15])
def test_poppler_and_pdfium_find_what_the_text_output_says(name: str, tilt: float, tmp_path: Path) -> None:
    source, pages = scan(tmp_path / "a.jpg", width=1600), [page(TEXTS[name], width=1600, tilt=tilt)]
    out = written(source, pages)
    truth = text(probe(source), pages, SETTINGS).decode()
    assert said(pdftotext(out)) == said(truth)
    assert text_of(out).split() == truth.split()


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_turned_page_is_shown_upright_and_its_text_lies_on_its_lines(rotation: int, tmp_path: Path) -> None:
    upright = Image.new("RGB", (1000, 1400), "white")
    upright.paste("black", (100, 200, 900, 230))
    upright.rotate(rotation, expand=True).save(tmp_path / "a.png", dpi=(150, 150))
    line = Line(text="a black bar of words", score=0.9, polygon=rectangle(100, 200, 900, 230))
    out = written(
        tmp_path / "a.png", [Page(index=0, width=1000, height=1400, dpi=150, rotation=rotation, lines=(line,))]
    )
    pixels = drawn(out)
    assert pixels.shape[:2] == (672, 480)
    assert pixels[int(215 * 0.48), 240].max() < 40
    assert said(pdftotext(out)) == [line.text.split()]
    assert box_of_text(out) == pytest.approx((100 * 0.48, 200 * 0.48, 900 * 0.48, 230 * 0.48), abs=3)


def box_of_text(path: Path) -> tuple[float, ...]:
    """Give the box around the first page's text, in points from the upper left corner as it is shown."""
    with pdfium.opened(path, path.name) as document, pdfium.page_of(document, 0, path.name) as found:
        width, height = found.get_size()
        to_shown = pdfium.to_page(found, round(1000 * width), round(1000 * height)).inverse()
        boxes = [character.box for character in pdfium.characters(found) if not character.text.isspace()]
    corners = [to_shown.point(corner) for box in boxes for corner in (box[:2], box[2:])]
    xs, ys = zip(*corners, strict=True)
    return min(xs) / 1000, min(ys) / 1000, max(xs) / 1000, max(ys) / 1000


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("crop", [None, (-50, 60, 200, 400)])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_text_lies_where_it_was_read_in_every_position(
    rotate: int, crop: tuple[float, ...] | None, rotation: int, tmp_path: Path
) -> None:
    source = pdf(tmp_path / "a.pdf", ["0.5 g 0 100 60 90 re f"], rotate=rotate, box=(-70, 40, 230, 440), crop=crop)
    before = drawn(source)
    one = reading(probe(source), ["words"], rotation=rotation)
    out = written(source, [one])
    assert box_of_text(out) == pytest.approx((20, 30, 120, 42), abs=2)
    assert said(pdftotext(out)) == [["words"]]
    assert np.array_equal(np.rot90(before, -rotation // 90), drawn(out))


def test_images_keep_their_compressed_bytes(tmp_path: Path) -> None:
    source = scan(tmp_path / "a.jpg", quality=50)
    assert streams_of(written(source, [page()])) == [source.read_bytes()]


def test_a_scan_in_a_pdf_keeps_its_compressed_bytes(tmp_path: Path) -> None:
    jpeg = scan(tmp_path / "a.jpg", quality=50)
    first = written(jpeg, [Page(index=0, width=1000, height=1400, dpi=150)])
    source = first.rename(tmp_path / "scan.pdf")
    out = written(source, [reading(probe(source))])
    assert streams_of(out) == [jpeg.read_bytes()]
    assert out.stat().st_size - source.stat().st_size < 7000
    assert said(pdftotext(out)) == [["read", "here", "and", "there"]]


def test_equal_pages_give_equal_bytes(tmp_path: Path) -> None:
    for source, one in ((scan(tmp_path / "a.png"), page()), (pdf(tmp_path / "b.pdf", [""]), page(["x"]))):
        once = written(source, [one]).read_bytes()
        assert written(source, [one]).read_bytes() == once


@pytest.mark.parametrize(
    "pages",
    [
        [],
        [Page(index=0, width=600, height=800, dpi=DPI, source="native")],
        [Page(index=0, width=600, height=800, dpi=DPI, failed="the engine died")],
        [Page(index=0, width=600, height=800, dpi=DPI)],
    ],
    ids=["none", "native", "failed", "blank"],
)
def test_a_pdf_of_which_nothing_changes_is_copied_byte_by_byte(pages: Sequence[Page], tmp_path: Path) -> None:
    source = pdf(tmp_path / "a.pdf", [shown("own words")])
    source.write_bytes(source.read_bytes() + b"\n% what somebody appended\n")
    assert written(source, pages).read_bytes() == source.read_bytes()


def test_pages_that_were_not_read_stay(tmp_path: Path) -> None:
    source = pdf(tmp_path / "a.pdf", [shown("first"), "", shown("third")])
    out = written(source, [replace(reading(probe(source)), index=1)])
    assert said(pdftotext(out)) == [["first"], ["read", "here", "and", "there"], ["third"]]


def test_a_mixed_page_gets_only_what_its_own_text_does_not_say(tmp_path: Path) -> None:
    source = pdf(tmp_path / "a.pdf", [shown("Stamp 7")])
    facts = probe(source)
    own = Line(text="Stamp 7", score=None, own=True, polygon=rectangle(100, 160, 200, 200))
    read = reading(facts, source="mixed")
    out = written(source, [replace(read, lines=(own, *read.lines))])
    assert text_of(out).count("Stamp 7") == 1
    assert sorted(said(pdftotext(out))[0]) == sorted(["Stamp", "7", "read", "here", "and", "there"])


def test_weak_lines_are_left_out(tmp_path: Path) -> None:
    one = page(["sure"])
    weak = replace(one.lines[0], text="doubtful", score=0.49)
    out = written(scan(tmp_path / "a.png"), [replace(one, lines=(weak, *one.lines))])
    assert said(pdftotext(out)) == [["sure"]]


def hidden(tmp_path: Path) -> Path:
    """A scan with an earlier reading below it, some of it wrong, and a stamp everybody sees."""
    return pdf(tmp_path / "a.pdf", [shown("seen", y=350) + shown("0ld reading", y=200, mode=3)])


def test_skip_lays_its_text_beside_what_is_there(tmp_path: Path) -> None:
    out = written(hidden(tmp_path), [reading(probe(hidden(tmp_path)))])
    assert {"0ld", "seen", "here"} <= set(said(pdftotext(out))[0])


def test_redo_takes_the_earlier_reading_out_and_leaves_what_is_seen(tmp_path: Path) -> None:
    source = hidden(tmp_path)
    out = written(source, [reading(probe(source))], OutputSettings(mode="redo"))
    assert sorted(said(pdftotext(out))[0]) == sorted(["seen", "read", "here", "and", "there"])
    assert np.array_equal(drawn(source), drawn(out))


def test_redo_of_its_own_result_gives_the_same_text(tmp_path: Path) -> None:
    source = scan(tmp_path / "a.jpg")
    first = written(source, [page()]).rename(tmp_path / "first.pdf")
    again = written(first, [page()], OutputSettings(mode="redo"))
    assert pdftotext(again) == pdftotext(first)
    with pikepdf.open(again) as document:
        assert len(document.pages[0].obj.Resources.Font) == 1
    assert again.stat().st_size <= first.stat().st_size + 200


def test_force_draws_the_page_anew_and_its_text_is_what_was_read(tmp_path: Path) -> None:
    source = hidden(tmp_path)
    one = reading(probe(source))
    out = written(source, [one], OutputSettings(mode="force"))
    assert said(pdftotext(out)) == [["read", "here", "and", "there"]]
    assert np.abs(drawn(source).astype(int) - drawn(out)).mean() < 3


def test_force_of_a_form_leaves_the_picture_of_what_was_filled_in(tmp_path: Path) -> None:
    source = form(tmp_path)
    assert drawn(source).min() < 100
    out = written(source, [reading(probe(source))], OutputSettings(mode="force"))
    with pikepdf.open(out) as document:
        assert Name.AcroForm not in document.Root
    assert drawn(out).min() < 100


def form(tmp_path: Path) -> Path:
    """An empty page with one text field, filled in."""
    path = pdf(tmp_path / "form.pdf", [""])
    with pikepdf.open(path, allow_overwriting_input=True) as document:
        leaf = document.pages[0].obj
        look = document.make_stream(b"/Tx BMC q BT /F1 12 Tf 2 4 Td (filled in) Tj ET Q EMC")
        look.Type, look.Subtype, look.BBox = Name.XObject, Name.Form, Array([0, 0, 100, 20])
        look.Resources = Dictionary(Font=leaf.Resources.Font)
        field = document.make_indirect(
            Dictionary(
                Type=Name.Annot,
                Subtype=Name.Widget,
                FT=Name.Tx,
                T="name",
                V="filled in",
                F=4,
                DA="/F1 12 Tf 0 g",
                Rect=Array([50, 200, 150, 220]),
                AP=Dictionary(N=look),
                P=leaf,
            )
        )
        leaf.Annots = Array([field])
        document.Root.AcroForm = Dictionary(Fields=Array([field]), DR=leaf.Resources)
        document.save(path)
    return path


def test_fields_annotations_outlines_and_attachments_stay(tmp_path: Path) -> None:
    source = form(tmp_path)
    with pikepdf.open(source, allow_overwriting_input=True) as document:
        document.attachments["note.txt"] = b"kept"
        with document.open_outline() as outline:
            outline.root.append(pikepdf.OutlineItem("Chapter", 0))
        document.docinfo["/Title"] = "A form"
        document.save(source)
    out = written(source, [reading(probe(source))])
    with pikepdf.open(out) as document:
        assert str(document.Root.AcroForm.Fields[0].V) == "filled in"
        assert document.attachments["note.txt"].get_file().read_bytes() == b"kept"
        assert [item.title for item in document.open_outline().root] == ["Chapter"]
        assert str(document.docinfo["/Title"]) == "A form"
    assert np.array_equal(drawn(source), drawn(out))


@pytest.mark.parametrize(
    "content", ["q 0.1 0 0 0.1 0 0 cm", "Q Q 1 0 0 RG", "q q 0 0 10 10 re W n", "0.01 0 0 5 3 3 cm"]
)
def test_a_scale_or_clip_left_behind_by_the_page_does_not_move_the_text(content: str, tmp_path: Path) -> None:
    source = pdf(tmp_path / "a.pdf", [content])
    out = written(source, [reading(probe(source), ["words"])])
    assert box_of_text(out) == pytest.approx((20, 30, 120, 42), abs=2)
    assert said(pdftotext(out)) == [["words"]]


def test_pages_that_share_their_resources_and_content_each_get_their_own_text(tmp_path: Path) -> None:
    source = pdf(tmp_path / "a.pdf", ["0.5 g 0 0 9 9 re f"] * 2)
    with pikepdf.open(source, allow_overwriting_input=True) as document:
        first, second = (leaf.obj for leaf in document.pages)
        second.Contents = first.Contents
        first.Resources = second.Resources = document.make_indirect(first.Resources)
        document.save(source)
    facts = probe(source)
    out = written(source, [reading(facts, ["one"]), replace(reading(facts, ["two"]), index=1)])
    assert said(pdftotext(out)) == [["one"], ["two"]]


def test_resources_the_page_inherits_are_kept(tmp_path: Path) -> None:
    source = pdf(tmp_path / "a.pdf", [shown("inherits", y=100), shown("too", y=100)])
    with pikepdf.open(source, allow_overwriting_input=True) as document:
        document.Root.Pages.Resources = document.pages[0].obj.Resources
        for leaf in document.pages:
            del leaf.obj.Resources
        document.save(source)
    out = written(source, [reading(probe(source), ["read"], source="ocr")])
    assert said(pdftotext(out)) == [["inherits", "read"], ["too"]]


def test_a_protected_pdf_anybody_may_open_comes_out_readable(tmp_path: Path) -> None:
    source = pdf(tmp_path / "a.pdf", [""], encryption=pikepdf.Encryption(owner="secret", user=""))
    out = written(source, [reading(probe(source), ["words"])])
    assert said(pdftotext(out)) == [["words"]]


def test_a_pdf_too_damaged_to_be_written_anew_is_rejected_by_name(tmp_path: Path) -> None:
    source = pdf(tmp_path / "a.pdf", [""])
    facts, one = probe(source), reading(probe(source))
    source.write_bytes(b"%PDF-1.7\n" + b"\0" * 200)
    with pytest.raises(Rejected, match=r"^a\.pdf: "):
        write_pdf(facts, [one], SETTINGS, tmp_path / "out.pdf")


def test_a_pdf_whose_content_is_damaged_is_rejected_by_name(tmp_path: Path) -> None:
    source = pdf(tmp_path / "a.pdf", [shown("words")])
    with pikepdf.open(source, allow_overwriting_input=True) as document:
        content = document.pages[0].obj.Contents
        content.write(b"no deflate at all", filter=Name.FlateDecode)
        document.save(source)
    with pytest.raises(Rejected, match=r"^a\.pdf: too damaged to be written anew") as caught:
        write_pdf(probe(source), [reading(probe(source))], SETTINGS, tmp_path / "out.pdf")
    assert "\n" not in str(caught.value)


def test_a_pdf_whose_pages_are_counted_in_two_ways_is_rejected(tmp_path: Path) -> None:
    source = pdf(tmp_path / "a.pdf", ["", ""])
    facts = probe(source)
    one = replace(facts, pages=facts.pages[:1])
    with pytest.raises(Rejected, match=r"^a\.pdf: damaged: 1 pages can be shown, 2 found; export it again"):
        write_pdf(one, [reading(one)], SETTINGS, tmp_path / "out.pdf")
