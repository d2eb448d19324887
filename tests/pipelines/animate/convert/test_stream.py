"""Files written piece by piece: what the library reads, split where large, and on the disk when done."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from darkroom.pipelines import digests
from darkroom.pipelines.animate.convert import stream
from darkroom.pipelines.animate.convert.stream import Target, write_safetensors, write_shards
from darkroom.pipelines.errors import Unavailable


def target(tensor: Tensor, dtype: torch.dtype = torch.bfloat16) -> Target:
    return Target(tensor=tensor, shape=tuple(tensor.shape), dtype=dtype, source="x.pth: a")


TENSORS = {"a": torch.randn(3, 5), "b": torch.randn(40)[::2], "c": torch.randn(2).half(), "d": torch.randn(4, 4).T}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_tensors_of_any_size_are_written_in_pieces(
    tmp_path: Path, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "PIECE", 7)
    written = write_safetensors(tmp_path / "x.safetensors", {name: target(t, dtype) for name, t in TENSORS.items()})
    found = load_file(written.path)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name].to(dtype)) for name in TENSORS)
    assert (written.size_bytes, written.sha256) == (written.path.stat().st_size, digests.measure(written.path))


def test_a_tensor_of_another_shape_with_the_same_numbers_gets_the_shape_asked_for(tmp_path: Path) -> None:
    wanted = Target(tensor=torch.arange(6.0).reshape(1, 2, 3), shape=(2, 3), dtype=torch.float32, source="")
    found = load_file(write_safetensors(tmp_path / "x.safetensors", {"a": wanted}).path)
    assert torch.equal(found["a"], torch.arange(6.0).reshape(2, 3))


def test_what_fits_is_one_file_without_an_index(tmp_path: Path) -> None:
    (written,) = write_shards(tmp_path, "model", {"a": target(torch.zeros(3))})
    assert written.path == tmp_path / "model.safetensors"


def test_what_does_not_fit_is_split_and_the_index_names_the_file_of_each(tmp_path: Path) -> None:
    targets = {name: target(torch.full((10,), float(number))) for number, name in enumerate("abcde")}
    *files, index = write_shards(tmp_path, "model", targets, limit=45)
    assert [file.path.name for file in files] == [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    said = json.loads(index.path.read_text())
    assert index.path.name == "model.safetensors.index.json"
    assert said["metadata"] == {"total_size": 100}
    for name, file in said["weight_map"].items():
        assert torch.equal(load_file(tmp_path / file)[name], targets[name].tensor.bfloat16())


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), 3.4e38])
def test_numbers_that_are_none_in_16_bits_are_refused(tmp_path: Path, number: float) -> None:
    with pytest.raises(Unavailable, match=r"x\.pth: a: holds numbers that are not finite"):
        write_safetensors(tmp_path / "x", {"a": target(torch.tensor([1.0, number]))})
