"""What the default engine reads of pages whose text is known; the bars are what it is held to, not what it reaches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from papers import CHINESE, ENGLISH, GERMAN, ITALIAN, Paper, cer, clean, faxed, photographed, skewed, two_columns

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.engines.rapid import Rapid, model_files, open_rapid
from darkroom.pipelines.ocr.order import in_order, line_box

PAPERS = {
    "english": (clean(ENGLISH), 0.005),
    "german": (clean(GERMAN), 0.005),
    "italian": (clean(ITALIAN, name="sans", size=28), 0.005),
    "chinese": (clean(CHINESE, name="song", size=36), 0.005),
    "chinese, askew": (skewed(clean(CHINESE, name="sans", size=36), 3), 0.01),
    "german, faxed": (faxed(clean(GERMAN)), 0.01),
    "italian, photographed": (photographed(clean(ITALIAN)), 0.01),
    "two columns": (two_columns(), 0.01),
}


def text_of(engine: Rapid, paper: Paper) -> str:
    picture = paper.picture
    lines = in_order(engine.read(picture).lines, picture.width, picture.height)
    return "\n".join(line.text for line in lines)


@pytest.mark.parametrize("name", PAPERS)
def test_a_page_is_read(name: str, rapid: Rapid) -> None:
    paper, bar = PAPERS[name]
    found = text_of(rapid, paper)
    assert cer(found, paper.text) <= bar, found
    if "chinese" not in name:
        assert cer(found, paper.text, spaces=True) <= bar, "spaces between words are lost"


def test_words_lie_in_their_line(rapid: Rapid) -> None:
    line = rapid.read(clean("Grüße aus der Küche").picture).lines[0]
    left, _top, right, _bottom = line_box(line)
    assert [word.text for word in line.words] == ["Grüße", "aus", "der", "Küche"]
    middles = [sum(x for x, _y in word.polygon) / 4 for word in line.words]
    assert middles == sorted(middles)
    assert left < middles[0] < middles[-1] < right


def test_an_empty_page_has_no_lines(rapid: Rapid) -> None:
    assert rapid.read(clean("").picture).lines == ()


def test_the_engine_says_what_it_is(rapid: Rapid) -> None:
    assert rapid.name == "rapidocr"
    assert rapid.provider == "onnxruntime CPUExecutionProvider"
    assert {*rapid.models} == {"PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"}
    assert all(len(digest) == 64 for digest in rapid.models.values())
    assert rapid.warnings == ()


def test_a_gpu_that_is_not_there_is_told() -> None:
    engine = open_rapid(runtime="cuda", threads=2)
    if "CUDA" not in engine.provider:
        assert engine.provider == "onnxruntime CPUExecutionProvider"
        assert "reads on the CPU" in engine.warnings[0]
        assert "onnxruntime-gpu" in engine.warnings[0]


def test_a_missing_model_file_is_named_and_never_fetched(tmp_path: Path) -> None:
    (tmp_path / "det.onnx").touch()
    with pytest.raises(Unavailable, match=r"rec\.onnx: the model file is not there"):
        open_rapid(model="custom", model_dir=tmp_path)
    with pytest.raises(Unavailable, match="set model_dir"):
        open_rapid(model="custom")


def test_a_damaged_model_is_the_machines_fault(tmp_path: Path) -> None:
    for name in ("det.onnx", "rec.onnx", "keys.txt"):
        (tmp_path / name).write_bytes(b"nothing\n")
    with pytest.raises(Unavailable, match="cannot be loaded"):
        open_rapid(model="custom", model_dir=tmp_path)


def test_own_models_are_read_from_their_folder(tmp_path: Path) -> None:
    small = model_files("small")
    (tmp_path / "det.onnx").symlink_to(small.detection)
    (tmp_path / "rec.onnx").symlink_to(small.recognition)
    engine = open_rapid(model="custom", model_dir=tmp_path, threads=1)
    assert {*engine.models} == {"det.onnx", "rec.onnx"}
    assert engine.read(clean("One line").picture).lines[0].text == "One line"


def test_a_page_of_black_and_white_alone_is_softened_and_no_other() -> None:
    engine, seen = open_rapid(threads=1), []

    def listening(bgr: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], **how: object) -> object:
        seen.append(bgr)
        return engine.engine(bgr, **how)

    for paper in (faxed(clean("One line")), clean("One line")):
        replace(engine, engine=listening).read(paper.picture)
    fax, gray = seen
    assert len(np.unique(fax)) > 2
    assert np.array_equal(gray, clean("One line").picture.rgb[:, :, ::-1])
