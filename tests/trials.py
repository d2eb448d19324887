"""One file through the four verbs of a real pipeline, in a child process that may die of it.

The child has limits of memory and processor time, and what becomes of it is told in one word. Reading and animating
go without their models, which never see the file: only its pixels.
"""

import os
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import av
import torch
from fuzz import mutated
from patience import PATIENCE_S
from specimens import films, images, pdfs

from darkroom.pipelines import IMAGE_SUFFIXES
from darkroom.pipelines.animate.fit import fitted, load_image
from darkroom.pipelines.animate.sizes import choose_size
from darkroom.pipelines.base import Plan, Site
from darkroom.pipelines.errors import Rejected, Unavailable
from darkroom.pipelines.ocr.engines.base import Reading
from darkroom.pipelines.ocr.options import Options as OcrOptions
from darkroom.pipelines.ocr.page import Line
from darkroom.pipelines.ocr.picture import Picture
from darkroom.pipelines.ocr.pipeline import Ocr
from darkroom.pipelines.ocr.read_page import Reader
from darkroom.pipelines.upscale.options import Options as UpscaleOptions
from darkroom.pipelines.upscale.pipeline import Upscale
from darkroom.pipelines.video.source import opened

Word = Literal["done", "planned", "rejected", "unavailable", "bug", "short", "crash", "late"]
MEMORY_BYTES = 3 * 2**30  # of addresses, on top of what the parent has
CPU_S = 60
AFFORDABLE = 4_000_000  # pixels in all frames together; more is planned, and its first frames are read


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What became of one file."""

    word: Word
    reason: str
    cpu_s: float
    grown_bytes: int  # memory at its peak, less what there was before

    @property
    def is_good(self) -> bool:
        """Say whether the daemon could have said this to the file's owner."""
        told = self.word == "rejected" and "\n" not in self.reason and ";" in self.reason + "?"
        return told or self.word in ("done", "planned")


class Blind:
    """An engine that finds one line on every page."""

    name, version, provider = "blind", "1", "none"
    models: dict[str, str] = {}  # noqa: RUF012  as the protocol has it
    warnings: tuple[str, ...] = ()

    def read(self, picture: Picture) -> Reading:
        corners = ((1.0, 1.0), (9.0, 1.0), (9.0, 5.0), (1.0, 5.0))
        return Reading(lines=(Line(text="blind", score=0.9, polygon=corners),))


class BlindOcr(Ocr):
    """Reads documents with it."""

    def _readers(self, *, reads: bool) -> tuple[Reader, ...]:
        return (Reader(engine=Blind() if reads else None, structure=None),)


def upscaled(source: Path, work: Path) -> tuple[Word, str]:
    """Enlarge the film `source`, and count its frames."""
    pipeline = Upscale(UpscaleOptions(model="fast", backend="torch", segment_frames=8), Site())
    plan = pipeline.plan(pipeline.probe(source))
    facts = plan.facts
    if facts.frames * facts.width * facts.height > AFFORDABLE:
        return "planned", f"{facts.frames} frames of {facts.width}x{facts.height}"
    _developed(pipeline, plan, work)
    there = decodable(source, facts.index)
    if facts.frames < there and not plan.warnings:
        return "short", f"{facts.frames} of {there} frames"
    return "done", ""


def read(source: Path, work: Path) -> tuple[Word, str]:
    """Read the document `source`."""
    pipeline = BlindOcr(OcrOptions(outputs=["pdf", "txt", "json"], orientation="off"), Site())
    plan = pipeline.plan(pipeline.probe(source))
    if len(plan.segments) > 50:
        return "planned", f"{len(plan.segments)} pages"
    parts = _developed(pipeline, plan, work)
    pipeline.review(plan, parts)
    return "done", ""


def animated(source: Path, work: Path) -> tuple[Word, str]:
    """Bring the picture `source` to the size of a video."""
    image = load_image(source)
    fitted(image, choose_size(image.width, image.height, "480p", "keep"), "keep")
    return "done", ""


