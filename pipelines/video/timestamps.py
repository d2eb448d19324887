"""Frame times from packet times: order, gaps and repeats put right. Pure."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median_low

REORDER_FRAMES = 64  # no codec holds back more than 16 pictures; the rest is for damaged files


def display_times(pts: Sequence[int | None], dts: Sequence[int | None], step: int) -> tuple[tuple[int, ...], bool]:
    """The time of each frame in display order, and whether all are the packets' own.

    Packets come in decoding order, so sorting is what brings display order back. Where some have no
    pts (AVI) the decoding times stand in: the n-th frame shown gets the n-th of them. Frames with
    one and the same time are moved apart by a tick.

    pts, dts: ticks, in the order of the file
    step:     ticks from one frame to the next, for packets that say nothing at all
    returns:  as many strictly increasing ticks as there are packets
    """
    known = [time for time in pts if time is not None]
    if len(known) == len(pts) == len(set(known)):
        return tuple(sorted(known)), True
    return _strictly_increasing(sorted(_filled(pts, dts, step))), False


def _filled(pts: Sequence[int | None], dts: Sequence[int | None], step: int) -> list[int]:
    known = [time for time in pts if time is not None]
    decoding = [time for time in dts if time is not None]
    if len(known) == len(pts):
        return known
    if len(decoding) == len(dts):
        shift = min(known) - min(decoding) if known else 0
        return [time + shift for time in decoding]
    silent = next((position for position, time in enumerate(pts) if time is not None), len(pts))
    before = min(known, default=silent * step) - silent * step  # Matroska is silent of times below zero
    filled: list[int] = []
    for position, time in enumerate(pts):
        guess = before + position * step if position <= silent else filled[-1] + step
        filled.append(time if time is not None else guess)
    return filled


def _strictly_increasing(times: Sequence[int]) -> tuple[int, ...]:
    result: list[int] = []
    for time in times:
        result.append(max(time, result[-1] + 1) if result else time)
    return tuple(result)


def find_jump_back(pts: Sequence[int | None], step: int) -> int | None:
    """The first packet that lies further back than reordering explains, or None.

    Such a file is two recordings in one: sorted by time its frames would be shuffled together.
    """
    latest: int | None = None
    for position, time in enumerate(pts):
        if time is None:
            continue
        if latest is not None and time < latest - REORDER_FRAMES * step:
            return position
        latest = time if latest is None else max(latest, time)
    return None


def find_pause(times: Sequence[int], longest: int) -> int | None:
    """The first of `times` (sorted) after which more than `longest` ticks pass to the next, or None."""
    return next((frame for frame, (time, after) in enumerate(pairwise(times)) if after - time > longest), None)


def usual_step(times: Sequence[int], default: int) -> int:
    """The median distance of neighbouring `times` (sorted) in ticks, at least 1; `default` for under two."""
    if len(times) < 2:
        return max(1, default)
    return max(1, median_low([after - before for before, after in pairwise(times)]))


def entry_points(pts: Sequence[int], is_key: Sequence[bool]) -> tuple[int, ...]:
    """Frames from which a decoder can start and get everything after right, as display positions.

    A keyframe counts only if no later packet is shown before it: the frames of an open GOP may lean
    on the GOP before, which a decoder that starts here never saw.

    pts:    ticks in the order of the file, all different
    is_key: for each packet
    """
    rank = {time: position for position, time in enumerate(sorted(pts))}
    found: list[int] = []
    earliest_after: int | None = None
    for time, key in zip(reversed(pts), reversed(is_key), strict=True):
        if key and (earliest_after is None or time < earliest_after):
            found.append(rank[time])
        earliest_after = time if earliest_after is None else min(time, earliest_after)
    return tuple(reversed(found))
