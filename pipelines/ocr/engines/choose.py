"""The engine that the options name, opened; those of one process are kept for the jobs that want the same"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from darkroom.pipelines.ocr.engines.base import Engine, load
from darkroom.pipelines.ocr.engines.rapid import open_rapid
from darkroom.pipelines.ocr.engines.vl import open_vl
from darkroom.pipelines.ocr.options import EngineName, Options, VLOptions
from darkroom.pipelines.ocr.structure.layout import open_layout
from darkroom.pipelines.ocr.structure.reader import Depth, StructureReader, open_structure

OWN_STRUCTURE = {"vl"}  # engines that see regions and tables themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """All that an engine's opening depends on."""

    engine: EngineName
    model: str
    runtime: str
    model_dir: Path | None  # absolute
    lang: str
    vl: VLOptions
    device: int  # which GPU
    threads: int


def choice(options: Options, models: Path, device: str) -> Choice:
    """Give what to open for `options`: on `device`, with own models below the folder `models`."""
    return Choice(
        engine=options.engine,
        model=options.model,
        runtime=options.runtime,
        model_dir=models / options.model_dir if options.model_dir else None,
        lang=options.lang,
        vl=options.vl,
        device=int(device.partition(":")[2] or 0),
        threads=threads(options.workers),
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
        device=wanted.device,
    )


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


OPENERS: Mapping[EngineName, Callable[[Choice], Engine]] = {"rapidocr": _rapid, "vl": _vl}
