"""Sidecars: `movie.mkv.yaml` beside `movie.mkv` overrides the folder's options for that one file.

For a pipeline that needs a prompt, `cat.yaml` and `cat.txt` are sidecars of `cat.jpg` as well, and `cat.txt` holds the
prompt and nothing else. A list of options in a sidecar makes as many jobs of its file.
"""

import json
import os
from collections.abc import Collection, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from darkroom import pipelines
from darkroom.daemon.config import Folder, options_for
from darkroom.daemon.faults import faults
from darkroom.daemon.filesystem import READ
from darkroom.daemon.job import Signature, printable
from darkroom.daemon.plain_yaml import read_yaml
from darkroom.pipelines import Kind
from darkroom.pipelines.trust import for_owners

ENDINGS = (b".yaml", b".yml")
PROMPT = b".txt"
MAX_BYTES = 64 * 2**10
MAX_TAKES = 500  # jobs of one file
MOST_FAULTS = 50  # that are told at once

Takes = tuple[dict[str, Any], ...]
"""The options of each job of a file, at least one, on top of the folder's."""


def names_of(path: bytes, kind: Kind) -> list[bytes]:
    """Return the names that a sidecar of the source `path` may have; the first that is there counts."""
    names = [path + ending for ending in ENDINGS]
    return names + [stem_of(path) + ending for ending in (*ENDINGS, PROMPT)] if kind.prompted else names


def sidecar_of(path: bytes, files: Collection[bytes], kind: Kind) -> bytes | None:
    """Return the sidecar of `path` among `files`, or None."""
    if not files:
        return None  # the usual case, asked 100,000 times a scan
    return next((name for name in names_of(path, kind) if name in files), None)


def sidecar_beside(source: Path, kind: Kind) -> Path | None:
    """Return the sidecar of the file `source`, or None. Raises OSError if its folder cannot be looked into."""
    names = (source.with_name(os.fsdecode(name)) for name in names_of(os.fsencode(source.name), kind))
    return next((name for name in names if name.exists()), None)


def owner_of(path: bytes) -> bytes | None:
    """Return the file that `path` would be the sidecar of, or None where the name is that of no file and an ending."""
    return path[: path.rindex(b".")] if path.endswith(ENDINGS) else None


def stem_of(path: bytes) -> bytes:
    """Return `path` without the suffix of its name."""
    return os.path.splitext(path)[0]  # noqa: PTH122  (bytes)


def may_be_sidecar(path: bytes, kind: Kind) -> bool:
    """Tell whether `path` is named like a sidecar of any file of its stem."""
    return bool(kind.prompted) and path.endswith((*ENDINGS, PROMPT))


def sidecar_signature(name: bytes, signature: Signature) -> str:
    """Return what the journal keeps of a sidecar. Without its inode, which means nothing over a network."""
    how = "-prompt" if name.endswith(PROMPT) else ""  # one that is renamed from .yaml to .txt says something else
    return f"{signature.size_bytes}-{signature.mtime_ns}{how}"


def read_sidecar(path: Path, folder: Folder) -> Takes:
    """Return what the sidecar at `path` says. Raises ValueError with its faults, OSError if it cannot be read."""
    handle = os.open(path, READ)
    try:
        return parse_sidecar(os.fsencode(path.name), read_bytes(handle), folder)
    finally:
        os.close(handle)


def read_bytes(handle: int) -> bytes:
    """Return what is in an open sidecar, and no more than shows that it is too long. Raises OSError."""
    return os.pread(handle, MAX_BYTES + 1, 0)


def parse_sidecar(name: bytes, text: bytes, folder: Folder) -> Takes:
    """Return what the `text` of the sidecar `name` says; an empty one asks for one job like any other.

    Raises ValueError with all its faults in one line.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"longer than {MAX_BYTES // 1024} KiB; a sidecar holds a few options")
    if name.endswith(PROMPT):
        takes: list[Any] = [{pipelines.KINDS[folder.pipeline].prompted: _read_prompt(text)}]
    else:
        takes = _read_takes(text)
    found = [
        f"entry {number}: {fault}" if len(takes) > 1 else fault
        for number, take in enumerate(takes, 1)
        for fault in [*_faults_in(take, folder), *_trespasses(take, folder)]
    ]
    if found:
        rest = len(found) - MOST_FAULTS
        raise ValueError("; ".join([*islice(found, MOST_FAULTS), *([f"and {rest} more"] if rest > 0 else [])]))
    return tuple(takes)


def _read_prompt(text: bytes) -> str:
    try:
        prompt = text.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}; save it as UTF-8") from error
    if not prompt:
        raise ValueError("empty; write the prompt in it")
    return prompt


def _read_takes(text: bytes) -> list[Any]:
    try:
        options = read_yaml(text, aliases=False)
        json.dumps(options)  # as the journal will keep it: dates and the like have no place there
    except (TypeError, RecursionError) as error:
        raise ValueError(f"not usable YAML: {' '.join(str(error).split())}") from error
    takes = options if isinstance(options, list) else [options]
    if not 0 < len(takes) <= MAX_TAKES:
        raise ValueError(f"a list of {len(takes)} entries; expected 1 to {MAX_TAKES}")
    return [{} if take is None else take for take in takes]


def fault_in(options: Mapping[str, Any], folder: Folder) -> str:
    """Return what is wrong with `options` on top of the folder's, in one line; '' if nothing is."""
    return "; ".join(_faults_in(options, folder))


def _faults_in(options: Any, folder: Folder) -> list[str]:
    if not isinstance(options, Mapping):
        return [f"expected options such as `option: value`, got {type(options).__name__}"]
    try:
        options_for(folder, options)
    except ValidationError as error:
        return list(faults(error, pipelines.options_of(folder.pipeline)))
    return []


def _trespasses(options: Any, folder: Folder) -> list[str]:
    """Return what `options` say that is not for whoever may write in the inbox to say."""
    if not isinstance(options, Mapping):
        return []  # told as such
    keys = for_owners(pipelines.options_of(folder.pipeline), options)
    return [f"{key}: for config.yaml to say, not for a sidecar; leave it out" for key in keys]


def fault_beside(source: Path, folder: Folder) -> str:
    """Return what is wrong with the sidecar of `source`, with its name, in one line; '' if nothing is or there is none.

    Raises OSError if it cannot be read.
    """
    path = sidecar_beside(source, pipelines.KINDS[folder.pipeline])
    if path is None:
        return ""
    try:
        read_sidecar(path, folder)
    except ValueError as error:
        return f"{printable(os.fsencode(path.name))}: {error}"
    return ""


def lack_of(options: Mapping[str, Any], folder: Folder) -> str:
    """Return the option that is needed and neither in `options` nor in the folder's; '' if none is, or none needed."""
    wanted = pipelines.KINDS[folder.pipeline].prompted
    try:
        value = getattr(options_for(folder, options), wanted) if wanted else ""
    except ValidationError:
        return ""  # a fault is told as such
    return "" if str(value or "").strip() else wanted


def why_waiting(lacking: str, path: bytes, sidecar: bytes | None) -> str:
    """Say what a job of `path` waits for that lacks the option `lacking`; `sidecar` is there and has it not."""
    if sidecar is not None:
        return f"waiting for `{lacking}` in {_last(sidecar)}"
    stem = _last(stem_of(path))
    return f"waiting for {stem}.txt or {stem}.yaml"


def _last(path: bytes) -> str:
    return printable(path.rpartition(b"/")[2])
