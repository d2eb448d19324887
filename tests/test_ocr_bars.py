"""What the whole pipeline is held to, through its four verbs, on pages whose text is known."""

import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
from documents import pdftotext, said
from papers import (
    CHINESE,
    ENGLISH,
    GERMAN,
    ITALIAN,
    Paper,
    brochure,
    cer,
    clean,
    faxed,
    photographed,
    printed,
    skewed,
    turned,
    two_columns,
)
from pikepdf import pdfa
from PIL import Image
from sheets import sheets, teds

from darkroom.pipelines.base import fingerprint
from darkroom.pipelines.ocr.engines import choose
from darkroom.pipelines.ocr.options import Options
from darkroom.pipelines.ocr.outputs.write import KINDS
from darkroom.pipelines.ocr.page import Page, from_json
from darkroom.pipelines.ocr.pipeline import Ocr

CLEAN = TURNED = 0.005
DEGRADED = COLUMNS = 0.01
BROCHURE = 0.03
STRUCTURE = 0.99


@dataclass(frozen=True, kw_only=True)
class Read:
    """What became of a document."""

    files: dict[str, bytes]  # results, by the names they have in their folder
    pages: tuple[Page, ...]
    made: tuple[int, ...]  # indices of the parts that were not there yet
    folder: Path

    @property
    def text(self) -> str:
        """As the output txt has it."""
        return next(data for name, data in self.files.items() if name.endswith(".txt")).decode()

    @property
    def pdf(self) -> Path:
        """The searchable PDF, or the PDF/A."""
        return next(self.folder.glob("*.pdf"))


def read(source: Path, *, parts: str = "parts", **how: object) -> Read:
    """Take `source` through probe, plan, open and join; parts that are there already are taken as they are."""
    pipeline = Ocr(Options.model_validate({"outputs": ("pdf", "txt")} | how))
    plan = pipeline.plan(pipeline.probe(source))
    folder = source.parent / parts / fingerprint("ocr", plan)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{segment.index:05}{plan.part_suffix}" for segment in plan.segments]
    missing = [segment for segment in plan.segments if not paths[segment.index].exists()]
    with pipeline.open(plan) as process:
        for segment in missing:
            process(segment, None, paths[segment.index], lambda unit: None)
    out = source.parent / f"result {len([*source.parent.iterdir()])}"
    pipeline.join(plan, paths, out)
    return Read(
        files={path.name: path.read_bytes() for path in sorted(out.iterdir())},
        pages=tuple(from_json(path.read_bytes()) for path in paths),
        made=tuple(segment.index for segment in missing),
        folder=out,
    )


def saved(paper: Paper, path: Path) -> Path:
    """Write the page as a file of the suffix's format."""
    paper.image.save(path, dpi=(paper.dpi, paper.dpi))
    return path


def first(text: str, lines: int = 5) -> str:
    """Give the first lines of `text`."""
    return "\n".join(text.splitlines()[:lines])


