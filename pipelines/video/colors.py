"""Which 8-bit YUV a decoded picture is, by its tags or, where they are silent, by custom. Pure.

Numbers are the code points of ITU-T H.273, which FFmpeg's enums follow.
"""

from dataclasses import dataclass

from darkroom.pipelines.video.facts import Matrix

UNSPECIFIED = (0, 2)
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
LAYOUTS = {  # of the decoder -> of the planes; "j" is FFmpeg's old way of saying full range
    "yuv420p": "yuv420p",
    "yuvj420p": "yuv420p",
    "yuv422p": "yuv422p",
    "yuvj422p": "yuv422p",
    "yuv444p": "yuv444p",
    "yuvj444p": "yuv444p",
    "gray": "yuv420p",
}
MATRICES: dict[int, Matrix] = {
    1: "bt709",
    4: "bt601",  # FCC 1953: differs from BT.601 in the third digit
    5: "bt601",
    6: "bt601",
    7: "bt709",  # SMPTE 240M, of the first HD cameras: nearest is BT.709
    9: "bt2020",
    10: "bt2020",
}
HD_HEIGHT = 720  # from here on players take untagged pictures for BT.709, below for BT.601


@dataclass(frozen=True, slots=True, kw_only=True)
class Colors:
    """Meaning of the numbers in the planes; the codes are what the result is tagged with."""

    matrix: Matrix
    full_range: bool
    colorspace: int
    primaries: int
    transfer: int


def describe(*, colorspace: int, primaries: int, transfer: int, full_range: bool, height: int) -> Colors:
    """The colours a player would show for these tags, with every unspecified tag filled in.

    An untagged SD source is shown as BT.601, but its untagged HD enlargement would be shown as BT.709:
    so the guess is made once, from the source's height, and written down.
    """
    if colorspace not in MATRICES:
        colorspace = 1 if height >= HD_HEIGHT else 5 if height == 576 else 6
    usual = {1: (1, 1), 5: (5, 6), 9: (9, 14), 10: (9, 14)}.get(colorspace, (6, 6))
    return Colors(
        matrix=MATRICES[colorspace],
        full_range=full_range,
        colorspace=colorspace,
        primaries=usual[0] if primaries in UNSPECIFIED else primaries,
        transfer=usual[1] if transfer in UNSPECIFIED else transfer,
    )


def find_unsupported(*, pixel_format: str, bits: int, alpha: bool, colorspace: int, transfer: int) -> str | None:
    """Why these pictures would be spoiled by an 8-bit YUV pipeline, with the remedy; None if they would not."""
    if transfer in HDR_TRANSFERS:
        return f"HDR ({HDR_TRANSFERS[transfer]}) video; convert it to SDR with a tone mapper first"
    if alpha:
        return f"the picture has transparency ({pixel_format}), which would be lost; flatten it first"
    if bits > 8:
        return f"{bits} bits per sample ({pixel_format}); only 8 are supported, convert it first"
    if pixel_format not in LAYOUTS:
        return f"pixel format {pixel_format} is not 8-bit YUV 4:2:0, 4:2:2 or 4:4:4; convert it first"
    if colorspace == 0 and pixel_format.endswith("444p"):
        return "the picture is stored as RGB in YUV planes; convert it to YUV first"
    return None
