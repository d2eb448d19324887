import math
from collections.abc import Iterable
from dataclasses import replace

import pytest

from darkroom.pipelines.ocr.affine import Affine
from darkroom.pipelines.ocr.native import lines_of
from darkroom.pipelines.ocr.pdfium import BREAK, Character

UPSIDE_DOWN = Affine(1, 0, 0, -1, 0, 400)  # a page 400 points high, a pixel a point


def written(text: str, x: float = 50, y: float = 300, angle: float = 0, size: float = 20) -> list[Character]:
    """Give characters half an em wide, each in the smallest upright box around it as PDFium has it."""
    characters = []
    for number, letter in enumerate(text):
        at = Affine(math.cos(angle), math.sin(angle), -math.sin(angle), math.cos(angle), x, y)
        left, right = number * size / 2, (number + 1) * size / 2
        xs, ys = zip(*at.polygon(((left, -4), (right, -4), (right, 16), (left, 16))), strict=True)
        box = min(xs), min(ys), max(xs), max(ys)
        characters.append(Character(text=letter, box=box, angle=angle, size=size))
    return characters


def flat(polygon: Iterable[tuple[float, float]]) -> list[float]:
    return [value for point in polygon for value in point]


def test_a_line_has_its_text_box_and_words() -> None:
    (line,) = lines_of(written("Hello you"), UPSIDE_DOWN)
    assert line.text == "Hello you"
    assert line.score is None
    assert line.polygon == ((50, 84), (140, 84), (140, 104), (50, 104))
    assert [word.text for word in line.words] == ["Hello", "you"]
    assert line.words[1].polygon == ((110, 84), (140, 84), (140, 104), (110, 104))


def test_lines_end_where_the_text_says_and_empty_ones_are_left_out() -> None:
    text = [*written("one"), BREAK, BREAK, *written("  ", y=250), BREAK, *written("two", y=200)]
    assert [line.text for line in lines_of(text, UPSIDE_DOWN)] == ["one", "two"]


def test_a_line_ends_where_the_next_letter_stands_lower() -> None:
    assert [line.text for line in lines_of([*written("one"), *written("two", y=270)], UPSIDE_DOWN)] == ["one", "two"]


def test_a_superscript_stays_in_its_line() -> None:
    raised = [replace(letter, size=12.0) for letter in written("2", x=80, y=308)]
    assert [line.text for line in lines_of([*written("m/s"), *raised], UPSIDE_DOWN)] == ["m/s2"]


@pytest.mark.parametrize(
    ("angle", "polygon"),  # from the first letter's top left corner on, clockwise as one reads
    [
        (math.pi / 2, ((34, 100), (34, 60), (54, 60), (54, 100))),  # upwards
        (-math.pi / 2, ((66, 100), (66, 140), (46, 140), (46, 100))),  # downwards
        (math.pi, ((50, 116), (10, 116), (10, 96), (50, 96))),  # on its head
    ],
)
def test_polygons_begin_where_the_text_does(angle: float, polygon: tuple[tuple[float, float], ...]) -> None:
    (line,) = lines_of(written("word", angle=angle), UPSIDE_DOWN)
    assert flat(line.polygon) == pytest.approx(flat(polygon))


def test_a_page_shown_turned_turns_its_polygons() -> None:
    turned = Affine(0, 1, 1, 0)  # /Rotate 90: what is up on the page lies to the right
    (line,) = lines_of(written("word"), turned)
    assert flat(line.polygon) == pytest.approx([316, 50, 316, 90, 296, 90, 296, 50])


def test_slanted_text_lies_in_a_slanted_box() -> None:
    (line,) = lines_of(written("slanted text here", angle=math.radians(-20)), UPSIDE_DOWN)
    left, right, _, _ = line.polygon
    assert math.atan2(right[1] - left[1], right[0] - left[0]) == pytest.approx(math.radians(20))
    height = math.dist(line.polygon[0], line.polygon[3])
    assert 18 < height < 30, "not the sum of upright boxes"
    assert math.dist(*line.polygon[:2]) == pytest.approx(170, abs=12)
