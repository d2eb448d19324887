"""Which lines of a page are written out for people, and how"""

import unicodedata
from dataclasses import replace

from darkroom.pipelines.ocr.page import Line, Page

UNSEEN = {"Cc": " ", "Cs": "\ufffd"}  # controls, halves of a character


def legible(page: Page, min_score: float) -> tuple[Line, ...]:
    """Give the lines of `page` that say something and are sure enough, in order, in `clean` text.

    min_score: 0 to 1; a line without a score always counts
    """
    lines = (replace(line, text=clean(line.text)) for line in page.lines)
    return tuple(line for line in lines if line.text and (line.score is None or line.score >= min_score))


def clean(text: str) -> str:
    """Give `text` on one line, with one space for each stretch of white space or control characters."""
    return " ".join("".join(UNSEEN.get(unicodedata.category(character), character) for character in text).split())
