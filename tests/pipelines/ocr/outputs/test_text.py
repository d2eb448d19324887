from dataclasses import replace
from pathlib import Path

import pytest
from documents import MIXED, page, scan

from darkroom.pipelines.ocr.document import DocumentFacts, probe
from darkroom.pipelines.ocr.outputs.settings import OutputSettings
from darkroom.pipelines.ocr.outputs.text import text


@pytest.fixture
def facts(tmp_path: Path) -> DocumentFacts:
    return probe(scan(tmp_path / "a.png"))


def test_lines_end_with_line_feeds_and_pages_are_parted_by_form_feeds(facts: DocumentFacts) -> None:
    pages = [page(["one", "two"]), page([], index=1), page(MIXED, index=2)]
    wanted = "one\ntwo\n\f\f" + "\n".join(MIXED) + "\n"
    assert text(facts, pages, OutputSettings()).decode() == wanted


def test_a_page_that_failed_is_an_empty_one(facts: DocumentFacts) -> None:
    pages = [page(["one"]), page([], index=1, failed="crashed twice"), page(["three"], index=2)]
    assert text(facts, pages, OutputSettings()) == b"one\n\f\fthree\n"


def test_unsure_lines_stay_out(facts: DocumentFacts) -> None:
    read = page(["sure", "unsure"])
    read = replace(read, lines=(read.lines[0], replace(read.lines[1], score=0.2)))
    assert text(facts, [read], OutputSettings()) == b"sure\n"
    assert text(facts, [read], OutputSettings(min_score=0.1)) == b"sure\nunsure\n"
