import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import active_count

import pytest
import torch
from clips.shapes import FRAMES, damage, film

from darkroom.pipelines.base import Segment, Site, Tick
from darkroom.pipelines.errors import Rejected, Stopped, Unavailable
from darkroom.pipelines.tiny_models import write
from darkroom.pipelines.upscale.enlarge import frame_by_frame, load
from darkroom.pipelines.upscale.flashvsr.load import kept
from darkroom.pipelines.upscale.options import Options
from darkroom.pipelines.upscale.pictures import Enlarge, Planes
from darkroom.pipelines.upscale.pipeline import Upscale, process
from darkroom.pipelines.upscale.plan import UpscalePlan
from darkroom.pipelines.video.facts import VideoFacts
from darkroom.pipelines.video.probe import probe

FAST = Upscale(Options(model="fast", segment_frames=40, preset="ultrafast"))


def silent(done: int) -> None:
    pass


def run(plan: UpscalePlan, folder: Path, tick: Tick) -> Path:
    """What the daemon does, in short: parts that exist are kept, the others made, then joined."""
    folder.mkdir(exist_ok=True)
    parts = [folder / f"{segment.index}.mp4" for segment in plan.segments]
    with FAST.open(plan) as make:
        for segment, part in zip(plan.segments, parts, strict=True):
            if not part.exists():
                draft = part.with_suffix(".draft")
                make(segment, None, draft, tick)
                draft.rename(part)
    result = folder / "result.mp4"
    FAST.join(plan, parts, result)
    return result


@pytest.fixture(scope="module")
def plan(bunny: VideoFacts) -> UpscalePlan:
    plan = FAST.plan(bunny)
    assert len(plan.segments) >= 3
    return plan


