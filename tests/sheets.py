"""Pages with a table drawn for the tests, and what is written in each cell; TEDS, the measure of a table read"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser

import numpy as np
from papers import distance, font
from PIL import Image, ImageDraw

from darkroom.pipelines.ocr.page import Box, Line
from darkroom.pipelines.ocr.picture import Picture
from darkroom.pipelines.ocr.structure.grid import Cell, Span, html, laid_out

Written = str | tuple[str, int, int]  # text, or text with rows and columns it spans


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A page with one table on it."""

    name: str
    picture: Picture
    box: Box  # of the table
    lines: tuple[Line, ...]  # all that is written on the page, as a flawless engine would read it
    cells: tuple[Cell, ...]

    @property
    def html(self) -> str:
        """The table, as it should be read."""
        return html(self.cells)


def drawn(
    name: str,
    rows: Sequence[Sequence[Written]],
    *,
    rules: str = "all",
    face: str = "serif",
    title: str = "Table 1: The year in numbers",
    size: int = 26,
    widths: Sequence[int] = (),
    bold: str = "",
) -> Sheet:
    """Draw `rows` as a table in the middle of a page, between its title and some prose.

    rules: "all" (a grid), "none", "paper" (above, below, under the head), "rows" (under each row)
    widths: of the columns, in pixels; all 200 by default
    """
    cells = laid_out([[_span(cell) for cell in row] for row in rows])
    columns = max(cell.column + cell.columns for cell in cells)
    step, left, top = round(size * 1.9), 120, 300
    xs = np.cumsum([left, *(widths or [200] * columns)]).tolist()
    ys = [top + step * index for index in range(len(rows) + 1)]
    image = Image.new("RGB", (1240, max(1100, ys[-1] + 400)), "white")
    draw = ImageDraw.Draw(image)
    lines = [
        _write(draw, title, (left, top - 60), size, face),
        *(_write(draw, text, (left, 80 + 40 * n), size, face) for n, text in enumerate(_prose(face))),
        *(_write(draw, text, (left, ys[-1] + 80 + 40 * n), size, face) for n, text in enumerate(_prose(face))),
    ]
    for cell in cells:
        box = xs[cell.column], ys[cell.row], xs[cell.column + cell.columns], ys[cell.row + cell.rows]
        if rules == "all":
            draw.rectangle(box, outline="black", width=2)
        if cell.text:
            middle = (box[1] + box[3]) // 2 - round(size * 0.62)
            face_here = bold if bold and cell.row == 0 else face
            lines.append(_write(draw, cell.text, (box[0] + 14, middle), size, face_here))
    for y in {"paper": (ys[0], ys[1], ys[-1]), "rows": ys}.get(rules, ()):
        draw.line((xs[0], y, xs[-1], y), fill="black", width=2)
    return Sheet(
        name=name,
        picture=Picture(rgb=np.array(image), dpi=150.0),
        box=(float(xs[0]), float(ys[0]), float(xs[-1]), float(ys[-1])),
        lines=tuple(lines),
        cells=cells,
    )


@cache
def sheets() -> tuple[Sheet, ...]:
    """Give the eight tables that the bar is about."""
    goods = [
        ["Item", "Unit", "Price", "Sold"],
        ["Rope, hemp", "m", "1.20", "4,310"],
        ["Oil lamp", "piece", "14.50", "212"],
        ["Tar", "barrel", "8.00", "96"],
        ["Sailcloth", "yard", "2.75", "1,804"],
        ["Copper nails", "pound", "0.65", "730"],
    ]
    chinese = [
        ["名称", "单位", "单价", "数量"],
        ["白菜", "公斤", "三块五", "一百二十"],
        ["鲜鱼", "条", "十二元", "四十六"],
        ["豆浆", "杯", "两块", "三百"],
        ["烤饼", "个", "一块五", "二百七十"],
    ]
    years: list[list[Written]] = [
        [("Port", 2, 1), ("1892", 1, 2), ("1893", 1, 2)],
        ["Ships", "Tons", "Ships", "Tons"],
        ["North quay", "118", "9,420", "131", "10,077"],
        ["South quay", "74", "5,210", "69", "4,955"],
        [("Both", 1, 1), "192", "14,630", "200", "15,032"],
    ]
    crews: list[list[Written]] = [
        ["Watch", "Keeper", "Hours", "Log"],
        [("Night", 2, 1), "Brandt", "20 to 24", "calm"],
        ["Olsen", "0 to 4", "fog"],
        [("Day", 2, 1), "Keller", "4 to 12", "clear"],
        ["Moreau", "12 to 20", "rain"],
    ]
    results = [
        ["Method", "Pages", "CER", "Time"],
        ["Baseline", "34", "5.20", "4.1"],
        ["No classifier", "34", "0.11", "4.0"],
        ["Own order", "34", "0.11", "4.0"],
        ["Tiny", "34", "0.44", "1.2"],
    ]
    web = [
        ["Station", "Line", "Opened", "Closed", "State"],
        ["Altdorf", "North", "1882", "1966", "museum"],
        ["Brugg", "North", "1882", "", "in use"],
        ["Castello", "South", "1904", "1988", "ruin"],
        ["Dorn", "South", "1904", "", "in use"],
    ]
    return (
        drawn("ruled", goods),
        drawn("borderless", goods, rules="none"),
        drawn("chinese", chinese, face="sans", title="表1：市场价格"),
        drawn("chinese-borderless", chinese, rules="none", face="song", title="表1：市场价格"),
        drawn("merged-columns", years),
        drawn("merged-rows", crews),
        drawn("paper", results, rules="paper", bold="bold"),
        drawn("web", web, rules="rows", face="sans", size=24),
    )


