import sys

import pytest
from patience import patiently
from pydantic import ValidationError

from darkroom.pipelines.upscale.options import Options


def test_scale_and_target_height_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="exclude each other"):
        Options(scale=2, target_height=720)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_ncnn_is_refused_a_precision_it_does_not_have(precision: str) -> None:
    with pytest.raises(ValidationError, match="fp32 only"):
        Options(backend="ncnn", precision=precision)


def test_ncnn_takes_fp32_said_or_unsaid() -> None:
    assert Options(backend="ncnn", precision="fp32").backend == Options(backend="ncnn").backend == "ncnn"


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ValidationError, match="sclae"):
        Options.model_validate({"sclae": 2})


def test_reading_the_options_loads_neither_torch_nor_av() -> None:
    code = (
        "import sys; import darkroom.pipelines.upscale.options; "
        "print([name for name in ('torch', 'av', 'numpy', 'ncnn') if name in sys.modules])"
    )
    loaded = patiently([sys.executable, "-c", code], check=True)
    assert loaded.stdout.strip() == "[]"


def test_ncnn_is_refused_for_flashvsr_but_not_for_auto() -> None:
    with pytest.raises(ValidationError, match="embedded models only"):
        Options(backend="ncnn", model="flashvsr")
    assert Options(backend="ncnn").model == "auto"
