import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_S

from darkroom.daemon import crew as crew_module
from darkroom.daemon.config import Config
from darkroom.daemon.crew import RATE_WINDOW_S, Crew
from darkroom.daemon.job import Job, NewJob, Signature
from darkroom.daemon.journal import Journal
from darkroom.daemon.lock import take_lock
from darkroom.daemon.wire import DRAIN
from darkroom.pipelines.errors import Unavailable

CONFIG = Config.model_validate(
    {"folders": [{"name": "films", "pipeline": "upscale", "inbox": "/in", "outbox": "/out"}]}
)

# What a worker says and does, without any work. Its device says how it behaves.
WORKER = """
import os, signal, sys, time
from multiprocessing.connection import Connection
_, device, fd, parent = sys.argv[1:]
assert int(parent) == os.getppid()
pipe = Connection(int(fd))
if device == "broken":
    sys.exit(78)
while True:
    try:
        message = pipe.recv()
    except EOFError:
        sys.exit(0)
    if "config" in message:
        if device == "warm":
            pipe.send({"stage": "loading the model"})
            pipe.send({"stage": "", "what": "photo", "loaded": True})
        continue
    if device == "deaf":
        time.sleep(600)
    if "wish" in message:
        if message["wish"] == "drain" or device == "touchy":
            pipe.close()  # gone as far as anybody hears, but a while in going
            time.sleep(0.3)
            sys.exit(0)
        pipe.send({"wished": message["wish"]})
        continue
    job = message["claimed"]
    pipe.send({"job": job, "stage": "segment 1 of 1", "unit": "frame", "units": 10, "done": 0, "what": "anime"})
    pipe.send({"job": job, "pid_of_worker": os.getpid()})
    if device == "falls":
        os.kill(os.getpid(), signal.SIGSEGV)
    if device == "quick":
        pipe.send({"job": job, "done": 10})
        pipe.send({"job": job, "ended": True})
"""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    with Journal(tmp_path / "journal.db") as journal:
        signature = Signature(size_bytes=1, mtime_ns=2, inode=3)
        (number,) = journal.enqueue([NewJob(folder="films", pipeline="upscale", path=b"a", signature=signature)], 1.0)
        return journal.job(number)


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[int]:
    handle = take_lock(tmp_path)
    yield handle
    os.close(handle)


@pytest.fixture
def hire(tmp_path: Path, lock: int) -> Iterator[Callable[..., Crew]]:
    """Make crews whose workers do not outlive the test."""
    hired: list[Crew] = []

    def make(
        device: str, command: tuple[str, ...] = (sys.executable, "-c", WORKER), goodbye_s: float = PATIENCE_S
    ) -> Crew:
        hired.append(Crew(tmp_path / "config.yaml", CONFIG, device, lock, command=command, goodbye_s=goodbye_s))
        return hired[-1]

    yield make
    for crew in hired:
        crew.kill()
        if crew.pipe is not None:
            crew.pipe.close()


def hear(crew: Crew, word: str, times: int = 1) -> dict[str, list[Any]]:
    """Return all that was said, by word, once `word` was said so many times."""
    said: dict[str, list[Any]] = {}
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert crew.pipe is not None, "it hung up"
        wait([crew.pipe], PATIENCE_S)
        for message in crew.hear():
            for key, value in message.items():
                said.setdefault(key, []).append(value)
        if len(said.get(word, [])) >= times:
            return said
    pytest.fail(f"{word} was never said")


def pid_of_worker(crew: Crew) -> int:
    """Wait for the worker's first words on its job; return its process number by its own account."""
    return int(hear(crew, "pid_of_worker")["pid_of_worker"][-1])


