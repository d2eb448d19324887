import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import active_count

import pytest

from darkroom.pipelines.base import Segment, Tick
from darkroom.pipelines.errors import Rejected, Stopped, Unavailable
from darkroom.pipelines.upscale.enlarge import Enlarge, Planes
from darkroom.pipelines.upscale.options import Options
from darkroom.pipelines.upscale.pipeline import Upscale, process, source_planes
from darkroom.pipelines.upscale.plan import UpscalePlan
from darkroom.pipelines.video.facts import VideoFacts
from darkroom.pipelines.video.probe import probe
from darkroom.pipelines.video.read import Picture, read

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


def test_ticks_count_the_frames_of_the_whole_job(plan: UpscalePlan, tmp_path: Path) -> None:
    ticks: list[int] = []
    segment = Segment(1, 50, 58)
    with FAST.open(plan) as make:
        make(segment, None, tmp_path / "part.mp4", ticks.append)
    assert ticks == list(range(51, 59))


@pytest.mark.parametrize("error", [Unavailable("out of memory"), ZeroDivisionError()])
def test_an_error_of_the_model_reaches_the_caller_and_every_thread_ends(
    error: Exception, plan: UpscalePlan, tmp_path: Path
) -> None:
    threads = active_count()

    def broken(pictures: Iterator[Planes]) -> Iterator[Planes]:
        next(iter(pictures))
        raise error
        yield  # pragma: no cover

    enlarge: Enlarge = broken  # type: ignore[assignment]
    with pytest.raises(type(error)):
        process(plan, enlarge, plan.segments[0], None, tmp_path / "part.mp4", silent)
    assert active_count() == threads


def test_a_source_that_vanishes_reaches_the_caller_and_every_thread_ends(plan: UpscalePlan, tmp_path: Path) -> None:
    threads = active_count()
    gone = replace(plan, facts=replace(plan.facts, source=tmp_path / "gone.mp4"))
    with FAST.open(gone) as make, pytest.raises((Unavailable, Rejected), match="gone"):
        make(gone.segments[0], None, tmp_path / "part.mp4", silent)
    assert active_count() == threads


def test_pictures_that_cannot_be_decoded_are_counted_in_the_log(
    bunny: VideoFacts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_badly(facts: VideoFacts, start: int, stop: int) -> Iterator[Picture]:
        for index, picture in enumerate(read(facts, start, stop)):
            yield replace(picture, repeated=index in (2, 3))

    monkeypatch.setattr("darkroom.pipelines.upscale.pipeline.read", read_badly)
    assert len(list(source_planes(bunny, Segment(0, 0, 6)))) == 6
    assert caplog.messages == ["bunny.mp4: 2 of frames 0 to 5 cannot be decoded; the picture before is shown instead"]


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
