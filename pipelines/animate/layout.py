"""The folder that Wan2.1 I2V is loaded from: its files by component, and whether each is whole; no tensor is read"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from darkroom.pipelines.errors import Unavailable

Component = Literal["tokenizer", "text_encoder", "image_encoder", "image_processor", "transformer", "vae", "scheduler"]

INDEX = "model_index.json"
CONFIGS: dict[Component, str] = {
    "tokenizer": "tokenizer_config.json",
    "text_encoder": "config.json",
    "image_encoder": "config.json",
    "image_processor": "preprocessor_config.json",
    "transformer": "config.json",
    "vae": "config.json",
    "scheduler": "scheduler_config.json",
}
STEMS: dict[Component, str] = {  # of the files of weights
    "text_encoder": "model",
    "image_encoder": "model",
    "transformer": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}
WORDS = ("tokenizer.json", "spiece.model")  # one of them makes a tokenizer
OF_TOKENIZER = (*WORDS, "special_tokens_map.json", "added_tokens.json")
LONGEST_HEADER = 100_000_000  # bytes, as safetensors itself has it
POINTER = b"version "  # begins what a clone without LFS has in place of each large file


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file of weights says it holds."""

    tensors: Mapping[str, Mapping[str, Any]]  # by name: dtype, shape, data_offsets
    size_bytes: int  # of the whole file


def files_of(place: Path) -> dict[Component, tuple[Path, ...]]:
    """Give the files of each component in `place`, whether they are there or not; of a choice the one that is there.

    Raises Unavailable where an index is damaged.
    """
    return {component: tuple(_files(place / component, component)) for component in CONFIGS}


def _files(folder: Path, component: Component) -> Iterator[Path]:
    yield folder / CONFIGS[component]
    if component == "tokenizer":
        there = [folder / name for name in OF_TOKENIZER if (folder / name).is_file()]
        if not any(path.name in WORDS for path in there):
            yield folder / WORDS[0]
        yield from there
    elif stem := STEMS.get(component):
        index = folder / f"{stem}.safetensors.index.json"
        if index.is_file():
            yield index
            yield from (folder / name for name in sorted(set(shards(index).values())))
        else:
            yield folder / f"{stem}.safetensors"


def shards(index: Path) -> dict[str, str]:
    """Give the file of each tensor, as `index` has it. Raises Unavailable."""
    found = read_json(index).get("weight_map")
    names = found.values() if isinstance(found, dict) else [None]
    if not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise Unavailable(f"{index}: damaged, it names no files; fetch it again")
    return dict(found or {})


def read_json(path: Path) -> dict[str, Any]:
    """Give what is written in `path`. Raises Unavailable if it is no JSON object, OSError."""
    data = path.read_bytes()
    _check_fetched(path, data[:8])
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Unavailable(f"{path}: damaged, no JSON; fetch it again")
    return found


def _check_fetched(path: Path, first: bytes) -> None:
    if first == POINTER:
        raise Unavailable(f"{path}: stands for a file that was never fetched (Git LFS); fetch the file itself")


def read_header(path: Path) -> Header:
    """Give what the safetensors file at `path` holds. Raises Unavailable if it is damaged or cut short, OSError."""
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        _check_fetched(path, first)
        length = int.from_bytes(first, "little")
        text = file.read(length) if length <= LONGEST_HEADER else b""
    try:
        found = json.loads(text)
        tensors = {name: found[name] for name in found.keys() - {"__metadata__"}}
        end = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise Unavailable(f"{path}: damaged, no safetensors; fetch it again") from None
    if size_bytes != end:
        raise Unavailable(f"{path}: damaged, {size_bytes} bytes and not {end}; fetch it again")
    return Header(tensors=tensors, size_bytes=size_bytes)


def check_weights(files: tuple[Path, ...]) -> dict[str, str]:
    """Give the dtype of each tensor in `files` of one component. Raises Unavailable if one lacks what is said of it."""
    dtypes: dict[str, str] = {}
    where: dict[str, str] = {}
    for path in files:
        if path.suffix == ".safetensors":
            header = read_header(path)
            where |= dict.fromkeys(header.tensors, path.name)
            dtypes |= {name: str(tensor.get("dtype")) for name, tensor in header.tensors.items()}
        elif path.suffix == ".pth":
            with path.open("rb") as file:
                _check_fetched(path, file.read(8))
    for index in (path for path in files if path.name.endswith(".index.json")):
        if lost := sorted(name for name, file in shards(index).items() if where.get(name) != file):
            told = f"{lost[0]}" + (f" and {len(lost) - 1} more" if len(lost) > 1 else "")
            raise Unavailable(f"{index}: {told} not where it says; the files are of several versions: fetch them again")
    return dtypes
