"""Sidecars: `movie.mkv.yaml` beside `movie.mkv` overrides the folder's options for that one file."""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from darkroom import pipelines
from darkroom.daemon.config import Folder, options_for
from darkroom.daemon.faults import faults
from darkroom.daemon.filesystem import READ
from darkroom.daemon.job import Signature, printable

ENDINGS = (b".yaml", b".yml")
MAX_BYTES = 64 * 2**10


def sidecar_of(path: bytes, files: Collection[bytes]) -> bytes | None:
    """Return the sidecar of `path` among `files`, or None; .yaml goes before .yml."""
    if not files:
        return None  # the usual case, asked 100,000 times a scan
    return next((path + ending for ending in ENDINGS if path + ending in files), None)


def owner_of(path: bytes) -> bytes | None:
    """Return the file that `path` would be the sidecar of, or None where the name is no sidecar's."""
    return path[: path.rindex(b".")] if path.endswith(ENDINGS) else None


def sidecar_signature(signature: Signature) -> str:
    """Return what the journal keeps of a sidecar. Without its inode, which means nothing over a network."""
    return f"{signature.size_bytes}-{signature.mtime_ns}"


def read_sidecar(path: Path) -> dict[str, Any]:
    """Return the options in the sidecar at `path`. Raises ValueError with the fault, OSError if it cannot be read."""
    handle = os.open(path, READ)
    try:
        return parse_sidecar(read_bytes(handle))
    finally:
        os.close(handle)


def read_bytes(handle: int) -> bytes:
    """Return what is in an open sidecar, and no more than shows that it is too long. Raises OSError."""
    return os.pread(handle, MAX_BYTES + 1, 0)


def parse_sidecar(text: bytes) -> dict[str, Any]:
    """Return the options in a sidecar's text; an empty one has none. Raises ValueError with the fault in one line."""
    if len(text) > MAX_BYTES:
        raise ValueError(f"longer than {MAX_BYTES // 1024} KiB; a sidecar holds a few options")
    try:
        options = yaml.load(text, _Loader)
        json.dumps(options)  # as the journal will keep it: dates and the like have no place there
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"not usable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(options, dict | None):
        raise ValueError(f"expected options such as `scale: 4`, got {type(options).__name__}")
    return options or {}


def fault_in(options: Mapping[str, Any], folder: Folder) -> str:
    """Return what is wrong with `options` on top of the folder's, in one line; '' if nothing is."""
    try:
        options_for(folder, options)
    except ValidationError as error:
        return "; ".join(faults(error, pipelines.options_of(folder.pipeline)))
    return ""


def fault_beside(source: Path, folder: Folder) -> str:
    """Return what is wrong with the sidecar of `source`, with its name, in one line; '' if nothing is or there is none.

    Raises OSError if it cannot be read.
    """
    for ending in ENDINGS:
        path = source.with_name(source.name + os.fsdecode(ending))
        if path.exists():
            try:
                fault = fault_in(read_sidecar(path), folder)
            except ValueError as error:
                fault = str(error)
            return f"{printable(os.fsencode(path.name))}: {fault}" if fault else ""
    return ""


class _Loader(yaml.SafeLoader):
    """Safe YAML without aliases: a few of them in each other unfold to gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name); write the value itself")
        return super().compose_node(parent, index)
