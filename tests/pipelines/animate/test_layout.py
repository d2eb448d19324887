"""The folder that a model is loaded from: which files it has, and whether each is whole."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from darkroom.pipelines.animate import layout, tiny
from darkroom.pipelines.animate.layout import check_weights, files_of, read_header, read_json, shards
from darkroom.pipelines.errors import Unavailable


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tiny.write(tmp_path)


def split(folder: Path) -> Path:
    """Split the transformer's file in two, as the published ones are, and return the index."""
    (path,) = folder.glob("*.safetensors")
    tensors = load_file(path)
    path.unlink()
    names = sorted(tensors)
    where = {name: f"diffusion_pytorch_model-0000{1 + at % 2}-of-00002.safetensors" for at, name in enumerate(names)}
    for file in set(where.values()):
        save_file({name: tensors[name] for name in names if where[name] == file}, folder / file)
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return index


def test_every_component_has_its_files_and_all_are_there(place: Path) -> None:
    found = files_of(place)
    assert found.keys() == layout.CONFIGS.keys()
    assert all(path.is_file() for paths in found.values() for path in paths)
    assert [path.name for path in found["vae"]] == ["config.json", "diffusion_pytorch_model.safetensors"]
    assert {path.name for path in found["tokenizer"]} == {"tokenizer_config.json", "tokenizer.json"}


def test_a_folder_that_is_not_there_tells_what_it_should_hold(tmp_path: Path) -> None:
    assert len([path for paths in files_of(tmp_path / "none").values() for path in paths]) == 12


def test_shards_are_those_that_the_index_names(place: Path) -> None:
    index = split(place / "transformer")
    names = [path.name for path in files_of(place)["transformer"]]
    assert names[:2] == ["config.json", index.name] and len(names) == 4
    dtypes = check_weights(files_of(place)["transformer"])
    assert set(dtypes.values()) == {"F32"}
    assert dtypes.keys() == shards(index).keys()


def test_shards_of_several_versions_are_told(place: Path) -> None:
    index = split(place / "transformer")
    first = place / "transformer" / "diffusion_pytorch_model-00001-of-00002.safetensors"
    tensors = load_file(first)
    gone = min(tensors)
    del tensors[gone]
    save_file(tensors, first)
    with pytest.raises(Unavailable) as caught:
        check_weights(files_of(place)["transformer"])
    assert str(caught.value).startswith(f"{index}: {gone} not where it says; the files are of several versions")


@pytest.mark.parametrize("names", [None, ["a"], {"a": 1}, {"a": "../b.safetensors"}])
def test_an_index_that_names_no_files_is_damaged(tmp_path: Path, names: object) -> None:
    index = tmp_path / "x.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": names}))
    with pytest.raises(Unavailable, match="damaged, it names no files"):
        shards(index)


def test_a_header_tells_names_types_and_the_size_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16)}, path)
    header = read_header(path)
    assert {name: tensor["dtype"] for name, tensor in header.tensors.items()} == {"a": "F32", "b": "BF16"}
    assert header.size_bytes == path.stat().st_size


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0"])
def test_a_file_of_another_length_than_it_says_is_damaged(tmp_path: Path, change: object) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(2, 3)}, path)
    whole = path.read_bytes()
    path.write_bytes(change(whole))  # type: ignore[operator]
    with pytest.raises(Unavailable) as caught:
        read_header(path)
    assert str(caught.value) == (f"{path}: damaged, {path.stat().st_size} bytes and not {len(whole)}; fetch it again")


@pytest.mark.parametrize("data", [b"", b"\2\0\0\0\0\0\0\0[]", b"\xff" * 9, b'\7\0\0\0\0\0\0\0{"a":1}', b"x" * 2000])
def test_what_is_no_safetensors_is_damaged(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(Unavailable, match="damaged, no safetensors"):
        read_header(path)


def test_a_file_that_was_never_fetched_is_told_as_that(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    for read in (read_header, read_json):
        with pytest.raises(Unavailable, match="never fetched"):
            read(path)


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_what_is_no_json_object_is_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(Unavailable, match="damaged, no JSON"):
        read_json(tmp_path / "config.json")
