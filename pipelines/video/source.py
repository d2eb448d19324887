"""Opening a video file for reading, and saying whose fault it is when that fails."""

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
            metadata_errors="surrogateescape",
        ) as container:
            yield container
    except av.error.FFmpegError as error:
        raise blame(source, error) from error


def blame(source: Path, error: av.error.FFmpegError) -> Rejected | Unavailable:
    """The error the daemon can answer: the machine's if the system said so, else the file's."""
    if isinstance(error, OSError | MemoryError) and not isinstance(error, IsADirectoryError):
        return Unavailable(f"{spoken(source)}: {error.strerror}; is the disk or share still there?")
    return Rejected(f"{spoken(source)}: not a video file that FFmpeg can read ({error.strerror}); is the copy whole?")
