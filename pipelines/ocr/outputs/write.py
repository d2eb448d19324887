"""All kinds of output by name: their suffixes, and one call that writes any of them"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from darkroom.pipelines.ocr.document import DocumentFacts
from darkroom.pipelines.ocr.outputs.document_json import document_json
from darkroom.pipelines.ocr.outputs.hocr import hocr
from darkroom.pipelines.ocr.outputs.markdown import markdown
from darkroom.pipelines.ocr.outputs.pdf import write_pdf
from darkroom.pipelines.ocr.outputs.pdfa import write_pdfa
from darkroom.pipelines.ocr.outputs.settings import OutputSettings
from darkroom.pipelines.ocr.outputs.text import text
from darkroom.pipelines.ocr.outputs.xlsx import xlsx
from darkroom.pipelines.ocr.page import Page

Render = Callable[[DocumentFacts, Sequence[Page], OutputSettings], bytes]
Write = Callable[[DocumentFacts, Sequence[Page], OutputSettings, Path], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of output."""

    suffix: str  # of its file, with the dot
    write: Write


def _whole(render: Render) -> Write:
    def write(facts: DocumentFacts, pages: Sequence[Page], settings: OutputSettings, out: Path) -> None:
        out.write_bytes(render(facts, pages, settings))

    return write


KINDS = {
    "pdf": Kind(suffix=".pdf", write=write_pdf),
    "pdfa": Kind(suffix=".pdf", write=write_pdfa),
    "txt": Kind(suffix=".txt", write=_whole(text)),
    "json": Kind(suffix=".json", write=_whole(document_json)),
    "md": Kind(suffix=".md", write=_whole(markdown)),
    "hocr": Kind(suffix=".hocr", write=_whole(hocr)),
    "xlsx": Kind(suffix=".xlsx", write=_whole(xlsx)),
}


def write(kind: str, facts: DocumentFacts, pages: Sequence[Page], settings: OutputSettings, out: Path) -> None:
    """Write the output `kind` to the file `out`; equal facts, pages and settings give equal bytes.

    pages: in the document's order; those left out of the reading are left out of all but the PDFs
    Raises KeyError for a kind there is not, Rejected and Unavailable as `write_pdf` and `write_pdfa` do.
    """
    KINDS[kind].write(facts, pages, settings, out)
