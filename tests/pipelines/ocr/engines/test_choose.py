from pathlib import Path

import pytest

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.engines.choose import choice, engines, structure, threads
from darkroom.pipelines.ocr.options import Options

MODELS = Path("/nowhere/models")


def options(**given: object) -> Options:
    return Options.model_validate(given)


def test_jobs_that_want_the_same_share_an_engine_and_each_worker_has_its_own() -> None:
    first = engines(options(), MODELS, "cpu")
    again = engines(options(dpi=300, outputs=["txt"], min_score=0.1), MODELS, "cpu")
    assert first[0] is again[0]
    one, other = engines(options(workers=2), MODELS, "cpu")
    assert one is not other


def test_cores_are_shared_out_among_workers() -> None:
    assert threads(1) >= threads(2) >= 1
    assert threads(10_000) == 1


def test_own_models_lie_below_the_models_folder() -> None:
    wanted = choice(options(model="custom", model_dir="ocr/mine"), MODELS, "cuda:1")
    assert (wanted.model_dir, wanted.device) == (MODELS / "ocr" / "mine", "cuda:1")
    with pytest.raises(Unavailable, match=r"/nowhere/models/ocr/mine/det.onnx: the model file is not there"):
        engines(options(model="custom", model_dir="ocr/mine"), MODELS, "cpu")


def test_paddles_models_lie_in_a_folder_of_their_own_unless_another_is_named() -> None:
    with pytest.raises(Unavailable, match="/nowhere/models/paddleocr/"):
        engines(options(engine="paddleocr"), MODELS, "cpu")
    with pytest.raises(Unavailable, match="/nowhere/models/mine/"):
        engines(options(engine="paddleocr", model_dir="mine"), MODELS, "cpu")


def test_a_language_tesseract_has_not_is_named() -> None:
    with pytest.raises(Unavailable, match=r"xyz|not installed"):
        engines(options(engine="tesseract", lang="xyz"), MODELS, "cpu")


def test_a_server_that_is_not_there_is_waited_for() -> None:
    with pytest.raises(Unavailable) as error:
        engines(options(engine="vl", vl={"url": "http://127.0.0.1:9/v1", "fallback": False}), MODELS, "cpu")
    assert error.value.patient


def test_structure_is_looked_for_only_where_it_is_asked_for_and_the_engine_sees_none() -> None:
    assert structure(options(), MODELS) is None
    assert structure(options(engine="vl", structure="full"), MODELS) is None
    found = structure(options(structure="tables"), MODELS)
    assert found is structure(options(structure="tables", dpi=300), MODELS) is not None
