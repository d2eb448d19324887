"""Searchable PDF: the source as it is, with the text that was read laid invisibly over its pages"""

import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pikepdf
from pikepdf import Name, Pdf, PdfError

from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.ocr import pdfium
from darkroom.pipelines.ocr.affine import Affine, turned_back
from darkroom.pipelines.ocr.document import DocumentFacts, PageFacts, drawn_scale
from darkroom.pipelines.ocr.outputs.embed import image_pdf
from darkroom.pipelines.ocr.outputs.hidden_text import remove_hidden_text
from darkroom.pipelines.ocr.outputs.legible import legible
from darkroom.pipelines.ocr.outputs.redraw import redraw
from darkroom.pipelines.ocr.outputs.settings import OutputSettings
from darkroom.pipelines.ocr.outputs.text_layer import FONT, Alphabet, font, layer
from darkroom.pipelines.ocr.page import Line, Page


def write_pdf(facts: DocumentFacts, pages: Sequence[Page], settings: OutputSettings, out: Path) -> None:
    """Write to `out` the PDF of `facts` with the text of `pages`; equal pages give equal bytes.

    Images keep their compressed bytes; pages that are not among `pages`, failed or brought their own text stay as
    they are, and a PDF of which nothing changes is copied. Raises Rejected where the source cannot be rewritten.
    """
    if facts.kind == "pdf" and not any(_changes(page, settings) for page in pages):
        shutil.copyfile(facts.source, out)
        return
    with searchable(facts, pages, settings) as pdf:
        pdf.save(
            out,
            deterministic_id=True,
            encryption=False,
            stream_decode_level=pikepdf.StreamDecodeLevel.none,  # what is compressed stays as it is
            object_stream_mode=pikepdf.ObjectStreamMode.generate,
        )


@contextmanager
def searchable(
    facts: DocumentFacts, pages: Sequence[Page], settings: OutputSettings, *, only_rgb: bool = False
) -> Iterator[Pdf]:
    """Yield the open PDF with its text, to be saved by the caller. Raises Rejected as `write_pdf`.

    only_rgb: as in `image_pdf`
    """
    name = facts.source.name
    source = image_pdf(facts, only_rgb=only_rgb) if facts.kind == "image" else facts.source
    changed = [page for page in pages if _changes(page, settings) and not facts.pages[page.index].damaged]
    alphabet = Alphabet.of(line.text for page in changed for line in _lines(page, settings))
    with pdfium.opened(source, name) as document, _opened(source, name, len(facts.pages)) as pdf:
        copy = _Copy(pdf=pdf, facts=facts, settings=settings, alphabet=alphabet, font=font(pdf, alphabet))
        for page in changed:
            with pdfium.page_of(document, page.index, name) as shown:
                copy.change(page, shown)
        if facts.kind == "image" and Name.ID in pdf.trailer:
            del pdf.trailer[Name.ID]  # drawn by lot by img2pdf; saving makes one from the content
        if settings.mode == "redo":
            pdf.remove_unreferenced_resources()
        if facts.kind == "pdf" and settings.mode == "force" and len(changed) == len(pdf.pages):
            _forget_structure(pdf)
        yield pdf


@contextmanager
def _opened(source: Path | bytes, name: str, pages: int) -> Iterator[Pdf]:
    try:
        with pikepdf.open(io.BytesIO(source) if isinstance(source, bytes) else source) as pdf:
            if len(pdf.pages) != pages:
                raise Rejected(f"{name}: damaged: {pages} pages can be shown, {len(pdf.pages)} found; export it again")
            yield pdf
    except (PdfError, IndexError) as error:  # on the way too: streams and pages are read when they are needed
        said = " ".join(str(error).replace(str(source), name).split())
        raise Rejected(f"{name}: too damaged to be written anew ({said}); export it again") from error


