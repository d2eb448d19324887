"""The worker's side of a job on several devices: start the ranks, hear them, end them all when one is gone

Not torchrun, which speaks for itself: it puts each rank in a session of its own, leaves them behind when it is killed,
waits half a minute for those that hang, opens a port to the network and loads torch once more. What it hands a rank
(number, size, where to meet) goes over a socket here, and each rank is a child of the worker.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from darkroom.pipelines.animate.alone import embeddings_of
from darkroom.pipelines.animate.components import kept
from darkroom.pipelines.animate.device import release
from darkroom.pipelines.animate.options import Options
from darkroom.pipelines.animate.parallel.wire import receive, send, words_of
from darkroom.pipelines.animate.plan import AnimatePlan
from darkroom.pipelines.animate.weights import find
from darkroom.pipelines.base import Process, Segment, Site, Tick
from darkroom.pipelines.errors import DarkroomError, Rejected, Unavailable

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "darkroom.pipelines.animate.parallel.rank")
LISTEN_S = 0.2  # between two looks at whether the worker is wished to stop
SILENT_S = 1800.0  # no rank says anything for so long: they hang. Reading 33 GB from a slow share takes minutes
ECHO_S = 3.0  # after a rank lost another, for that one's own word
GOODBYE_S = 20.0
MEETING = "darkroom-meeting-"
# Ranks of one machine meet on its loopback: no port is open to the network, and the service may have no other.
ENVIRONMENT = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo", "OMP_WAIT_POLICY": "passive"}
KINDS: Mapping[str, type[DarkroomError]] = {"Rejected": Rejected, "Unavailable": Unavailable}


@contextmanager
def made_together(plan: AnimatePlan, site: Site, options: Options) -> Iterator[Process]:
    """Yield what has the parts of `plan` made by as many processes as it takes devices, from the site's on."""
    weights = find(site.models, plan.model)
    kept.cache_clear()  # what this process has on the first device is in the way
    release(site.device)
    sweep(Path(gettempdir()))
    with TemporaryDirectory(prefix=f"{MEETING}{os.getpid()}-") as folder:
        begin = {
            "plan": words_of(plan),
            "device": site.device,
            "folder": str(weights.folder),
            "sha256": weights.sha256,
            "embeddings": words_of(embeddings_of(plan, site, weights)) if options.memory.embedding_cache else None,
            "limit_s": options.time_limit_s,
            "meeting": f"{folder}/meeting",
            "patience_s": SILENT_S,
        }
        with Group(plan.parallel.devices, begin) as group:
            yield group


def sweep(folder: Path) -> None:
    """Remove from `folder` where the ranks of workers met that were killed: those cleared nothing up."""
    for old in folder.glob(f"{MEETING}*-*"):
        if not Path(f"/proc/{old.name.removeprefix(MEETING).partition('-')[0]}").exists():
            shutil.rmtree(old, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class Rank:
    """One process of a group."""

    number: int
    process: subprocess.Popen[bytes]
    pipe: Connection


@dataclass
class Group:
    """The ranks of one job, a process group: it is whole, or it is gone."""

    size: int
    begin: Mapping[str, Any]  # told to each, with its number
    command: Sequence[str] = COMMAND
    silent_s: float = SILENT_S
    ranks: list[Rank] = field(default_factory=list)

    def __enter__(self) -> "Group":
        try:
            for number in range(self.size):
                self.ranks.append(self._started(number))
                self._tell(self.ranks[-1], **self.begin, rank=number)
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._dismiss()
        self.kill()

    def __call__(self, segment: Segment, previous: Path | None, out: Path, tick: Tick) -> None:
        """Have the part of `segment` written. Raises what a rank raised, Unavailable if one is gone, and Stopped.

        Whatever is raised, the ranks are gone when it is: nobody writes to `out` any more.
        """
        try:
            words = {
                "segment": [segment.index, segment.start, segment.stop],
                "previous": None if previous is None else str(previous),
                "out": str(out),
            }
            for rank in self.ranks:
                self._tell(rank, **words)
            self._hear_out(segment, tick)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End all ranks now, and see that they are gone."""
        if any(rank.process.poll() is None for rank in self.ranks):
            with suppress(ProcessLookupError):
                os.killpg(self.ranks[0].process.pid, signal.SIGKILL)
        for rank in self.ranks:
            with suppress(subprocess.TimeoutExpired):  # one that hangs in the kernel goes when that lets it
                rank.process.wait(GOODBYE_S)
            rank.pipe.close()

    def _started(self, number: int) -> Rank:
        ours, theirs = Pipe()
        with theirs:
            try:
                process = subprocess.Popen(
                    [*self.command, str(theirs.fileno()), str(os.getpid())],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    process_group=self.ranks[0].process.pid if self.ranks else 0,
                    env={**ENVIRONMENT, **os.environ},
                )
            except OSError as error:
                ours.close()
                raise Unavailable(
                    f"{self.command[0]}: {error.strerror}; each device needs a process of its own"
                ) from error
        return Rank(number=number, process=process, pipe=ours)

    def _tell(self, to: Rank, **words: Any) -> None:
        with suppress(OSError):  # it is gone: hearing it tells why
            send(to.pipe, **words)

    def _hear_out(self, segment: Segment, tick: Tick) -> None:
        busy = list(self.ranks)
        heard, done = time.monotonic(), segment.start
        while busy:
            for rank in _speaking(busy, LISTEN_S):
                heard, words = time.monotonic(), self._word(rank)
                done = max(done, words.get("tick", 0))
                if "done" in words:
                    busy.remove(rank)
            if time.monotonic() - heard > self.silent_s:
                raise Unavailable(f"{self.size} devices: none has moved for {self.silent_s:.0f} s; they were ended")
            tick(done)

    def _word(self, rank: Rank) -> dict[str, Any]:
        words = _heard(rank)
        if "failed" in words:
            raise self._cause(rank, words["failed"])
        return words

    def _cause(self, rank: Rank, failed: Mapping[str, Any]) -> DarkroomError:
        """Give the first cause: a rank that goes breaks what others are in the middle of, and they tell it too."""
        others = [other for other in self.ranks if other is not rank]
        end = time.monotonic() + ECHO_S
        while failed["echo"] and others and (left := end - time.monotonic()) > 0:
            for other in _speaking(others, left):
                told = _heard(other).get("failed")
                if told is not None:
                    others.remove(other)
                    failed = failed if told["echo"] else told
        return KINDS[failed["kind"]](failed["line"])

    def _dismiss(self) -> None:
        """Let the ranks go in order, so that their libraries clear up."""
        for rank in self.ranks:
            rank.pipe.close()
        end = time.monotonic() + GOODBYE_S
        for rank in self.ranks:
            try:
                rank.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("rank %d does not leave; it is ended", rank.number)


def _speaking(ranks: Sequence[Rank], timeout_s: float) -> list[Rank]:
    ready = wait([rank.pipe for rank in ranks], timeout_s)
    return [rank for rank in ranks if rank.pipe in ready]


def _heard(rank: Rank) -> dict[str, Any]:
    """Give what `rank` says next, or how it ended."""
    try:
        return receive(rank.pipe)
    except (EOFError, OSError):
        return {"failed": {"kind": "Unavailable", "line": _ended(rank), "echo": False}}


def _ended(rank: Rank) -> str:
    try:
        status = rank.process.wait(1.0)
    except subprocess.TimeoutExpired:
        return f"rank {rank.number}: says no more; the job goes on from its last part"
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return f"rank {rank.number}: {how}; the job goes on from its last part"
