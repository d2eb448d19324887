"""PaddleOCR where it is installed; else a module that stands in for it, and answers as version 3.7 was seen to."""

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from papers import CHINESE, ENGLISH, Paper, cer, clean

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.engines.paddle import STRUCTURE, TEXT, open_paddle, reading_of
from darkroom.pipelines.ocr.engines.rapid import model_files
from darkroom.pipelines.ocr.page import Region

NAMES = {  # the models that PP-StructureV3 takes by itself
    "text_detection": "PP-OCRv6_small_det",
    "text_recognition": "PP-OCRv6_small_rec",
    "textline_orientation": "PP-LCNet_x1_0_textline_ori",
    "layout_detection": "PP-DocLayout_plus-L",
    "region_detection": "PP-DocBlockLayout",
    "table_classification": "PP-LCNet_x1_0_table_cls",
    "table_orientation_classify": "PP-LCNet_x1_0_doc_ori",
    "wired_table_structure_recognition": "SLANeXt_wired",
    "wireless_table_structure_recognition": "SLANet_plus",
    "wired_table_cells_detection": "RT-DETR-L_wired_table_cell_det",
    "wireless_table_cells_detection": "RT-DETR-L_wireless_table_cell_det",
}

# As PP-StructureV3 of paddleocr 3.7.0 answered, less what is not read; the table is after the source of paddlex 3.7.2.
FOUND: dict[str, Any] = {
    "width": 1240,
    "height": 877,
    "parsing_res_list": [
        {"block_label": "image", "block_content": "", "block_bbox": [100, 600, 500, 800], "block_order": None},
        {
            "block_label": "table",
            "block_content": "<html><body><table><tbody><tr><td>Item</td><td>Price</td></tr><tr>"
            '<td colspan="2">Tar &amp; rope</td></tr></tbody></table></body></html>',
            "block_bbox": [85, 300, 800, 500],
            "block_order": 3,
        },
        {
            "block_label": "paragraph_title",
            "block_content": "A Short Title ",
            "block_bbox": [85, 80, 300, 118],
            "block_order": 1,
        },
        {
            "block_label": "text",
            "block_content": "The keeper of the lighthouse wrote every evening in a narrow book.\n",
            "block_bbox": [85, 120, 800, 205],
            "block_order": 2,
        },
    ],
    "overall_ocr_res": {
        "rec_texts": ["A Short Title", "The keeper of the lighthouse wrote every evening", "Item", " ", "12"],
        "rec_scores": [0.9972903728485107, 0.9986224174499512, 0.9737056493759155, 0.2, 0.9],
        "rec_polys": [
            [[86, 84], [252, 84], [252, 113], [86, 113]],
            [[86, 127], [721, 127], [721, 157], [86, 157]],
            [[90, 310], [200, 310], [200, 340], [90, 340]],
            [[1, 1], [2, 1], [2, 2], [1, 2]],
            [[600, 820], [640, 820], [640, 850], [600, 850]],
        ],
    },
}


class StandIn:
    """What `paddleocr.PaddleOCR` and `PPStructureV3` are to us: made of arguments, asked for a page."""

    made: dict[str, Any]

    def __init__(self, **arguments: Any) -> None:
        type(self).made = arguments

    def predict_iter(self, bgr: np.ndarray) -> Iterator[Any]:
        assert bgr.flags["C_CONTIGUOUS"] and bgr[0, 0].tolist() == [0, 0, 255], "the red of the test is the last of BGR"
        page = type("Page", (dict,), {"json": {"res": FOUND["overall_ocr_res"]}})
        yield page()


class Failing(StandIn):
    def __init__(self, **arguments: Any) -> None:
        raise RuntimeError("a dependency error occurred") from ImportError("pip install paddlex[ocr]\nand more")


class Refusing(StandIn):
    def predict_iter(self, bgr: np.ndarray) -> Iterator[Any]:
        yield {"error": "the settings are invalid!"}


