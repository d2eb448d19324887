"""Plain text subtitles between SubRip (mkv) and 3GPP timed text (mp4's "mov_text"). Pure.

3GPP TS 26.245: a sample is the length of the text in 2 bytes, the text, and boxes that style it.
"""

import re

MOV_TEXT_HEADER = (  # what FFmpeg's encoder demands to make the mp4 header from: one style, the default
    b"[Script Info]\nScriptType: v4.00+\nPlayResX: 384\nPlayResY: 288\n\n[V4+ Styles]\n"
    b"Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic,"
    b" Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL,"
    b" MarginR, MarginV, Encoding\n"
    b"Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0\n\n"
    b"[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)
_MARKUP = re.compile(rb"</?[a-zA-Z][^<>]*>|\{\\[^{}]*\}")  # <i>, <font …>, {\an8}


def to_mov_text(subrip: bytes) -> bytes:
    """The sample for one SubRip text, without its markup."""
    text = _MARKUP.sub(b"", subrip).replace(b"\r\n", b"\n").strip()[: 2**16 - 1]
    return len(text).to_bytes(2, "big") + text


def to_subrip(sample: bytes) -> bytes:
    """The text of a mov_text sample, without its styles; b"" for one that only ends the text before."""
    text = sample[2 : 2 + int.from_bytes(sample[:2], "big")]
    if text[:2] in (b"\xfe\xff", b"\xff\xfe"):  # the byte order mark of UTF-16
        return text.decode("utf-16", "replace").encode()
    return text
