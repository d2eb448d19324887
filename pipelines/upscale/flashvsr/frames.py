"""Which frames each chunk of a stream eats and gives, and what a segment must read to start one of its own

A stream's first chunk eats 25 frames and gives 21; each later one eats 8 and gives 8. Frame i out belongs to
frame i in: the last AHEAD frames eaten are look-ahead only. Latent j becomes the frames 4j-3 … 4j.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from darkroom.pipelines.base import Segment

STRIDE = 4  # frames per latent frame
FIRST = 21  # frames the first chunk gives: 6 latents, the first of which is one frame
NEXT = 8  # frames each later chunk gives: 2 latents, one unit of the K/V ring
AHEAD = 4  # frames of look-ahead the LQ projection needs beyond the last frame given
LEAD_IN = FIRST + NEXT  # 29: the first chunk fills the ring of 3 units, one more lets decoder and projection settle
EDGE = FIRST % NEXT  # 5: the chunks of a stream from frame 0 end at frames 8n + 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRanges:
    """What one step of the stream eats and gives; frames and latents are counted from the stream's start."""

    index: int
    lq: range  # low-quality frames fed to the LQ projection; frame 0 only fills its memory
    latents: range  # of the noise; their number is f, 6 or 2
    frames: range  # given, and at the same time the decoder's condition frames

    @property
    def rope_offset(self) -> int:
        """The temporal position of the first latent: the stream's own count."""
        return self.latents.start


def chunk(index: int) -> ChunkRanges:
    """Give chunk `index` (0, 1, …) of a stream: the official schedule, without an end."""
    stop = FIRST + NEXT * index
    start = stop - NEXT if index else 0
    first_latent = (start + STRIDE - 1) // STRIDE  # start = 8i + 13, of latent 4 + 2i
    return ChunkRanges(
        index=index,
        lq=range(start + AHEAD if index else 0, stop + AHEAD),
        latents=range(first_latent, (stop - 1) // STRIDE + 1),
        frames=range(start, stop),
    )


def given(chunks: int) -> int:
    """Number of frames that `chunks` chunks give."""
    return FIRST + NEXT * (chunks - 1) if chunks else 0


def needed(frames: int) -> int:
    """The fewest chunks that give at least `frames` frames, and one at least."""
    return 1 + max(0, -((FIRST - frames) // NEXT))


def official(frames: int) -> int:
    """Number of chunks the official scripts make of `frames` frames: up to 7 at the end are lost, all below 21.

    They append 4 copies of the last frame and cut to the largest 8k + 1. We never do: `needed` loses none.
    """
    eaten = NEXT * ((frames + AHEAD - 1) // NEXT) + 1
    return max(0, (eaten - 1) // NEXT - 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a segment reads and computes so that it depends on no other one.

    The stream's frames are the source's [read_start, read_stop) and then `repeat` copies of the last of
    them; it runs `chunks` chunks. Of the frames given, `drop` at the front are lead-in, the next `keep` are
    the segment's, and the rest (0 … 7, or up to 20 of a single chunk) lies behind it.
    """

    read_start: int
    read_stop: int
    repeat: int
    chunks: int
    drop: int
    keep: int
    first_latent: int  # the noise of the stream's latent j is that of the film's latent first_latent + j

    @property
    def kept(self) -> slice:
        """The segment's frames among all that the stream gives."""
        return slice(self.drop, self.drop + self.keep)


def window(segment: Segment, total: int, *, cut: bool, lead_in: int = LEAD_IN) -> Window:
    """Give the stream of `segment` in a film of `total` frames.

    cut:      a scene begins at the segment's start: nothing before it is worth remembering, so no lead-in
    lead_in:  frames replayed before the segment, as many as there are

    A segment that starts at 8n + 5 with the usual lead-in streams from 8(n - 3): its chunks end where those
    of the whole film's stream do, and its latents are the same latents, with the same noise. A segment
    [0, total) is that stream.
    Raises ValueError if the segment is empty or lies outside the film.
    """
    if not 0 <= segment.start < segment.stop <= total:
        raise ValueError(f"segment [{segment.start}, {segment.stop}): not within {total} frames")
    start = segment.start if cut else max(0, segment.start - lead_in)
    chunks = needed(segment.stop - start)
    stop = start + given(chunks) + AHEAD
    return Window(
        read_start=start,
        read_stop=min(stop, total),
        repeat=max(0, stop - total),
        chunks=chunks,
        drop=segment.start - start,
        keep=segment.length,
        first_latent=-(-start // STRIDE),
    )


def boundaries(frames: int, size: int) -> tuple[int, ...]:
    """Give the frames near which segments of `size` frames, or a little more, are to meet: all are 8n + 5."""
    count = max(1, frames // size)
    even = (frames * index // count for index in range(1, count))
    edges = {max(0, (edge - EDGE + NEXT // 2) // NEXT) * NEXT + EDGE for edge in even}
    return tuple(sorted(edge for edge in edges if edge < frames))


def segments(frames: int, size: int, cuts: Sequence[int] = (), *, reach: int | None = None) -> tuple[Segment, ...]:
    """Cut a film of `frames` frames into segments of about `size`, where a scene begins if one does nearby.

    cuts:   frames that begin a scene, ascending
    reach:  how far a boundary moves to meet one, in frames; None: a quarter of `size`, so that none
            is shorter than half of it

    Every frame is in exactly one segment.
    """
    near = size // 4 if reach is None else reach
    inside = {_moved(edge, cuts, near) for edge in boundaries(frames, size)}
    edges = [0, *sorted(edge for edge in inside if 0 < edge < frames), frames]
    return tuple(Segment(index, *pair) for index, pair in enumerate(pairwise(edges)))


def _moved(edge: int, cuts: Sequence[int], reach: int) -> int:
    """The scene's beginning nearest to `edge`, the earlier of two; `edge` where none is within reach."""
    position = bisect_left(cuts, edge)
    nearby = [cut for cut in cuts[max(0, position - 1) : position + 1] if abs(cut - edge) <= reach]
    return min(nearby, key=lambda cut: abs(cut - edge), default=edge)