def _developed(pipeline: Any, plan: Plan, work: Path) -> list[Path]:
    parts = [work / f"{segment.index:06d}{plan.part_suffix}" for segment in plan.segments]
    with pipeline.open(plan) as process:
        for segment, part in zip(plan.segments, parts, strict=True):
            process(segment, None, part, lambda done: None)
    result = work / f"result{plan.result_suffix}"
    pipeline.join(plan, parts, result)
    pipeline.report(plan)
    return parts


def decodable(source: Path, index: int) -> int:
    """Count the frames that come out of stream `index`, whatever is wrong between them."""
    count = 0
    with suppress(Rejected, Unavailable), opened(source) as container:
        stream = next(stream for stream in container.streams.video if stream.index == index)
        for packet in container.demux(stream):
            with suppress(av.error.FFmpegError):
                count += len(stream.decode(packet))
    return count


VERBS: dict[str, Callable[[Path, Path], tuple[Word, str]]] = {"upscale": upscaled, "ocr": read, "animate": animated}


def specimens(folder: Path) -> list[tuple[str, Path]]:
    """Write whole files, and say which verb gets which."""
    shown = images(folder)
    still = [image for image in shown if image.suffix in IMAGE_SUFFIXES]
    documents = [*shown, *pdfs(folder)]
    return [
        *(("upscale", source) for source in films(folder)),
        *(("ocr", source) for source in documents),
        *(("animate", source) for source in still),
    ]


def prepare() -> None:
    """Load what all trials need into the process they are forked from."""
    torch.set_num_threads(1)
    Upscale(UpscaleOptions(model="fast", backend="torch"), Site()).preload()


def tried(verb: str, source: Path) -> Ending:
    """Give what becomes of `source` by the pipeline `verb`."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.close(ours)
        _be_the_child(verb, source, theirs)
    os.close(theirs)
    said = b""
    try:
        deadline = time.monotonic() + PATIENCE_S
        while select.select([ours], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if not (more := os.read(ours, 65536)):
                break
            said += more
        else:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(ours)
        _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    cpu_s = usage.ru_utime + usage.ru_stime
    if code:
        late = code in (-signal.SIGXCPU, -signal.SIGKILL)
        return Ending(word="late" if late else "crash", reason=f"signal {-code}", cpu_s=cpu_s, grown_bytes=0)
    word, grown, reason = said.decode(errors="replace").split(" ", 2)
    return Ending(word=word, reason=reason, cpu_s=cpu_s, grown_bytes=int(grown))  # type: ignore[arg-type]


def of_damaged(whole: Sequence[tuple[str, Path]], number: int, folder: Path) -> tuple[str, Ending]:
    """Damage one of the `whole` files in the way that `number` chooses; give what was done to it and what it became."""
    verb, source = whole[number % len(whole)]
    data, ways = mutated(source.read_bytes(), number)
    damaged = folder / f"{number}{source.suffix}"
    damaged.write_bytes(data)
    ending = tried(verb, damaged)
    damaged.unlink()
    return f"{number} {verb} {source.name} {ways}", ending


def _be_the_child(verb: str, source: Path, out: int) -> None:
    status = 1
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = _memory("VmRSS")
        addresses = _memory("VmSize") + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (addresses, addresses))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with TemporaryDirectory(dir=source.parent) as work:
            word, reason = _ended(verb, source, Path(work))
        os.write(out, f"{word} {_memory('VmHWM') - before} {reason}".encode(errors="replace")[:60_000])
        status = 0
    finally:
        os._exit(status)


def _ended(verb: str, source: Path, work: Path) -> tuple[str, str]:
    """Give the word for what happens, as `attempt` tells errors apart."""
    try:
        return VERBS[verb](source, work)
    except Rejected as error:
        return "rejected", str(error)
    except (Unavailable, OSError, MemoryError) as error:
        return "unavailable", f"{type(error).__name__}: {error}"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{Path(line.filename).name}:{line.lineno}" for line in reversed(last))
        return "bug", f"{type(error).__name__}: {error} [{where}]"


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
