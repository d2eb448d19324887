"""Plain text: a line for each line, a form feed between pages"""

from collections.abc import Sequence

from darkroom.pipelines.ocr.document import DocumentFacts
from darkroom.pipelines.ocr.outputs.legible import legible
from darkroom.pipelines.ocr.outputs.settings import OutputSettings
from darkroom.pipelines.ocr.page import Page


def text(facts: DocumentFacts, pages: Sequence[Page], settings: OutputSettings) -> bytes:
    """Give the text of `pages` in UTF-8, each line ended, pages parted by a form feed as pdftotext does."""
    return "\f".join(page_text(page, settings.min_score) for page in pages).encode()


def page_text(page: Page, min_score: float) -> str:
    """Give the text of one page, each line ended."""
    return "".join(f"{line.text}\n" for line in legible(page, min_score))