def fate(crew: Crew) -> int:
    """Wait for the end of the worker and return its status."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        crew.hear()
        if (status := crew.fate()) is not None:
            return status
        time.sleep(0.01)
    pytest.fail("it never ended")


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


# -- a worker's life -------------------------------------------------------------------------------------------------


def test_no_worker_is_started_before_there_is_a_job(hire: Callable[..., Crew]) -> None:
    crew = hire("quick")
    assert (crew.pid, crew.pipe, crew.fate(), crew.now().state) == (0, None, None, "off")
    crew.ask(DRAIN)
    crew.retire()
    crew.kill()
    assert crew.hear() == []


def test_one_worker_does_job_after_job(hire: Callable[..., Crew], job: Job) -> None:
    crew = hire("quick")
    pids = set()
    for _ in range(3):
        crew.give(job)
        assert crew.now().state == "busy" and crew.job == job
        pids |= set(hear(crew, "ended")["pid_of_worker"])
        crew.finished()
        assert crew.now().state == "idle" and crew.job is None
    assert pids == {crew.pid}


def test_the_picture_of_a_busy_worker_says_how_far_it_is(hire: Callable[..., Crew], job: Job) -> None:
    crew = hire("slow")
    crew.give(job)
    assert crew.now().stage == "starting"
    hear(crew, "units")
    now = crew.now()
    assert (now.job, now.name, now.stage, now.units, now.done) == (job.id, "a", "segment 1 of 1", 10, 0)
    assert (now.pid, now.what) == (crew.pid, "anime")


def test_a_worker_that_falls_is_told_with_its_signal_until_that_is_recorded(
    hire: Callable[..., Crew], job: Job
) -> None:
    crew = hire("falls")
    crew.give(job)
    assert fate(crew) == -signal.SIGSEGV
    assert crew.fate() == -signal.SIGSEGV, "recording it may have failed the first time"
    assert crew.job == job and crew.pipe is None
    crew.finished()
    assert crew.fate() == -signal.SIGSEGV and crew.fate() is None and crew.pid == 0


def test_a_worker_that_cannot_start_work_is_told_with_its_status(hire: Callable[..., Crew], job: Job) -> None:
    crew = hire("broken")
    crew.give(job)
    assert fate(crew) == 78


def test_words_to_a_worker_that_is_gone_are_no_error(hire: Callable[..., Crew], job: Job) -> None:
    crew = hire("slow")
    crew.give(job)
    hear(crew, "units")
    os.kill(crew.pid, signal.SIGKILL)
    assert crew._process is not None
    crew._process.wait(PATIENCE_S)
    for _ in range(2):
        crew.ask("cancel")
        crew.ask(DRAIN)
    assert fate(crew) == -signal.SIGKILL


def test_after_a_fall_the_next_job_gets_a_new_worker(hire: Callable[..., Crew], job: Job) -> None:
    crew = hire("slow")
    crew.give(job)
    first = pid_of_worker(crew)
    crew.kill()
    crew.finished()
    crew.give(job)
    assert pid_of_worker(crew) != first and not is_there(first)


def test_a_worker_that_is_ended_is_told_with_the_first_reason_and_the_next_job_begins_without_one(
    hire: Callable[..., Crew], job: Job
) -> None:
    crew = hire("slow")
    assert crew.memory_bytes == 0
    crew.give(job)
    pid_of_worker(crew)
    assert crew.memory_bytes > 2**20
    crew.end("it took too much")
    crew.end("it has not moved")
    assert crew.ended_for == "it took too much and was ended"
    assert fate(crew) == -signal.SIGKILL and crew.memory_bytes == 0
    crew.finished()
    crew.give(job)
    assert crew.ended_for == ""


def test_a_program_that_cannot_be_started_is_the_machines_fault(hire: Callable[..., Crew], job: Job) -> None:
    crew = hire("quick", command=("/nowhere/python",))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(Unavailable, match="/nowhere/python: No such file"):
        crew.give(job)
    assert (crew.job, crew.pipe, crew.pid) == (None, None, 0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_worker_that_is_warmed_up_says_what_it_loads_and_takes_the_next_job(
    hire: Callable[..., Crew], job: Job
) -> None:
    crew = hire("warm")
    crew.warm()
    assert (crew.now().state, crew.now().what) == ("idle", "warm"), "the device, as long as no more is known"
    assert hear(crew, "loaded")["stage"] == ["loading the model", ""]
    assert (crew.now().state, crew.now().stage, crew.now().what) == ("idle", "", "photo")
    warmed = crew.pid
    crew.warm()
    crew.give(job)
    assert pid_of_worker(crew) == crew.pid == warmed
    crew.finished()
    assert (crew.now().state, crew.now().what) == ("idle", "anime"), "what the last job left loaded"


def test_a_worker_that_ends_as_it_warms_up_leaves_nothing_behind(hire: Callable[..., Crew], job: Job) -> None:
    crew = hire("broken")
    crew.warm()
    assert fate(crew) == 78
    assert crew.pid == 0 and crew.fate() is None
    crew.give(job)
    assert crew.pid and crew.job == job


# -- asked to go -----------------------------------------------------------------------------------------------------


def test_a_wish_is_sent_once_for_each_job(hire: Callable[..., Crew], job: Job) -> None:
    crew = hire("slow")
    crew.give(job)
    for wish in ("cancel", "cancel", "hold", "cancel"):
        crew.ask(wish)
    crew.finished()
    crew.give(job)
    crew.ask("cancel")
    assert hear(crew, "wished", times=3)["wished"] == ["cancel", "hold", "cancel"]


def test_a_worker_asked_to_go_is_seen_off_before_the_next_job(hire: Callable[..., Crew], job: Job) -> None:
    crew = hire("quick")
    crew.give(job)
    first = pid_of_worker(crew)
    crew.finished()
    crew.ask(DRAIN)
    crew.ask("cancel")  # whatever is asked after it
    crew.give(job)
    assert not is_there(first)
    assert pid_of_worker(crew) != first


def test_a_worker_that_hung_up_and_is_still_going_gets_no_job(hire: Callable[..., Crew], job: Job) -> None:
    crew = hire("touchy")
    crew.give(job)
    first = pid_of_worker(crew)
    crew.finished()
    crew.ask("cancel")
    assert crew.pipe is not None
    wait([crew.pipe], PATIENCE_S)
    crew.hear()
    assert crew.pipe is None and is_there(first)
    crew.give(job)
    assert pid_of_worker(crew) != first


def test_a_worker_that_does_not_listen_is_killed_when_it_should_go(hire: Callable[..., Crew], job: Job) -> None:
    crew = hire("deaf", goodbye_s=0.05)
    crew.give(job)
    first = crew.pid
    crew.ask(DRAIN)
    crew.finished()
    crew.give(job)
    assert not is_there(first) and crew.pid != first


def test_an_idle_worker_is_kept_warm_for_a_time_only(hire: Callable[..., Crew], job: Job) -> None:
    crew = hire("quick")
    crew.give(job)
    crew.retire(0.0)
    hear(crew, "ended")
    crew.finished()
    crew.retire(600.0)
    assert is_there(crew.pid) and crew.fate() is None
    crew.moved -= 601.0
    crew.retire(600.0)
    assert fate(crew) == 0


# -- the lock --------------------------------------------------------------------------------------------------------


def test_a_killed_daemons_lock_is_held_until_its_worker_is_gone_too(tmp_path: Path, job: Job) -> None:
    handle = take_lock(tmp_path)
    crew = Crew(tmp_path / "config.yaml", CONFIG, "slow", handle, command=(sys.executable, "-c", WORKER))
    crew.give(job)
    hear(crew, "units")
    os.close(handle)  # as when the daemon is killed
    with pytest.raises(Unavailable):
        take_lock(tmp_path, patience_s=0)
    crew.kill()
    os.close(take_lock(tmp_path, patience_s=0))
    fate(crew)


def test_only_the_worker_inherits_the_lock(hire: Callable[..., Crew], job: Job, lock: int) -> None:
    crew = hire("slow")
    crew.give(job)
    hear(crew, "units")
    assert Path(f"/proc/{crew.pid}/fd/{lock}").readlink().name == "lock"
    assert not os.get_inheritable(lock)


# -- progress --------------------------------------------------------------------------------------------------------


def test_the_rate_is_that_of_the_last_minute(
    hire: Callable[..., Crew], job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    crew = hire("slow")
    crew.give(job)
    hear(crew, "units")
    monkeypatch.setattr(crew_module, "time", clock)
    crew._ticks.clear()
    crew._note({"job": job.id, "units": 100_000})
    done = 0
    for speed in (1, 10):
        for _ in range(int(2 * RATE_WINDOW_S)):
            clock.now += 1
            done += speed
            crew._note({"job": job.id, "done": done})
    now = crew.now()
    assert now.rate == pytest.approx(10)
    assert now.eta_s == pytest.approx((100_000 - done) / 10)
    assert crew.moved == clock.now and len(crew._ticks) <= RATE_WINDOW_S + 1
