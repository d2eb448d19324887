from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from darkroom.pipelines.animate.part import Part, read_part, write_part
from darkroom.pipelines.errors import Unavailable

PART = Part(
    stage="denoised",
    step=3,
    tensors={"latents": torch.randn(2, 3), "prompt": torch.ones(4, dtype=torch.bfloat16)},
    solver={"_step_index": 3, "model_outputs": [None, True]},
)


def test_a_part_reads_back_equal(tmp_path: Path) -> None:
    write_part(tmp_path / "a.safetensors", PART)
    back = read_part(tmp_path / "a.safetensors", "denoised", 3)
    assert back.solver == PART.solver
    assert {name: (tensor.dtype, tensor.tolist()) for name, tensor in back.tensors.items()} == {
        name: (tensor.dtype, tensor.tolist()) for name, tensor in PART.tensors.items()
    }


def test_equal_parts_are_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_part(tmp_path / name, PART)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_part_of_another_step_is_refused(tmp_path: Path) -> None:
    write_part(tmp_path / "a", PART)
    with pytest.raises(Unavailable, match="not denoised of step 4"):
        read_part(tmp_path / "a", "denoised", 4)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_part_that_is_cut_off_is_refused(tmp_path: Path, keep: int) -> None:
    write_part(tmp_path / "a", PART)
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:keep])
    with pytest.raises(Unavailable, match=r"a: a damaged part .*; remove it, and it is made again"):
        read_part(tmp_path / "a", "denoised", 3)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    save_file({"latents": torch.ones(1)}, tmp_path / "a")
    with pytest.raises(Unavailable, match="a damaged part"):
        read_part(tmp_path / "a", "denoised", 3)
