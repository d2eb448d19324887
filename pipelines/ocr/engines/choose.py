"""The engine that the options name, opened; those of one process are kept for the jobs that want the same"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from darkroom.pipelines.ocr.engines.base import Engine, load
from darkroom.pipelines.ocr.engines.paddle import open_paddle
from darkroom.pipelines.ocr.engines.rapid import open_rapid
from darkroom.pipelines.ocr.engines.tesseract import open_tesseract
from darkroom.pipelines.ocr.engines.vl import open_vl
from darkroom.pipelines.ocr.options import EngineName, Options, VLOptions
from darkroom.pipelines.ocr.structure.layout import open_layout
from darkroom.pipelines.ocr.structure.reader import Depth, StructureReader, open_structure

OWN_STRUCTURE = {"vl", "paddleocr"}  # engines that see regions and tables themselves
PADDLE_MODELS = Path("paddleocr")  # in the models folder, unless model_dir names another


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """All that an engine's opening depends on."""

    engine: EngineName
    model: str
    runtime: str
    model_dir: Path | None  # below the models folder
    lang: str
    structure: bool
    vl: VLOptions
    device: str
    threads: int
    models: Path


def choice(options: Options, models: Path, device: str) -> Choice:
    """Give what to open for `options`: on `device`, with own models below the folder `models`."""
    return Choice(
        engine=options.engine,
        model=options.model,
        runtime=options.runtime,
        model_dir=models / options.model_dir if options.model_dir else None,
        lang=options.lang,
        structure=options.structure != "off",
        vl=options.vl,
        device=device,
        threads=threads(options.workers),
        models=models,
    )


def threads(workers: int) -> int:
    """Give the threads of each of so many engines: the cores the process may use are shared out."""
    return max(1, len(os.sched_getaffinity(0)) // workers)


def engines(options: Options, models: Path, device: str) -> tuple[Engine, ...]:
    """Give an engine for each of the options' workers. Raises Unavailable."""
    return tuple(kept_engine(choice(options, models, device), worker) for worker in range(options.workers))


@lru_cache(maxsize=8)  # the workers of a folder or two
def kept_engine(wanted: Choice, _worker: int = 0) -> Engine:
    """Give an engine as `wanted`, another one for each worker. Raises Unavailable."""
    return OPENERS[wanted.engine](wanted)


def structure(options: Options, models: Path) -> StructureReader | None:
    """Give what finds regions and tables, None where nobody asks or the engine sees them. Raises Unavailable."""
    if options.structure == "off" or options.engine in OWN_STRUCTURE:
        return None
    return kept_structure(options.structure, models, threads(options.workers))


@lru_cache(maxsize=2)
def kept_structure(depth: Depth, models: Path, thread_count: int) -> StructureReader:
    """Give what finds regions and tables; its nets can be asked by several threads. Raises Unavailable."""
    return open_structure(depth, models, thread_count)


def _rapid(wanted: Choice) -> Engine:
    return open_rapid(
        model=wanted.model,  # type: ignore[arg-type]
        runtime=wanted.runtime,  # type: ignore[arg-type]
        model_dir=wanted.model_dir,
        threads=wanted.threads,
        device=int(wanted.device.partition(":")[2] or 0),
    )


def _tesseract(wanted: Choice) -> Engine:
    return open_tesseract(lang=wanted.lang, tessdata=wanted.model_dir)  # one thread: more of them wait for each other


def _paddle(wanted: Choice) -> Engine:
    models = wanted.model_dir or wanted.models / PADDLE_MODELS
    return open_paddle(models=models, device=wanted.device, structure=wanted.structure, threads=wanted.threads)


def _vl(wanted: Choice) -> Engine:
    vl = wanted.vl
    server = load("darkroom.pipelines.ocr.vl.server", "httpx", "ocr-vl").Server(
        url=vl.url,
        model=vl.model or "",
        timeout_s=vl.timeout_s,
        connect_timeout_s=vl.connect_timeout_s,
        parallel=vl.parallel,
        retries=vl.retries,
    )
    local = open_rapid(threads=wanted.threads) if vl.fallback else None
    return open_vl(server, open_layout(wanted.threads), local)


OPENERS: Mapping[EngineName, Callable[[Choice], Engine]] = {
    "rapidocr": _rapid,
    "tesseract": _tesseract,
    "paddleocr": _paddle,
    "vl": _vl,
}
