"""Safetensors files written piece by piece, split where they grow large; memory is bounded by one piece"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path

import torch
from torch import Tensor

from darkroom.pipelines.errors import Unavailable

PIECE = 1 << 22  # numbers converted at once
SHARD_BYTES = 5_000_000_000
NAMES = {torch.float32: "F32", torch.bfloat16: "BF16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A tensor to be written."""

    tensor: Tensor  # mapped: its numbers lie in a file until they are written
    shape: tuple[int, ...]
    dtype: torch.dtype
    source: str  # file and name, for messages

    @property
    def size_bytes(self) -> int:
        """Of its numbers as they are written."""
        return self.dtype.itemsize * prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A file that was written."""

    path: Path
    size_bytes: int
    sha256: str


def write_shards(folder: Path, stem: str, targets: Mapping[str, Target], limit: int = SHARD_BYTES) -> list[Written]:
    """Write `targets` below `folder` in files of at most `limit` bytes, and the index of the files if they are several.

    Each is on the disk for good when this returns. Raises Unavailable for numbers that are not finite, OSError.
    """
    groups = list(_groups(targets, limit))
    files = list[Written]()
    where: dict[str, str] = {}
    for number, names in enumerate(groups, start=1):
        name = f"{stem}.safetensors" if len(groups) == 1 else f"{stem}-{number:05}-of-{len(groups):05}.safetensors"
        files.append(write_safetensors(folder / name, {key: targets[key] for key in names}))
        where |= dict.fromkeys(names, name)
    if len(groups) > 1:
        total = sum(target.size_bytes for target in targets.values())
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
        text = json.dumps(index, indent=2) + "\n"
        files.append(_write(folder / f"{stem}.safetensors.index.json", iter([text.encode()])))
    return files


def write_safetensors(path: Path, targets: Mapping[str, Target]) -> Written:
    """Write `targets` to `path`, durably. The library would have all of them in memory first."""
    return _write(path, _content(targets))


def _write(path: Path, pieces: Iterator[bytes]) -> Written:
    sha256, size_bytes = hashlib.sha256(), 0
    with path.open("wb") as file:
        for data in pieces:
            file.write(data)
            sha256.update(data)
            size_bytes += len(data)
        file.flush()
        os.fsync(file.fileno())
    return Written(path=path, size_bytes=size_bytes, sha256=sha256.hexdigest())


def _groups(targets: Mapping[str, Target], limit: int) -> Iterator[list[str]]:
    group, size = list[str](), 0
    for name, target in targets.items():
        if group and size + target.size_bytes > limit:
            yield group
            group, size = [], 0
        group.append(name)
        size += target.size_bytes
    yield group


def _content(targets: Mapping[str, Target]) -> Iterator[bytes]:
    """Yield a header's length, the header, which ends on 8 bytes, and the numbers in its order."""
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, target in targets.items():
        stop = start + target.size_bytes
        table[name] = {"dtype": NAMES[target.dtype], "shape": list(target.shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for target in targets.values():
        yield from _numbers(target)


def _numbers(target: Target) -> Iterator[bytes]:
    flat = target.tensor.reshape(-1)
    for start in range(0, len(flat), PIECE):
        piece = flat[start : start + PIECE].to(target.dtype)
        if not all(map(isfinite, piece.aminmax())):  # 40 times as fast as to ask each number
            raise Unavailable(f"{target.source}: holds numbers that are not finite; fetch it again")
        yield piece.contiguous().view(torch.uint8).numpy().tobytes()
