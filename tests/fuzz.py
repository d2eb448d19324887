"""Files that were whole and are not any more: each number makes another, always the same, of the same file."""

import random
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

HEADER_BYTES = 4096  # most of what a demuxer believes stands here
PNG = b"\x89PNG\r\n\x1a\n"
EBML = b"\x1aE\xdf\xa3"
BOXES = frozenset({b"moov", b"trak", b"edts", b"mdia", b"minf", b"dinf", b"stbl", b"udta", b"mvex", b"moof", b"traf"})
MASTERS = frozenset({0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0, 0xE1, 0x1F43B675, 0xA0, 0x1C53BB6B, 0xBB, 0xB7})
HUGE = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 60_000, 10**6, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
HUGER = (*HUGE, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


@dataclass(frozen=True, slots=True)
class Piece:
    """A box, an element or a chunk: what a file is made of, by where it lies."""

    start: int
    body: int  # where its header ends
    stop: int


def mutated(data: bytes, number: int) -> tuple[bytes, str]:
    """Give `data` damaged in the way that `number` chooses, one to three times, and the names of what was done."""
    dice = random.Random(number)
    done = []
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        way = dice.choice(WAYS)
        data = way(data, dice)
        done.append(way.__name__)
    return (mended(data) if dice.random() < 0.9 else data), "+".join(done)


def mended(data: bytes) -> bytes:
    """Give a PNG with right checksums, so that what was written into it is believed; all else as it is."""
    if not data.startswith(PNG):
        return data
    made = bytearray(data)
    for piece in pieces(data):
        end = min(piece.stop, len(data)) - 4
        if end > piece.body:
            made[end : end + 4] = struct.pack(">I", zlib.crc32(made[piece.start + 4 : end]))
    return bytes(made)


# -- what a file is made of ------------------------------------------------------------------------------------------


def pieces(data: bytes) -> list[Piece]:
    """Give the pieces of `data`, outer ones before inner ones; none where the format is not known."""
    if data.startswith(PNG):
        return list(_chunks(data, 8, len(data), ">", after=4))
    if data.startswith((b"RIFF", b"RIFX")):
        return list(_chunks(data, 12, len(data), "<"))
    if data.startswith(EBML):
        return list(_elements(data, 0, len(data)))
    if data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
        return list(_boxes(data, 0, len(data)))
    if data.startswith(b"\xff\xd8"):
        return list(_markers(data))
    return []


def _boxes(data: bytes, start: int, stop: int) -> Iterator[Piece]:
    while start + 8 <= stop:
        size, kind = struct.unpack_from(">I4s", data, start)
        end = start + size
        if not start + 8 <= end <= stop:
            return
        yield Piece(start, start + 8, end)
        if kind in BOXES:
            yield from _boxes(data, start + 8, end)
        elif kind == b"stsd":
            yield from _boxes(data, start + 16, end)
        start = end


def _chunks(data: bytes, start: int, stop: int, order: str, after: int = 0) -> Iterator[Piece]:
    """Yield the chunks of a PNG (length, name, body, checksum) or a RIFF file (name, length, body)."""
    while start + 8 <= stop:
        (size,) = struct.unpack_from(f"{order}I", data, start if after else start + 4)
        end = start + 8 + size + (after or size % 2)
        if end > stop:
            return
        yield Piece(start, start + 8, end)
        if data[start : start + 4] == b"LIST":
            yield from _chunks(data, start + 12, end, order)
        start = end


def _elements(data: bytes, start: int, stop: int) -> Iterator[Piece]:
    while start < stop and data[start]:
        name_bytes = 9 - data[start].bit_length()
        name = int.from_bytes(data[start : start + name_bytes], "big")
        at = start + name_bytes
        if at >= stop or not data[at]:
            return
        size_bytes = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + size_bytes], "big") & ~(1 << 7 * size_bytes)
        end = at + size_bytes + size
        if end > stop:
            return
        yield Piece(start, at + size_bytes, end)
        if name in MASTERS:
            yield from _elements(data, at + size_bytes, end)
        start = end


def _markers(data: bytes) -> Iterator[Piece]:
    start = 2
    while start + 4 <= len(data) and data[start] == 0xFF and data[start + 1] != 0xDA:
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        yield Piece(start, start + 4, min(end, len(data)))
        start = end