def _lines(page: Page, settings: OutputSettings) -> tuple[Line, ...]:
    """Give the lines of `page` that its PDF does not show by itself."""
    lines = legible(page, settings.min_score)
    if settings.mode == "force" or page.source == "ocr":
        return lines
    return tuple(line for line in lines if not line.own and page.source == "mixed")


def _changes(page: Page, settings: OutputSettings) -> bool:
    if page.failed or (page.source == "native" and settings.mode != "force"):
        return False
    turned = settings.upright and page.rotation != 0
    return turned or settings.mode != "skip" or bool(_lines(page, settings))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copy:
    """The source, open to be changed, and what its pages are to be changed with."""

    pdf: Pdf
    facts: DocumentFacts
    settings: OutputSettings
    alphabet: Alphabet
    font: pikepdf.Object

    def change(self, page: Page, shown: pdfium.PdfPage) -> None:
        """Make the PDF's page what `page` and the mode want it to be; `shown` is the source's."""
        target = self.pdf.pages[page.index]
        mode = self.settings.mode if self.facts.kind == "pdf" else "skip"
        if mode == "redo":
            remove_hidden_text(self.pdf, target)
        if mode == "force":
            self._redraw(target, shown, self.facts.pages[page.index])
        if lines := _lines(page, self.settings):
            name = _add_font(target, self.font)
            _append(self.pdf, target, layer(lines, self.alphabet, _to_points(page, shown), name))
        if self.settings.upright and page.rotation:
            target.rotate(page.rotation, relative=True)

    def _redraw(self, target: pikepdf.Page, shown: pdfium.PdfPage, facts: PageFacts) -> None:
        rgb = pdfium.drawn(shown, drawn_scale(facts, facts.dpi or self.settings.dpi))
        redraw(self.pdf, target, rgb, pdfium.to_page(shown, rgb.shape[1], rgb.shape[0]))


def _to_points(page: Page, shown: pdfium.PdfPage) -> Affine:
    """Give the map from the upright pixels of `page` to the points of its PDF."""
    sideways = page.rotation in (90, 270)
    width, height = (page.height, page.width) if sideways else (page.width, page.height)
    return turned_back(page.width, page.height, page.rotation).then(pdfium.to_page(shown, width, height))


def _add_font(page: pikepdf.Page, shared: pikepdf.Object) -> str:
    """Put the font in the page's resources and give its name there, a free one."""
    resources = page.obj.get(Name.Resources)
    if not isinstance(resources, pikepdf.Dictionary):
        resources = page.obj.Resources = pikepdf.Dictionary()
    fonts = resources.get(Name.Font)
    if not isinstance(fonts, pikepdf.Dictionary):
        fonts = resources.Font = pikepdf.Dictionary()
    number = 0
    while (name := f"{FONT}{number or ''}") in fonts and fonts[name].objgen != shared.objgen:
        number += 1
    fonts[name] = shared
    return name


def _append(pdf: Pdf, page: pikepdf.Page, content: bytes) -> None:
    """Add `content` behind the page's own, which is put in q and Q so that it leaves no scale or colour behind."""
    missing, left_open = _unbalanced(page)
    page.contents_add(pdf.make_stream(b"q\n" * (1 + missing)), prepend=True)
    page.contents_add(pdf.make_stream(b"\nQ" * (1 + left_open) + b"\n" + content))


def _unbalanced(page: pikepdf.Page) -> tuple[int, int]:
    """Give how many q are missing before the page's content, and how many Q behind it then."""
    depth = lowest = 0
    for instruction in pikepdf.parse_content_stream(page, "q Q"):
        depth += 1 if str(instruction.operator) == "q" else -1
        lowest = min(lowest, depth)
    return -lowest, depth - lowest


def _forget_structure(pdf: Pdf) -> None:
    """Take out what describes content that is no longer there: form fields, tags."""
    for key in (Name.AcroForm, Name.StructTreeRoot, Name.MarkInfo):
        if key in pdf.Root:
            del pdf.Root[key]
