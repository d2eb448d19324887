from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_wan import velocity
from torch import Tensor

from darkroom.pipelines.animate import tiny
from darkroom.pipelines.animate.lora import digests, size_bytes, wearing
from darkroom.pipelines.animate.options import Lora
from darkroom.pipelines.animate.quantize import quantize
from darkroom.pipelines.errors import Unavailable

RANK, WIDTH = 4, 24


def pairs(scale: float = 1.0) -> dict[str, tuple[Tensor, Tensor]]:
    """Give down and up of the self-attention's q, by block."""
    noise = torch.Generator().manual_seed(3)

    def one(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=noise)

    return {str(block): (one(RANK, WIDTH), scale * one(WIDTH, RANK)) for block in range(2)}


def library(path: Path) -> Path:
    """As the library writes it."""
    named = {}
    for block, (down, up) in pairs().items():
        named[f"transformer.blocks.{block}.attn1.to_q.lora_A.weight"] = down
        named[f"transformer.blocks.{block}.attn1.to_q.lora_B.weight"] = up
    save_file(named, path)
    return path


def original(path: Path) -> Path:
    """As trainers of the original model write it: alpha as large as the rank counts once."""
    named: dict[str, Tensor] = {}
    for block, (down, up) in pairs().items():
        stem = f"diffusion_model.blocks.{block}.self_attn.q"
        named |= {
            f"{stem}.lora_down.weight": down,
            f"{stem}.lora_up.weight": up,
            f"{stem}.alpha": torch.tensor(float(RANK)),
        }
    save_file(named, path)
    return path


def by_hand(weight: float) -> Tensor:
    transformer = tiny.components().transformer
    for block, (down, up) in pairs().items():
        transformer.blocks[int(block)].attn1.to_q.weight += weight * up @ down
    return velocity(transformer)


@pytest.mark.parametrize("write", [library, original])
@pytest.mark.parametrize("weight", [1.0, 0.5, -1.0])
def test_a_lora_adds_its_product_and_is_gone_afterwards(
    write: Callable[[Path], Path], weight: float, tmp_path: Path
) -> None:
    transformer = tiny.components().transformer
    before = velocity(transformer)
    with wearing(transformer, [Lora(file=write(tmp_path / "a.safetensors"), weight=weight)]):
        worn = velocity(transformer)
    assert torch.allclose(worn, by_hand(weight), atol=1e-4)  # other sums
    assert not torch.allclose(worn, before, atol=1e-2)
    assert torch.equal(velocity(transformer), before)


def test_several_add_up(tmp_path: Path) -> None:
    transformer = tiny.components().transformer
    two = [
        Lora(file=library(tmp_path / "a.safetensors"), weight=0.75),
        Lora(file=original(tmp_path / "b.safetensors"), weight=0.25),
    ]
    with wearing(transformer, two):
        assert torch.allclose(velocity(transformer), by_hand(1.0), atol=1e-4)


def test_it_lies_over_weights_in_eight_bits_too(tmp_path: Path) -> None:
    transformer = tiny.components().transformer
    quantize(transformer.blocks, "int8")
    before = velocity(transformer)
    with wearing(transformer, [Lora(file=library(tmp_path / "a.safetensors"))]):
        assert torch.allclose(velocity(transformer), by_hand(1.0), atol=0.2)
        assert not torch.allclose(velocity(transformer), before, atol=0.2)
    assert torch.equal(velocity(transformer), before)


def test_a_file_that_is_none_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    transformer = tiny.components().transformer
    before = velocity(transformer)
    (tmp_path / "noise.safetensors").write_bytes(b"noise")
    save_file(
        {
            "transformer.blocks.0.attn1.to_q.lora_A.weight": torch.ones(2, 7),
            "transformer.blocks.0.attn1.to_q.lora_B.weight": torch.ones(7, 2),
        },
        tmp_path / "wide.safetensors",
    )
    save_file({"text_model.q.lora_A.weight": torch.ones(2, 7)}, tmp_path / "other.safetensors")
    good = library(tmp_path / "good.safetensors")
    for name in ("noise", "wide", "other", "missing"):
        bad = tmp_path / f"{name}.safetensors"
        with (
            pytest.raises(Unavailable, match=rf"{name}\.safetensors: "),
            wearing(transformer, [Lora(file=good), Lora(file=bad)]),
        ):
            pass
        assert torch.equal(velocity(transformer), before)


def test_digests_and_sizes_are_of_the_files_below_the_folder(tmp_path: Path) -> None:
    path = library(tmp_path / "a.safetensors")
    loras = [Lora(file=Path("a.safetensors"))]
    ((name, sha256),) = digests(tmp_path, loras)
    assert name == "a.safetensors"
    assert len(sha256) == 64
    assert size_bytes(tmp_path, loras) == path.stat().st_size
    with pytest.raises(Unavailable, match=r"none\.safetensors: a LoRA that cannot be read"):
        digests(tmp_path, [Lora(file=Path("none.safetensors"))])
