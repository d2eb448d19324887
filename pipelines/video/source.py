"""Opening a video file for reading, and saying whose fault it is when that fails."""

import errno
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer

from darkroom.pipelines.errors import Rejected, Unavailable

# Containers of one finished film. Left out on purpose: playlists (hls, dash, concat), which make FFmpeg
# open other files and addresses, and still images and raw streams, which have no times. gif is here to be
# turned away for its palette, not as an unknown file.
FORMATS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,nut,mxf,wtv,rm,dv,ivf,yuv4mpegpipe,gif"

MOST_PIXELS = 8192 * 4352  # of a picture: the largest that levels of H.264, HEVC and AV1 allow for 8K
PIECE_BYTES = 2**20
ENOUGH_BYTES = 2**28  # what a machine with memory has for a program that asks


def spoken(source: Path) -> str:
    """The file's name fit for a log line: control characters and broken bytes are written as escapes."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in source.name)


@contextmanager
def opened(source: Path) -> Iterator[InputContainer]:
    """The file opened for demuxing; FFmpeg's errors inside the block become Rejected or Unavailable.

    "file:" keeps a name with a colon from being read as a protocol; broken bytes in tags are kept.
    """
    try:
        with av.open(
            f"file:{source}",
            "r",
            container_options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
            options={"max_pixels": str(MOST_PIXELS)},  # for pictures that are decoded to learn what the streams are
            metadata_errors="surrogateescape",
        ) as container:
            for stream in container.streams.video:
                if stream.codec_context is not None:  # else a few bytes could ask for gigabytes of picture
                    stream.codec_context.options["max_pixels"] = str(MOST_PIXELS)
            yield container
    except av.error.FFmpegError as error:
        raise blame(source, error) from error


def unwritten_bytes(source: Path) -> int:
    """How many bytes of the file are holes: they read as zeros and nobody has written them.

    Raises Unavailable if the file cannot be reached; a file system that knows of no holes has none.
    """
    holes = position = 0
    try:
        with source.open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            while (hole := os.lseek(file.fileno(), position, os.SEEK_HOLE)) < end:
                position = _next_data(file.fileno(), hole, end)
                holes += position - hole
                if position == end:
                    break
    except OSError as error:
        raise Unavailable(f"{spoken(source)}: {error.strerror}; is the disk or share still there?") from error
    return holes


def _next_data(handle: int, hole: int, end: int) -> int:
    try:
        return os.lseek(handle, hole, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing but the hole follows
            return end
        raise


def blame(source: Path, error: av.error.FFmpegError) -> Rejected | Unavailable:
    """The error the daemon can answer: the machine's if the file cannot be read as it is, else the file's.

    FFmpeg speaks with the words of the system where the system said nothing: a header that is cut off is an
    input/output error, a title with a key "operation not permitted", and an absurd number a lack of memory.
    """
    name = spoken(source)
    if isinstance(error, MemoryError):
        if not _has_memory():
            return Unavailable(f"{name}: {error.strerror}; end what else uses it")
        return Rejected(f"{name}: asks for more memory than any film needs; is the copy whole?")
    if isinstance(error, OSError) and not isinstance(error, IsADirectoryError) and (fault := _unreadable(source)):
        return Unavailable(f"{name}: {fault}; is the disk or share still there?")
    return Rejected(f"{name}: not a video file that FFmpeg can read ({error.strerror}); is the copy whole?")


def _has_memory() -> bool:
    try:
        mmap.mmap(-1, ENOUGH_BYTES).close()  # asked for, not taken
    except (OSError, MemoryError):
        return False
    return True


def _unreadable(source: Path) -> str:
    """What the system says of reading the file from end to end, "" if it can be read."""
    try:
        with source.open("rb", buffering=0) as file:
            while file.read(PIECE_BYTES):
                pass
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""
