"""The program `darkroom`, daemon and worker, with one more pipeline: the toy `forge`, whose sources say what happens.

A source holds what to strike, a line for each segment. Some lines are blows of fate: `deadly` kills the worker,
`silent PATH` lets it hang until there is such a file, `device PATH` fails like a lost GPU until then.

What Python tells its audit hooks is where it can be held up: WORKSHOP_STAYS="EVENT|WHAT|PATH" lets whatever does EVENT
on WHAT wait for a file at PATH. WORKSHOP_PATIENCE_S is how long a locked journal is waited for.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import toys
from house import House
from programs import be_darkroom, program
from pydantic import BaseModel, ConfigDict

from darkroom import pipelines
from darkroom.daemon.job import Job
from darkroom.daemon.journal import EVERYTHING, FILE, Journal
from darkroom.daemon.wishes import release_folder
from darkroom.pipelines import Kind
from darkroom.pipelines.base import Process, Segment, Site, Tick, split

PROGRAM = program("workshop")
LOST = "CUDA error: an illegal memory access was encountered"


class ForgeOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = None  # the path of a file: until it is there, the model is loading


@dataclass(frozen=True, slots=True, kw_only=True)
class Forge(toys.Toy):
    """Writes each line of its source in capitals; a segment is a line."""

    options: ForgeOptions
    site: Site

    def plan(self, facts: Path) -> toys.ToyPlan:
        return toys.ToyPlan(
            unit="step",
            segments=split(len(facts.read_text().splitlines()), 1),
            part_suffix=".part.txt",
            result_suffix=".out",
            source=str(facts),
            digest=toys.digest_of(facts),
            settings=(),
        )

    @contextmanager
    def open(self, plan: toys.ToyPlan) -> Iterator[Process]:
        lines = Path(plan.source).read_text().splitlines()
        while self.options.model and not Path(self.options.model).exists():
            sleep(0.02)

        def process(segment: Segment, previous: Path | None, out: Path, tick: Tick) -> None:
            strike(lines[segment.start], self.site.device)
            self._write(out, lines[segment.start].upper().encode() + b"\n")
            tick(segment.stop)

        yield process

    def join(self, plan: toys.ToyPlan, parts: Sequence[Path], out: Path) -> None:
        self._write(out, b"".join(part.read_bytes() for part in parts))


def sleep(seconds: float) -> None:
    """Do as `time.sleep`, which fails under libfaketime: that takes its clock for the wall clock."""
    threading.Event().wait(seconds)


def strike(line: str, device: str) -> None:
    """Let happen on `device` what `line` says."""
    blow, _, argument = line.partition(" ")
    if blow == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    while blow == "silent" and not Path(argument).exists():
        sleep(0.02)
    if (blow == "device" and not Path(argument).exists()) or (blow == "broken" and argument == device):
        raise RuntimeError(LOST)


FORGE = Kind(
    name="forge",
    summary="a toy",
    options="workshop:ForgeOptions",
    pipeline="workshop:Forge",
    suffixes=frozenset({".txt"}),
)


def stay(event: str, what: str, until: Path) -> None:
    """Let each thread that does `event` on a path like `what` (any, if that is empty) wait until the file is there."""

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == event and (not what or Path(path_of(arguments[0])).match(what)):
            until.with_suffix(".reached").touch()
            while not until.exists():
                sleep(0.02)

    sys.addaudithook(hook)


def path_of(place: Any) -> str:
    return str(Path(f"/proc/self/fd/{place}").readlink()) if isinstance(place, int) else os.fsdecode(place)


def main() -> None:
    """Be `darkroom`, or its worker, as the arguments say."""
    if stays := os.environ.get("WORKSHOP_STAYS"):
        event, what, until = stays.split("|")
        stay(event, what, Path(until))
    if patience := os.environ.get("WORKSHOP_PATIENCE_S"):
        assert Journal.__init__.__kwdefaults__ is not None
        Journal.__init__.__kwdefaults__["patience_s"] = float(patience)
    time.sleep = sleep  # type: ignore[assignment]
    pipelines.KINDS["forge"] = FORGE
    be_darkroom(PROGRAM)


class Workshop(House):
    """A house whose folder forges what is laid into it."""

    program: tuple[str, ...] = PROGRAM

    def __init__(self, root: Path, worker: dict[str, object] | None = None, **folder: Any) -> None:
        super().__init__(root, worker, **{"name": "iron", "pipeline": "forge", "options": {}} | folder)

    def put(self, name: str, *lines: str) -> Path:
        """Lay a source with `lines` into the inbox; without any, one of its own."""
        path = self.inbox / f"{name}.txt"
        path.write_text("\n".join(lines) or name)
        return path

    def hold(self) -> None:
        """Let no job start, as `darkroom hold --all` does."""
        with Journal(self.state / FILE) as journal:
            journal.hold(EVERYTHING, "asked to hold", now=0.0)

    def release(self) -> None:
        """Undo that, as `darkroom release --all` does."""
        with Journal(self.state / FILE) as journal:
            assert "released" in release_folder(journal, EVERYTHING)

    def jobs(self) -> dict[str, Job]:
        """Return the newest job of each source by its name."""
        with Journal(self.state / FILE, readonly=True) as journal:
            return {job.name.removesuffix(".txt"): job for job in journal.jobs()}

    def states(self) -> dict[str, str]:
        """Return the state of each of them."""
        return {name: str(job.state) for name, job in self.jobs().items()}
