"""The whole document as JSON: every line with its place and score, the weak ones too

Schema 1. Coordinates are pixels of the upright page, x to the right and y down; polygons are four corners, clockwise
from the top left of the text; boxes are left, top, right, bottom; scores 0 to 1. To find a place on the page as the
source shows it, turn it back by `rotation` degrees.

    schema        1; grows when a field changes its meaning or goes; new fields may come at any time
    source        name, sha256, pages (all the document has), kind: "pdf" or "image"
    engine        name, version, models (file to sha256), settings: as far as they are known
    pages[]       index (from 0 in the source), width, height, unit "px", dpi (or null), rotation (clockwise degrees
                  it was turned by), skew (degrees its text is tilted clockwise), source: "ocr", "native" or "mixed",
                  warnings, failed (why it was not read, or null), and:
      regions[]   id, kind, bbox, score, order
      lines[]     id, text, score (null: the page's own text, or the engine does not say), polygon, region (its id,
                  or null), order, truncated, own (text the page carries itself); words[] (text, polygon) where the
                  engine found them
      tables[]    id, bbox, html, score

Times are not in it: a document that is read twice gives the same bytes.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

from darkroom.pipelines.ocr.document import DocumentFacts
from darkroom.pipelines.ocr.outputs.settings import OutputSettings
from darkroom.pipelines.ocr.page import Line, Page, Region, Table

SCHEMA = 1
DIGITS = 2  # after the point, of a pixel
FINE_DIGITS = 4  # of what is not over 1, as scores are


def document_json(facts: DocumentFacts, pages: Sequence[Page], settings: OutputSettings) -> bytes:
    """Give `pages` as the JSON described above, in UTF-8, readable by people, a line feed at its end."""
    content = {
        "schema": SCHEMA,
        "source": {
            "name": facts.source.name,
            "sha256": facts.sha256,
            "pages": len(facts.pages),
            "kind": facts.kind,
        },
        "engine": dict(settings.engine),
        "pages": [_page(page) for page in pages],
    }
    text = json.dumps(_finite(content), ensure_ascii=False, allow_nan=False, indent=1)
    # A name that is not UTF-8 comes from the file system as halves of characters, which no JSON can hold.
    return (text + "\n").encode(errors="replace")


def _page(page: Page) -> dict[str, Any]:
    return {
        "index": page.index,
        "width": page.width,
        "height": page.height,
        "unit": "px",
        "dpi": page.dpi or None,
        "rotation": page.rotation,
        "skew": page.skew,
        "source": page.source,
        "warnings": list(page.warnings),
        "failed": page.failed or None,
        "regions": [_region(order, region) for order, region in enumerate(page.regions)],
        "lines": [_line(order, line) for order, line in enumerate(page.lines)],
        "tables": [_table(order, table) for order, table in enumerate(page.tables)],
    }


def _region(order: int, region: Region) -> dict[str, Any]:
    return {"id": order, "kind": region.kind, "bbox": region.box, "score": region.score, "order": order}


def _line(order: int, line: Line) -> dict[str, Any]:
    words = {"words": [{"text": word.text, "polygon": word.polygon} for word in line.words]} if line.words else {}
    return {
        "id": order,
        "text": line.text,
        "score": line.score,
        "polygon": line.polygon,
        "region": line.region,
        "order": order,
        "truncated": line.truncated,
        "own": line.own,
        **words,
    }


def _table(order: int, table: Table) -> dict[str, Any]:
    return {"id": order, "bbox": table.box, "html": table.html, "score": table.score}


def _finite(value: Any) -> Any:
    """Give `value` with short numbers, and null for those JSON does not have: models do answer inf and nan."""
    if isinstance(value, float):
        return round(value, FINE_DIGITS if abs(value) <= 1 else DIGITS) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
