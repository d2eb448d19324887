import json
from pathlib import Path
from zipfile import ZipFile

import pytest
from documents import page, pdftotext, said, scan

from darkroom.pipelines.ocr.document import probe
from darkroom.pipelines.ocr.outputs.settings import OutputSettings
from darkroom.pipelines.ocr.outputs.write import KINDS, write
from darkroom.pipelines.ocr.page import Table

WORDS = ["some words", "más palabras"]
TABLE = Table(box=(0, 0, 10, 10), html="<table><tr><td>some words</td></tr></table>", score=1.0)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    facts = probe(scan(tmp_path / "a.png"))
    found = {kind: tmp_path / f"{kind}{KINDS[kind].suffix}" for kind in KINDS}
    for kind, out in found.items():
        write(kind, facts, [page(WORDS, tables=(TABLE,))], OutputSettings(), out)
    return found


def test_every_kind_writes_what_was_read(files: dict[str, Path]) -> None:
    assert files["txt"].read_text() == "some words\nmás palabras\n"
    assert [line["text"] for line in json.loads(files["json"].read_bytes())["pages"][0]["lines"]] == WORDS
    assert "some words" in files["md"].read_text()
    assert "palabras</span>" in files["hocr"].read_text()
    with ZipFile(files["xlsx"]) as book:
        assert any(b"some words" in book.read(name) for name in book.namelist())
    for kind in ("pdf", "pdfa"):
        assert said(pdftotext(files[kind])) == [" ".join(WORDS).split()]


def test_only_the_two_pdfs_share_a_suffix() -> None:
    suffixes = [kind.suffix for name, kind in KINDS.items() if name != "pdfa"]
    assert len({*suffixes}) == len(suffixes)
    assert KINDS["pdf"].suffix == KINDS["pdfa"].suffix


def test_equal_pages_give_equal_bytes_in_every_kind(files: dict[str, Path], tmp_path: Path) -> None:
    facts = probe(tmp_path / "a.png")
    for kind, once in files.items():
        write(kind, facts, [page(WORDS, tables=(TABLE,))], OutputSettings(), again := tmp_path / "again")
        assert again.read_bytes() == once.read_bytes(), kind


def test_a_kind_there_is_not_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        write("docx", probe(scan(tmp_path / "a.png")), [], OutputSettings(), tmp_path / "out")
