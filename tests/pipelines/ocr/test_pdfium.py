import math
from pathlib import Path

import img2pdf
import numpy as np
import pikepdf
import pytest
from documents import pdf, scan, shown

from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.ocr import pdfium
from darkroom.pipelines.ocr.affine import Affine
from darkroom.pipelines.ocr.outputs.text_layer import FONT, Alphabet, font, layer
from darkroom.pipelines.ocr.page import Line

MARK = "1 0 0 rg {x} {y} 10 10 re f\n"  # a red square


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize(
    ("box", "crop"), [((0, 0, 300, 400), None), ((-70, 40, 230, 440), None), ((-70, 40, 230, 440), (-50, 60, 200, 400))]
)
def test_a_pixel_is_where_it_was_drawn_from(
    rotate: int, box: tuple[float, ...], crop: tuple[float, ...] | None, tmp_path: Path
) -> None:
    path = pdf(tmp_path / "a.pdf", [MARK.format(x=100, y=150)], rotate=rotate, box=box, crop=crop)
    with pdfium.opened(path, "a.pdf") as document, pdfium.page_of(document, 0, "a.pdf") as page:
        pixels = pdfium.drawn(page, 2.0)
        to_page = pdfium.to_page(page, pixels.shape[1], pixels.shape[0])
    rows, columns = np.nonzero(pixels[..., 1] < 128)
    middle = to_page.point((columns.mean() + 0.5, rows.mean() + 0.5))
    assert middle == pytest.approx((105, 155), abs=0.3)


def test_a_page_is_drawn_in_rgb_on_white(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", [MARK.format(x=0, y=390)])
    with pdfium.opened(path, "a.pdf") as document, pdfium.page_of(document, 0, "a.pdf") as page:
        pixels = pdfium.drawn(page, 1.5)
    assert pixels.shape == (600, 450, 3)
    assert pixels.dtype == np.uint8
    assert pixels[5, 5].tolist() == [255, 0, 0]
    assert pixels[300, 200].tolist() == [255, 255, 255]


def characters(path: Path) -> list[pdfium.Character]:
    with pdfium.opened(path, path.name) as document, pdfium.page_of(document, 0, path.name) as page:
        return pdfium.characters(page)


def test_characters_say_where_they_stand_and_whether_they_are_seen(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", [shown("Ab", x=50, y=300) + shown("c", x=50, y=200, mode=3)])
    found = characters(path)
    first, last = found[0], found[-1]
    assert (first.text, last.text) == ("A", "c")
    assert first.box[0] == pytest.approx(50, abs=1)
    assert first.box[1] < 300 < first.box[3]
    assert first.size == pytest.approx(20)
    assert [first.hidden, last.hidden] == [False, True]


def test_text_that_runs_upwards_has_its_angle(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", ["BT /F1 20 Tf 0 1 -1 0 100 100 Tm (Up) Tj ET"])
    assert characters(path)[0].angle == pytest.approx(math.pi / 2)


def test_a_line_ends_at_a_hyphen_too(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", [shown("exam-", y=300) + shown("ple", y=270)])
    assert "".join(character.text for character in characters(path)) == "exam-\nple"


def test_characters_beyond_the_first_plane_come_whole(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", [""])
    alphabet = Alphabet.of(["a😀𝄞"])
    with pikepdf.open(path, allow_overwriting_input=True) as document:
        page = document.pages[0]
        page.obj.Resources.Font[FONT] = font(document, alphabet)
        line = Line(text="a😀𝄞", score=1.0, polygon=((50, 50), (150, 50), (150, 80), (50, 80)))
        page.obj.Contents = document.make_stream(layer([line], alphabet, Affine(1, 0, 0, -1, 0, 400), FONT))
        document.save(path)
    assert [character.text for character in characters(path)] == ["a", "😀", "𝄞"]


def test_a_scan_that_fills_the_page_tells_its_resolution(tmp_path: Path) -> None:
    path = tmp_path / "scan.pdf"
    path.write_bytes(img2pdf.convert(scan(tmp_path / "a.png").read_bytes()))
    with pdfium.opened(path, "scan.pdf") as document, pdfium.page_of(document, 0, "scan.pdf") as page:
        assert pdfium.scan_dpi(page) == pytest.approx(150, rel=0.01)
    digital = pdf(tmp_path / "b.pdf", [shown("no scan")])
    with pdfium.opened(digital, "b.pdf") as document, pdfium.page_of(document, 0, "b.pdf") as page:
        assert pdfium.scan_dpi(page) == 0


def test_what_is_no_pdf_is_rejected_in_its_name(tmp_path: Path) -> None:
    path = tmp_path / "odd.pdf"
    path.write_bytes(b"%PDF-1.7\nnothing here")
    with pytest.raises(Rejected, match=r"odd\.pdf: .*damaged"), pdfium.opened(path, "odd.pdf"):
        pass
