"""One process of a job that several devices share: started by the worker, and gone when it goes"""

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import diffusers.utils.logging
import torch
import torch.distributed as dist

from darkroom.kernels.device import is_full
from darkroom.pipelines.animate.components import kept
from darkroom.pipelines.animate.embeddings import Embeddings
from darkroom.pipelines.animate.parallel.shared import Shared
from darkroom.pipelines.animate.parallel.team import device_of, joined
from darkroom.pipelines.animate.parallel.wire import receive, send, value_of
from darkroom.pipelines.animate.plan import AnimatePlan
from darkroom.pipelines.animate.segments import PRECISIONS
from darkroom.pipelines.base import Segment
from darkroom.pipelines.child import die_with
from darkroom.pipelines.errors import DarkroomError, Unavailable

log = logging.getLogger(__name__)

QUIET_S = 0.1  # the same number is said at most so often
ECHOES = ("gloo", "nccl", "hccl", "connection", "socket", "store")  # in what is raised where another rank is gone


class Beat:
    """Tells the worker how many units are done, and that this rank is alive."""

    def __init__(self, pipe: Connection, clock: Callable[[], float] = time.monotonic) -> None:
        self._pipe, self._clock = pipe, clock
        self._said, self._when = -1, 0.0

    def __call__(self, done: int) -> None:
        """Say it, unless it has just been said."""
        now = self._clock()
        if done != self._said or now - self._when >= QUIET_S:
            self._said, self._when = done, now
            send(self._pipe, tick=done)


def work(pipe: Connection, begin: dict[str, Any]) -> None:
    """Make one segment after another with the others, until the worker has no more.

    Raises EOFError then, DarkroomError, and what the libraries raise.
    """
    plan = value_of(AnimatePlan, begin["plan"])
    rank, first = begin["rank"], begin["device"]
    components = kept(Path(begin["folder"]), begin["sha256"], PRECISIONS[plan.profile.precision])
    with joined(Path(begin["meeting"]), rank, first, plan.parallel, begin["patience_s"]) as team:
        if team.device.type == "cpu":
            torch.set_num_threads(max(1, torch.get_num_threads() // team.size))
        keeps = value_of(Embeddings, begin["embeddings"]) if begin["embeddings"] else None
        _serve(pipe, Shared(plan, components, team.device, begin["limit_s"], team=team, kept=keeps))


def _serve(pipe: Connection, segments: Shared) -> None:
    beat = Beat(pipe)
    while True:
        try:
            words = receive(pipe)
        except EOFError:
            return
        segment = Segment(*words["segment"])
        previous = Path(words["previous"]) if words["previous"] is not None else None
        segments(segment, previous, Path(words["out"]), beat)
        send(pipe, done=segment.index)


def failure(error: BaseException, where: str) -> dict[str, Any]:
    """Give the words in which `error` is told to the worker.

    kind: the error's name if it is one of the three, else Unavailable
    echo: it looks as if another rank is gone, and that would be the cause
    """
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, DarkroomError):
        return {"kind": type(error).__name__, "line": line, "echo": False}
    if is_full(error):
        line = f"{where}: its memory is full ({line}); set parallel.fsdp, more devices or memory.vae_tiles: on"
        return {"kind": Unavailable.__name__, "line": line, "echo": False}
    lost = isinstance(error, dist.DistError | ConnectionError)
    lost = lost or (isinstance(error, RuntimeError) and any(word in str(error).lower() for word in ECHOES))
    return {"kind": Unavailable.__name__, "line": f"{where}: {type(error).__name__}: {line}", "echo": lost}


def main(arguments: list[str]) -> None:
    """Start as a child of the worker: `rank.py PIPE_FD PARENT_PID`; the first message says what the job is."""
    fd, parent = arguments
    die_with(int(parent), "worker")
    with Connection(int(fd)) as pipe:
        status = run(pipe, receive(pipe))
        # Not by way of the interpreter's end: what the libraries have running may wait for ranks that are gone.
        logging.shutdown()
        os._exit(status)


def run(pipe: Connection, begin: dict[str, Any]) -> int:
    """Do the work and tell what it failed of; give the exit status."""
    rank = begin["rank"]
    logging.basicConfig(level=logging.INFO, format=f"rank {rank}: %(message)s")
    quiet()
    try:
        work(pipe, begin)
    except BaseException as error:
        log.info("cannot go on", exc_info=not isinstance(error, DarkroomError))
        with suppress(OSError):
            send(pipe, failed=failure(error, f"rank {rank} on {device_of(begin['device'], rank)}"))
        return 1
    return 0


def quiet() -> None:
    """Leave out of the log what the library says of itself each time: experimental, deprecated within."""
    diffusers.utils.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module="diffusers")


if __name__ == "__main__":
    main(sys.argv[1:])
