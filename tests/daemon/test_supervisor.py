"""The supervisor with real workers that are stopped, killed and left idle."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import House, cut_clip, wait_until


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [cut_clip(folder / f"{number}.mp4", 16, skip=20 * number, size=(160, 90)) for number in range(2)]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six segments: not done before it is stopped, however busy the machine is."""
    return cut_clip(tmp_path_factory.mktemp("film") / "0.mp4", 48, size=(160, 90))


@pytest.fixture
def houses() -> Iterator[list[House]]:
    made: list[House] = []
    yield made
    for house in made:
        for pid in [*house.workers(), house.pid()]:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)


def furnish(houses: list[House], root: Path, clips: list[Path], **worker: object) -> House:
    house = House(root / "house", worker, options={"model": "photo", "backend": "torch", "segment_frames": 8})
    for clip in clips:
        shutil.copy(clip, house.inbox)
    houses.append(house)
    return house


def kill_workers(house: House, number: int = signal.SIGKILL) -> None:
    for pid in house.workers():
        os.kill(pid, number)


def test_a_worker_that_stands_still_is_ended_and_its_job_resumed(
    houses: list[House], tmp_path: Path, film: Path
) -> None:
    house = furnish(houses, tmp_path, [film], step_limit=15)
    house.start("--drain")
    house.see("segment 1 of 6 done")
    kill_workers(house, signal.SIGSTOP)
    house.see("has not moved for")
    assert house.wait() == 0
    assert sum("segment 1 of 6 done" in line for line in house.lines) == 1
    assert list(house.results()) == ["0.mp4"]


def test_an_idle_worker_frees_its_device_and_the_next_job_starts_another(
    houses: list[House], tmp_path: Path, clips: list[Path]
) -> None:
    house = furnish(houses, tmp_path, clips[:1], keep_warm=0.5)
    house.start()
    house.see("done: published as 0.mp4")
    wait_until(lambda: house.workers() == [])
    shutil.copy(clips[1], house.inbox)
    house.see("done: published as 1.mp4")
    assert house.stop() == 0


def test_a_second_stop_signal_ends_it_at_once_and_nothing_is_lost(
    houses: list[House], tmp_path: Path, film: Path
) -> None:
    house = furnish(houses, tmp_path, [film])
    house.start()
    house.see("segments to do")
    kill_workers(house, signal.SIGSTOP)
    os.kill(house.pid(), signal.SIGTERM)
    house.see("a second signal stops at once")
    assert house.stop(signal.SIGTERM) == 0
    assert house.drain() == 0
    assert list(house.results()) == ["0.mp4"]


def test_a_configuration_that_is_being_edited_harms_no_worker_that_starts_meanwhile(
    houses: list[House], tmp_path: Path, clips: list[Path]
) -> None:
    house = furnish(houses, tmp_path, [])
    house.start()
    house.see("jobs may start")
    house.config.write_text("folders: [half of")
    os.kill(house.pid(), signal.SIGHUP)
    house.see("going on with the configuration as it was")
    shutil.copy(clips[0], house.inbox)
    house.see("job=1 0.mp4 publishing")
    house.see("done: published as 0.mp4")
    assert house.stop() == 0


def test_a_cancel_is_heard_while_a_stop_waits_for_the_running_segment(
    houses: list[House], tmp_path: Path, film: Path
) -> None:
    house = furnish(houses, tmp_path, [film])
    house.start()
    house.see("segments to do")
    kill_workers(house, signal.SIGSTOP)
    os.kill(house.pid(), signal.SIGTERM)
    house.see("a second signal stops at once")
    assert house.command("cancel", "1").returncode == 0
    kill_workers(house, signal.SIGCONT)
    assert house.wait() == 0
    assert "cancelled" in house.command("jobs").stdout


def test_a_worker_that_is_preloaded_is_there_before_its_first_job_and_stays(
    houses: list[House], tmp_path: Path, clips: list[Path]
) -> None:
    house = furnish(houses, tmp_path, [], preload=True, keep_warm=0)
    house.start()
    wait_until(lambda: len(house.workers()) == 1)
    first = house.workers()
    for number in range(2):
        shutil.copy(clips[number], house.inbox)
        house.see(f"done: published as {number}.mp4")
        assert house.workers() == first, "an idle worker went, though its model was to stay"
    os.kill(house.pid(), signal.SIGHUP)
    house.see("is in force")
    wait_until(lambda: len(house.workers()) == 1 and house.workers() != first)
    assert house.stop() == 0


def test_a_preloaded_worker_that_is_killed_comes_back_with_the_next_job(
    houses: list[House], tmp_path: Path, clips: list[Path]
) -> None:
    house = furnish(houses, tmp_path, [], preload=True)
    house.start()
    wait_until(lambda: len(house.workers()) == 1)
    kill_workers(house)
    wait_until(lambda: house.workers() == [])
    shutil.copy(clips[0], house.inbox)
    house.see("done: published as 0.mp4")
    assert house.stop() == 0
