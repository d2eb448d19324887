"""One job from its source to its result, from wherever it was left: the main path."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from darkroom.daemon.parts import Parts, atomic, remove_folder
from darkroom.pipelines.base import Pipeline, Plan, Segment, Tick, fingerprint

log = logging.getLogger(__name__)


class Told(Protocol):
    """Who is told how the job goes on; each call may raise Stopped."""

    @property
    def tick(self) -> Tick:
        """Told the job-wide number of units done."""

    def stage(self, stage: str) -> None:
        """The job enters `stage`, a few words for people."""

    def planned(self, plan: Plan, missing: Sequence[Segment]) -> None:
        """The plan is made, and all its segments but `missing` are done."""

    def segment(self, segment: Segment) -> None:
        """Work on `segment` begins."""

    def part(self, segment: Segment, seconds: float) -> None:
        """The part of `segment` is safe on the disk, after so long."""


def run(pipeline: Pipeline[Any, Any], source: Path, work: Path, name: str, told: Told) -> tuple[Plan, Path]:
    """Return the plan and the finished result, a file below `work`.

    Whatever is already there is used: a result, or parts of the same plan. Changed settings, weights
    or source make another plan, hence another folder and a clean start.

    name: the pipeline's, part of the plan's fingerprint
    Raises Rejected, Unavailable, Stopped.
    """
    told.stage("reading the source")
    plan = pipeline.plan(pipeline.probe(source))
    parts = Parts(work / fingerprint(name, plan), plan)
    _drop_other_plans(work, parts.folder)
    if not parts.result.exists():
        missing = parts.missing()
        told.planned(plan, missing)
        if missing:
            told.stage("loading the model")
            with pipeline.open(plan) as process:
                for segment in missing:
                    told.segment(segment)
                    started = time.monotonic()
                    with atomic(parts.path(segment)) as out:  # a part that exists is finished
                        process(segment, parts.before(segment), out, told.tick)
                    told.part(segment, time.monotonic() - started)
        told.stage("joining")
        with atomic(parts.result) as out:
            pipeline.join(plan, parts.all(), out)
    return plan, parts.result


def _drop_other_plans(work: Path, current: Path) -> None:
    """A job has one plan at a time; the parts of an older one would only fill the disk."""
    for folder in work.iterdir():
        if folder.is_dir() and folder != current:
            log.info("%s: settings or source have changed, dropping the parts made before", folder)
            remove_folder(folder)
