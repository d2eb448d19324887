"""A film from nothing: pictures become the frames of a video with one constant rate and no source behind it"""

import os
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray

from darkroom.kernels.color import YUV, to_planes
from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.video.encode import EncoderSettings, add_encoder, frame_of
from darkroom.pipelines.video.facts import VideoFacts

BT709 = 1  # H.273: colours, transfer and matrix of what is not tagged otherwise
MUXERS = {".mp4": "mp4", ".mkv": "matroska"}


def made_facts(source: Path, width: int, height: int, frames: int, fps: int) -> VideoFacts:
    """Give the facts of a film of `frames` frames that `source` becomes: 4:2:0, BT.709, square pixels."""
    return VideoFacts(
        source=source,
        size_bytes=0,
        mtime_ns=0,
        container="mp4",
        brand="",
        index=0,
        codec="h264",
        width=width,
        height=height,
        sar=Fraction(1),
        rotation=0,
        display_matrix=(),
        decoded_format="yuv420p",
        pixel_format="yuv420p",
        matrix="bt709",
        full_range=False,
        colorspace=BT709,
        primaries=BT709,
        transfer=BT709,
        time_base=Fraction(1, fps),
        pts=tuple(range(frames)),
        last_duration=1,
        frame_rate=Fraction(fps),
        origin=0,
        exact_times=True,
        keyframes=(0,),
        streams=(),
        chapters=0,
        tags=(),
        video_tags=(),
        disposition=0,
    )


def write_film(
    pictures: Iterable[NDArray[np.uint8]],
    facts: VideoFacts,
    settings: EncoderSettings,
    tags: Mapping[str, str],
    out: Path,
) -> None:
    """Write `pictures` to `out`, an .mp4 or .mkv, with `tags`; equal pictures give equal bytes.

    pictures: as many as `facts` says, RGB, uint8 [H, W, 3], of the encoder's size
    Raises Unavailable if it cannot be written, RuntimeError if it does not read back with all its frames.
    """
    options = {"fflags": "+bitexact", "movflags": "+faststart+use_metadata_tags"}
    yuv = YUV(layout=settings.pixel_format, matrix=facts.matrix, full_range=settings.full_range)
    try:
        with av.open(f"file:{out}", "w", format=MUXERS[out.suffix], container_options=options) as container:
            container.metadata.update(tags)
            stream = add_encoder(container, facts, settings)
            for number, picture in enumerate(pictures):
                frame = frame_of(_planes(picture, yuv), settings)
                frame.time_base, frame.pts = facts.time_base, number
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        frames = _frames_in(out)
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise Unavailable(f"{out}: {os.strerror(error.errno or 0)}; is the disk full?") from error
        raise
    if frames != facts.frames:
        raise RuntimeError(f"{out}: {frames} frames, {facts.frames} were to be written")


def _planes(picture: NDArray[np.uint8], yuv: YUV) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    rgb = torch.from_numpy(picture).permute(2, 0, 1)[None].float().div_(255)
    y, u, v = (plane.numpy() for plane in to_planes(rgb, yuv))
    return y, u, v


def _frames_in(path: Path) -> int:
    with av.open(f"file:{path}") as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))
