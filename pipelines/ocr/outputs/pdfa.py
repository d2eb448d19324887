"""Searchable PDF for archives: PDF/A-2b, checked before it is let out"""

import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from pikepdf import Name, Pdf

from darkroom.pipelines.errors import Rejected, Unavailable
from darkroom.pipelines.ocr.document import DocumentFacts
from darkroom.pipelines.ocr.outputs.pdf import searchable
from darkroom.pipelines.ocr.outputs.settings import OutputSettings
from darkroom.pipelines.ocr.page import Page

FLAVOUR = "2b"
CHECKED = re.compile(rb"<xmp:MetadataDate>[^<]*</xmp:MetadataDate>\s*")
TOLD = 3  # findings


def write_pdfa(facts: DocumentFacts, pages: Sequence[Page], settings: OutputSettings, out: Path) -> None:
    """Write to `out` what `write_pdf` writes, as PDF/A-2b, read back and found in order.

    Raises Rejected where the source's own content cannot pass, say for fonts that are not embedded;
    Unavailable if the checker is not installed.
    """
    pdfa = _checker()
    with searchable(facts, pages, settings, only_rgb=True) as pdf:
        _inactive(pdf)
        pdfa.prepare(pdf, FLAVOUR)
        _undate(pdf)
        try:
            pdfa.save(pdf, out, FLAVOUR, repair=False, deterministic_id=True)
        except pdfa.PdfaError as error:
            raise Rejected(_reason(facts, error.report.findings)) from error


def _checker() -> Any:
    try:
        return import_module("pikepdf.pdfa")
    except ImportError as error:
        raise Unavailable("PDF/A: its checker is not installed; pip install 'pikepdf[pdfa]'") from error


def _inactive(pdf: Pdf) -> None:
    """Take out what the document does by itself when it is opened or turned over: scripts, most of all."""
    for place in (pdf.Root, *(page.obj for page in pdf.pages)):
        for key in (Name.OpenAction, Name.AA):
            if key in place:
                del place[key]


def _undate(pdf: Pdf) -> None:
    """Take out when the metadata was written, which alone would differ from run to run."""
    packet = pdf.Root.Metadata.read_bytes()
    pdf.Root.Metadata.write(CHECKED.sub(b"", packet))


def _reason(facts: DocumentFacts, findings: Sequence[Any]) -> str:
    said = "; ".join(dict.fromkeys(str(finding.message) for finding in findings[:TOLD]))
    remedy = "mode: force draws its pages anew; or " if facts.kind == "pdf" else ""
    return f"{facts.source.name}: cannot become PDF/A-2b ({said}); {remedy}ask for the output pdf"