@pytest.fixture
def paddleocr(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Give a module that stands in for paddleocr."""
    module = ModuleType("paddleocr")
    vars(module).update(__version__="3.7.0", PaddleOCR=StandIn, PPStructureV3=StandIn)
    monkeypatch.setitem(sys.modules, "paddleocr", module)
    return module


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Give a folder of all models, none of which can be loaded."""
    for role, name in NAMES.items():
        (tmp_path / role).mkdir()
        (tmp_path / role / "inference.yml").write_text(yaml.safe_dump({"Global": {"model_name": name}}))
        (tmp_path / role / "inference.onnx").write_bytes(b"weights")
    return tmp_path


def red() -> Paper:
    paper = clean("")
    paper.image.paste("red", (0, 0, 1240, 877))
    return paper


def test_every_model_has_a_name_here() -> None:
    assert {*NAMES} == {*STRUCTURE}


def test_an_answer_of_text_becomes_lines() -> None:
    reading = reading_of(FOUND["overall_ocr_res"], 1240, 877)
    assert [line.text for line in reading.lines] == [
        "A Short Title",
        "The keeper of the lighthouse wrote every evening",
        "Item",
        "12",
    ]
    assert reading.lines[0].score == 0.9973
    assert reading.lines[0].polygon == ((86, 84), (252, 84), (252, 113), (86, 113))
    assert not reading.regions and not reading.tables and not reading.warnings


def test_an_answer_of_structure_becomes_regions_in_their_order_and_lines_in_them() -> None:
    reading = reading_of(FOUND, 1240, 877)
    assert [region.kind for region in reading.regions] == ["title", "text", "table", "figure"]
    assert reading.regions[0] == Region(kind="title", box=(85, 80, 300, 118))
    assert [line.region for line in reading.lines] == [0, 1, 2, None]


def test_a_table_is_nothing_but_rows_cells_and_spans() -> None:
    (table,) = reading_of(FOUND, 1240, 877).tables
    assert table.box == (85, 300, 800, 500)
    assert "".join(table.html.split("\n")) == (
        '<table><tr><td>Item</td><td>Price</td></tr><tr><td colspan="2">Tar &amp; rope</td></tr></table>'
    )


def test_a_line_is_in_the_smallest_region_around_it() -> None:
    around = {"block_label": "text", "block_bbox": [0, 0, 1240, 877], "block_order": 9, "block_content": ""}
    found = FOUND | {"parsing_res_list": [*FOUND["parsing_res_list"], around]}
    assert [line.region for line in reading_of(found, 1240, 877).lines] == [0, 1, 2, 3]


@pytest.mark.parametrize("wild", [float("nan"), float("inf"), float("-inf")])
def test_numbers_without_end_are_told_and_not_passed_on(wild: float) -> None:
    found = {
        "rec_texts": ["score", "place", "sound"],
        "rec_scores": [wild, 0.9, 0.8],
        "rec_polys": [[[1, 1], [9, 1], [9, 5], [1, 5]], [[1, wild], [9, 1], [wild, 5], [1, 5]], [[1, 1]] * 4],
    }
    reading = reading_of(found, 100, 50)
    assert reading.warnings == ("paddleocr: 2 lines have no finite score or place; those are guesses",)
    assert [line.score for line in reading.lines] == [0.0, 0.9, 0.8]
    assert all(0 <= x <= 100 and 0 <= y <= 50 for line in reading.lines for x, y in line.polygon)
    json.dumps([line.polygon for line in reading.lines], allow_nan=False)


def test_bent_text_lies_in_the_box_around_it() -> None:
    bent = [[10, 20], [50, 5], [90, 20], [90, 40], [50, 25], [10, 40]]
    (line,) = reading_of({"rec_texts": ["seal"], "rec_scores": [0.9], "rec_polys": [bent]}, 100, 50).lines
    assert line.polygon == ((10, 5), (90, 5), (90, 40), (10, 40))


@pytest.mark.parametrize("structure", [False, True])
def test_every_model_is_handed_over_with_its_name_and_folder(
    structure: bool, paddleocr: ModuleType, models: Path
) -> None:
    engine = open_paddle(models=models, structure=structure, device="cuda:1", threads=3)
    made = paddleocr.PaddleOCR.made
    for role in STRUCTURE if structure else TEXT:
        assert made[f"{role}_model_dir"] == str(models / role)
        assert made[f"{role}_model_name"] == NAMES[role]
    assert made["device"] == "gpu:1"
    assert (made["engine"], made["engine_config"]) == ("onnxruntime", {"intra_op_num_threads": 3})
    assert not any(value for name, value in made.items() if name.startswith("use_"))
    assert {f"{role}/inference.onnx" for role in TEXT} <= {*engine.models}
    assert (engine.name, engine.version) == ("paddleocr", "3.7.0")
    assert "reads on the CPU" in engine.warnings[0], "no session was seen on a GPU"


def test_a_page_is_read_by_way_of_bgr(paddleocr: ModuleType, models: Path) -> None:
    assert len(open_paddle(models=models).read(red().picture).lines) == 4


def test_paddles_own_weights_are_read_by_paddle(
    paddleocr: ModuleType, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (models / "text_recognition" / "inference.onnx").rename(models / "text_recognition" / "inference.pdiparams")
    with pytest.raises(
        Unavailable, match=r"text_detection: no inference\.pdiparams, nor all models as inference\.onnx"
    ):
        open_paddle(models=models)
    (models / "text_detection" / "inference.onnx").rename(models / "text_detection" / "inference.pdiparams")
    if find_spec("paddle") is None:
        with pytest.raises(Unavailable, match="paddlepaddle: not installed, and these models need it"):
            open_paddle(models=models)
        paddle = ModuleType("paddle")
        paddle.__spec__ = ModuleSpec("paddle", None)
        monkeypatch.setitem(sys.modules, "paddle", paddle)
    engine = open_paddle(models=models)
    made = paddleocr.PaddleOCR.made
    assert "engine" not in made and made["mkldnn_cache_capacity"] == 1
    assert engine.provider == "paddle cpu"
    assert "text_detection/inference.pdiparams" in engine.models


@pytest.mark.parametrize("role", STRUCTURE)
def test_a_missing_model_is_named_before_anything_could_be_fetched(
    role: str, paddleocr: ModuleType, models: Path
) -> None:
    (models / role / "inference.yml").unlink()
    paddleocr.__dict__["PPStructureV3"] = lambda **_: pytest.fail("it was asked to find its models itself")
    with pytest.raises(Unavailable, match=rf"{role}/inference\.yml: the model is not there"):
        open_paddle(models=models, structure=True)


@pytest.mark.parametrize("config", ["", "[]", "Global: {}", "Global: [", "\udcff"])
def test_a_model_without_a_name_is_refused(config: str, paddleocr: ModuleType, models: Path) -> None:
    (models / "text_detection" / "inference.yml").write_bytes(config.encode(errors="surrogateescape"))
    with pytest.raises(Unavailable, match="does not name its model"):
        open_paddle(models=models)


def test_a_library_that_is_missing_is_told_with_the_way_to_install_it(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "paddleocr", None)
    with pytest.raises(Unavailable, match=r"pip install 'darkroomd\[ocr-paddle\]'"):
        open_paddle(models=models)


def test_a_library_that_may_not_write_is_told_where_it_could(
    models: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("library")
    (folder / "paddleocr.py").write_text("raise PermissionError(13, 'Permission denied', '/nowhere/.paddlex')")
    monkeypatch.delitem(sys.modules, "paddleocr", raising=False)
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(Unavailable, match=r"cannot be loaded \(.*Permission denied.*set PADDLE_PDX_CACHE_HOME"):
        open_paddle(models=models)


def test_a_library_that_cannot_load_its_models_says_the_first_cause(paddleocr: ModuleType, models: Path) -> None:
    paddleocr.__dict__["PaddleOCR"] = Failing
    with pytest.raises(Unavailable, match=r"cannot load its models \(pip install paddlex\[ocr\]\); put whole ones"):
        open_paddle(models=models)


def test_a_library_that_refuses_a_page_is_the_machines_fault(paddleocr: ModuleType, models: Path) -> None:
    paddleocr.__dict__["PaddleOCR"] = Refusing
    with pytest.raises(Unavailable, match="the settings are invalid!"):
        open_paddle(models=models).read(red().picture)


# From here on PaddleOCR itself.


def test_the_real_one_reads_models_from_their_folders(tmp_path: Path) -> None:
    pytest.importorskip("paddleocr", reason="paddleocr is not installed: pip install paddleocr onnxruntime")
    engine = open_paddle(models=small_models(tmp_path), threads=2)
    assert (engine.provider, engine.warnings) == ("onnxruntime CPUExecutionProvider", ())
    for paper in (clean(ENGLISH), clean(CHINESE, name="song", size=36)):
        found = "\n".join(line.text for line in engine.read(paper.picture).lines)
        assert cer(found, paper.text) <= 0.005, found
    assert engine.read(clean("").picture).lines == ()


def test_the_real_structure_asks_for_no_model_but_those_of_the_folder(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("paddleocr", reason="paddleocr is not installed: pip install paddleocr 'paddlex[ocr]'")
    base = pytest.importorskip("paddlex.inference.pipelines.base")
    asked: dict[str, str] = {}

    def create_model(self: Any, config: Mapping[str, Any], **settings: Any) -> Callable[..., Any]:
        asked[config["model_name"]] = config["model_dir"]
        return lambda *_: None

    monkeypatch.setattr(base.BasePipeline, "create_model", create_model)
    tables = open_paddle(models=models, structure=True).engine.paddlex_pipeline._pipeline.table_recognition_pipeline
    tables.create_model(tables.table_orientation_classify_config)  # these two at the first table
    tables.create_pipeline(tables.general_ocr_config_bak)
    assert asked == {name: str(models / role) for role, name in NAMES.items()}


def test_the_real_one_knows_our_arguments(models: Path) -> None:
    real = pytest.importorskip("paddleocr", reason="paddleocr is not installed: pip install paddleocr")
    with pytest.MonkeyPatch.context() as patch:
        stand_in = ModuleType("paddleocr")
        vars(stand_in).update(__version__="3.7.0", PaddleOCR=StandIn, PPStructureV3=StandIn)
        patch.setitem(sys.modules, "paddleocr", stand_in)
        for structure, kind in ((False, real.PaddleOCR), (True, real.PPStructureV3)):
            open_paddle(models=models, structure=structure)
            of_all = {"device", "engine", "engine_config", "cpu_threads", "mkldnn_cache_capacity"}
            assert {*StandIn.made} - of_all <= {*inspect.signature(kind.__init__).parameters}


def small_models(folder: Path) -> Path:
    """Give a folder with the models of rapidocr as paddleocr wants them: a description of each beside it."""
    files = model_files("small")
    described = (
        pytest.importorskip("onnxruntime").InferenceSession(str(files.recognition)).get_modelmeta().custom_metadata_map
    )
    resize: list[dict[str, Any]] = [
        {"DetResizeForTest": {}},
        {"NormalizeImage": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "order": "hwc"}},
        {"ToCHWImage": None},
    ]
    detection = {"name": "DBPostProcess", "thresh": 0.3, "box_thresh": 0.6, "unclip_ratio": 1.5}
    recognition = {"name": "CTCLabelDecode", "character_dict": described["character"].splitlines()}
    for role, model, before, after in (
        ("text_detection", files.detection, resize, {**detection, "max_candidates": 1000}),
        ("text_recognition", files.recognition, [{"RecResizeImg": {"image_shape": [3, 48, 320]}}], recognition),
    ):
        (folder / role).mkdir()
        (folder / role / "inference.onnx").symlink_to(model)
        config = {
            "Global": {"model_name": NAMES[role]},
            "PreProcess": {"transform_ops": before},
            "PostProcess": after,
        }
        (folder / role / "inference.yml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return folder