# -- ways to damage it -----------------------------------------------------------------------------------------------


def flipped(data: bytes, dice: random.Random) -> bytes:
    """Give `data` with some bytes changed, mostly where the header is."""
    made = bytearray(data)
    for _ in range(dice.choice((1, 2, 4, 16, 64))):
        made[_somewhere(data, dice)] ^= 1 << dice.randrange(8)
    return bytes(made)


def cut(data: bytes, dice: random.Random) -> bytes:
    """Give the beginning of `data`."""
    return data[: dice.choice((dice.randrange(64), _somewhere(data, dice), dice.randrange(len(data) + 1)))] or data[:1]


def blanked(data: bytes, dice: random.Random) -> bytes:
    """Give `data` with a stretch of one and the same byte."""
    at = _somewhere(data, dice)
    length = dice.choice((4, 16, 512, 4096))
    return data[:at] + bytes([dice.choice((0, 0, 0xFF, 0x41))]) * len(data[at : at + length]) + data[at + length :]


def swapped(data: bytes, dice: random.Random) -> bytes:
    """Give `data` with two stretches in each other's place."""
    length = dice.choice((4, 64, 1024))
    one, two = sorted((_somewhere(data, dice), _somewhere(data, dice)))
    length = min(length, two - one)
    return (
        data[:one]
        + data[two : two + length]
        + data[one + length : two]
        + data[one : one + length]
        + data[two + length :]
    )


def numbered(data: bytes, dice: random.Random) -> bytes:
    """Give `data` with a number that is absurd: a length, a size, a rate, a count, wherever it falls."""
    if data.startswith(b"%PDF") and (found := [match.span() for match in re.finditer(rb"(?<![\w.])-?[\d.]+", data)]):
        start, stop = dice.choice(found)
        return data[:start] + str(dice.choice((*HUGER, -1, -(2**31)))).encode() + data[stop:]
    whole = pieces(data)
    piece = dice.choice(whole) if whole and dice.random() < 0.7 else None
    at = dice.randrange(piece.start, min(piece.stop, piece.start + 64, len(data))) if piece else _somewhere(data, dice)
    width = dice.choice((1, 2, 4, 4, 4, 8))
    number = dice.choice(HUGER) % (1 << 8 * width)
    return data[:at] + number.to_bytes(width, dice.choice(("big", "little"))) + data[at + width :]


def repeated(data: bytes, dice: random.Random) -> bytes:
    """Give `data` with one of its pieces several times over."""
    piece = _piece(data, dice)
    return data[: piece.stop] + data[piece.start : piece.stop] * dice.choice((1, 2, 50)) + data[piece.stop :]


def nested(data: bytes, dice: random.Random) -> bytes:
    """Give `data` with one of its pieces inside itself, some levels deep; no length around it is put right."""
    piece = _piece(data, dice)
    head, body = data[piece.start : piece.body], data[piece.body : piece.stop]
    return data[: piece.start] + head * dice.choice((1, 2, 200)) + body + data[piece.stop :]


def dropped(data: bytes, dice: random.Random) -> bytes:
    """Give `data` without one of its pieces."""
    piece = _piece(data, dice)
    return data[: piece.start] + data[piece.stop :] or data[:1]


def moved(data: bytes, dice: random.Random) -> bytes:
    """Give `data` with one of its pieces in another's place."""
    one, two = _piece(data, dice), _piece(data, dice)
    return data[: one.start] + data[two.start : two.stop] + data[one.stop :]


WAYS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(flipped, cut, blanked, swapped, numbered, numbered, numbered, repeated, nested, dropped, moved),
)


def _somewhere(data: bytes, dice: random.Random) -> int:
    """Choose a place: half of the time in the header, else anywhere, or near the end, where some keep their index."""
    size = max(1, len(data))
    where = dice.random()
    if where < 0.5:
        return dice.randrange(min(HEADER_BYTES, size))
    return dice.randrange(max(0, size - HEADER_BYTES), size) if where < 0.75 else dice.randrange(size)


def _piece(data: bytes, dice: random.Random) -> Piece:
    found = pieces(data)
    if found:
        return dice.choice(found)
    start = _somewhere(data, dice)
    stop = min(len(data), start + dice.choice((8, 64, 188, 1024)))
    return Piece(start, min(stop, start + 8), stop)
