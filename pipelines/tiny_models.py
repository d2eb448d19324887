"""Tiny random models in the published layouts: `python -m darkroom.pipelines.tiny_models DIR`, for trials and tests

What comes out of them is noise in the colours of the source; every name, shape, container and type is as published.
"""

import argparse
import zlib
from collections.abc import Iterator
from importlib import import_module
from math import prod, sqrt
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from darkroom.pipelines.upscale.flashvsr.architecture import Architecture, Role, Shape, expected_keys
from darkroom.pipelines.upscale.flashvsr.files import FOLDERS, NAMES, Number

TINY = Architecture(
    width=256,
    heads=2,
    layers=2,
    ffn=256,
    text_width=32,
    text_tokens=512,
    freq_width=256,
    lq_hidden=(16, 32),
    decoder_channels=(16, 16, 8, 8),
    vae_base=4,
)
TYPES: dict[Role, torch.dtype] = {  # as published
    "dit": torch.float32,
    "lq": torch.bfloat16,
    "decoder": torch.float32,
    "vae": torch.float32,
    "prompt": torch.bfloat16,
}
MIDDLE = {"decoder.26.bias": 0.5}  # the small decoder's pictures lie in [0, 1]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m darkroom.pipelines.tiny_models", description=main.__doc__)
    parser.description = "Write tiny random models of FlashVSR and Wan2.1 I2V in the published file layouts."
    parser.add_argument("folder", type=Path, metavar="DIR", help="gets a folder for each version")
    parser.add_argument("--seed", type=int, default=0, help="equal seeds give equal files (default: 0)")
    asked = parser.parse_args()
    for version in FOLDERS:
        print(write(asked.folder, version, seed=asked.seed))
    for line in write_wan(asked.folder, seed=asked.seed):
        print(line)


def write(folder: Path, version: Number, *, architecture: Architecture = TINY, seed: int = 0) -> Path:
    """Write a set of files of `version` below `folder`, and return the folder they lie in.

    Equal arguments give equal bytes.
    """
    place = folder / FOLDERS[version]
    place.mkdir(parents=True, exist_ok=True)
    for role, shapes in expected_keys(architecture).items():
        numbers = torch.Generator().manual_seed(zlib.crc32(f"{seed} {version} {role}".encode()))
        tensors = {key: make(key, shape, numbers).to(TYPES[role]) for key, shape in shapes.items()}
        path = place / NAMES[role]
        if path.suffix == ".safetensors":
            path.write_bytes(save(tensors))  # with the rights that the umask gives, unlike save_file
        else:
            torch.save(tensors["prompt"] if role == "prompt" else tensors, path)
    return place


def write_wan(folder: Path, *, seed: int = 0) -> Iterator[str]:
    """Write a Wan2.1 I2V below `folder`, and what its import takes in below `originals`; yield where, or why not."""
    try:
        tiny, original = (import_module(f"darkroom.pipelines.animate.{name}") for name in ("tiny", "tiny_original"))
    except ModuleNotFoundError as error:
        yield f"no Wan2.1 I2V: {error.name} is not installed; pip install 'darkroomd[animate]'"
    else:
        yield str(tiny.write(folder, seed=seed))
        yield str(original.write(folder / "originals", seed=seed))


def make(key: str, shape: Shape, numbers: torch.Generator) -> Tensor:
    """Give a random tensor that keeps what passes through it about as large as it was: float32 of `shape`.

    Weights are as large as 1 / sqrt(inputs of a sum), gains of norms near 1, all else is small.
    """
    noise = torch.randn(shape, generator=numbers)
    if key == "prompt":
        return noise
    if key.endswith("bias"):
        return noise * 0.02 + MIDDLE.get(key, 0.0)
    if key.endswith(("gamma", "norm3.weight", "norm_q.weight", "norm_k.weight")):
        return 1 + 0.1 * noise
    if key.endswith("modulation"):
        return 0.1 * noise
    return noise / sqrt(prod(shape[1:]))


if __name__ == "__main__":
    main()
