"""A table as cells in a grid: pure data, the text that belongs in each cell, and its HTML

Every way of finding tables (SLANet, img2table, OTSL from a vision-language model) ends in these cells.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape

from darkroom.pipelines.ocr.page import Box, Line, Polygon

NOWHERE: Box = (0.0, 0.0, 0.0, 0.0)
SAME_ROW = 0.5  # of a line's height: by how much two lines of a cell may differ and stand side by side


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell: where it is in the grid, over how many rows and columns it reaches, and its text."""

    row: int
    column: int
    rows: int = 1
    columns: int = 1
    box: Box = NOWHERE  # pixels; nowhere where the finder gives none
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A cell as HTML has it: its place follows from those before it."""

    rows: int = 1
    columns: int = 1
    box: Box = NOWHERE
    text: str = ""


def laid_out(rows: Iterable[Sequence[Span]]) -> tuple[Cell, ...]:
    """Give the cells of `rows` their places in the grid, as a browser would: each takes the first free column."""
    taken: set[tuple[int, int]] = set()
    cells = []
    for row, spans in enumerate(rows):
        column = 0
        for span in spans:
            while (row, column) in taken:
                column += 1
            taken |= {(row + y, column + x) for y in range(span.rows) for x in range(span.columns)}
            cells.append(
                Cell(row=row, column=column, rows=span.rows, columns=span.columns, box=span.box, text=span.text)
            )
    return tuple(cells)


def filled(cells: Sequence[Cell], lines: Iterable[Line]) -> tuple[Cell, ...]:
    """Give `cells` with the text of `lines`, each piece of text in the cell it covers best, or the nearest one.

    A line that crosses into a second cell is taken word by word where it has words. Lines of a cell are joined from
    top to bottom with blanks, or with nothing between Chinese characters.
    """
    pieces: list[list[tuple[Box, str]]] = [[] for _ in cells]
    for line in lines:
        for polygon, text in _pieces(line, cells):
            box = bounds([polygon])
            pieces[_home(box, cells)].append((box, text))
    return tuple(replace(cell, text=_joined(found)) for cell, found in zip(cells, pieces, strict=True))


def html(cells: Iterable[Cell]) -> str:
    """Give `cells` as HTML: `<table>`, `<tr>`, `<td rowspan colspan>`; a row without a cell of its own is empty."""
    rows: list[list[Cell]] = []
    for cell in sorted(cells, key=lambda cell: (cell.row, cell.column)):
        rows += [[] for _ in range(cell.row + 1 - len(rows))]
        rows[cell.row].append(cell)
    inside = "".join("<tr>" + "".join(map(_td, row)) + "</tr>" for row in rows)
    return f"<table>{inside}</table>"


def bounds(polygons: Iterable[Polygon]) -> Box:
    """Give the box around `polygons`, of which there is at least one."""
    points = [point for polygon in polygons for point in polygon]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return min(xs), min(ys), max(xs), max(ys)


def covered(box: Box, other: Box) -> float:
    """Give the share of `box` that lies in `other`, 0 to 1."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    area = (box[2] - box[0]) * (box[3] - box[1])
    return width * height / area if width > 0 and height > 0 and area > 0 else 0.0


def _td(cell: Cell) -> str:
    rows = f' rowspan="{cell.rows}"' if cell.rows > 1 else ""
    columns = f' colspan="{cell.columns}"' if cell.columns > 1 else ""
    return f"<td{rows}{columns}>{escape(cell.text, quote=False)}</td>"


def _pieces(line: Line, cells: Sequence[Cell]) -> list[tuple[Polygon, str]]:
    """Give the line as one piece, or as its words where they belong to different cells."""
    words = [(word.polygon, word.text) for word in line.words]
    homes = {_home(bounds([polygon]), cells) for polygon, _ in words}
    return words if len(homes) > 1 else [(line.polygon, line.text)]


def _home(box: Box, cells: Sequence[Cell]) -> int:
    """Give the index of the cell that `box` is in, for most of it; else of the one whose edges are nearest."""

    def rank(index: int) -> tuple[float, float]:
        cell = cells[index].box
        distance = sum(abs(a - b) for a, b in zip(box, cell, strict=True))
        return -round(covered(box, cell), 1), distance

    return min(range(len(cells)), key=rank)


def _joined(pieces: list[tuple[Box, str]]) -> str:
    """Give the pieces of a cell as one text, in the order of reading."""
    ordered: list[tuple[Box, str]] = []
    for box, text in sorted(pieces, key=lambda piece: piece[0][1]):
        place = len(ordered)
        while place and _beside(ordered[place - 1][0], box) and box[0] < ordered[place - 1][0][0]:
            place -= 1
        ordered.insert(place, (box, text))
    whole = ""
    for _, text in ordered:
        whole += _gap(whole, text) + text
    return whole


def _beside(a: Box, b: Box) -> bool:
    return abs(a[1] - b[1]) < SAME_ROW * min(a[3] - a[1], b[3] - b[1])


def _gap(before: str, after: str) -> str:
    """Say what stands between two pieces of text: nothing where Han, kana or their punctuation meet."""
    if not before or not after:
        return ""
    return "" if _dense(before[-1]) and _dense(after[0]) else " "


def _dense(character: str) -> bool:
    return "\u2e80" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff" or "\uff00" <= character <= "\uffef"
