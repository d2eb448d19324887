from pathlib import Path

import numpy as np
import pikepdf
import pytest
from documents import pdf, shown, streams_of, text_of
from pikepdf import Array, Dictionary, Name

from darkroom.pipelines.ocr import pdfium
from darkroom.pipelines.ocr.outputs.redraw import redraw


def redrawn(path: Path, out: Path, scale: float = 2.0) -> None:
    with pdfium.opened(path, path.name) as document, pdfium.page_of(document, 0, path.name) as page:
        pixels = pdfium.drawn(page, scale)
        to_page = pdfium.to_page(page, pixels.shape[1], pixels.shape[0])
    with pikepdf.open(path) as target:
        redraw(target, target.pages[0], pixels, to_page)
        target.save(out)


def drawn(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with pdfium.opened(path, path.name) as document, pdfium.page_of(document, 0, path.name) as page:
        return pdfium.drawn(page, 1.0)


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("crop", [None, (-50, 60, 200, 400)])
def test_a_page_looks_the_same_and_its_text_is_gone(
    rotate: int, crop: tuple[float, ...] | None, tmp_path: Path
) -> None:
    content = "1 0 0 rg 0 100 60 90 re f 0 g " + shown("words", y=200)
    path = pdf(tmp_path / "a.pdf", [content], rotate=rotate, box=(-70, 40, 230, 440), crop=crop)
    redrawn(path, tmp_path / "b.pdf")
    before, after = drawn(path).astype(int), drawn(tmp_path / "b.pdf")
    assert before.shape == after.shape
    assert np.abs(before - after).mean() < 3
    assert text_of(tmp_path / "b.pdf") == ""


def test_black_and_white_stays_sharp_and_small(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", ["0 g 0 0 150 400 re f"])
    redrawn(path, tmp_path / "b.pdf")
    assert len(streams_of(tmp_path / "b.pdf")[0]) < 1000
    assert set(np.unique(drawn(tmp_path / "b.pdf"))) == {0, 255}


def test_links_stay_and_what_was_drawn_goes(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", [""])
    with pikepdf.open(path, allow_overwriting_input=True) as document:
        rect = Array([0, 0, 50, 50])
        kinds = [Dictionary(Type=Name.Annot, Subtype=kind, Rect=rect) for kind in (Name.Link, Name.Square)]
        document.pages[0].obj.Annots = Array(kinds)
        document.pages[0].obj.StructParents = 0
        document.save(path)
    redrawn(path, tmp_path / "b.pdf")
    with pikepdf.open(tmp_path / "b.pdf") as document:
        leaf = document.pages[0].obj
        assert [annotation.Subtype for annotation in leaf.Annots] == [Name.Link]
        assert Name.StructParents not in leaf
