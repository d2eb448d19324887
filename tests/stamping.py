"""Two small pipelines for the model house: sources are stamped, and a source may say how it wants to fail.

`stamp` works by itself, `titled` needs a title for each source, as animate needs its prompt. Each segment reads the
source anew, as decoding a film does: one that changes in the middle shows in the result.
"""

import hashlib
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import toys
from pydantic import BaseModel, ConfigDict, Field

from darkroom.pipelines import Kind
from darkroom.pipelines.base import Process, Segment, Site, Tick, split
from darkroom.pipelines.errors import Rejected, Unavailable

MORTAL = "mortal"  # the device of a worker that is a process of its own, and may die
FAULTY, BUGGY, LACKING, DEADLY = b"faulty", b"buggy", b"lacking", b"deadly"  # what a source may begin with


class StampOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    copies: int = Field(2, ge=1, le=4)
    title: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StampPlan(toys.ToyPlan):
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp(toys.Toy):
    """The result has a line for each copy: its number, the title, and the digest of the source."""

    options: StampOptions
    site: Site

    def probe(self, source: Path) -> Path:
        content = source.read_bytes()
        if content.startswith(FAULTY):
            raise Rejected(f"{source.name}: faulty; mend it")
        if content.startswith(BUGGY):
            raise ZeroDivisionError("a bug")
        return source

    def plan(self, facts: Path) -> StampPlan:
        return StampPlan(
            unit="page",
            segments=split(self.options.copies, 1),
            part_suffix=".part.txt",
            result_suffix=".out",
            source=str(facts),
            digest=toys.digest_of(facts),
            settings=(self.options.copies,),
            title=self.options.title or "",
        )

    @contextmanager
    def open(self, plan: StampPlan) -> Iterator[Process]:
        source = Path(plan.source)

        def process(segment: Segment, previous: Path | None, out: Path, tick: Tick) -> None:
            content = source.read_bytes()
            if content.startswith(LACKING):
                raise Unavailable("no ink; buy some")
            if content.startswith(DEADLY) and self.site.device == MORTAL:
                os.kill(os.getpid(), signal.SIGKILL)
            self._write(out, line(segment.index, plan.title, content))
            tick(segment.stop)

        yield process

    def join(self, plan: StampPlan, parts: Any, out: Path) -> None:
        self._write(out, b"".join(part.read_bytes() for part in parts))


def line(number: int, title: str, content: bytes) -> bytes:
    return f"{number} {title} {hashlib.sha256(content).hexdigest()}\n".encode()


def stamped(content: bytes, options: Mapping[str, Any]) -> bytes:
    """Return the result that `content` is to have with these options of its own."""
    return b"".join(line(number, options.get("title") or "", content) for number in range(options.get("copies", 2)))


def kind(name: str, prompted: str = "") -> Kind:
    return Kind(
        name=name,
        summary="a toy",
        options="stamping:StampOptions",
        pipeline="stamping:Stamp",
        suffixes=frozenset({".jpg", ".png"}),
        prompted=prompted,
    )


KINDS = {"stamp": kind("stamp"), "titled": kind("titled", prompted="title")}
