import math
from pathlib import Path

import numpy as np
import pikepdf
import pytest
from documents import pdf, scan, shown
from PIL import Image

from darkroom.pipelines.errors import Rejected, Unavailable
from darkroom.pipelines.ocr.document import native_lines, probe, render
from darkroom.pipelines.ocr.picture import LARGEST_PIXELS


def test_a_pdf_is_told_by_its_content(tmp_path: Path) -> None:
    path = pdf(tmp_path / "scan.jpg", [shown("one"), shown("two words") + shown("hid", y=100, mode=3)])
    facts = probe(path)
    assert facts.kind == "pdf"
    assert facts.size_bytes == path.stat().st_size
    assert len(facts.sha256) == 64
    assert [(page.width, page.height) for page in facts.pages] == [(300, 400)] * 2
    assert [page.native_chars for page in facts.pages] == [3, 11]
    assert [page.hidden_chars for page in facts.pages] == [0, 3]


def test_the_facts_of_an_unchanged_file_are_equal(tmp_path: Path) -> None:
    path = scan(tmp_path / "a.png")
    assert probe(path) == probe(path)


def test_a_turned_page_is_as_wide_as_it_is_shown(tmp_path: Path) -> None:
    (page,) = probe(pdf(tmp_path / "a.pdf", [""], rotate=90, crop=(0, 0, 200, 400))).pages
    assert (page.width, page.height, page.rotation) == (400, 200, 90)


def test_only_a_tiff_has_pages(tmp_path: Path) -> None:
    frames = [Image.new("L", (40, 30 + number), 255) for number in range(3)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:], dpi=(300, 300))
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("L", (40, 30), 0)])
    tiff = probe(tmp_path / "a.tif")
    assert [(page.index, page.width, page.height, page.dpi) for page in tiff.pages] == [
        (0, 40, 30, 300),
        (1, 40, 31, 300),
        (2, 40, 32, 300),
    ]
    assert len(probe(tmp_path / "a.gif").pages) == 1
    assert render(tiff, 2, dpi=0).height == 32


