"""Pages become parts, several at once where there are engines for it; one that kills the worker is given up"""

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from darkroom.pipelines.base import Process, Segment, Tick
from darkroom.pipelines.errors import DarkroomError
from darkroom.pipelines.ocr.page import Page, to_json
from darkroom.pipelines.ocr.plan import OcrPlan
from darkroom.pipelines.ocr.read_page import Reader, failed_page, read_page

log = logging.getLogger(__name__)

TRIES = 2  # a page that the worker died of so often is given up
PAGE_S = 900.0  # a page that takes longer hangs: no more is said of it, so that worker.step_limit can end it
LISTEN_S = 0.5  # between two looks at whether the job is to end, while a page is read


@contextmanager
def pages_read(plan: OcrPlan, readers: Sequence[Reader], crashes: int) -> Iterator[Process]:
    """Yield what makes parts; with several readers, pages are read ahead.

    crashes: of the worker in a row at the first page without a part. After one, pages are read one by one: it shows
             which page it is. After TRIES, that page is marked failed.
    """
    free: SimpleQueue[Reader] = SimpleQueue()
    for reader in readers[:1] if crashes else readers:
        free.put(reader)
    with ThreadPoolExecutor(free.qsize(), "page") as pool:
        try:
            yield _Pages(plan, free, pool, ahead=free.qsize(), given_up=crashes >= TRIES)
        finally:
            pool.shutdown(cancel_futures=True)


class _Pages:
    """Makes the parts of one job, in order."""

    def __init__(
        self, plan: OcrPlan, free: SimpleQueue[Reader], pool: ThreadPoolExecutor, *, ahead: int, given_up: bool
    ) -> None:
        self._plan = plan
        self._free = free
        self._pool = pool
        self._ahead = ahead  # pages in work at once
        self._given_up = given_up  # the first page asked for
        self._begun: dict[int, Future[Page]] = {}

    def __call__(self, segment: Segment, previous: Path | None, out: Path, tick: Tick) -> None:
        """Write the part of `segment`. Raises Unavailable, and Stopped between pages and while one is read."""
        if self._given_up:
            self._given_up = False
            reason = f"the worker died {TRIES} times while reading it; look at the page, or try another engine"
            page = failed_page(self._plan.facts, self._plan.pages[segment.index], reason)
        else:
            page = self._awaited(segment, tick)
        out.write_bytes(to_json(page))
        tick(segment.stop)

    def _awaited(self, segment: Segment, tick: Tick) -> Page:
        for following in self._plan.segments[segment.index : segment.index + self._ahead]:
            if following.index not in self._begun:
                self._begun[following.index] = self._pool.submit(self._read, following)
        reading = self._begun.pop(segment.index)
        hangs = time.monotonic() + PAGE_S
        while not wait([reading], LISTEN_S).done:
            if time.monotonic() < hangs:
                tick(segment.start)
        return reading.result()

    def _read(self, segment: Segment) -> Page:
        """Read one page; what the engine trips over costs this page alone."""
        index = self._plan.pages[segment.index]
        reader = self._free.get()
        try:
            return read_page(self._plan, index, self._plan.ways[segment.index], reader)
        except (DarkroomError, OSError, MemoryError):
            raise
        except Exception as error:
            log.exception("%s: page %d", self._plan.facts.source.name, index + 1)
            return failed_page(self._plan.facts, index, f"{type(error).__name__}: {error}; try another engine")
        finally:
            self._free.put(reader)
