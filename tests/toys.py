"""Small pipelines with the awkward traits of the real ones, quick enough to be killed at every step.

`Blur` is like upscale: segments are independent, each replays a lead-in to fill the model's memory.
`Settle` is like animate: segments are steps of a solver that has a memory, which its parts carry on.
`Read` is like ocr: a page is a segment, the result is the pages joined.
`Paint` is like animate seen from the daemon: it needs a prompt. `studio.py` runs a whole daemon with it.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from darkroom.pipelines import Kind
from darkroom.pipelines.base import BUNDLE, Plan, Process, Segment, Site, Tick, split
from darkroom.pipelines.errors import Rejected, Unavailable

Watch = Callable[[str], None]
"""Told before and after each write; a test stops or kills there."""


def unwatched(_where: str) -> None:
    """Let it pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyPlan(Plan):
    source: str
    digest: str
    settings: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Toy:
    """What the three have in common: reading the source, and writing in two halves, so that a draft can be cut off."""

    watch: Watch = field(default=unwatched, compare=False)

    def probe(self, source: Path) -> Path:
        if not source.read_bytes():
            raise Rejected(f"{source.name}: empty; give it some content")
        return source

    def report(self, plan: ToyPlan) -> dict[str, Any]:
        return {"digest": plan.digest, "settings": list(plan.settings)}

    def _write(self, out: Path, data: bytes) -> None:
        self.watch(f"before {out.name}")
        with out.open("wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            self.watch(f"within {out.name}")
            file.write(data[len(data) // 2 :])
        self.watch(f"after {out.name}")


def digest_of(source: Path) -> str:
    return hashlib.sha256(source.read_bytes()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Blur(Toy):
    """Each output byte is the sum of the last WINDOW input bytes, as a stream with a memory would make it."""

    size: int = 5  # units in a segment
    lead_in: int = 3

    def plan(self, facts: Path) -> ToyPlan:
        return ToyPlan(
            unit="frame",
            segments=split(facts.stat().st_size, self.size),
            part_suffix=".part.bin",
            result_suffix=".bin",
            source=str(facts),
            digest=digest_of(facts),
            settings=(self.lead_in,),
        )

    @contextmanager
    def open(self, plan: ToyPlan) -> Iterator[Process]:
        frames = Path(plan.source).read_bytes()

        def process(segment: Segment, previous: Path | None, out: Path, tick: Tick) -> None:
            memory: tuple[int, ...] = ()
            made = bytearray()
            for unit in range(max(0, segment.start - self.lead_in), segment.stop):
                memory = (*memory, frames[unit])[-4:]
                if unit >= segment.start:
                    made.append(sum(memory) % 256)
                    tick(unit + 1)
            self._write(out, bytes(made))

        yield process

    def join(self, plan: ToyPlan, parts: Sequence[Path], out: Path) -> None:
        self._write(out, b"".join(part.read_bytes() for part in parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle(Toy):
    """A two-step solver: each step needs the state before the last one too, so a part holds both."""

    size: int = 3
    steps: int = 12
    forgetful: bool = False  # the mistake to avoid: parts without the solver's memory

    def plan(self, facts: Path) -> ToyPlan:
        return ToyPlan(
            unit="step",
            segments=split(self.steps, self.size),
            part_suffix=".json",
            result_suffix=".txt",
            source=str(facts),
            digest=digest_of(facts),
            settings=(self.steps, self.forgetful),
        )

    @contextmanager
    def open(self, plan: ToyPlan) -> Iterator[Process]:
        start = int(plan.digest[:8], 16) / 2**32

        def process(segment: Segment, previous: Path | None, out: Path, tick: Tick) -> None:
            now, before = json.loads(previous.read_text()) if previous else (start, start)
            if self.forgetful:
                before = now
            for step in range(segment.start, segment.stop):
                now, before = 0.6 * now + 0.3 * before + 0.1 * step, now
                tick(step + 1)
            self._write(out, json.dumps([now, before]).encode())

        yield process

    def join(self, plan: ToyPlan, parts: Sequence[Path], out: Path) -> None:
        self._write(out, repr(json.loads(parts[-1].read_text())[0]).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Read(Toy):
    """Pages are parted by form feeds; what is read of a page are its words, backwards."""

    bundle: bool = False  # the result is two files: the text, and the parts as they are

    def plan(self, facts: Path) -> ToyPlan:
        pages = facts.read_bytes().count(b"\f") + 1
        return ToyPlan(
            unit="page",
            segments=split(pages, 1),
            part_suffix=".json",
            result_suffix=BUNDLE if self.bundle else ".txt",
            source=str(facts),
            digest=digest_of(facts),
            settings=(),
        )

    @contextmanager
    def open(self, plan: ToyPlan) -> Iterator[Process]:
        pages = Path(plan.source).read_text().split("\f")

        def process(segment: Segment, previous: Path | None, out: Path, tick: Tick) -> None:
            words = [word[::-1] for word in pages[segment.start].split()]
            tick(segment.stop)
            self._write(out, json.dumps(words).encode())

        yield process

    def join(self, plan: ToyPlan, parts: Sequence[Path], out: Path) -> None:
        pages = [" ".join(json.loads(part.read_text())) for part in parts]
        if self.bundle:
            out.mkdir()
            self._write(out / "1.json", b"[" + b",".join(part.read_bytes() for part in parts) + b"]")
        self._write(out / "0.txt" if self.bundle else out, "\f".join(pages).encode())


class PaintOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str | None = None
    strokes: int = Field(2, ge=1, le=100)
    after: str | None = None  # the path of a file that must be there before work begins
    broken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintPlan(ToyPlan):
    prompt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Paint(Toy):
    """Writes its prompt once a stroke."""

    options: PaintOptions
    site: Site

    def plan(self, facts: Path) -> PaintPlan:
        assert self.options.prompt, "a job without its prompt is not to be run"
        return PaintPlan(
            unit="step",
            segments=split(self.options.strokes, 1),
            part_suffix=".part.txt",
            result_suffix=".out",
            source=str(facts),
            digest=digest_of(facts),
            settings=(self.options.strokes,),
            prompt=self.options.prompt,
        )

    @contextmanager
    def open(self, plan: PaintPlan) -> Iterator[Process]:
        def process(segment: Segment, previous: Path | None, out: Path, tick: Tick) -> None:
            while self.options.after is not None and not Path(self.options.after).exists():
                tick(segment.start)
                time.sleep(0.02)
            if self.options.broken:
                raise ZeroDivisionError("a bug")
            self._write(out, plan.prompt.encode() + b"\n")
            tick(segment.stop)

        yield process

    def join(self, plan: PaintPlan, parts: Sequence[Path], out: Path) -> None:
        self._write(out, b"".join(part.read_bytes() for part in parts))


PAINT = Kind(
    name="paint",
    summary="a toy",
    options="toys:PaintOptions",
    pipeline="toys:Paint",
    suffixes=frozenset({".jpg", ".png"}),
    prompted="prompt",
)


class WarmOptions(BaseModel):
    model: str = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """Loads a model before there is a job, or fails in one of two ways."""

    options: WarmOptions
    site: Site

    def preload(self) -> str:
        if self.options.model == "missing":
            raise Unavailable("no weights in the folder; get them")
        if self.options.model == "broken":
            raise ZeroDivisionError("a bug")
        return f"{self.options.model} on {self.site.device}"
