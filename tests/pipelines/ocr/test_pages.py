import threading
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from documents import rectangle
from patience import PATIENCE_S
from PIL import Image

from darkroom.pipelines.errors import Stopped, Unavailable
from darkroom.pipelines.ocr import pages
from darkroom.pipelines.ocr.document import probe
from darkroom.pipelines.ocr.engines.base import Reading
from darkroom.pipelines.ocr.options import Options
from darkroom.pipelines.ocr.page import Line, Page, from_json
from darkroom.pipelines.ocr.pages import pages_read
from darkroom.pipelines.ocr.picture import Picture
from darkroom.pipelines.ocr.plan import EngineFacts, Engines, OcrPlan, make_plan
from darkroom.pipelines.ocr.read_page import Reader

PAGES = 5


@dataclass
class Fake:
    """An engine that says how wide the page is, after `first` has been asked."""

    first: Callable[[int], None] = lambda width: None
    seen: list[int] = field(default_factory=list)
    name: str = "fake"
    version: str = "1"
    models: dict[str, str] = field(default_factory=dict)
    provider: str = "none"
    warnings: tuple[str, ...] = ()

    def read(self, picture: Picture) -> Reading:
        self.first(picture.width)
        self.seen.append(picture.width)
        return Reading(lines=(Line(text=f"{picture.width}", score=0.99, polygon=rectangle(10, 10, 60, 20)),))


@pytest.fixture
def plan(tmp_path: Path) -> OcrPlan:
    frames = [Image.new("L", (100 + index, 60), 255) for index in range(PAGES)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    return make_plan(Options(), probe(tmp_path / "a.tif"), Engines(reading=EngineFacts(name="fake")))


def read(
    plan: OcrPlan, out: Path, *engines: Fake, crashes: int = 0, tick: Callable[[int], None] = lambda done: None
) -> list[Page]:
    readers = [Reader(engine=engine, structure=None) for engine in engines]
    with pages_read(plan, readers, crashes) as process:
        for segment in plan.segments:
            process(segment, None, out / f"{segment.index}.json", tick)
    return [from_json((out / f"{segment.index}.json").read_bytes()) for segment in plan.segments]


def texts(pages: list[Page]) -> list[str]:
    return [" ".join(line.text for line in page.lines) for page in pages]


def test_each_page_becomes_a_part_and_is_ticked(plan: OcrPlan, tmp_path: Path) -> None:
    ticks: list[int] = []
    pages = read(plan, tmp_path, Fake(), tick=ticks.append)
    assert texts(pages) == ["100", "101", "102", "103", "104"]
    assert [done for done in dict.fromkeys(ticks) if done] == [1, 2, 3, 4, 5]


def test_pages_are_read_at_once_by_as_many_engines_and_come_out_the_same(plan: OcrPlan, tmp_path: Path) -> None:
    met = threading.Barrier(2)

    def meet(width: int) -> None:
        if width in (100, 101):
            met.wait(PATIENCE_S)

    one, other = Fake(first=meet), Fake(first=meet)
    assert texts(read(plan, tmp_path, one, other)) == ["100", "101", "102", "103", "104"]
    assert sorted(one.seen + other.seen) == [100, 101, 102, 103, 104]
    assert one.seen and other.seen


def test_after_a_crash_nothing_is_read_ahead(plan: OcrPlan, tmp_path: Path) -> None:
    one, other = Fake(), Fake()
    read(plan, tmp_path, one, other, crashes=1)
    assert (one.seen, other.seen) == ([100, 101, 102, 103, 104], [])


def test_the_page_a_worker_died_of_twice_is_given_up_and_the_others_are_read(plan: OcrPlan, tmp_path: Path) -> None:
    engine = Fake()
    pages = read(plan, tmp_path, engine, crashes=2)
    assert pages[0].failed.startswith("the worker died 2 times while reading it")
    assert engine.seen == [101, 102, 103, 104]


def test_what_the_engine_trips_over_costs_that_page_alone(plan: OcrPlan, tmp_path: Path) -> None:
    def trip(width: int) -> None:
        if width == 102:
            raise RuntimeError("Expected 3 dimensions")

    pages = read(plan, tmp_path, Fake(first=trip))
    assert [page.failed for page in pages if page.failed] == ["RuntimeError: Expected 3 dimensions; try another engine"]
    assert pages[2].failed


@pytest.mark.parametrize("fault", [Unavailable("the server is away", patient=True), OSError(28, "full"), MemoryError()])
def test_a_fault_of_the_machine_is_not_the_pages(plan: OcrPlan, tmp_path: Path, fault: Exception) -> None:
    def fail(width: int) -> None:
        raise fault

    with pytest.raises(type(fault)) as error:
        read(plan, tmp_path, Fake(first=fail))
    assert error.value is fault


def test_a_wish_to_stop_is_heard_while_a_page_is_read(plan: OcrPlan, tmp_path: Path) -> None:
    stopped = threading.Event()

    def tick(done: int) -> None:
        stopped.set()
        raise Stopped("cancel")

    def linger(width: int) -> None:
        stopped.wait(PATIENCE_S)

    with pytest.raises(Stopped):
        read(plan, tmp_path, Fake(first=linger), tick=tick)
    assert not (tmp_path / "0.json").exists()


@pytest.mark.parametrize(("patience_s", "told"), [(3600.0, True), (-1.0, False)])
def test_of_a_page_that_hangs_no_more_is_told_so_that_the_worker_can_be_ended(
    plan: OcrPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience_s: float, told: bool
) -> None:
    looks, released = [], threading.Event()

    def counted(readings: list[Any], timeout: float) -> Any:
        looks.append(timeout)
        if len(looks) > 3:
            released.set()
        return wait(readings, 0.01 if len(looks) <= 3 else None)

    monkeypatch.setattr(pages, "wait", counted)
    monkeypatch.setattr(pages, "PAGE_S", patience_s)

    def hang(width: int) -> None:
        released.wait()

    ticks: list[int] = []
    read(plan, tmp_path, Fake(first=hang), tick=ticks.append)
    assert (0 in ticks) == told
