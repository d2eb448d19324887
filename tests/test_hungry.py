"""A worker that falls or takes too much: the daemon lives, the job is charged, its parts stay, the others go on."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import hungry
import pytest
from house import House, wait_until

CGROUPS = Path("/sys/fs/cgroup")
ROOM_BYTES = 320 * 2**20  # for daemon and worker together, and less than the toy takes


class Eatery(House):
    """A house whose pipeline is the toy `hungry`."""

    program: tuple[str, ...] = hungry.PROGRAM

    def __init__(self, root: Path, worker: dict[str, object] | None = None) -> None:
        options = {"prompt": "fed", "strokes": 3}
        super().__init__(root, worker, name="art", pipeline="paint", options=options)

    def put(self, name: str, words: str) -> None:
        (self.inbox / name).write_text(words)

    def told(self) -> dict[str, tuple[str, str]]:
        """Return state and reason of each job, by name."""
        answer = self.command("jobs", "--json")
        assert answer.returncode == 0, answer.stderr
        return {job["name"]: (job["state"], job["reason"]) for job in json.loads(answer.stdout)}


def assert_first_strokes_were_kept(house: Eatery, name: str) -> None:
    made = [line for line in house.lines if f" {name} segment 1 of 3 done" in line]
    assert len(made) == 1, "the part before the fall was made again"


def test_a_fault_in_native_code_costs_its_job_two_attempts_and_the_others_nothing(tmp_path: Path) -> None:
    house = Eatery(tmp_path / "house")
    house.put("a.jpg", "fault")
    house.put("b.jpg", "good")
    assert house.drain() == 3
    told = house.told()
    assert told["b.jpg"][0] == "done" and list(house.results()) == ["b.out"]
    state, reason = told["a.jpg"]
    assert state == "quarantined"
    assert reason == "the worker was ended by SIGSEGV, 2 times at segment 2; `darkroom retry 1` tries again"
    assert_first_strokes_were_kept(house, "a.jpg")


def test_a_worker_that_takes_more_than_its_memory_is_ended_and_the_reason_says_so(tmp_path: Path) -> None:
    house = Eatery(tmp_path / "house", worker={"memory": "256 MiB"})
    house.put("a.jpg", "glutton")
    house.put("b.jpg", "good")
    assert house.drain() == 3
    told = house.told()
    assert told["b.jpg"][0] == "done" and list(house.results()) == ["b.out"]
    state, reason = told["a.jpg"]
    assert state == "quarantined"
    taken = r"the worker took \d+ MiB of memory, more than worker\.memory \(256 MiB\) and was ended"
    assert re.fullmatch(rf"{taken}, 2 times at segment 2; `darkroom retry 1` tries again", reason)
    assert_first_strokes_were_kept(house, "a.jpg")


def test_three_files_too_large_for_the_memory_hold_the_queue_and_the_hold_says_why(tmp_path: Path) -> None:
    house = Eatery(tmp_path / "house", worker={"memory": "256 MiB"})
    for number in range(3):
        house.put(f"{number}.jpg", f"glutton {number}")
    house.start("--drain")
    line = house.see("no job starts: on hold")
    assert "3 jobs in a row ended the worker" in line and "more than worker.memory (256 MiB)" in line
    assert house.wait() == 75
    assert {state for state, _ in house.told().values()} == {"queued"}


@pytest.fixture
def small_room() -> Iterator[Path]:
    """A cgroup with little memory, of version 2 or 1; skips where none can be made."""
    places = {CGROUPS: "memory.max", CGROUPS / "memory": "memory.limit_in_bytes"}
    own = (f"{place}/darkroom-test-{os.getpid()}" for place, limit in places.items() if any(place.glob(f"*/{limit}")))
    if os.geteuid() != 0 or (room := next(map(Path, own), None)) is None:
        pytest.skip("no cgroup with a limit of memory can be made here: that takes root and a memory controller")
    try:
        room.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        for limit in places.values():
            if (room / limit).exists():
                (room / limit).write_text(str(ROOM_BYTES))
        yield room
    finally:
        for pid in (room / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        wait_until(lambda: not (room / "cgroup.procs").read_text())
        room.rmdir()


def test_the_kernel_short_of_memory_takes_the_worker_and_leaves_the_daemon(tmp_path: Path, small_room: Path) -> None:
    house = Eatery(tmp_path / "house", worker={"memory": "64 TiB"})  # so that it is the kernel who ends it
    house.program = ("/bin/sh", "-c", f'echo $$ > {small_room}/cgroup.procs; exec "$@"', "sh", *hungry.PROGRAM)
    house.put("a.jpg", "balloon")
    house.put("b.jpg", "good")
    assert house.drain() == 3
    house.program = hungry.PROGRAM
    told = house.told()
    assert told["b.jpg"][0] == "done" and list(house.results()) == ["b.out"]
    assert told["a.jpg"] == (
        "quarantined",
        "the worker was ended by SIGKILL (out of memory?), 2 times at segment 2; `darkroom retry 1` tries again",
    )
    assert_first_strokes_were_kept(house, "a.jpg")
