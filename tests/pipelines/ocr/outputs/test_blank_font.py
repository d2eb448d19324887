import ctypes
import io

import pypdfium2
import pypdfium2.raw as raw
from PIL import ImageFont

from darkroom.pipelines.ocr.outputs.blank_font import ADVANCES, EM, blank_font


def test_a_font_engine_reads_it_and_finds_the_advances() -> None:
    font = ImageFont.truetype(io.BytesIO(blank_font()), EM, layout_engine=ImageFont.Layout.BASIC)
    assert font.getlength("x") == ADVANCES[0]  # there is no map of characters: all of them are missing


def test_nothing_of_it_is_seen() -> None:
    font = ImageFont.truetype(io.BytesIO(blank_font()), EM, layout_engine=ImageFont.Layout.BASIC)
    mask, _ = font.getmask2("xyz")
    assert not any(mask)


def test_pdfium_takes_it_as_an_embedded_font() -> None:
    data = blank_font()
    document = pypdfium2.PdfDocument.new()
    font = raw.FPDFText_LoadFont(
        document, (ctypes.c_uint8 * len(data)).from_buffer_copy(data), len(data), raw.FPDF_FONT_TRUETYPE, True
    )
    assert font
    ascent = ctypes.c_float()
    assert raw.FPDFFont_GetAscent(font, 10.0, ascent)
    assert ascent.value == 8.0
    document.close()


def test_every_checksum_is_right() -> None:
    data = blank_font()
    count = int.from_bytes(data[4:6], "big")
    for place in range(12, 12 + 16 * count, 16):
        tag, said, start, length = (data[place + step : place + step + 4] for step in (0, 4, 8, 12))
        begin, size = int.from_bytes(start, "big"), int.from_bytes(length, "big")
        table = bytearray(data[begin : begin + size])
        if tag == b"head":
            table[8:12] = bytes(4)  # its own checksum of the whole font
        assert total(bytes(table)) == int.from_bytes(said, "big"), tag
    assert total(data) == 0xB1B0AFBA


def total(data: bytes) -> int:
    padded = data + bytes(-len(data) % 4)
    return sum(int.from_bytes(padded[place : place + 4], "big") for place in range(0, len(padded), 4)) % (1 << 32)


def test_it_is_small() -> None:
    assert len(blank_font()) < 500
