"""The program `darkroom`, daemon and worker, with a toy whose sources say what befalls the worker at the second stroke.

`fault` is a fault in native code, `glutton` takes memory and keeps it, and `balloon` takes more than there is at once.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import toys
from programs import be_darkroom, program

from darkroom import pipelines
from darkroom.pipelines.base import Process, Segment, Tick

TAKEN_BYTES = 512 * 2**20
PROGRAM = program("hungry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hungry(toys.Paint):
    """Paints, but for sources that are named above."""

    @contextmanager
    def open(self, plan: toys.PaintPlan) -> Iterator[Process]:
        words = Path(plan.source).read_bytes()
        with toys.Paint.open(self, plan) as paint:

            def process(segment: Segment, previous: Path | None, out: Path, tick: Tick) -> None:
                if segment.index == 1 and words.startswith(b"fault"):
                    os.kill(os.getpid(), signal.SIGSEGV)
                if segment.index == 1 and words.startswith((b"glutton", b"balloon")):
                    taken = b"x" * TAKEN_BYTES
                    while taken:  # moving all the while: only what it holds tells it from one that works
                        tick(segment.start)
                        time.sleep(0.02)
                paint(segment, previous, out, tick)

            yield process


def main() -> None:
    """Be `darkroom`, or its worker, as the arguments say."""
    pipelines.KINDS["paint"] = pipelines.Kind(
        name="paint",
        summary="a toy",
        options="toys:PaintOptions",
        pipeline="hungry:Hungry",
        suffixes=frozenset({".jpg"}),
    )
    be_darkroom(PROGRAM)
