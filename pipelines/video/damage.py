"""Which frames of a segment could not be decoded, noted in its part, so that the result tells of them"""

import json
import struct
from collections.abc import Sequence
from pathlib import Path

FREE = b"free"  # a box of mp4 that every reader passes over
MARK = b"darkroom"


def note_damage(part: Path, frames: Sequence[int]) -> None:
    """Note at the end of `part`, a finished mp4, the `frames` that show the picture before; a whole one stays as is."""
    if not frames:
        return
    body = MARK + json.dumps(list(frames)).encode()
    with part.open("ab") as file:  # the length comes last too, so that the note is found from the end
        file.write(struct.pack(">I4s", 12 + len(body), FREE) + body + struct.pack(">I", 12 + len(body)))


def damage_of(part: Path) -> list[int]:
    """Give the frames noted in `part`: none as a rule."""
    with part.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 4))
        (length,) = struct.unpack(">I", file.read(4).rjust(4, b"\0"))
        file.seek(max(0, size - length))
        box = file.read(length)
    if not box.startswith(FREE + MARK, 4):
        return []
    found: list[int] = json.loads(box[8 + len(MARK) : -4])
    return found
