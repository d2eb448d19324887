"""hOCR 1.2: the page in HTML, as Tesseract writes it and as OCRmyPDF and hocr-tools read it"""

from collections.abc import Iterator, Sequence
from html import escape

from darkroom.pipelines.ocr.document import DocumentFacts
from darkroom.pipelines.ocr.outputs.legible import clean, legible
from darkroom.pipelines.ocr.outputs.paragraphs import box_of
from darkroom.pipelines.ocr.outputs.settings import OutputSettings
from darkroom.pipelines.ocr.page import Line, Page, Point, Polygon, Word

HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml">
<head>
<title>{title}</title>
<meta http-equiv="Content-Type" content="text/html;charset=utf-8"/>
<meta name="ocr-system" content="{system}"/>
<meta name="ocr-capabilities" content="ocr_page ocr_line ocrx_word"/>
</head>
<body>
"""
FOOT = "</body>\n</html>\n"
LEGAL = dict.fromkeys([*range(32), 0x7F, 0xFFFE, 0xFFFF], " ")  # what XML has no way to write


def hocr(facts: DocumentFacts, pages: Sequence[Page], settings: OutputSettings) -> bytes:
    """Give `pages` as hOCR in UTF-8, the weak lines too; coordinates are pixels of the upright page."""
    engine = settings.engine
    system = " ".join(str(engine[key]) for key in ("name", "version") if key in engine) or "darkroom"
    head = HEAD.format(title=_safe(facts.source.name), system=_safe(system))
    return "".join([head, *(_page(page, facts.source.name) for page in pages), FOOT]).encode(errors="replace")


def _page(page: Page, name: str) -> str:
    number = page.index + 1
    dpi = f"; scan_res {page.dpi:.0f} {page.dpi:.0f}" if page.dpi else ""
    image = _safe(name.replace('"', "'"))
    title = f"image &quot;{image}&quot;; bbox 0 0 {page.width} {page.height}; ppageno {page.index}{dpi}"
    lines = "".join(_line(line, f"{number}_{place}") for place, line in enumerate(legible(page, min_score=0.0), 1))
    return f"<div class='ocr_page' id='page_{number}' title='{title}'>\n{lines}</div>\n"


def _line(line: Line, name: str) -> str:
    words = " ".join(
        f"<span class='ocrx_word' id='word_{name}_{place}' title='{_bbox(word.polygon)}{_sure(line)}'>"
        f"{_safe(word.text)}</span>"
        for place, word in enumerate(words_of(line), 1)
    )
    return f"<span class='ocr_line' id='line_{name}' title='{_bbox(line.polygon)}'>{words}</span>\n"


def words_of(line: Line) -> tuple[Word, ...]:
    """Give the words of `line`: the engine's if they say what the line says, else its width shared out by letters."""
    if line.words and " ".join(clean(word.text) for word in line.words) == line.text:
        return line.words
    return tuple(_shared(line))


def _shared(line: Line) -> Iterator[Word]:
    start, length = 0, len(line.text)
    top_left, top_right, bottom_right, bottom_left = line.polygon
    for word in line.text.split():
        left, right = start / length, (start + len(word)) / length
        top = _between(top_left, top_right, left), _between(top_left, top_right, right)
        bottom = _between(bottom_left, bottom_right, right), _between(bottom_left, bottom_right, left)
        yield Word(text=word, polygon=(*top, *bottom))
        start += len(word) + 1


def _between(a: Point, b: Point, share: float) -> Point:
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share


def _bbox(polygon: Polygon) -> str:
    left, top, right, bottom = box_of(polygon)
    return f"bbox {left:.0f} {top:.0f} {right:.0f} {bottom:.0f}"


def _sure(line: Line) -> str:
    return "" if line.score is None else f"; x_wconf {100 * line.score:.0f}"


def _safe(text: str) -> str:
    return escape(text.translate(LEGAL))
