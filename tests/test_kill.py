"""Kill it whenever: the result is that of an undisturbed run, to the byte, and nothing is left behind."""

import os
import random
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import House, cut_clip

ROUNDS = int(os.environ.get("DARKROOM_KILL_ROUNDS", "1"))  # of random kills; 20 were run before each release


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut_clip(tmp_path_factory.mktemp("clip") / "film.mp4")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> dict[str, bytes]:
    """What comes out when nobody kills anything: five segments of eight frames."""
    house = House(tmp_path_factory.mktemp("calm") / "house")
    shutil.copy(clip, house.inbox)
    assert house.drain() == 0
    assert sum("of 5 done" in line for line in house.lines) == 5
    return house.results()


@pytest.fixture
def house(tmp_path: Path, clip: Path) -> Iterator[House]:
    house = House(tmp_path / "house")
    shutil.copy(clip, house.inbox)
    yield house
    for pid in house.workers():
        os.kill(pid, signal.SIGKILL)


def made_parts(house: House) -> Counter[str]:
    return Counter(match[0] for line in house.lines if (match := re.search(r"segment \d+ of \d+ done", line)))


def assert_as_undisturbed(house: House, undisturbed: dict[str, bytes]) -> None:
    assert house.results() == undisturbed
    assert house.strays() == []
    assert max(made_parts(house).values()) == 1, "a finished part was made again"
    assert house.drain() == 0, "a further run finds nothing to do"
    assert house.results() == undisturbed


MOMENTS = [
    "started on",
    "segment 1 of 5 done",
    "publishing",
    " done: ",
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_daemon_killed_at_any_state_loses_nothing(house: House, undisturbed: dict[str, bytes], moment: str) -> None:
    house.start()
    house.see(moment)
    house.kill()
    assert house.drain() == 0
    assert_as_undisturbed(house, undisturbed)


@pytest.mark.parametrize("moment", ["segments to do", "segment 2 of 5 done", "publishing"])
def test_worker_killed_at_any_state_loses_nothing(house: House, undisturbed: dict[str, bytes], moment: str) -> None:
    house.start("--drain")
    house.see(moment)
    for pid in house.workers():
        os.kill(pid, signal.SIGKILL)
    assert house.wait() == 0
    assert_as_undisturbed(house, undisturbed)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_daemon_and_worker_killed_at_random_moments_lose_nothing(
    house: House, undisturbed: dict[str, bytes], seed: int
) -> None:
    dice = random.Random(seed)
    for _ in range(4):
        house.start()
        mark = len(house.lines)
        moment = dice.choice([" started on", "segments to do", "segment", "done"])
        try:
            house.see(moment, mark)
        except (StopIteration, AssertionError):
            pytest.fail(f"no line with {moment!r} in {house.lines}")
        if dice.random() < 0.5:
            for pid in house.workers():
                os.kill(pid, signal.SIGKILL)
        house.kill()
        if "done: " in house.lines[-1]:
            break
    assert house.drain() == 0
    assert_as_undisturbed(house, undisturbed)


def test_a_stop_lets_the_running_segment_finish_and_the_next_start_goes_on(tmp_path: Path) -> None:
    slow = {"model": "photo", "backend": "torch", "segment_frames": 8}
    house = House(tmp_path / "house", options=slow)
    cut_clip(house.inbox / "film.mp4", 80, size=(160, 90))
    house.start()
    house.see("segment 1 of 10 done")
    assert house.stop() == 0
    done = len(made_parts(house))
    assert 0 < done < 10 and house.results() == {}
    assert house.drain() == 0
    assert any(f"{10 - done} of 10 segments to do" in line for line in house.lines)
    assert max(made_parts(house).values()) == 1 and house.strays() == []
    assert list(house.results()) == ["film.mp4"]
