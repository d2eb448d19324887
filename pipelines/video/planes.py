"""The three planes of an 8-bit YUV picture, between FFmpeg's padded rows and numpy."""

import numpy as np
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from numpy.typing import NDArray

Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
"""Y [H, W], U and V [h, w]; for 4:2:0 h, w = H/2, W/2 rounded up, for 4:2:2 H, W/2, for 4:4:4 H, W."""


def chroma_shape(layout: str, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of U and V for a luma plane of `height` x `width`; layout as "yuv420p"."""
    half_width = (width + 1) // 2
    return {"yuv420p": ((height + 1) // 2, half_width), "yuv422p": (height, half_width)}.get(layout, (height, width))


def copy_plane(plane: VideoPlane) -> NDArray[np.uint8]:
    """The plane as a contiguous array of its own, [H, W]."""
    rows = _rows(plane)
    return (rows[::-1] if plane.line_size < 0 else rows).copy()  # a negative step: rows are stored upwards


def make_frame(planes: Planes, layout: str) -> VideoFrame:
    """A frame FFmpeg can encode, holding a copy of `planes`."""
    height, width = planes[0].shape
    frame = VideoFrame(width, height, layout)
    for plane, values in zip(frame.planes, planes, strict=True):
        _rows(plane)[:] = values
    return frame


def _rows(plane: VideoPlane) -> NDArray[np.uint8]:
    buffer = np.frombuffer(memoryview(plane), np.uint8)
    return buffer.reshape(plane.height, abs(plane.line_size))[:, : plane.width]
