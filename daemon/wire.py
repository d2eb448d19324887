"""The worker's end of the pipe to the supervisor: progress goes up, wishes come down."""

import logging
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from darkroom.daemon.job import Job
from darkroom.daemon.units import show_seconds
from darkroom.pipelines.base import Plan, Segment
from darkroom.pipelines.errors import Stopped

log = logging.getLogger(__name__)

DRAIN = "drain"  # the wish that the worker goes after the running segment
TRY_LATER = 75  # exit status of a worker that could not record its job's end; sysexits.h
DEVICE_GONE = 76  # exit status of a worker whose device failed; its job's end is recorded
AT_ONCE = ("cancel", "replace", "hold")  # wishes that end a job at the next tick; of two the first counts
QUIET_S = 0.2  # ticks are told at most so often; each is a message to another process


class Wire:
    """Tells the supervisor how one job goes on (`run.Told`), and raises Stopped when it wishes so.

    Wishes: DRAIN ends the job after the running segment; those AT_ONCE at the next tick, whatever comes after
    them. A supervisor that is gone ends it at the next tick too.
    """

    def __init__(self, pipe: Connection, job: Job) -> None:
        """Speak of `job`."""
        self.job = job
        self.began = time.monotonic()
        self.stages: dict[str, float] = {}  # seconds spent in each stage, for the report
        self._pipe = pipe
        self._wishes: set[str] = set()
        self._count = 0
        self._stage = ""
        self._stage_began = self.began
        self._told = 0.0

    @property
    def wish(self) -> str:
        """DRAIN if the worker is to go, else what ends the job, "" if nothing does."""
        return next((wish for wish in (DRAIN, *AT_ONCE) if wish in self._wishes), "")

    def stage(self, stage: str) -> None:
        """Enter `stage`. Raises Stopped."""
        self.announce(stage)
        self._listen(at_rest=True)

    def announce(self, stage: str) -> None:
        """Enter a stage that is not to be interrupted."""
        self._clock_stage(stage)
        self._send(stage=stage)

    def planned(self, plan: Plan, missing: Sequence[Segment]) -> None:
        """Say how much there is to do and how much of it is there already."""
        self._count = len(plan.segments)
        done = plan.units - sum(segment.length for segment in missing)
        self._send(unit=plan.unit, units=plan.units, done=done, segments=self._count, what=plan.what)
        left = plan.units - done
        log.info(
            "job=%d %s %d of %d segments to do (%d %s%s)",
            *(self.job.id, self.job.name, len(missing), self._count, left, plan.unit, "" if left == 1 else "s"),
        )
        if plan.what:
            log.info("job=%d %s model: %s", self.job.id, self.job.name, plan.what)
        for warning in plan.warnings:
            log.warning("job=%d %s %s", self.job.id, self.job.name, warning)

    def segment(self, segment: Segment) -> None:
        """Begin `segment`. Raises Stopped."""
        self._clock_stage("segments")
        self._send(stage=f"segment {segment.index + 1} of {self._count}", segment=segment.index + 1)
        self._listen(at_rest=True)

    def part(self, segment: Segment, seconds: float) -> None:
        """Say that the part of `segment` is safe."""
        self._send(part=segment.index, done=segment.stop)
        where = f"segment {segment.index + 1} of {self._count}"
        log.info("job=%d %s %s done in %s", self.job.id, self.job.name, where, show_seconds(seconds))

    def tick(self, done: int) -> None:
        """Say that `done` units of the job are done. Raises Stopped."""
        now = time.monotonic()
        if now - self._told >= QUIET_S:
            self._told = now
            self._send(done=done)
        self._listen(at_rest=False)

    def beat(self, *_: object) -> None:
        """Say that a step without units, such as a long copy, still moves; it is not to be interrupted."""
        now = time.monotonic()
        if now - self._told >= QUIET_S:
            self._told = now
            self._send()

    def ended(self) -> None:
        """Say that the job is over; its end is in the journal."""
        self._send(ended=True)

    def _clock_stage(self, stage: str) -> None:
        now = time.monotonic()
        if self._stage:
            self.stages[self._stage] = self.stages.get(self._stage, 0.0) + now - self._stage_began
        self._stage, self._stage_began = stage, now

    def _send(self, **words: Any) -> None:
        try:
            self._pipe.send({"job": self.job.id, **words})
        except OSError:
            self._wishes.add(DRAIN)  # nobody listens any more

    def _listen(self, *, at_rest: bool) -> None:
        try:
            while self._pipe.poll():
                self._wishes.add(self._pipe.recv()["wish"])
        except (EOFError, OSError) as error:
            raise Stopped("the daemon is gone") from error
        for wish in (*AT_ONCE, DRAIN) if at_rest else AT_ONCE:
            if wish in self._wishes:
                raise Stopped(wish)
