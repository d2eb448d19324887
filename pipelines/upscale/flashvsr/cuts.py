"""Where scenes begin near the boundaries of segments: there a stream can start afresh without a lead-in

A cut that is missed costs a lead-in of 29 frames; a cut that is none costs a visible seam. So when in doubt, none.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from darkroom.pipelines.video.facts import VideoFacts
from darkroom.pipelines.video.read import read

Luma = NDArray[np.uint8]
Thumbnail = NDArray[np.float32]

ROWS, COLUMNS = 24, 32  # of a thumbnail: coarse enough for grain to vanish, fine enough for a picture to be known
REACH = 24  # frames on either side of a boundary in which a cut is worth moving it
MEMORY = 8  # frames before and after a cut that are compared with it: a flash is shorter
LEAST = 12.0  # mean difference in levels of 255; cuts between scenes of films are 20 to 80
SPIKE = 2.0  # times every other difference nearby: motion, however fast, has no such single step
FARTHEST = 300  # frames decoded to get to a boundary; most encoders set a keyframe every 250


def find_cuts(facts: VideoFacts, boundaries: Sequence[int], reach: int = REACH) -> tuple[int, ...]:
    """Give the frames that begin a scene and lie within `reach` of one of `boundaries`, ascending.

    At most FARTHEST + 2 (reach + MEMORY) frames are decoded for each boundary: one too far behind a keyframe
    is passed over, and so is a film in which none is sure, for every look would start at its beginning.
    Raises Rejected, Unavailable as `read` does.
    """
    found: list[int] = []
    for start, stop in stretches(boundaries, reach, facts.frames):
        first, last = max(0, start - MEMORY), min(stop + MEMORY, facts.frames)
        if not near_a_keyframe(facts.keyframes, first):
            continue
        thumbnails = [thumbnail(picture.planes[0]) for picture in read(facts, first, last)]
        found += [first + cut for cut in cuts(thumbnails) if start <= first + cut < stop]
    return tuple(found)


def stretches(boundaries: Iterable[int], reach: int, frames: int) -> Iterator[tuple[int, int]]:
    """Give the stretches [start, stop) of frames within `reach` of `boundaries`, ascending and apart.

    Neighbours that would be decoded twice are one.
    """
    start, stop = 0, -1
    for boundary in sorted(boundaries):
        if stop < 0 or boundary - reach > stop + 2 * MEMORY:
            if stop > 0:
                yield start, stop
            start = max(1, boundary - reach)  # frame 0 begins a scene, and no segment but the first
        stop = min(boundary + reach + 1, frames)
    if stop > 0:
        yield start, stop


def near_a_keyframe(keyframes: Sequence[int], frame: int) -> bool:
    """Say whether `frame` can be reached by decoding no more than FARTHEST frames."""
    entry = bisect_right(keyframes, frame)
    return entry > 0 and frame - keyframes[entry - 1] <= FARTHEST


def thumbnail(luma: Luma) -> Thumbnail:
    """Give the means of ROWS × COLUMNS boxes of a plane [H, W], fewer where it is smaller than that.

    Rows and columns at the end that fill no box are left out.
    """
    height, width = luma.shape
    rows, columns = min(ROWS, height), min(COLUMNS, width)
    down, across = height // rows, width // columns
    boxes = luma[: rows * down, : columns * across].reshape(rows, down, columns, across)
    means: Thumbnail = boxes.mean((1, 3), dtype=np.float32)
    return means


def cuts(thumbnails: Sequence[Thumbnail]) -> list[int]:
    """Give the positions of thumbnails that begin a new scene, ascending; those of successive frames are needed."""
    if len(thumbnails) < 2:
        return []
    pictures = np.stack(thumbnails)
    steps = np.abs(np.diff(pictures, axis=0)).mean((1, 2))  # steps[k - 1] leads to picture k
    return [at for at in range(1, len(pictures)) if _stands_out(steps, at - 1) and _stays(pictures, at)]


def _stands_out(steps: NDArray[np.float32], at: int) -> bool:
    """Whether one step is large, and far larger than all others near it.

    Not than their median: animation drawn on twos stands still every other frame, and both steps of a flash
    are large.
    """
    others = np.delete(steps[max(0, at - MEMORY) : at + MEMORY + 1], min(at, MEMORY))
    return bool(steps[at] >= max(LEAST, SPIKE * others.max(initial=0)))


def _stays(pictures: NDArray[np.float32], at: int) -> bool:
    """Whether no picture soon after the step is like the last before it, nor one before like the first after.

    A flash that fades comes back in small steps. Half of the step is as good as back.
    """
    last, first = pictures[at - 1], pictures[at]
    after = np.abs(pictures[at : at + MEMORY] - last).mean((1, 2))
    before = np.abs(pictures[max(0, at - MEMORY) : at] - first).mean((1, 2))
    return bool(min(after.min(), before.min()) >= after[0] / 2)
