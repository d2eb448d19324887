from pathlib import Path

import pytest

from darkroom.pipelines import digests as remembered
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.engines.base import digests, load


def test_a_digest_is_of_the_content_and_follows_it(tmp_path: Path) -> None:
    model = tmp_path / "det.onnx"
    model.write_bytes(b"first")
    first = digests([model])
    assert first == {"det.onnx": remembered.measure(model)}
    model.write_bytes(b"second one")
    assert digests([model]) != first


def test_a_digest_is_worked_out_once_for_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "rec.onnx"
    model.write_bytes(b"weights")
    first = digests([model])
    monkeypatch.setattr("darkroom.pipelines.ocr.engines.base.measure", lambda path: pytest.fail("read again"))
    assert digests([model]) == first
    assert [*tmp_path.iterdir()] == [model], "nothing is written beside it"


def test_a_missing_model_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"rec\.onnx: cannot be read"):
        digests([tmp_path / "rec.onnx"])


def test_a_missing_package_is_told_with_the_way_to_install_it() -> None:
    assert load("json", "json", "ocr").loads("1") == 1
    with pytest.raises(Unavailable, match=r"pip install 'darkroomd\[ocr\]'"):
        load("no_such_module", "reader", "ocr")
