"""The engine vl: a page read block by block by a vision-language model on a server of the user's

Regions come from the local layout model, the reading from the server. A block that fails for good is read by a local
engine if there is one, and named in the warnings; a server that is gone is the machine's fault, and the page waits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.engines.base import Engine, Reading, load
from darkroom.pipelines.ocr.page import Box, Line, Polygon, Region, Table
from darkroom.pipelines.ocr.picture import Picture
from darkroom.pipelines.ocr.structure.grid import Cell, html
from darkroom.pipelines.ocr.vl.blocks import Cut, cuts
from darkroom.pipelines.ocr.vl.otsl import cells_of

if TYPE_CHECKING:  # httpx comes with an extra
    from darkroom.pipelines.ocr.vl.client import Answer, Client
    from darkroom.pipelines.ocr.vl.server import Server


class FindsRegions(Protocol):
    """Finds the regions of a page."""

    @property
    def models(self) -> Mapping[str, str]:
        """SHA-256 of each model file, by name."""

    def __call__(self, picture: Picture) -> tuple[Region, ...]:
        """Give the regions of `picture`, in its pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionLanguage:
    """Reads pictures by way of a server."""

    name: str
    version: str  # the model, as it is served
    provider: str
    warnings: tuple[str, ...]
    layout: FindsRegions
    client: "Client"
    local: Engine | None  # reads what the server cannot

    @property
    def models(self) -> Mapping[str, str]:
        """SHA-256 of each model file here; what the server has is its own."""
        return {**self.layout.models, **(self.local.models if self.local else {})}

    def read(self, picture: Picture) -> Reading:
        """Give the regions of `picture` with their lines and tables; lines share their region's height evenly.

        Raises Unavailable if the server goes away, or answers nothing at all and there is no local engine.
        """
        pieces = cuts(picture, self.layout(picture))
        answers = self.client.ask([piece.block for piece in pieces])
        self._check(answers)
        lines: list[Line] = []
        tables: list[Table] = []
        warnings: list[str] = []
        for index, (piece, answer) in enumerate(zip(pieces, answers, strict=True)):
            if answer.failed:
                lines += self._read_here(index, piece)
            elif piece.block.task == "table" and (cells := cells_of(answer.text)):
                tables.append(Table(box=piece.region.box, html=html(cells)))
                lines += lines_of_table(index, cells, piece.region.box, answer.truncated)
            else:
                text = as_math(answer.text) if piece.block.task == "formula" else answer.text
                lines += lines_of_text(index, text, piece.region.box, answer.truncated)
            warnings += self._warning(index, piece, answer)
        regions = tuple(piece.region for piece in pieces)
        return Reading(lines=tuple(lines), regions=regions, tables=tuple(tables), warnings=tuple(warnings))

    def _check(self, answers: Sequence["Answer"]) -> None:
        """Raise Unavailable where waiting is better than going on with what there is."""
        failures = [answer.failed for answer in answers if answer.failed]
        if failures:
            load("darkroom.pipelines.ocr.vl.server", "httpx", "ocr-vl").check_ready(self.client.server.url)
        if len(failures) == len(answers) and self.local is None:
            raise Unavailable(f"{self.client.server.root}: no block of the page could be read: {failures[0]}")

    def _read_here(self, index: int, piece: Cut) -> list[Line]:
        if self.local is None:
            return []
        left, top = piece.at
        found = self.local.read(Picture(rgb=piece.block.rgb)).lines
        return [replace(line, region=index, polygon=_moved(line.polygon, left, top), words=()) for line in found]

    def _warning(self, index: int, piece: Cut, answer: "Answer") -> list[str]:
        block = f"block {index + 1} ({piece.region.kind})"
        if answer.failed:
            instead = f"read by {self.local.name} instead" if self.local else "left out"
            return [f"{block}: {answer.failed}; {instead}"]
        return [f"{block}: the answer was cut off"] if answer.truncated else []


def open_vl(server: "Server", layout: FindsRegions, local: Engine | None = None) -> VisionLanguage:
    """Give the engine once its server is ready.

    Raises Unavailable if its server serves another model; while it is not there or not ready, a patient one.

    local: reads blocks that fail for good; None: they are left out
    """
    at = load("darkroom.pipelines.ocr.vl.server", "httpx", "ocr-vl")
    client = load("darkroom.pipelines.ocr.vl.client", "httpx", "ocr-vl")
    at.check_ready(server.url)
    model: str = at.served_model(server)
    return VisionLanguage(
        name="vl",
        version=model,
        provider=f"the server {server.root}",
        warnings=(),
        layout=layout,
        client=client.Client(server=server, model=model),
        local=local,
    )


def as_math(text: str) -> str:
    """Give LaTeX in the marks that Markdown knows: $$ for \\[ and \\], $ for \\( and \\)."""
    for mark, markdown in ((r"\[", "$$"), (r"\]", "$$"), (r"\(", "$"), (r"\)", "$")):
        text = text.replace(mark * 2, mark).replace(mark, markdown)  # the model doubles them at times
    return text


def lines_of_text(region: int, text: str, box: Box, truncated: bool) -> list[Line]:
    """Give the lines of `text`, each with its share of the height of `box`: the model says no places."""
    texts = [line.strip() for line in text.splitlines() if line.strip()]
    left, top, right, bottom = box
    height = (bottom - top) / max(1, len(texts))
    boxes = [(left, top + height * index, right, top + height * (index + 1)) for index in range(len(texts))]
    return _lines(region, texts, boxes, truncated)


def lines_of_table(region: int, cells: Sequence[Cell], box: Box, truncated: bool) -> list[Line]:
    """Give the text of each cell as a line, where the cell is if all rows are alike, and all columns."""
    left, top, right, bottom = box
    width = (right - left) / max(cell.column + cell.columns for cell in cells)
    height = (bottom - top) / max(cell.row + cell.rows for cell in cells)
    said = [cell for cell in cells if cell.text]
    boxes = [
        (
            left + width * cell.column,
            top + height * cell.row,
            left + width * (cell.column + cell.columns),
            top + height * (cell.row + cell.rows),
        )
        for cell in said
    ]
    return _lines(region, [cell.text for cell in said], boxes, truncated)


def _lines(region: int, texts: Sequence[str], boxes: Sequence[Box], truncated: bool) -> list[Line]:
    """Give lines without a score, for the model says none; of a truncated answer it is the last that was cut."""
    last = len(texts) - 1
    return [
        Line(text=text, score=None, polygon=_polygon(box), region=region, truncated=truncated and index == last)
        for index, (text, box) in enumerate(zip(texts, boxes, strict=True))
    ]


def _polygon(box: Box) -> Polygon:
    left, top, right, bottom = (round(edge, 1) for edge in box)
    return (left, top), (right, top), (right, bottom), (left, bottom)


def _moved(polygon: Polygon, right: float, down: float) -> Polygon:
    a, b, c, d = ((round(x + right, 1), round(y + down, 1)) for x, y in polygon)
    return a, b, c, d
