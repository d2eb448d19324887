"""Import: the published files of FlashVSR, checked and written once more as 16-bit safetensors that load mapped"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import chain
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from darkroom.pipelines.digests import durable, known, measure, remember, write_json
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.importing import alone, check_space
from darkroom.pipelines.upscale.flashvsr.architecture import Role
from darkroom.pipelines.upscale.flashvsr.files import (
    FOLDERS,
    MANIFEST,
    NAMES,
    Converted,
    File,
    Manifest,
    Number,
    Source,
    file_of,
    locate,
    missing,
    needed,
    read_manifest,
    remedy,
    version_of,
)
from darkroom.pipelines.upscale.flashvsr.weights import check, tensors_of

DTYPE = torch.bfloat16  # what the model is run in, and half of the published size
NUMBER_BYTES = 2
PIECE = 1 << 22  # numbers converted at once: what memory is bounded by, with the file's own pages

Say = Callable[[str], None]


def convert(source: Path, models: Path, version: Number | None = None, say: Say = lambda line: None) -> Path:
    """Convert the files in the folder `source` into their folder below `models`, and return it.

    version:  where neither a digest nor the name of `source` tells it
    say:      is told what is done, in lines for people

    The set is checked before anything is written, and becomes the one in force in one step at the end; a source that
    was converted before is not converted again. Memory is bounded by a piece of a tensor. Raises Unavailable.
    """
    if not source.is_dir():
        raise Unavailable(f"{source}: is no folder; name the one that holds the published files")
    files = {role: file_of(role, path, _sha256_of) for role, path in _paths(source, version).items()}
    number = version_of(source, tuple(files.values()), version)
    tensors = {role: tensors_of(role, file.path) for role, file in files.items()}
    check(tensors, {role: file.path for role, file in files.items()})
    place = source if source.parent == models else models / FOLDERS[number]
    place.mkdir(parents=True, exist_ok=True)
    with _alone(place):
        before = read_manifest(place)
        if before and before.version != number:
            raise Unavailable(f"{place}: holds version {before.version}, and {source} is {number}; remove one of them")
        notes = dict(before.files) if before else {}
        fresh = {role: file for role, file in files.items() if not _is_current(place, file, notes)}
        check_space(place, sum(size_of(tensors[role]) for role in fresh))
        notes |= _written(place, fresh, tensors, say)
        manifest = Manifest(version=number, dtype=str(DTYPE).removeprefix("torch."), files=notes)
        write_json(place / MANIFEST, manifest.model_dump())
    for role in files.keys() - fresh.keys():
        say(f"{files[role].path.name}: was imported before")
    return place


def _paths(source: Path, version: Number | None) -> dict[Role, Path]:
    """Give the files to be converted: all that one variant needs, and the other's decoder if it is there."""
    tiny, full = missing(source, needed("tiny")), missing(source, needed("full"))
    if tiny and full:
        raise Unavailable(remedy(source, version or "1.1", tiny))
    # Where a set is converted in its own folder, the published file is the newer one.
    found = {role: path if (path := source / name).is_file() else locate(source, role) for role, name in NAMES.items()}
    return {role: path for role, path in found.items() if path}


def _sha256_of(path: Path) -> str:
    return known(path) or measure(path)  # notes are left in our own folders only


def _is_current(place: Path, file: File, notes: Mapping[str, Converted]) -> bool:
    """Tell whether the converted file of the same source is there, and whole."""
    name = _name(file.role)
    note = notes.get(name)
    if note is None or file.source_sha256 != note.source.sha256:
        return False
    path = place / name
    return path.is_file() and _sha256_of(path) == note.sha256


def _written(
    place: Path, files: Mapping[Role, File], tensors: Mapping[Role, Mapping[str, Tensor]], say: Say
) -> dict[str, Converted]:
    """Write all of `files`, and give what is to be noted of them. All get their names at the end, or none does."""
    notes = {}
    with ExitStack() as drafts:
        for role, file in files.items():
            path = place / _name(role)
            sha256 = write_safetensors(drafts.enter_context(durable(path)), tensors[role], file.path)
            size_bytes = size_of(tensors[role])
            source = Source(name=file.path.name, size_bytes=file.size_bytes, sha256=file.source_sha256)
            notes[path.name] = Converted(role=role, size_bytes=size_bytes, sha256=sha256, source=source)
            say(f"{source.name}: {source.size_bytes:,} bytes, now {path} with {size_bytes:,}")
    for name, note in notes.items():
        remember(place / name, note.sha256)
    return notes


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], source: Path) -> str:
    """Write `tensors` to `path` in 16 bits, piece by piece, and return the SHA-256 of the file.

    The library would have all of them in memory first. Raises Unavailable, naming `source`, for numbers that are no
    numbers.
    """
    sha256 = hashlib.sha256()
    with path.open("wb") as file:
        for data in chain((_header(tensors),), _pieces(tensors, source)):
            file.write(data)
            sha256.update(data)
    return sha256.hexdigest()


def size_of(tensors: Mapping[str, Tensor]) -> int:
    """Give the size in bytes of the file of `tensors`."""
    return len(_header(tensors)) + sum(map(_bytes_of, tensors.values()))


def _header(tensors: Mapping[str, Tensor]) -> bytes:
    """Give what a safetensors file begins with: the length of a table, and the table, which ends on 8 bytes."""
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for key, tensor in tensors.items():
        stop = start + _bytes_of(tensor)
        table[key] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _pieces(tensors: Mapping[str, Tensor], source: Path) -> Iterator[bytes]:
    """Yield the numbers of `tensors` in 16 bits, tensor by tensor."""
    for key, tensor in tensors.items():
        flat = tensor.reshape(-1)
        for start in range(0, len(flat), PIECE):
            small = flat[start : start + PIECE].to(DTYPE)
            if not small.isfinite().all():
                raise Unavailable(f"{source}: {key} holds numbers that are not finite; fetch it again")
            yield small.view(torch.uint8).numpy().tobytes()


def _bytes_of(tensor: Tensor) -> int:
    return NUMBER_BYTES * prod(tensor.shape)


def _name(role: Role) -> str:
    return f"{role}.safetensors"


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Be the only import to write to `place`, and clear away what one that was killed has left."""
    with alone(place):
        for draft in place.glob(".*.safetensors.*.draft"):
            draft.unlink()
        yield
