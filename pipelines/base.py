"""What a pipeline is: four verbs (`probe`, `plan`, `open`, `join`) and the values that pass between them."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

Tick = Callable[[int], None]
"""Says "unit n is done": progress, watchdog and stop in one. Raises Stopped when the job is to end now."""


BUNDLE = ".files"
"""The `result_suffix` of a result that is several files, published together under one name: a folder of files whose
own names give their order, the first being the one the result is known by, and whose suffixes all differ."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The units [start, stop) of a job: the smallest piece that survives a crash."""

    index: int
    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of units."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything decided before the heavy work; equal plans give equal results.

    Each pipeline derives its own plan from this one. All fields are plain values (numbers, strings,
    paths, tuples, dataclasses of these), for the plan's fingerprint names the folder of the parts.
    """

    unit: Literal["frame", "step", "page"]
    segments: tuple[Segment, ...]
    part_suffix: str  # of each part's file, e.g. ".mp4"
    result_suffix: str  # of the result and so of what is published, e.g. ".mkv"; or BUNDLE
    warnings: tuple[str, ...] = ()  # what the user should know: shown in the log and in the report
    why: str = field(default="", compare=False)  # what the choices rest on, for people; equal plans may differ in it

    @property
    def units(self) -> int:
        """Number of units in all segments."""
        return sum(segment.length for segment in self.segments)

    @property
    def what(self) -> str:
        """What does the work, in a few words for people: a model, its precision, and why these."""
        return self.why


class Process(Protocol):
    """Turns one segment into its part; made by `Pipeline.open`, which keeps the weights loaded."""

    def __call__(self, segment: Segment, previous: Path | None, out: Path, tick: Tick) -> None:
        """Write the part of `segment` to `out`, reading nothing but the source and `previous`.

        previous: the part before this one, or None for the first segment.
        tick:     called with the job-wide number of units done once each unit is finished.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a pipeline runs; no part of a plan, for equal plans give equal results wherever they run."""

    device: str = "cpu"  # or "cuda", "cuda:1"
    models: Path = Path("models")  # the folder of weights that are not built in
    learned: Path = Path("state") / "learned.json"  # the file of what this machine has taught
    crashes: int = 0  # how often in a row a worker died at the first segment that has no part yet


FactsT = TypeVar("FactsT")
PlanT = TypeVar("PlanT", bound="Plan")
PlanT_contra = TypeVar("PlanT_contra", bound="Plan", contravariant=True)


class Pipeline(Protocol[FactsT, PlanT]):
    """One way of turning a source into a result; an instance is its options, frozen."""

    def probe(self, source: Path) -> FactsT:
        """Read what the plan needs to know of `source`. Raises Rejected."""

    def plan(self, facts: FactsT) -> PlanT:
        """Decide everything; pure. Raises Rejected where the options cannot be met for these facts."""

    def open(self, plan: PlanT) -> AbstractContextManager[Process]:
        """Load the weights and yield the function that makes parts. Raises Unavailable."""

    def join(self, plan: PlanT, parts: Sequence[Path], out: Path) -> None:
        """Write the result from the finished parts, in order, and check that it is whole.

        out: the file to write; for a BUNDLE the folder to make
        """

    def report(self, plan: PlanT) -> dict[str, Any]:
        """Say what made the result: settings, weights and their digests, facts of the source."""


@runtime_checkable
class Preloads(Protocol):
    """What a pipeline also is that can load its model before there is a job."""

    def preload(self) -> str:
        """Load what jobs will ask for, keep it for them, and say what it is. Raises Unavailable."""


@runtime_checkable
class Reviews(Protocol[PlanT_contra]):
    """What a pipeline also is whose parts tell more of the result than its plan."""

    def review(self, plan: PlanT_contra, parts: Sequence[Path]) -> dict[str, Any]:
        """Say, on top of `report`, what the finished parts show.

        The key "incomplete" is a list of what the result lacks, in words for people: the job is done all the same.
        """


def split(units: int, size: int) -> tuple[Segment, ...]:
    """Cut `units` into segments of `size` units, or a little more: the rest is spread evenly.

    No segment is shorter than `size` unless there are fewer than `size` units in all.
    """
    count = max(1, units // size)
    edges = [units * index // count for index in range(count + 1)]
    return tuple(Segment(index, edges[index], edges[index + 1]) for index in range(count))


def fingerprint(pipeline: str, plan: Plan) -> str:
    """Name `plan` by its content: 16 hexadecimal digits, equal for equal plans of one pipeline."""
    content = asdict(plan)
    for said in fields(plan):
        if not said.compare:
            del content[said.name]
    text = json.dumps([pipeline, content], sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]
