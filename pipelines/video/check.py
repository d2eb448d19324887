"""The joined result, read back and held against the facts it was made from."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from darkroom.pipelines.video.containers import ContainerPlan
from darkroom.pipelines.video.encode import EncoderSettings
from darkroom.pipelines.video.facts import VideoFacts

ROUNDED_S = Fraction(2, 1000)


def check(facts: VideoFacts, settings: EncoderSettings, container: ContainerPlan, out: Path) -> None:
    """Return if `out` has every frame at its time, every stream, and the whole length.

    Times must be exact to half a tick of the result's clock: 0 in mp4 and mov, 0.5 ms in mkv.

    Raises RuntimeError that names the first difference.
    """
    with av.open(f"file:{out}", metadata_errors="surrogateescape") as result:
        video = result.streams.video[0]
        shown = [
            ((packet.pts or 0) * packet.time_base, (packet.duration or 0) * packet.time_base)
            for packet in result.demux(video)
            if packet.size
        ]
        times = sorted(start for start, _ in shown)
        _check_equal(out, "frames", len(times), facts.frames)
        _check_times(facts, out, times, Fraction(video.time_base or 1) / 2)
        size = (video.codec_context.width, video.codec_context.height)
        _check_equal(out, "picture size", size, (settings.width, settings.height))
        kept = sum(plan.action != "drop" for plan in container.streams)
        # mp4 keeps chapters as a text track, which comes back as a data stream; other data is never copied.
        _check_equal(out, "streams", sum(stream.type != "data" for stream in result.streams), 1 + kept)
        _check_equal(out, "chapters", len(result.chapters()), facts.chapters)
        if (end := _end(result, shown)) is not None:
            wanted = (facts.end - facts.origin) * facts.time_base
            if end < wanted - ROUNDED_S or (container.format != "matroska" and end > wanted + ROUNDED_S):
                raise RuntimeError(f"{out}: the video ends at {float(end):.3f} s instead of {float(wanted):.3f} s")


def _end(result: InputContainer, shown: Sequence[tuple[Fraction, Fraction]]) -> Fraction | None:
    """The second at which the last frame ends, as the file has it; None where FFmpeg does not tell.

    Matroska stores the end of the file. In mp4 a packet's length is the time to the next one in decoding order: only
    where the frame shown last is also the last there does it tell how long that is shown. Else the edit list knows.

    shown: start and length of each packet in seconds, in decoding order
    """
    if "matroska" in result.format.name:
        return Fraction(result.duration or 0, av.time_base)
    return sum(shown[-1], Fraction()) if shown[-1] == max(shown) else None


def _check_times(facts: VideoFacts, out: Path, times: list[Fraction], tolerance: Fraction) -> None:
    for frame, time in enumerate(times):
        wanted = (facts.pts[frame] - facts.origin) * facts.time_base
        if abs(time - wanted) > tolerance:
            raise RuntimeError(f"{out}: frame {frame} is at {float(time):.6f} s instead of {float(wanted):.6f} s")


def _check_equal(out: Path, what: str, got: object, wanted: object) -> None:
    if got != wanted:
        raise RuntimeError(f"{out}: {what}: {got} instead of {wanted}")
