import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pikepdf
import pytest
from documents import MIXED, page, pdf, pdftotext, rectangle, said, scan, shown, streams_of
from papers import CHINESE, ENGLISH, GERMAN
from patience import patiently
from pikepdf import Array, Dictionary, Name
from pikepdf import pdfa as checker
from PIL import Image

from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.ocr.document import probe
from darkroom.pipelines.ocr.outputs.pdfa import write_pdfa
from darkroom.pipelines.ocr.outputs.settings import OutputSettings
from darkroom.pipelines.ocr.outputs.text import text
from darkroom.pipelines.ocr.page import Line, Page

SETTINGS = OutputSettings()
FORCE = OutputSettings(mode="force")


def written(source: Path, pages: Sequence[Page], settings: OutputSettings = SETTINGS) -> Path:
    out = source.with_name("out.pdf")
    write_pdfa(probe(source), pages, settings, out)
    return out


def findings(path: Path) -> list[str]:
    """What the checker, and veraPDF where it is installed, hold against the file as PDF/A-2b."""
    found = [str(finding.message) for finding in checker.validate_written(path, "2b").findings]
    if verapdf := shutil.which("verapdf"):
        command = [verapdf, "--flavour", "2b", "--format", "text", str(path)]
        told = patiently(command).stdout
        found += [] if told.startswith("PASS") else [told]
    return found


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".gif", ".bmp"])
def test_every_kind_of_image_becomes_pdfa_without_findings(suffix: str, tmp_path: Path) -> None:
    source = scan(tmp_path / f"a{suffix}", width=400, height=700)
    assert findings(written(source, [page(["words"], width=400, height=700)])) == []


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_every_kind_of_pixel_becomes_pdfa_without_findings(mode: str, tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    plain = Image.new("L", (400, 300), 200)
    image = Image.new("I;16", (400, 300), 40_000) if mode == "I;16" else plain.convert(mode)
    image.save(source, dpi=(150, 150))
    assert findings(written(source, [page(["words"], width=400, height=300)])) == []


@pytest.mark.parametrize("words", [ENGLISH, GERMAN, CHINESE, "\n".join(MIXED)], ids=["en", "de", "zh", "mixed"])
def test_it_has_the_text_of_the_text_output(words: str, tmp_path: Path) -> None:
    source, pages = scan(tmp_path / "a.jpg", width=1600), [page(words.splitlines(), width=1600, tilt=3)]
    out = written(source, pages)
    assert findings(out) == []
    assert said(pdftotext(out)) == said(text(probe(source), pages, SETTINGS).decode())


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_turned_pages_pass(rotation: int, tmp_path: Path) -> None:
    width, height = (1400, 1000) if rotation != 180 else (1000, 1400)
    source = scan(tmp_path / "a.png", width=width, height=height)
    assert findings(written(source, [replace(page(["words"]), rotation=rotation)])) == []


def test_a_jpeg_keeps_its_bytes(tmp_path: Path) -> None:
    source = scan(tmp_path / "a.jpg", quality=55)
    assert streams_of(written(source, [page()])) == [source.read_bytes()]


def test_equal_pages_give_equal_bytes(tmp_path: Path) -> None:
    source = scan(tmp_path / "a.png")
    once = written(source, [page()]).read_bytes()
    assert written(source, [page()]).read_bytes() == once


def test_a_file_without_any_text_passes_too(tmp_path: Path) -> None:
    assert findings(written(scan(tmp_path / "a.png"), [page([])])) == []


def test_several_pages_pass(tmp_path: Path) -> None:
    frames = [Image.new("1", (500, 700), 1) for _ in range(3)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:], compression="group4", dpi=(200, 200))
    pages = [replace(page([f"page {index}"], width=500, height=700), index=index) for index in range(3)]
    out = written(tmp_path / "a.tif", pages)
    assert findings(out) == []
    assert said(pdftotext(out)) == [["page", "0"], ["page", "1"], ["page", "2"]]


def test_a_font_that_is_not_embedded_is_told_with_the_remedy(tmp_path: Path) -> None:
    source = pdf(tmp_path / "a.pdf", [shown("Helvetica from nowhere")])
    with pytest.raises(Rejected, match=r"a\.pdf: cannot become PDF/A-2b .*force"):
        written(source, [Page(index=0, width=600, height=800, dpi=144, source="native")])


def test_the_remedy_works(tmp_path: Path) -> None:
    source = troubled(tmp_path)
    line = Line(text="drawn anew", score=0.9, polygon=rectangle(100, 160, 300, 200))
    out = written(source, [Page(index=0, width=600, height=800, dpi=144, lines=(line,))], FORCE)
    assert findings(out) == []
    assert said(pdftotext(out)) == [["drawn", "anew"]]


def troubled(tmp_path: Path) -> Path:
    """A page with much that PDF/A forbids: a font that is not there, scripts, a form, transparency, an attachment."""
    source = pdf(tmp_path / "a.pdf", [shown("Helvetica from nowhere")])
    with pikepdf.open(source, allow_overwriting_input=True) as document:
        leaf = document.pages[0].obj
        leaf.Resources.ExtGState = Dictionary(G0=Dictionary(ca=0.5, SMask=Name("/None"), TR=Name.Identity))
        leaf.Contents = document.make_stream(b"q /G0 gs " + leaf.Contents.read_bytes() + b" Q")
        leaf.AA = Dictionary(O=Dictionary(S=Name.JavaScript, JS="app.alert(1)"))
        field = document.make_indirect(
            Dictionary(Type=Name.Annot, Subtype=Name.Widget, FT=Name.Tx, T="t", V="v", Rect=Array([0, 0, 50, 20]))
        )
        leaf.Annots = Array([field])
        document.Root.AcroForm = Dictionary(Fields=Array([field]), NeedAppearances=True)
        document.Root.OpenAction = Dictionary(S=Name.JavaScript, JS="app.alert(2)")
        document.docinfo["/Title"] = "Größe"
        document.docinfo["/Producer"] = "somebody's"
        document.save(source)
    return source


def test_what_the_file_says_of_itself_is_kept_in_both_places(tmp_path: Path) -> None:
    source = scan(tmp_path / "a.png")
    plain = written(source, [page(["words"])]).rename(tmp_path / "titled.pdf")
    with pikepdf.open(plain, allow_overwriting_input=True) as document:
        with document.open_metadata() as metadata:
            metadata["dc:title"] = "Die Straße"
        document.docinfo["/Title"] = "Die Straße"
        document.save(plain)
    out = written(plain, [Page(index=0, width=1000, height=1400, dpi=150, source="native")])
    assert findings(out) == []
    with pikepdf.open(out) as document, document.open_metadata() as metadata:
        assert metadata["dc:title"] == str(document.docinfo["/Title"]) == "Die Straße"
