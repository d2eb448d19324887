"""Finding a model: where it lies, what it is, whether it is whole, and what to do if not."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from darkroom.pipelines import digests
from darkroom.pipelines.animate import tiny, tiny_original
from darkroom.pipelines.animate.weights import NAME, find, listed, places
from darkroom.pipelines.errors import Unavailable


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("written"))


@pytest.fixture
def place(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / NAME))


def refusal(models: Path, name: str = NAME) -> str:
    with pytest.raises(Unavailable) as caught:
        find(models, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_whole_model_is_found_with_its_sizes_and_digests(place: Path) -> None:
    found = find(place.parent)
    assert (found.name, found.folder, found.resolution, found.kind) == (NAME, place, "480p", "diffusers")
    a = found.architecture
    assert (a.layers, a.heads, a.head_width, a.ffn_width) == (2, 2, 12, 48)
    assert (a.text_width, a.image_width, a.in_channels, a.latent_channels) == (32, 160, 36, 16)
    assert (a.patch, a.temporal_scale, a.spatial_scale) == ((1, 2, 2), 4, 8)
    assert found.dtype == "F32"
    for name, sha256 in found.digests:
        assert digests.measure(place / name) == sha256
    assert (
        found.size_bytes_of("vae")
        == sum(path.stat().st_size for path in (place / "vae").glob("[cd]*model*"))
        + (place / "vae/config.json").stat().st_size
    )


def test_equal_files_have_equal_digests_wherever_they_lie_and_each_file_counts(place: Path, tmp_path: Path) -> None:
    other = shutil.copytree(place, tmp_path / "elsewhere" / "any")
    one, two = find(place.parent), find(other.parent, "any")
    assert one.sha256 == two.sha256
    edit(other / "vae" / "config.json", z_dim=17)
    three = find(other.parent, "any")
    assert three.sha256 != one.sha256
    assert three.sha256_of("vae") != one.sha256_of("vae")
    assert three.sha256_of("text_encoder", "tokenizer") == one.sha256_of("text_encoder", "tokenizer")


def test_weights_are_read_once_for_their_digest(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = find(place.parent)
    monkeypatch.setattr(digests, "measure", None)
    assert find(place.parent) == before


def test_no_tensor_is_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.setattr("safetensors.torch.load_file", None)
    assert find(place.parent)


@pytest.mark.parametrize(
    ("names", "resolution"),
    [
        (["wan2.1-i2v-480p", "wan2.1-i2v-720p"], "720p"),
        (["Wan2.1-I2V-14B-480P-Diffusers"], "480p"),
        (["Wan2.1-I2V-14B-720P-Diffusers", "wan2.1-i2v-480p"], "480p"),
    ],
)
def test_the_default_name_finds_what_the_repositories_are_called_too(
    written: Path, tmp_path: Path, names: list[str], resolution: str
) -> None:
    for name in names:
        shutil.copytree(written, tmp_path / name)
    assert find(tmp_path).resolution == resolution
    for name in names:
        assert find(tmp_path, name).name == name


def test_of_several_folders_the_default_name_finds_a_whole_one(place: Path) -> None:
    shutil.copytree(place, place.with_name("wan2.1-i2v-480p"))
    (place / "model_index.json").unlink()
    assert find(place.parent).name == "wan2.1-i2v-480p"


def test_nothing_at_all_is_told_with_place_and_origin(tmp_path: Path) -> None:
    words = refusal(tmp_path / "none")
    assert words.startswith(f"{tmp_path}/none/wan2.1-i2v: no weights of Wan2.1 I2V; put there the files of Wan-AI/")
    assert words.endswith("or import the original ones: darkroom models import FOLDER")
    assert refusal(tmp_path, "mine").startswith(f"{tmp_path}/mine: no weights of Wan2.1 I2V")


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", ".hidden", ""])
def test_a_name_that_leads_elsewhere_is_none(tmp_path: Path, name: str) -> None:
    assert f"name a folder in {tmp_path}" in refusal(tmp_path, name)


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "vae/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
        "image_processor/preprocessor_config.json",
    ],
)
def test_a_file_that_is_missing_is_named(place: Path, name: str) -> None:
    (place / name).unlink()
    assert refusal(place.parent).startswith(f"{place}: no {name}; put there the files of ")


def test_a_file_that_was_cut_short_is_told_before_it_is_read(place: Path) -> None:
    path = place / "transformer" / "diffusion_pytorch_model.safetensors"
    os.truncate(path, 100_000)
    assert refusal(place.parent).startswith(f"{path}: damaged, 100000 bytes and not ")


def test_the_original_layout_is_told_apart(tmp_path: Path) -> None:
    place = tiny_original.write(tmp_path)
    assert refusal(tmp_path) == (
        f"{place}: holds the original files; convert them once: darkroom models import {place}"
    )
    assert refusal(tmp_path, place.name) == refusal(tmp_path)


@pytest.mark.parametrize(
    ("file", "values", "reason"),
    [
        ("model_index.json", {"transformer_2": ["diffusers", "WanTransformer3DModel"]}, "is Wan2.2, with two"),
        ("model_index.json", {"boundary_ratio": 0.9}, "is Wan2.2, with two"),
        ("model_index.json", {"_class_name": "WanPipeline"}, "is a Wan T2V, which takes no image"),
        ("transformer/config.json", {"in_channels": 16}, "is a Wan T2V, which takes no image"),
        ("transformer/config.json", {"pos_embed_seq_len": 514}, "is Wan2.1 FLF2V, which wants a last image too"),
        ("transformer/config.json", {"image_dim": None}, "its transformer is not that of Wan2.1 I2V"),
        ("transformer/config.json", {"_class_name": "WanVACETransformer3DModel"}, "is of the class WanVACE"),
        ("model_index.json", {"_class_name": "FluxPipeline"}, "is of the class FluxPipeline"),
    ],
)
def test_another_model_is_refused_with_the_reason(place: Path, file: str, values: dict[str, Any], reason: str) -> None:
    edit(place / file, **values)
    assert reason in refusal(place.parent)


def test_a_configuration_that_lacks_a_size_is_told(place: Path) -> None:
    values = json.loads((place / "transformer/config.json").read_text())
    del values["num_layers"]
    (place / "transformer/config.json").write_text(json.dumps(values))
    assert refusal(place.parent) == f"{place}: its configuration lacks 'num_layers'; fetch the .json files again"


def test_folders_of_wan_are_listed_whatever_they_are_called(place: Path) -> None:
    shutil.copytree(place, place.with_name("mine"))
    place.with_name("other").mkdir()
    original = tiny_original.write(place.parent)
    assert listed(place.parent) == [place, original, place.with_name("mine")]
    assert places(place.parent) == [place, original]
    assert listed(place.parent / "none") == []
