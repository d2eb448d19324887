import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from documents import page, scan

from darkroom.pipelines.ocr.document import DocumentFacts, probe
from darkroom.pipelines.ocr.outputs import document_json as module
from darkroom.pipelines.ocr.outputs.document_json import document_json
from darkroom.pipelines.ocr.outputs.settings import OutputSettings
from darkroom.pipelines.ocr.page import Page, Region, Table, Word


@pytest.fixture
def facts(tmp_path: Path) -> DocumentFacts:
    return probe(scan(tmp_path / "brief 1.png"))


@pytest.fixture
def read() -> Page:
    first = page(["Größe 😀", "weak"], rotation=90, skew=-0.5, warnings=("dim",))
    words = (Word(text="Größe", polygon=first.lines[0].polygon), Word(text="😀", polygon=first.lines[0].polygon))
    lines = replace(first.lines[0], region=0, words=words), replace(first.lines[1], score=0.123456)
    table = Table(box=(1, 2, 3, 4), html="<table></table>")
    return replace(first, lines=lines, regions=(Region(kind="title", box=(0, 0, 9, 9), score=0.5),), tables=(table,))


def written(facts: DocumentFacts, *pages: Page, settings: OutputSettings | None = None) -> Any:
    return json.loads(document_json(facts, pages, settings or OutputSettings()))


def test_it_says_what_was_read_and_by_what(facts: DocumentFacts, read: Page) -> None:
    engine = {"name": "rapidocr", "version": "3.10", "models": {"det.onnx": "ab12"}, "settings": {"dpi": 200}}
    content = written(facts, read, settings=OutputSettings(engine=engine))
    assert content["schema"] == 1
    assert content["source"] == {"name": "brief 1.png", "sha256": facts.sha256, "pages": 1, "kind": "image"}
    assert content["engine"] == engine


def test_a_page_says_its_size_and_how_it_was_turned(facts: DocumentFacts, read: Page) -> None:
    (content,) = written(facts, read)["pages"]
    said = ("index", "width", "height", "unit", "dpi", "rotation", "skew", "source", "warnings", "failed")
    assert [content[key] for key in said] == [0, 1000, 1400, "px", 150.0, 90, -0.5, "ocr", ["dim"], None]


def test_every_line_is_there_with_score_place_and_region(facts: DocumentFacts, read: Page) -> None:
    (content,) = written(facts, read)["pages"]
    first, weak = content["lines"]
    assert (first["text"], first["region"], first["order"], first["id"]) == ("Größe 😀", 0, 0, 0)
    assert [word["text"] for word in first["words"]] == ["Größe", "😀"]
    assert [tuple(corner) for corner in first["polygon"]] == list(read.lines[0].polygon)
    assert (weak["score"], weak["region"]) == (0.1235, None)
    assert "words" not in weak
    assert content["regions"] == [{"id": 0, "kind": "title", "bbox": [0, 0, 9, 9], "score": 0.5, "order": 0}]
    assert content["tables"] == [{"id": 0, "bbox": [1, 2, 3, 4], "html": "<table></table>", "score": None}]


def test_every_field_is_described(facts: DocumentFacts, read: Page) -> None:
    description = module.__doc__ or ""

    def names(value: Any) -> set[str]:
        if isinstance(value, dict):
            return {*value, *(name for inner in value.values() for name in names(inner))}
        return {name for inner in value for name in names(inner)} if isinstance(value, list) else set()

    assert not {name for name in names(written(facts, read)) if name not in description}


def test_numbers_json_does_not_have_become_null(facts: DocumentFacts, read: Page) -> None:
    odd = replace(read, lines=(replace(read.lines[0], score=math.nan),), regions=(), tables=(), skew=math.inf)
    (content,) = written(facts, odd)["pages"]
    assert content["lines"][0]["score"] is None
    assert content["skew"] is None


def test_text_of_other_scripts_is_readable_in_the_file(facts: DocumentFacts, read: Page) -> None:
    assert "Größe 😀".encode() in document_json(facts, [read], OutputSettings())


def test_a_name_that_is_not_utf_8_can_be_written(facts: DocumentFacts) -> None:
    odd = replace(facts, source=Path("caf\udce9.pdf"))
    assert written(odd)["source"]["name"] == "caf?.pdf"
