"""What a file holds, as a short name: equal for equal content, whatever the file is called."""

import hashlib
import os
from collections.abc import Iterator

WINDOW = 2**20  # bytes read at the beginning, in the middle and at the end


def fingerprint(handle: int, size_bytes: int, *, whole: bool = False) -> str:
    """Return "SIZE-SHA256" of the open file: of its first, middle and last MiB, or of all of it with `whole`.

    Files of up to 3 MiB are always read whole. Two films of one size that agree in three places are one film, but for
    a copy damaged elsewhere; where that matters, ask for `whole`, whose names never equal the short ones.

    handle:      a descriptor open for reading; its position does not matter and stays
    size_bytes:  of the file, by `fresh_stat`: what fstat says on SMB may be old
    Raises OSError, and EOFError if the file is shorter than it said.
    """
    digest = hashlib.sha256()
    for start, stop in _windows(size_bytes, whole):
        for block in _blocks(handle, start, stop):
            digest.update(block)
    return f"{size_bytes}-{digest.hexdigest()}{'-whole' if whole else ''}"


def _windows(size: int, whole: bool) -> list[tuple[int, int]]:
    if whole or size <= 3 * WINDOW:
        return [(0, size)]
    middle = (size - WINDOW) // 2
    return [(0, WINDOW), (middle, middle + WINDOW), (size - WINDOW, size)]


def _blocks(handle: int, start: int, stop: int) -> Iterator[bytes]:
    while start < stop:
        block = os.pread(handle, min(WINDOW, stop - start), start)
        if not block:
            raise EOFError(f"ends at byte {start}, its size said {stop}")
        start += len(block)
        yield block
