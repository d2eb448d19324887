"""How long a video will take: the operations of a step, and how fast they were done before"""

from collections.abc import Mapping
from typing import Any

from darkroom.pipelines.animate.sizes import Size, tokens
from darkroom.pipelines.animate.weights import Architecture

# 10¹² operations a second that published times of this model come to, bf16, one card, nothing skipped.
PUBLISHED = {"H200": 363.0, "H100": 340.0, "A100": 191.0, "4090": 109.0, "H20": 94.0}
STEP_S = "step_s"  # in what is remembered of a size


def operations(a: Architecture, size: Size, frames: int) -> int:
    """Give the operations of one pass of the transformer, a multiply-add as two: 1.66e15 for 81 frames of 480P.

    The projections and the feed-forward layer of each token, and each pair of tokens in self-attention; what the
    words and the image add is below a hundredth.
    """
    length, width = tokens(size, frames), a.heads * a.head_width
    each = a.layers * (6 * width**2 + 2 * width * a.ffn_width)
    return 2 * each * length + 4 * width * a.layers * length**2


def expected_s(
    a: Architecture, size: Size, frames: int, passes: int, device: str, learned: Any
) -> tuple[float, str] | None:
    """Give the seconds that `passes` passes of the transformer take, and what that rests on; None if nothing tells.

    device:  its name, as its maker calls it
    learned: what is remembered of videos of this size on this device
    """
    if (measured := seconds_of(learned)) is not None:
        return measured * passes, "as measured here"
    for name, pace in PUBLISHED.items():
        if name in device.replace("-", " ").split():
            return passes * operations(a, size, frames) / (pace * 1e12), "by published times of such a card"
    return None


def seconds_of(learned: Any) -> float | None:
    """Give the seconds of a pass in what is remembered of a size, None if there is nothing that can be true."""
    found = learned.get(STEP_S) if isinstance(learned, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < 1e6:
        return None
    return float(found)


def in_words(seconds: float) -> str:
    """Say about how long `seconds` are."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 120 else f"about {seconds / 3600:.1f} h"
