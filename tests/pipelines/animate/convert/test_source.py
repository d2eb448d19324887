"""What an import reads: either layout, whole."""

import os
from pathlib import Path

import pytest

from darkroom.pipelines.animate import tiny, tiny_original
from darkroom.pipelines.animate.convert.source import source_at
from darkroom.pipelines.errors import Unavailable


def refusal(place: Path) -> str:
    with pytest.raises(Unavailable) as caught:
        source_at(place)
    return str(caught.value)


def test_both_layouts_are_told_apart(tmp_path: Path) -> None:
    one, other = source_at(tiny_original.write(tmp_path)), source_at(tiny.write(tmp_path))
    assert (one.original, other.original) == (True, False)
    assert (one.resolution, other.resolution) == ("480p", "480p")
    for source in (one, other):
        assert (source.tokenizer / "tokenizer.json").is_file()
        assert len(source.weights("vae")) == 1
    assert len(one.weights("transformer")) == tiny_original.SHARDS


def test_a_converted_folder_that_still_has_its_originals_is_read_as_original(tmp_path: Path) -> None:
    place = tiny_original.write(tmp_path)
    (place / "model_index.json").write_text("{}")
    assert source_at(place).original


@pytest.mark.parametrize("name", ["vae/config.json", "transformer/diffusion_pytorch_model.safetensors"])
def test_a_file_that_the_library_would_miss_is_named(tmp_path: Path, name: str) -> None:
    place = tiny.write(tmp_path)
    (place / name).unlink()
    assert refusal(place).startswith(f"{place}: no {name}; ")


def test_files_that_were_cut_short_or_never_fetched_are_told(tmp_path: Path) -> None:
    place = tiny_original.write(tmp_path)
    (place / "Wan2.1_VAE.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert refusal(place).startswith(f"{place}/Wan2.1_VAE.pth: stands for a file that was never fetched")
    shard = place / "diffusion_pytorch_model-00001-of-00003.safetensors"
    os.truncate(shard, 1000)
    assert refusal(place).startswith(f"{shard}: damaged")


def test_a_folder_of_nothing_tells_what_is_missing(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path}: no config.json, diffusion_pytorch_model.safetensors.index.json")
