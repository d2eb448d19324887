"""The tiny model in its authors' layout: their names of files and tensors."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from darkroom.pipelines.animate import tiny_original


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_original.write(tmp_path_factory.mktemp("originals"))


def test_files_are_called_as_published(place: Path) -> None:
    assert {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()} == {
        "config.json",
        *(f"diffusion_pytorch_model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)),
        "diffusion_pytorch_model.safetensors.index.json",
        "models_t5_umt5-xxl-enc-bf16.pth",
        "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
        "Wan2.1_VAE.pth",
        "google/umt5-xxl/tokenizer.json",
        "google/umt5-xxl/tokenizer_config.json",
    }


def test_shapes_are_as_published_but_for_their_sizes(place: Path) -> None:
    index = json.loads((place / "diffusion_pytorch_model.safetensors.index.json").read_text())["weight_map"]
    tensors = {name: load_file(place / file)[name] for name, file in index.items()}
    assert tuple(tensors["patch_embedding.weight"].shape) == (24, 36, 1, 2, 2)
    assert tuple(tensors["blocks.1.modulation"].shape) == (1, 6, 24)
    assert tuple(tensors["blocks.0.cross_attn.k_img.weight"].shape) == (24, 24)
    clip = torch.load(place / "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth", weights_only=True)
    assert tuple(clip["visual.cls_embedding"].shape) == (1, 1, 160)
    assert tuple(clip["visual.pos_embedding"].shape) == (1, 17, 160)
    assert tuple(clip["visual.transformer.2.attn.to_qkv.weight"].shape) == (480, 160)
    text = torch.load(place / "models_t5_umt5-xxl-enc-bf16.pth", weights_only=True)
    assert {tensor.dtype for tensor in text.values()} == {torch.bfloat16}
    vae = torch.load(place / "Wan2.1_VAE.pth", weights_only=True)
    assert "decoder.upsamples.4.shortcut.weight" in vae and "decoder.upsamples.14.residual.6.bias" in vae


def test_equal_seeds_give_equal_tensors(place: Path, tmp_path: Path) -> None:
    name = "Wan2.1_VAE.pth"
    first, again, other = (
        torch.load(folder / name, weights_only=True)
        for folder in (place, tiny_original.write(tmp_path / "a"), tiny_original.write(tmp_path / "b", seed=1))
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
