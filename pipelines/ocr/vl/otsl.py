"""Tables in OTSL, the language the model answers in, become cells

`<fcel>` begins a cell with text, `<ecel>` an empty one; `<lcel>` belongs to the cell on its left, `<ucel>` to the one
above, `<xcel>` to the one above and on its left; `<nl>` ends a row (Lysak et al., Optimized table tokenization, 2023).
"""

import re
from collections.abc import Sequence

from darkroom.pipelines.ocr.structure.grid import Cell

TOKEN = re.compile(r"<(fcel|ecel|lcel|ucel|xcel|nl)>")
Slot = tuple[str, str]  # what stands at a place of the grid: its token and its text

EMPTY: Slot = ("ecel", "")


def cells_of(otsl: str) -> tuple[Cell, ...]:
    """Give the cells of the table that `otsl` tells of, without boxes; none if it holds no token.

    Any answer gives a whole grid: short rows are filled with empty cells, and a span that begins nowhere or that is no
    rectangle falls apart into cells. What is said in a continued cell is added to the cell's text.
    """
    grid = _squared(_rows(otsl))
    taken: set[tuple[int, int]] = set()
    cells = []
    for row, slots in enumerate(grid):
        for column in range(len(slots)):
            if (row, column) in taken:
                continue
            rows, columns = _reach(grid, row, column)
            places = [(row + y, column + x) for y in range(rows) for x in range(columns)]
            taken |= set(places)
            text = " ".join(grid[y][x][1] for y, x in places if grid[y][x][1])
            cells.append(Cell(row=row, column=column, rows=rows, columns=columns, text=text))
    return tuple(cells)


def _rows(otsl: str) -> list[list[Slot]]:
    _, *pieces = TOKEN.split(otsl)
    rows: list[list[Slot]] = [[]]
    for token, text in zip(pieces[::2], pieces[1::2], strict=True):
        if token == "nl":
            rows.append([])
        else:
            rows[-1].append((token, " ".join(text.split())))
    return [row for row in rows if row]


def _squared(rows: Sequence[list[Slot]]) -> list[list[Slot]]:
    width = max(map(len, rows), default=0)
    return [row + [EMPTY] * (width - len(row)) for row in rows]


def _reach(grid: Sequence[Sequence[Slot]], row: int, column: int) -> tuple[int, int]:
    """Give over how many rows and columns the cell that begins here goes; a continuation that began nowhere: 1, 1."""
    if grid[row][column][0] not in ("fcel", "ecel"):
        return 1, 1
    columns = 1
    while column + columns < len(grid[row]) and grid[row][column + columns][0] == "lcel":
        columns += 1
    rows = 1
    while row + rows < len(grid) and _continues(grid[row + rows][column : column + columns]):
        rows += 1
    return rows, columns


def _continues(slots: Sequence[Slot]) -> bool:
    """Say whether `slots` are the next row of a cell: below its first place, across (or below) at the others."""
    return slots[0][0] == "ucel" and all(token in ("xcel", "ucel") for token, _ in slots[1:])
