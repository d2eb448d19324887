"""SHA-256 of large files, worked out once and remembered beside them for as long as size and time stay the same"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from darkroom.pipelines.importing import sync

log = logging.getLogger(__name__)

FILE = "digests.json"  # in the folder of the files it is about
LARGE_BYTES = 200_000_000  # so much takes a moment to read, and the log says what is waited for


def digest(path: Path) -> str:
    """Give the SHA-256 of the file at `path`, in hexadecimal: remembered, or read from it now and then remembered.

    Reading takes seconds for each gigabyte. Where the folder cannot be written, it is read each time.
    Raises OSError if the file cannot be read.
    """
    if found := known(path):
        return found
    before = path.stat()
    found = measure(path)
    if _times(path.stat()) == _times(before):  # else it is being written: true of no later content
        remember(path, found)
    return found


def measure(path: Path) -> str:
    """Give the SHA-256 of the file at `path` by reading it, and note nothing. Raises OSError."""
    if (size_bytes := path.stat().st_size) > LARGE_BYTES:
        log.info("%s: reading %.1f GB for its SHA-256", path, size_bytes / 1e9)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known(path: Path) -> str:
    """Give the remembered SHA-256 of `path`, "" where there is none or the file has changed since.

    Raises OSError if the file is gone.
    """
    note = _read(path.parent).get(path.name)
    times = _times(path.stat())
    if not isinstance(note, dict) or any(note.get(key) != value for key, value in times.items()):
        return ""
    return str(note.get("sha256", ""))


def remember(path: Path, sha256: str) -> None:
    """Note that the file at `path`, as it is now, has this SHA-256. A folder that cannot be written is no fault."""
    notes = _read(path.parent)
    notes = {name: note for name, note in notes.items() if (path.parent / name).exists()}
    notes[path.name] = {**_times(path.stat()), "sha256": sha256}
    draft = path.with_name(f".{FILE}.{os.getpid()}.draft")
    try:
        draft.write_text(_json(notes))
        draft.replace(path.with_name(FILE))  # not synced: what a power cut takes is worked out again
    except OSError as error:
        log.warning("%s: cannot be written (%s); each job reads %s anew", path.parent, error.strerror, path.name)
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write `values` to `path`, so that there is the old or the new content at any moment. Raises OSError."""
    with durable(path) as draft:
        draft.write_text(_json(values))


@contextmanager
def durable(path: Path) -> Iterator[Path]:
    """Yield a draft's path beside `path`; give it that name, on the disk for good, when the block ends well.

    After a power cut there is no new file `path`, or a complete one.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")  # several workers may write the same
    try:
        yield draft
        sync(draft)
        draft.replace(path)
        sync(path.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _read(folder: Path) -> dict[str, Any]:
    try:
        notes = json.loads((folder / FILE).read_bytes())
    except (OSError, ValueError):
        return {}  # nothing is lost but time
    return notes if isinstance(notes, dict) else {}


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=1, sort_keys=True) + "\n"


def _times(found: os.stat_result) -> dict[str, int]:
    return {"size_bytes": found.st_size, "mtime_ns": found.st_mtime_ns}
