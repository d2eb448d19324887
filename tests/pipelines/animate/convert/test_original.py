"""The original layout: recognized, whole or not, and told from its relatives."""

import json
from pathlib import Path
from typing import Any

import pytest

from darkroom.pipelines.animate import tiny, tiny_original
from darkroom.pipelines.animate.convert import original
from darkroom.pipelines.errors import Unavailable


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tiny_original.write(tmp_path)


def refusal(place: Path) -> str:
    with pytest.raises(Unavailable) as caught:
        original.check(place)
    return str(caught.value)


def test_a_whole_folder_has_all_files(place: Path) -> None:
    original.check(place)
    files = original.files_of(place)
    assert files["transformer"][0].name == "config.json"
    assert len(files["transformer"]) == 5
    assert {component: len(paths) for component, paths in files.items() if component != "transformer"} == {
        "text_encoder": 1,
        "image_encoder": 1,
        "vae": 1,
        "tokenizer": 2,
    }


@pytest.mark.parametrize(
    "name",
    [
        "Wan2.1_VAE.pth",
        "models_t5_umt5-xxl-enc-bf16.pth",
        "diffusion_pytorch_model-00002-of-00003.safetensors",
        "diffusion_pytorch_model.safetensors.index.json",
        "google/umt5-xxl/tokenizer.json",
        "config.json",
    ],
)
def test_a_file_that_is_missing_is_named(place: Path, name: str) -> None:
    (place / name).unlink()
    assert refusal(place) == f"{place}: no {name}; fetch Wan-AI/Wan2.1-I2V-14B-480P to the end"


def test_no_folder_is_told(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none").startswith(f"{tmp_path}/none: is no folder")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"model_type": "t2v", "in_dim": 16}, "is a Wan T2V, which takes no image"),
        ({"model_type": "flf2v"}, "is Wan2.1 FLF2V, which wants a last image too"),
        ({"model_type": "vace"}, "its config.json is not that of Wan2.1 I2V"),
        ({"in_dim": 48}, "its config.json is not that of Wan2.1 I2V"),
    ],
)
def test_relatives_are_refused_with_the_reason_even_where_files_are_missing(
    place: Path, values: dict[str, Any], reason: str
) -> None:
    config = place / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | values))
    (place / "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth").unlink()
    assert reason in refusal(place)


def test_two_transformers_are_another_model(place: Path) -> None:
    (place / "high_noise_model").mkdir()
    assert "is Wan2.2, with two transformers" in refusal(place)


def test_the_name_tells_the_resolution() -> None:
    assert original.resolution_of(Path("/x/Wan2.1-I2V-14B-720P")) == "720p"
    assert original.resolution_of(Path("/x/wan")) is None


def test_only_the_original_layout_looks_like_it(place: Path, tmp_path: Path) -> None:
    assert original.looks_original(place)
    assert not original.looks_original(tiny.write(tmp_path / "other"))
    assert not original.looks_original(tmp_path)