def _prose(face: str) -> tuple[str, ...]:
    if face in ("sans", "song"):
        return ("清晨的市场总是最热闹的地方，卖菜的老人把新鲜的白菜整齐地摆在木板上。",)
    return (
        "The keeper of the lighthouse wrote every evening in a narrow book, and he began",
        "each entry with the state of the wind. On clear nights he counted the ships.",
    )


def _span(cell: Written) -> Span:
    return Span(text=cell) if isinstance(cell, str) else Span(text=cell[0], rows=cell[1], columns=cell[2])


def _write(draw: ImageDraw.ImageDraw, text: str, at: tuple[int, int], size: int, face: str) -> Line:
    draw.text(at, text, font=font(face, size), fill="black")
    left, top, right, bottom = draw.textbbox(at, text, font=font(face, size))
    left, top, right, bottom = left - 2, top - 3, right + 2, bottom + 3  # engines leave some white around
    return Line(text=text, score=1.0, polygon=((left, top), (right, top), (right, bottom), (left, bottom)))


# TEDS: 1 - distance / size of the larger tree (Zhong et al., Image-based table recognition, 2020). The distance between
# the trees is Zhang and Shasha's (1989).


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A tag of a table: its name with its spans, and its text."""

    tag: str
    text: str
    leftmost: int  # leaf below it, by its number in postorder


def teds(found: str, truth: str, *, text: bool = True) -> float:
    """Give how alike two tables in HTML are, 0 to 1; without `text` only their structure counts."""
    a, b = _Tree.of(found), _Tree.of(truth)
    return 1 - _tree_distance(a, b, text) / max(len(a), len(b), 1)


class _Tree(HTMLParser):
    @staticmethod
    def of(html: str) -> list[Node]:
        parser = _Tree()
        parser.feed(html)
        parser.close()
        assert not parser.open, f"{parser.open} never closed"
        return parser.nodes

    def __init__(self) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self.open: list[tuple[str, int, list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        spans = sorted((key, value) for key, value in attrs if key in ("rowspan", "colspan") and value != "1")
        self.open.append((f"{tag}{spans}", len(self.nodes), []))

    def handle_data(self, data: str) -> None:
        if self.open:
            self.open[-1][2].append(data)

    def handle_endtag(self, tag: str) -> None:
        name, first, texts = self.open.pop()
        assert name.startswith(tag)
        self.nodes.append(Node(tag=name, text="".join(texts).strip(), leftmost=first))


def _tree_distance(a: list[Node], b: list[Node], text: bool) -> float:
    sizes = np.zeros((len(a) + 1, len(b) + 1))
    for i in _keyroots(a):
        for j in _keyroots(b):
            _forest_distance(a, b, i, j, sizes, text)
    return float(sizes[len(a) - 1, len(b) - 1]) if a and b else float(max(len(a), len(b)))


def _keyroots(nodes: list[Node]) -> list[int]:
    """Give the root and each node with a sibling to its left, in postorder."""
    return sorted({node.leftmost: index for index, node in enumerate(nodes)}.values())


def _forest_distance(a: list[Node], b: list[Node], i: int, j: int, known: np.ndarray, text: bool) -> None:
    """Fill in `known` for the subtrees below `i` and `j` that start at their leftmost leaves."""
    first_a, first_b = a[i].leftmost, b[j].leftmost
    forest = np.zeros((i - first_a + 2, j - first_b + 2))
    forest[:, 0], forest[0, :] = range(len(forest)), range(forest.shape[1])
    for x in range(first_a, i + 1):
        for y in range(first_b, j + 1):
            row, column = x - first_a + 1, y - first_b + 1
            without = min(forest[row - 1, column], forest[row, column - 1]) + 1
            if a[x].leftmost == first_a and b[y].leftmost == first_b:
                forest[row, column] = min(without, forest[row - 1, column - 1] + _change(a[x], b[y], text))
                known[x, y] = forest[row, column]
            else:
                before = forest[a[x].leftmost - first_a, b[y].leftmost - first_b]
                forest[row, column] = min(without, before + known[x, y])


def _change(a: Node, b: Node, text: bool) -> float:
    if a.tag != b.tag:
        return 1.0
    return distance(a.text, b.text) / max(len(a.text), len(b.text)) if text and a.text != b.text else 0.0
