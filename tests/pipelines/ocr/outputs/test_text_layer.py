import math
import re
from pathlib import Path

import pikepdf
import pytest
from documents import MIXED, rectangle, text_of

from darkroom.pipelines.ocr.affine import Affine
from darkroom.pipelines.ocr.outputs.text_layer import FONT, Alphabet, Strip, font, layer, strip_of
from darkroom.pipelines.ocr.page import Line, Polygon

UPSIDE_DOWN = Affine(1, 0, 0, -1, 0, 800)  # a page 800 points high, a pixel a point


def line(text: str, polygon: Polygon) -> Line:
    return Line(text=text, score=1.0, polygon=polygon)


def numbers(content: bytes, operator: str) -> list[float]:
    found = re.search(rf"((?:-?[\d.]+ )+){operator}\b", content.decode())
    assert found
    return [float(number) for number in found[1].split()]


def test_narrow_characters_come_before_wide_ones_and_no_number_is_0() -> None:
    alphabet = Alphabet.of(["ab你", "a世😀"])
    assert (alphabet.narrow, alphabet.wide) == (("a", "b"), ("世", "你", "😀"))
    assert list(alphabet.numbers.values()) == [1, 2, 3, 4, 5]


def test_a_line_fills_its_box_on_its_baseline() -> None:
    text = "abcd"
    content = layer([line(text, rectangle(100, 200, 300, 250))], Alphabet.of([text]), UPSIDE_DOWN, FONT)
    assert b"3 Tr" in content
    assert numbers(content, "Tm") == [1, 0, 0, 1, 100, 800 - 250 + 10]  # a fifth of 50 above the lower edge
    (size,) = numbers(content, "Tf")
    (stretch,) = numbers(content, "Tz")
    assert size == 40
    assert size * 4 * 0.5 * stretch / 100 == pytest.approx(200)


def test_wide_characters_take_twice_the_room() -> None:
    text = "a你"
    content = layer([line(text, rectangle(0, 0, 150, 50))], Alphabet.of([text]), UPSIDE_DOWN, FONT)
    assert numbers(content, "Tz") == [pytest.approx(100 * 150 / (40 * 1.5), abs=1e-3)]


@pytest.mark.parametrize("tilt", [-6.9, -0.5, 3, 6.9])
def test_a_slight_tilt_is_laid_flat_where_the_line_is(tilt: float) -> None:
    strip = strip_of(line("words", rectangle(100, 200, 300, 250, tilt, about=400)))
    (cx, cy), _, (dx, dy), _ = rectangle(100, 200, 300, 250, tilt, about=400)
    assert strip.along == pytest.approx((200, 0))
    assert strip.up == pytest.approx((0, -50))
    middle = strip.origin[0] + 100, strip.origin[1] - 25
    assert middle == pytest.approx(((cx + dx) / 2, (cy + dy) / 2))


@pytest.mark.parametrize("tilt", [-40, 7.1, 30, 83.5, 95, 180, 268])
def test_more_is_followed_and_quarter_turns_are_flat_again(tilt: float) -> None:
    strip = strip_of(line("words", rectangle(100, 200, 300, 250, tilt)))
    nearest = round(tilt / 90) * 90
    wanted = math.radians(nearest if abs(tilt - nearest) < 7 else tilt)
    assert strip.along == pytest.approx((200 * math.cos(wanted), 200 * math.sin(wanted)))
    assert strip.up == pytest.approx((50 * math.sin(wanted), -50 * math.cos(wanted)))


def test_a_tall_line_runs_downwards() -> None:
    box = rectangle(100, 100, 140, 500)
    assert strip_of(line("竖排文字", box)) == Strip((100, 100), (0, 400), (40, 0))
    assert strip_of(line("竖", box)).along == (40, 0), "one character does not run"


def test_a_box_without_extent_keeps_its_text(tmp_path: Path) -> None:
    flat: Polygon = ((100, 100), (100, 100), (100, 100), (100, 100))
    assert read_back([line("kept", flat), line("too", rectangle(100, 300, 200, 330))], tmp_path) == "kept\ntoo"


def read_back(lines: list[Line], folder: Path) -> str:
    alphabet = Alphabet.of(line.text for line in lines)
    document = pikepdf.Pdf.new()
    leaf = document.add_blank_page(page_size=(600, 800)).obj
    leaf.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary({FONT: font(document, alphabet)}))
    leaf.Contents = document.make_stream(layer(lines, alphabet, UPSIDE_DOWN, FONT))
    document.save(folder / "a.pdf")
    return text_of(folder / "a.pdf")


def test_every_script_reads_back_exactly(tmp_path: Path) -> None:
    lines = [line(text, rectangle(50, 50 + 40 * n, 500, 80 + 40 * n)) for n, text in enumerate(MIXED)]
    assert read_back(lines, tmp_path) == "\n".join(MIXED)


def test_a_thousand_different_characters_read_back(tmp_path: Path) -> None:
    every = "".join(map(chr, range(0x4E00, 0x4E00 + 1000)))
    lines = [line(every[n : n + 40], rectangle(50, 20 + n * 0.7, 550, 40 + n * 0.7)) for n in range(0, 1000, 40)]
    assert read_back(lines, tmp_path).split() == [line.text for line in lines]


@pytest.mark.parametrize("tilt", [0, 90, 180, 270])
def test_text_in_all_directions_reads_back(tilt: int, tmp_path: Path) -> None:
    lines = [line(f"direction {n}", rectangle(280, 250 + 40 * n, 500, 280 + 40 * n, tilt, about=350)) for n in (0, 1)]
    found = read_back(lines, tmp_path).splitlines()
    assert sorted(found) == ["direction 0", "direction 1"]  # PDFium sorts lines that run downwards from the left
