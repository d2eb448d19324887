from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from documents import MIXED, page, rectangle, scan

from darkroom.pipelines.ocr.document import DocumentFacts, probe
from darkroom.pipelines.ocr.outputs.hocr import hocr, words_of
from darkroom.pipelines.ocr.outputs.settings import OutputSettings
from darkroom.pipelines.ocr.page import Line, Page, Word

SPAN = "{http://www.w3.org/1999/xhtml}span"
DIV = "{http://www.w3.org/1999/xhtml}div"


@pytest.fixture
def facts(tmp_path: Path) -> DocumentFacts:
    return probe(scan(tmp_path / 'it\'s "a" <scan>.png'))


def parsed(facts: DocumentFacts, *pages: Page) -> ElementTree.Element:
    data = hocr(facts, pages, OutputSettings(engine={"name": "rapidocr", "version": "3"}))
    return ElementTree.fromstring(data.decode())


def of(tree: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [found for found in tree.iter() if found.get("class") == kind]


def test_lines_come_back_whole_and_in_order(facts: DocumentFacts) -> None:
    lines = of(parsed(facts, page(MIXED)), "ocr_line")
    assert tuple("".join(line.itertext()) for line in lines) == MIXED


def test_places_and_scores_are_in_the_titles(facts: DocumentFacts) -> None:
    tree = parsed(facts, page(["two words"]), page(["x"], index=1))
    first, second = of(tree, "ocr_page")
    assert first.get("title") == "image \"it's 'a' <scan>.png\"; bbox 0 0 1000 1400; ppageno 0; scan_res 150 150"
    assert second.get("id") == "page_2"
    assert of(tree, "ocr_line")[0].get("title") == "bbox 120 120 246 150"
    assert [word.get("title") for word in of(tree, "ocrx_word")[:2]] == [
        "bbox 120 120 162 150; x_wconf 97",
        "bbox 176 120 246 150; x_wconf 97",
    ]


def test_names_are_told_apart(facts: DocumentFacts) -> None:
    tree = parsed(facts, page(MIXED), page(MIXED, index=1))
    names = [found.get("id") for found in tree.iter() if found.get("id")]
    assert len(names) == len(set(names)) > 20


def test_weak_lines_are_there_with_their_score(facts: DocumentFacts) -> None:
    read = page(["weak"])
    read = replace(read, lines=(replace(read.lines[0], score=0.1),))
    assert "x_wconf 10" in str(of(parsed(facts, read), "ocrx_word")[0].get("title"))


def test_markup_in_the_text_is_text(facts: DocumentFacts) -> None:
    assert "".join(of(parsed(facts, page(["<b>&\ufffe"])), "ocr_line")[0].itertext()).strip() == "<b>&"


def test_the_engines_words_are_kept_if_they_are_the_lines() -> None:
    box = rectangle(0, 0, 100, 10)
    words = Word(text="two", polygon=rectangle(0, 0, 30, 10)), Word(text="words", polygon=rectangle(40, 0, 100, 10))
    assert words_of(Line(text="two words", score=1, polygon=box, words=words)) == words
    other = words_of(Line(text="twowords", score=1, polygon=box, words=words))
    assert [word.text for word in other] == ["twowords"]
    assert other[0].polygon == box