SMALL = {
    language: first(text) for language, text in (("en", ENGLISH), ("de", GERMAN), ("it", ITALIAN), ("zh", CHINESE))
}
PAGES = {
    "English, 8 points": (printed(ENGLISH, 8), CLEAN),
    "English, 12 points, italics": (printed(ENGLISH, 12, "italic"), CLEAN),
    "English, 30 points": (printed(SMALL["en"], 30), CLEAN),
    "German, 9 points": (printed(GERMAN, 9), CLEAN),
    "German, 20 points, bold": (printed(SMALL["de"], 20, "bold"), CLEAN),
    "Italian, 10 points": (printed(ITALIAN, 10, "sans"), CLEAN),
    "Chinese, 8 points": (printed(CHINESE, 8, "song"), CLEAN),
    "Chinese, 16 points": (printed(SMALL["zh"], 16, "sans"), CLEAN),
    "English, askew by 1": (skewed(printed(SMALL["en"], 12), 1), DEGRADED),
    "German, askew by -3": (skewed(printed(SMALL["de"], 12), -3), DEGRADED),
    "Chinese, askew by 5": (skewed(printed(CHINESE, 12, "song"), 5), DEGRADED),
    "English, faxed": (faxed(clean(ENGLISH)), DEGRADED),
    "Italian, faxed": (faxed(clean(ITALIAN)), DEGRADED),
    "German, photographed": (photographed(clean(GERMAN)), DEGRADED),
    "Chinese, photographed": (photographed(clean(CHINESE, name="sans", size=36)), DEGRADED),
    "English, turned by 90": (turned(printed(SMALL["en"], 12), 90), TURNED),
    "German, turned by 180": (turned(printed(SMALL["de"], 12), 180), TURNED),
    "Chinese, turned by 270": (turned(printed(SMALL["zh"], 14, "song"), 270), TURNED),
    "Italian, on its head and askew": (skewed(turned(printed(SMALL["it"], 12), 180), 3), TURNED),
    "two columns": (two_columns(), COLUMNS),
    "two columns, askew": (skewed(two_columns(), 2), COLUMNS),
    "brochure": (brochure(), BROCHURE),
    "brochure, askew": (skewed(brochure(), -2), BROCHURE),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_read_and_its_pdf_says_what_its_text_says(name: str, tmp_path: Path) -> None:
    paper, bar = PAGES[name]
    found = read(saved(paper, tmp_path / "a.png"))
    assert cer(found.text, paper.text) <= bar, found.text
    assert said(pdftotext(found.pdf)) == said(found.text)


SHEETS = {sheet.name: sheet for sheet in sheets()}


@pytest.mark.parametrize("name", SHEETS)
def test_a_table_has_its_rows_columns_spans_and_text(name: str, tmp_path: Path) -> None:
    sheet = SHEETS[name]
    image = Image.fromarray(sheet.picture.rgb)
    found = read(saved(Paper(image=image, text=""), tmp_path / "a.png"), structure="tables")
    (table,) = found.pages[0].tables
    assert teds(table.html, sheet.html, text=False) >= STRUCTURE, table.html
    assert teds(table.html, sheet.html) >= STRUCTURE, table.html
    assert said(pdftotext(found.pdf)) == said(found.text)


def test_prose_is_no_table(tmp_path: Path) -> None:
    found = read(saved(two_columns(), tmp_path / "a.png"), structure="full")
    assert found.pages[0].tables == ()
    assert {region.kind for region in found.pages[0].regions} <= {"text", "title"}


BOOK = (
    printed(first(ENGLISH, 3), 12),
    turned(printed(first(GERMAN, 3), 12), 180),
    Paper(image=printed(" ", 40).image, text=""),
    printed(first(ITALIAN, 2), 12),
    printed(first(CHINESE, 2), 14, "song"),
)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A fax of five pages, one of them upside down, one empty."""
    frames = [paper.image.convert("1") for paper in BOOK]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:], compression="group4", dpi=(200, 200))
    return tmp_path / "a.tif"


def test_the_archive_copy_of_a_document_has_no_findings(book: Path) -> None:
    found = read(book, outputs=("txt", "pdfa"))
    assert pdfa.validate_written(found.pdf, "2b").findings == []
    assert said(pdftotext(found.pdf)) == said(found.text)
    assert [page.rotation for page in found.pages] == [0, 180, 0, 0, 0]
    pages = found.text.split("\f")
    assert all(cer(page, paper.text) <= DEGRADED for page, paper in zip(pages, BOOK, strict=True)), pages


def test_a_reading_that_was_cut_off_gives_the_same_bytes(book: Path) -> None:
    kinds = tuple(kind for kind in KINDS if kind != "pdfa")
    calm = read(book, outputs=kinds, structure="full")
    parts = sorted(book.parent.glob("parts/*/*.json"))
    assert calm.made == (0, 1, 2, 3, 4)
    for lost in ((0,), (1, 2, 4)):
        for number in lost:
            parts[number].unlink()
        again = read(book, outputs=kinds, structure="full")
        assert again.made == lost
        assert again.files == calm.files


@pytest.mark.long
def test_several_workers_give_the_same_bytes_as_one(book: Path) -> None:
    one = read(book, outputs=("pdf", "json"))
    assert read(book, outputs=("pdf", "json"), workers=2, parts="others").files == one.files


def test_nothing_asks_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    for cache in (choose.kept_engine, choose.kept_structure):
        cache.cache_clear()  # models are loaded anew, which is when packages like to fetch them
    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refused)
    found = read(saved(clean(ENGLISH), tmp_path / "a.png"), structure="full", outputs=tuple(KINDS)[1:])
    assert cer(found.text, ENGLISH) <= CLEAN
