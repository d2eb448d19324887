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
import workshop
from house import House, cut_clip, wait_until

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
    house.clear()


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
    house.signal_workers(signal.SIGKILL)
    assert house.wait() == 0
    assert_as_undisturbed(house, undisturbed)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_daemon_and_worker_killed_at_random_moments_lose_nothing(
    house: House, undisturbed: dict[str, bytes], seed: int
) -> None:
    dice = random.Random(seed)
    for _ in range(4):
        mark = len(house.lines)
        house.start()
        moment = dice.choice([" started on", "segments to do", "segment", "done"])
        wait_until(
            lambda mark=mark, moment=moment: any(moment in line or " done: " in line for line in house.lines[mark:])
        )
        if dice.random() < 0.5:
            house.signal_workers(signal.SIGKILL)
        house.kill()
        if "done: " in house.lines[-1]:
            break
    assert house.drain() == 0
    assert_as_undisturbed(house, undisturbed)


def test_a_stop_lets_the_running_segment_finish_and_the_next_start_goes_on(
    house: House, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = house.root / "go-on"
    with monkeypatch.context() as held:
        held.setenv("WORKSHOP_STAYS", f"os.rename|000001.*draft*|{go_on}")  # when the second part is to get its name
        house.program = workshop.PROGRAM
        house.start()
        wait_until(go_on.with_suffix(".reached").exists)
        os.kill(house.pid(), signal.SIGTERM)
        house.see("stopping, once the running segment is finished")
        go_on.touch()
        assert house.wait() == 0
    assert len(made_parts(house)) == 2 and house.results() == {}
    assert house.drain() == 0
    assert any("3 of 5 segments to do" in line for line in house.lines)
    assert_as_undisturbed(house, undisturbed)