@pytest.mark.parametrize("orientation", [1, 3, 6, 8, 5])
def test_an_image_is_as_wide_as_its_camera_held_it(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    facts = probe(scan(tmp_path / "a.jpg", width=200, height=300, exif=exif))
    picture = render(facts, 0, dpi=200)
    assert (facts.pages[0].width, facts.pages[0].height) == (picture.width, picture.height)


@pytest.mark.parametrize("dpi", [(72, 72), (96, 96), (1, 1)])
def test_a_resolution_nobody_measured_is_unknown(dpi: tuple[int, int], tmp_path: Path) -> None:
    assert probe(scan(tmp_path / "a.png", dpi=dpi)).pages[0].dpi == 0


def test_a_page_is_drawn_at_the_resolution_asked_for(tmp_path: Path) -> None:
    picture = render(probe(pdf(tmp_path / "a.pdf", [shown("x")])), 0, dpi=150)
    assert picture.rgb.shape == (math.ceil(400 / 72 * 150), 625, 3)
    assert picture.dpi == pytest.approx(150)
    assert picture.warnings == ()


@pytest.mark.parametrize("size", [(8400, 8400), (14400, 90), (8352, 8352.5)])
def test_a_huge_page_is_drawn_smaller_and_says_so(size: tuple[float, float], tmp_path: Path) -> None:
    picture = render(probe(pdf(tmp_path / "a.pdf", [""], box=(0, 0, *size))), 0, dpi=600)
    assert 0.99 * LARGEST_PIXELS < picture.width * picture.height <= LARGEST_PIXELS
    assert picture.dpi < 600
    assert "instead of 600" in picture.warnings[0]


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("crop", [None, (20, 30, 280, 350)])
def test_native_lines_lie_on_their_ink(rotate: int, crop: tuple[float, ...] | None, tmp_path: Path) -> None:
    facts = probe(pdf(tmp_path / "a.pdf", [shown("ink", x=60, y=200)], rotate=rotate, box=(0, 0, 300, 400), crop=crop))
    picture = render(facts, 0, dpi=144)
    (line,) = native_lines(facts, 0, dpi=144)
    rows, columns = np.nonzero(picture.rgb[..., 0] < 128)
    xs, ys = zip(*line.polygon, strict=True)
    assert min(xs) - 1 <= columns.min() <= columns.max() <= max(xs) + 1
    assert min(ys) - 1 <= rows.min() <= rows.max() <= max(ys) + 1
    assert (max(xs) - min(xs)) * (max(ys) - min(ys)) < 4 * np.ptp(rows) * np.ptp(columns)
    assert line.text == "ink"


def test_the_layer_of_an_earlier_reading_can_be_left_out(tmp_path: Path) -> None:
    facts = probe(pdf(tmp_path / "a.pdf", [shown("seen words") + shown("hidden", y=100, mode=3)]))
    assert [line.text for line in native_lines(facts, 0, 72)] == ["seen words", "hidden"]
    assert [line.text for line in native_lines(facts, 0, 72, hidden=False)] == ["seen words"]


def test_an_image_has_no_text_of_its_own(tmp_path: Path) -> None:
    assert native_lines(probe(scan(tmp_path / "a.png")), 0, 200) == ()


def test_a_pdf_with_a_password_is_rejected(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", [""], encryption=pikepdf.Encryption(owner="o", user="u"))
    with pytest.raises(Rejected, match=r"^a\.pdf: encrypted with a password; "):
        probe(path)


def test_a_pdf_that_anyone_may_open_is_read_though_it_is_encrypted(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", [shown("open")], encryption=pikepdf.Encryption(owner="o", user=""))
    assert probe(path).pages[0].native_chars == 4


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.pdf", b"", "empty"),
        ("a.pdf", b"%PDF-1.7\n", "damaged"),
        ("a.png", b"\x89PNG\r\n\x1a\n and then nothing", "neither a PDF nor an image"),
        ("a.txt", b"plain words", "neither a PDF nor an image"),
    ],
)
def test_what_cannot_be_read_is_rejected_in_its_name(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Rejected, match=f"^{name}: .*{reason}") as caught:
        probe(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_more_pages_than_a_document_has_are_rejected_before_they_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darkroom.pipelines.ocr.document.MOST_PAGES", 1)
    first = Image.new("L", (30, 20))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[first])
    for path in (pdf(tmp_path / "a.pdf", ["", ""]), tmp_path / "a.tif"):
        with pytest.raises(Rejected, match=rf"^{path.name}: (2 pages, over 1|over 1 pages); split it$"):
            probe(path)


def test_a_picture_too_large_to_be_decoded_is_told_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darkroom.pipelines.image_file.DEEPEST_PIXELS", 600)
    Image.new("L", (31, 20)).save(tmp_path / "a.tif", save_all=True, append_images=[Image.new("L", (30, 20))])
    facts = probe(tmp_path / "a.tif")
    assert [bool(page.damaged) for page in facts.pages] == [True, False]
    assert facts.warnings == ("a.tif: 31x20 pixels, over 0 million; scale it down",)
    with pytest.raises(Rejected, match="31x20 pixels"):
        probe(scan(tmp_path / "b.png", width=31, height=20))


def test_a_pdf_without_pages_is_rejected(tmp_path: Path) -> None:
    pikepdf.Pdf.new().save(tmp_path / "a.pdf")
    with pytest.raises(Rejected, match=r"^a\.pdf: .*no pages.*; "):
        probe(tmp_path / "a.pdf")


def test_a_cut_off_pdf_that_can_be_mended_is_read(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", [shown("whole"), shown("too")])
    path.write_bytes(path.read_bytes()[:-20])
    assert len(probe(path).pages) == 2


def test_a_damaged_page_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", [shown("first"), shown("second")])
    with pikepdf.open(path, allow_overwriting_input=True) as document:
        document.Root.Pages.Kids[0] = document.make_indirect(pikepdf.Dictionary(Type=pikepdf.Name.Nothing))
        document.save(path)
    facts = probe(path)
    assert [bool(page.damaged) for page in facts.pages] == [True, False]
    assert facts.warnings == (facts.pages[0].damaged,)
    with pytest.raises(Rejected, match="page 1 is damaged"):
        render(facts, 0, 72)
    assert native_lines(facts, 1, 72)[0].text == "second"


def test_a_signed_pdf_is_warned_of(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", [""])
    with pikepdf.open(path, allow_overwriting_input=True) as document:
        signature = pikepdf.Dictionary(Type=pikepdf.Name.Sig, Filter=pikepdf.Name("/Adobe.PPKLite"), Contents=b"x")
        field = document.make_indirect(pikepdf.Dictionary(FT=pikepdf.Name.Sig, T=b"s", V=signature))
        document.Root.AcroForm = pikepdf.Dictionary(Fields=[field], SigFlags=3)
        document.save(path)
    assert "signed" in probe(path).warnings[0]


def test_a_file_that_is_gone_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        probe(tmp_path / "gone.pdf")