@pytest.fixture(scope="module")
def whole(plan: UpscalePlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(plan, tmp_path_factory.mktemp("whole"), silent)


def test_a_film_comes_out_twice_as_large_with_its_times_and_its_sound(whole: Path, bunny: VideoFacts) -> None:
    result = probe(whole)
    assert (result.width, result.height) == (2 * bunny.width, 2 * bunny.height)
    assert result.frames == bunny.frames
    assert [(pts - result.pts[0]) * result.time_base for pts in result.pts] == [
        (pts - bunny.pts[0]) * bunny.time_base for pts in bunny.pts
    ]
    assert [stream.kind for stream in result.streams] == [stream.kind for stream in bunny.streams]
    assert (result.matrix, result.full_range) == (bunny.matrix, bunny.full_range)


@pytest.mark.parametrize("last", [1, 39, 40, 57])
def test_a_run_stopped_at_any_tick_and_resumed_gives_the_same_bytes(
    last: int, plan: UpscalePlan, whole: Path, tmp_path: Path
) -> None:
    threads = active_count()

    def stop(done: int) -> None:
        if done == last:
            raise Stopped("drain")

    with pytest.raises(Stopped):
        run(plan, tmp_path, stop)
    assert active_count() == threads
    # Copying what is finished from the whole run spares the time, and is what a crash leaves.
    for part in whole.parent.glob("[0-9].mp4"):
        if not (tmp_path / part.name).exists() and int(part.stem) > last // 40:
            shutil.copy(part, tmp_path)
    assert run(plan, tmp_path, silent).read_bytes() == whole.read_bytes()


def test_frames_that_cannot_be_decoded_are_told_with_the_result_whoever_made_the_parts(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", options={"g": "10", "bf": "0"})
    pipeline = Upscale(Options(model="fast", segment_frames=10, preset="ultrafast"))
    for broken in (None, 13):
        if broken is not None:
            damage(source, broken)
        plan = pipeline.plan(pipeline.probe(source))
        parts = [tmp_path / f"{broken}-{segment.index}.mp4" for segment in plan.segments]
        with pipeline.open(plan) as make:
            for segment, part in zip(plan.segments, parts, strict=True):
                make(segment, None, part, silent)
        pipeline.join(plan, parts, tmp_path / f"{broken}.mp4")
        told = pipeline.review(plan, parts).get("incomplete", [])
        if broken is None:
            assert told == []
        else:
            assert len(told) == 1 and f"of {FRAMES} frames could not be decoded (first frame 13)" in told[0]


def test_ticks_count_the_frames_of_the_whole_job(plan: UpscalePlan, tmp_path: Path) -> None:
    ticks: list[int] = []
    segment = Segment(1, 50, 58)
    with FAST.open(plan) as make:
        make(segment, None, tmp_path / "part.mp4", ticks.append)
    assert ticks == list(range(51, 59))


@dataclass
class Tight:
    """The real thing on a device that is too small for it, until it has been made lighter often enough."""

    real: Enlarge
    too_heavy: int  # steps down until it fits
    steps: int  # that there are
    error: Exception
    at_once: int = 1

    def reads(self, segment: Segment) -> range:
        return self.real.reads(segment)

    def __call__(self, segment: Segment, pictures: Iterable[Planes], scratch: Path) -> Iterator[Planes | None]:
        for number, planes in enumerate(self.real(segment, pictures, scratch)):
            if number == 3 and self.too_heavy:
                raise self.error
            yield None
            yield planes

    def lighten(self) -> bool:
        self.too_heavy, self.steps = self.too_heavy - 1, self.steps - 1
        return self.steps >= 0


def test_out_of_memory_the_part_is_made_again_in_less_and_comes_out_the_same(
    plan: UpscalePlan, whole: Path, tmp_path: Path
) -> None:
    threads, ticks = active_count(), list[int]()
    tight = Tight(frame_by_frame(plan, "cpu"), 2, 5, torch.OutOfMemoryError("tried to allocate 2 GiB"))
    process(plan, tight, plan.segments[0], None, tmp_path / "0.mp4", ticks.append)
    assert (tmp_path / "0.mp4").read_bytes() == (whole.parent / "0.mp4").read_bytes()
    assert (tight.too_heavy, tight.steps) == (0, 3)
    assert max(ticks) == plan.segments[0].stop
    assert active_count() == threads


def test_out_of_memory_with_no_way_left_is_unavailable_with_the_numbers(plan: UpscalePlan, tmp_path: Path) -> None:
    tight = Tight(frame_by_frame(plan, "cpu"), 9, 2, torch.OutOfMemoryError("tried to allocate\n2 GiB"))
    with pytest.raises(Unavailable, match=r"bunny\.mp4: out of memory: tried to allocate 2 GiB"):
        process(plan, tight, plan.segments[0], None, tmp_path / "0.mp4", silent)
    assert tight.steps == -1


@pytest.mark.parametrize("error", [Unavailable("out of memory"), ZeroDivisionError()])
def test_an_error_of_the_model_reaches_the_caller_and_every_thread_ends(
    error: Exception, plan: UpscalePlan, tmp_path: Path
) -> None:
    threads = active_count()

    with pytest.raises(type(error)):
        process(
            plan, Tight(frame_by_frame(plan, "cpu"), 1, 0, error), plan.segments[0], None, tmp_path / "part.mp4", silent
        )
    assert active_count() == threads


def test_a_source_that_vanishes_reaches_the_caller_and_every_thread_ends(plan: UpscalePlan, tmp_path: Path) -> None:
    threads = active_count()
    gone = replace(plan, facts=replace(plan.facts, source=tmp_path / "gone.mp4"))
    with FAST.open(gone) as make, pytest.raises((Unavailable, Rejected), match="gone"):
        make(gone.segments[0], None, tmp_path / "part.mp4", silent)
    assert active_count() == threads


def test_a_part_that_cannot_be_written_is_unavailable_and_every_thread_ends(plan: UpscalePlan, tmp_path: Path) -> None:
    threads = active_count()
    with FAST.open(plan) as make, pytest.raises(Unavailable):
        make(plan.segments[0], None, tmp_path / "no such folder" / "part.mp4", silent)
    assert active_count() == threads


def test_the_report_can_be_written_as_json_and_names_what_made_the_result(plan: UpscalePlan) -> None:
    report = json.loads(json.dumps(FAST.report(plan)))
    assert report["model"] == "fast"
    assert report["weights_sha256"] == plan.weights_sha256
    assert (report["width"], report["height"], report["scale"]) == (640, 360, "2")
    assert report["source"]["frames"] == plan.facts.frames
    assert report["encoder"]["name"] == "libx264"
    assert report["encoder"]["options"]["preset"] == "ultrafast"


def test_a_model_loaded_beforehand_is_the_one_the_job_finds(bunny: VideoFacts) -> None:
    upscale = Upscale(Options(model="anime", backend="torch", precision="fp32"))
    assert upscale.preload() == "anime, torch fp32"
    before = load.cache_info()
    with upscale.open(upscale.plan(bunny)):
        assert load.cache_info().hits == before.hits + 1


def test_flashvsr_is_loaded_beforehand_too(tmp_path: Path, bunny: VideoFacts) -> None:
    write(tmp_path, "1.1")
    site = Site(models=tmp_path, learned=tmp_path / "learned.json")
    upscale = Upscale(Options(model="flashvsr", precision="fp32"), site)
    assert upscale.preload() == "flashvsr, torch fp32"
    before = kept.cache_info()
    with upscale.open(upscale.plan(bunny)):
        assert kept.cache_info().hits == before.hits + 1
