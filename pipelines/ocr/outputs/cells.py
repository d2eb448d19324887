"""A table's HTML as cells that know their rows and columns"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from html.parser import HTMLParser

LARGEST_SPAN = 1000  # as HTML has it; a model's slip must not make a table of a million rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a table."""

    row: int  # from 0
    column: int
    rows: int = 1  # it spans
    columns: int = 1
    text: str = ""


def cells_of(html: str) -> tuple[Cell, ...]:
    """Give the cells of the first table in `html`, row by row, each where its spans and its neighbours' leave it."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return tuple(_placed(reader.rows))


def size_of(cells: Sequence[Cell]) -> tuple[int, int]:
    """Give the number of rows and columns."""
    return max((cell.row + cell.rows for cell in cells), default=0), max(
        (cell.column + cell.columns for cell in cells), default=0
    )


def is_plain(cells: Sequence[Cell]) -> bool:
    """Say whether no cell spans more than one row or column."""
    return all(cell.rows == cell.columns == 1 for cell in cells)


def html_of(cells: Sequence[Cell]) -> str:
    """Give `cells` as HTML of nothing but rows, cells, spans and escaped text."""
    rows, _ = size_of(cells)
    written = ("".join(_html(cell) for cell in cells if cell.row == row) for row in range(rows))
    return "<table>\n" + "".join(f"<tr>{row}</tr>\n" for row in written) + "</table>"


def _html(cell: Cell) -> str:
    spans = f' rowspan="{cell.rows}"' * (cell.rows > 1) + f' colspan="{cell.columns}"' * (cell.columns > 1)
    return f"<td{spans}>{escape(cell.text, quote=False).replace(chr(10), '<br>')}</td>"


@dataclass(slots=True)
class _Raw:
    rows: int
    columns: int
    text: str = ""


class _Reader(HTMLParser):
    """Collects the rows of the first table; what is nested in a cell is text of that cell."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[_Raw]] = []
        self._depth = 0  # of tables; -1 once the first has ended
        self._cell: _Raw | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a row or a cell."""
        if tag == "table" and self._depth >= 0:
            self._depth += 1
        elif tag == "br" and self._cell:
            self._cell.text += "\n"
        elif self._depth != 1:
            return
        elif tag == "tr":
            self.rows.append([])
            self._cell = None
        elif tag in ("td", "th"):
            if not self.rows:
                self.rows.append([])
            said = dict(attrs)
            self._cell = _Raw(_span(said.get("rowspan")), _span(said.get("colspan")))
            self.rows[-1].append(self._cell)

    def handle_endtag(self, tag: str) -> None:
        """Close a cell or the table."""
        if tag == "table" and self._depth > 0:
            self._depth = self._depth - 1 or -1
        if tag in ("td", "th", "tr") and self._depth == 1:
            self._cell = None

    def handle_data(self, data: str) -> None:
        """Take the text of a cell."""
        if self._cell and self._depth > 0:
            self._cell.text += data


def _span(said: str | None) -> int:
    return min(LARGEST_SPAN, max(1, int(said))) if said and said.strip().isdecimal() else 1


def _placed(rows: Sequence[Sequence[_Raw]]) -> Iterator[Cell]:
    """Yield the cells of `rows` in the first free column each: HTML's own rule."""
    taken: set[tuple[int, int]] = set()
    for row, raws in enumerate(rows):
        column = 0
        for raw in raws:
            while (row, column) in taken:
                column += 1
            below = min(raw.rows, len(rows) - row)  # a span ends with its table
            taken.update((row + down, column + right) for down in range(below) for right in range(raw.columns))
            text = "\n".join(" ".join(line.split()) for line in raw.text.strip().splitlines())
            yield Cell(row=row, column=column, rows=below, columns=raw.columns, text=text)
            column += raw.columns
