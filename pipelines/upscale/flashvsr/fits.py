"""Which frames fit which card by the planner's estimate: `python -m` prints the table of docs/flashvsr.md"""

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import get_args

from darkroom.pipelines.upscale.flashvsr.architecture import OFFICIAL
from darkroom.pipelines.upscale.flashvsr.memory import Demand, budget, estimate, fit, ladder
from darkroom.pipelines.upscale.flashvsr.options import MemoryOptions, VramProfile

SCALE = 4
SOURCES = ((480, 270), (640, 360), (960, 540))  # to 1080, 1440 and 2160 lines
HEADER = ("profile", "source", "result", "way of running", "device", "host")


def rows() -> Iterator[tuple[str, ...]]:
    """Yield for each profile and source the cells under HEADER; sizes in GiB, of variant tiny in 16 bits."""
    for profile in get_args(VramProfile):
        if profile == "auto":
            continue
        options = MemoryOptions(profile=profile)
        for width, height in SOURCES:
            demand = Demand(architecture=OFFICIAL, height=height, width=width, scale=Fraction(SCALE))
            rung = fit(ladder(options, demand), partial(estimate, demand), budget(options, 0))
            need = estimate(demand, rung)
            sizes = (f"{value / 2**30:.1f}" for value in (need.total, need.host))
            yield (profile, f"{width}x{height}", f"{width * SCALE}x{height * SCALE}", rung.words(), *sizes)


def table() -> str:
    """Give the rows as a table in Markdown."""
    lines = [HEADER, ("---",) * len(HEADER), *rows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(table())
