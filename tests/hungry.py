"""The program `darkroom`, daemon and worker, with a toy whose sources say what befalls the worker at the second stroke.

`fault` is a fault in native code, `glutton` takes memory and keeps it, and `balloon` takes more than there is at once.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import toys

from darkroom import pipelines
from darkroom.daemon import cli, worker
from darkroom.daemon.crew import COMMAND, Crew
from darkroom.pipelines.base import Process, Segment, Tick

WORKER = COMMAND[-1]
TAKEN_BYTES = 512 * 2**20
HERE = str(Path(__file__).parent)
PROGRAM = (sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {HERE!r}); import hungry; hungry.main()")


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
    defaults = Crew.__init__.__kwdefaults__
    assert defaults is not None
    defaults["command"] = (*PROGRAM, WORKER)
    if sys.argv[1] == WORKER:
        worker.main(sys.argv[2:])
    else:
        cli.main()
