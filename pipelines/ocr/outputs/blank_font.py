"""A TrueType font of blank glyphs, half an em and an em wide, for text that is found but not seen"""

import struct

EM = 1000  # units
NARROW, WIDE = 1, 2  # glyphs; 0 is the one for what is missing, which PDF/A lets nobody use
ADVANCES = {0: 500, NARROW: 500, WIDE: 1000}
ASCENT, DESCENT = 800, -200
POINTS = 3  # of each glyph
MAGIC = 0x5F0F3CF5  # in every head table
MADE = 3_029_529_600  # seconds from 1904 to 2000: any fixed time that checkers do not find odd


def blank_font() -> bytes:
    """Give the font program: the tables that PDF asks of an embedded TrueType font, nothing drawn.

    Table layouts: the OpenType specification, chapters head, hhea, maxp, hmtx, loca, glyf and post.
    """
    count = len(ADVANCES)
    glyph_data = [_glyph(ADVANCES[glyph]) for glyph in range(count)]
    offsets = [sum(map(len, glyph_data[:glyph])) // 2 for glyph in range(count + 1)]  # loca counts in pairs of bytes
    tables = {
        b"glyf": b"".join(glyph_data),
        b"head": _head(),
        b"hhea": struct.pack(">IhhhHhhhhhhhhhhhH", 0x10000, ASCENT, DESCENT, 0, EM, *[0] * 11, count),
        b"hmtx": b"".join(struct.pack(">Hh", ADVANCES[glyph], 0) for glyph in range(count)),
        b"loca": struct.pack(f">{count + 1}H", *offsets),
        b"maxp": struct.pack(">IH13H", 0x10000, count, POINTS, 1, 0, 0, 2, *[0] * 8),
        b"post": struct.pack(">IIhhIIIII", 0x30000, 0, 0, 0, 0, 0, 0, 0, 0),
    }
    return _assembled(tables)


def _glyph(advance: int) -> bytes:
    """Give a glyph with a height but no area: a line there and back.

    PDFium leaves out text whose box has no width, which is what blank text that runs upwards has without a height.
    """
    box = struct.pack(">hhhhh", 1, 0, DESCENT, advance, ASCENT)
    ends, instructions, flags = struct.pack(">H", POINTS - 1), b"\0\0", b"\1" * POINTS  # on the curve, long steps
    half = advance // 2
    xs, ys = (0, half, advance - half), (DESCENT, EM // 2, EM // 2)
    data = box + ends + instructions + flags + struct.pack(">3h", *xs) + struct.pack(">3h", *ys)
    return data + b"\0" * (-len(data) % 4)


def _head() -> bytes:
    return struct.pack(
        ">IIIIHHqqhhhhHHhhh",
        *(0x10000, 0x10000, 0, MAGIC, 0, EM),  # version, revision, checksum (filled in last), magic, flags, em
        *(MADE, MADE),  # and never changed
        *(0, DESCENT, EM, ASCENT),  # the box all glyphs lie in
        *(0, 8, 2, 0, 0),  # style, smallest size, direction, short offsets, glyph format
    )


def _assembled(tables: dict[bytes, bytes]) -> bytes:
    count = len(tables)
    power = 1 << (count.bit_length() - 1)
    header = struct.pack(">IHHHH", 0x10000, count, power * 16, power.bit_length() - 1, (count - power) * 16)
    offset, directory, body = len(header) + 16 * count, b"", b""
    for tag, data in sorted(tables.items()):
        directory += tag + struct.pack(">III", _checksum(data), offset + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    font = header + directory + body
    adjustment = struct.pack(">I", (0xB1B0AFBA - _checksum(font)) % (1 << 32))
    head = font.index(struct.pack(">I", MAGIC))
    return font[: head - 4] + adjustment + font[head:]


def _checksum(data: bytes) -> int:
    padded = data + b"\0" * (-len(data) % 4)
    numbers: tuple[int, ...] = struct.unpack(f">{len(padded) // 4}I", padded)
    return sum(numbers) % (1 << 32)
