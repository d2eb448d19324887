"""What those who run Darkroom do to it, and what machines do: stops at any time, lost devices, logs nobody reads."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from house import wait_until
from patience import PATIENCE_S
from workshop import LOST, Workshop

from darkroom.daemon.supervisor import PULSE_S


@pytest.fixture
def shops() -> Iterator[list[Workshop]]:
    made: list[Workshop] = []
    yield made
    for shop in made:
        shop.clear()


@pytest.fixture
def shop(tmp_path: Path, shops: list[Workshop]) -> Workshop:
    shops.append(Workshop(tmp_path / "shop", {"drain": 1, "retry_delays": [600]}))
    return shops[0]


def assert_all_is_well(shop: Workshop, *names: str) -> None:
    """Nothing is lost, nothing is there twice, nothing lies about, and nobody is blamed."""
    assert sorted(shop.results()) == sorted(f"{name}.out" for name in names)
    assert sorted(path.name for path in shop.inbox.glob("*.txt")) == sorted(f"{name}.txt" for name in names)
    assert shop.strays() == []
    assert {(job.state, job.crashes, job.failures) for job in shop.jobs().values()} == {("done", 0, 0)}


# -- a stop, whatever it interrupts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "what"),
    [
        ("darkroom.recovery.begun", ""),  # before READY
        ("os.scandir", "inbox"),  # a look at an inbox that does not answer
        ("darkroom.place.draft-written", ""),  # publishing
    ],
)
def test_a_stop_waits_for_what_is_not_to_be_interrupted_and_no_longer_than_it_may(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, event: str, what: str
) -> None:
    go_on = shop.root / "go-on"
    monkeypatch.setenv("WORKSHOP_STAYS", f"{event}|{shop.root / what if what else ''}|{go_on}")
    shop.put("nail")
    shop.start()
    wait_until(go_on.with_suffix(".reached").exists)
    os.kill(shop.pid(), signal.SIGTERM)
    if event.startswith("darkroom."):
        go_on.touch()
    assert shop.wait() == 0
    go_on.touch()
    assert shop.drain() == 0
    assert_all_is_well(shop, "nail")


def test_a_stop_while_the_model_loads_starts_no_segment(shop: Workshop) -> None:
    model = shop.root / "model"
    with shop.settings() as settings:
        settings["folders"][0]["options"] = {"model": str(model)}
        settings["worker"]["drain"] = 600
    shop.put("nail")
    shop.start()
    shop.see("segments to do")
    os.kill(shop.pid(), signal.SIGTERM)
    shop.see("stopping, once the running segment is finished")
    model.touch()
    assert shop.wait() == 0
    assert not any("segment 1 of 1 done" in line for line in shop.lines) and shop.states() == {"nail": "queued"}
    assert shop.drain() == 0
    assert_all_is_well(shop, "nail")


@pytest.mark.parametrize("loading", [True, False])
def test_a_stop_that_takes_longer_than_worker_drain_ends_the_worker_and_blames_nobody(
    shop: Workshop, loading: bool
) -> None:
    go_on = shop.root / "go-on"
    with shop.settings() as settings:
        settings["folders"][0]["options"] = {"model": str(go_on)} if loading else {}
    shop.put("nail", "first", f"silent {go_on}", "last")
    shop.start()
    shop.see("segments to do" if loading else "segment 1 of 3 done")
    assert shop.stop() == 0 and shop.workers() == []
    assert shop.states() == {"nail": "queued"}
    go_on.touch()
    mark = len(shop.lines)
    assert shop.drain() == 0
    assert_all_is_well(shop, "nail")
    assert loading or any("2 of 3 segments to do" in line for line in shop.lines[mark:])


def test_a_stop_between_jobs_ends_at_once_and_leaves_the_queue(shop: Workshop) -> None:
    shop.put("nail")
    shop.start()
    shop.see("done: published")
    shop.hold()
    shop.put("horseshoe")
    shop.see("horseshoe.txt queued in iron")
    assert shop.stop(signal.SIGINT) == 0
    assert shop.states() == {"nail": "done", "horseshoe": "queued"}
    shop.release()
    assert shop.drain() == 0
    assert_all_is_well(shop, "nail", "horseshoe")


# -- what systemd hears ----------------------------------------------------------------------------------------------


class Manager:
    """Hears what is said to the service manager."""

    def __init__(self, door: socket.socket) -> None:
        self.said: list[bytes] = []
        self._door = door
        threading.Thread(target=self._listen, daemon=True).start()

    def hear(self, words: bytes, times: int = 1) -> None:
        """Wait until `words` are said from now on, so many times."""
        since = len(self.said)
        wait_until(lambda: sum(words in said for said in self.said[since:]) >= times)

    def settle(self) -> None:
        """Wait until nothing has been said for as long as four turns of a loop that goes round take."""
        heard = -1
        while heard < len(self.said):
            heard = len(self.said)
            time.sleep(4 * PULSE_S)

    def _listen(self) -> None:
        with suppress(OSError):
            while words := self._door.recv(4096):
                self.said.append(words)


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield Manager(door)
        door.shutdown(socket.SHUT_RD)


def add_folder(shop: Workshop, name: str, **own: Any) -> Path:
    with shop.settings() as settings:
        settings["folders"].append(
            settings["folders"][0] | {"name": name, "inbox": name, "outbox": f"{name}-out"} | own
        )
    inbox = shop.root / name
    inbox.mkdir()
    return inbox


def test_an_inbox_that_hangs_holds_up_neither_the_watchdog_nor_another_folder(
    shop: Workshop, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, go_on = add_folder(shop, "tin"), shop.root / "go-on"
    monkeypatch.setenv("WORKSHOP_STAYS", f"os.scandir|{shop.inbox}|{go_on}")
    shop.put("nail")
    (other / "pan.txt").write_text("pan")
    shop.start()
    shop.see("done: published as pan.out")
    manager.hear(b"WATCHDOG=1", times=3)
    assert manager.said.count(b"READY=1") == 1
    assert shop.states() == {"pan": "done"}
    go_on.touch()
    shop.see("done: published as nail.out")
    assert shop.stop() == 0


def test_a_worker_that_hangs_holds_up_no_watchdog_and_is_told_of(shop: Workshop, manager: Manager) -> None:
    shop.put("nail", f"silent {shop.root / 'never'}")
    shop.start()
    manager.hear(b"STATUS=job 1 nail.txt: segment 1 of 1")
    manager.hear(b"WATCHDOG=1", times=3)
    assert shop.stop() == 0
    assert any(b"STOPPING=1\nEXTEND_TIMEOUT_USEC=" in said for said in manager.said)


def test_a_stop_that_waits_for_a_segment_goes_round_no_faster_though_a_look_at_the_inbox_is_due(
    shop: Workshop, manager: Manager
) -> None:
    go_on = shop.root / "go-on"
    with shop.settings() as settings:
        settings["worker"]["drain"] = 600
        settings["watch"] = {"scan_local": 1}
    shop.put("nail", f"silent {go_on}")
    shop.start()
    shop.see("segments to do")
    os.kill(shop.pid(), signal.SIGTERM)
    shop.see("stopping, once the running segment is finished")
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + 3)
    rounds = sum(said.startswith(b"STOPPING=1") for said in manager.said)
    assert 0 < rounds < (time.monotonic() - began) / PULSE_S + 5
    go_on.touch()
    assert shop.wait() == 0


def test_a_main_loop_that_hangs_is_silent_so_that_systemd_ends_it_and_nothing_is_lost(
    shop: Workshop, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKSHOP_STAYS", f"os.rename|{shop.state / '.live.json.draft'}|{shop.root / 'never'}")
    shop.put("nail")
    shop.start()
    wait_until((shop.root / "never.reached").exists)
    manager.settle()
    assert b"READY=1" in manager.said
    shop.kill()
    monkeypatch.delenv("WORKSHOP_STAYS")
    assert shop.drain() == 0
    assert_all_is_well(shop, "nail")


# -- poison, and devices that fail -----------------------------------------------------------------------------------


def test_a_poisonous_file_at_the_head_of_the_queue_is_set_aside_and_the_rest_goes_on(shop: Workshop) -> None:
    urgent = add_folder(shop, "urgent", priority=1000)
    (urgent / "bomb.txt").write_text("first\ndeadly")
    for name in "abc":
        shop.put(name)
    assert shop.drain() == 3
    assert shop.states() == {"bomb": "quarantined", "a": "done", "b": "done", "c": "done"}
    bomb = shop.jobs()["bomb"]
    assert "the worker was ended by SIGKILL" in bomb.reason and "2 times at segment 2" in bomb.reason
    assert (urgent / "bomb.txt").exists()
    assert shop.drain() == 0, "it is tried again when it changes only"


def test_three_files_that_end_the_worker_are_held_against_the_machine_and_none_is_lost(shop: Workshop) -> None:
    sources = [shop.put(name, f"{name} 1", "deadly") for name in "abc"]
    assert shop.drain() == 75
    reason = "3 jobs in a row ended the worker on cpu, and last the worker was ended by SIGKILL (out of memory?)"
    assert any(f"no job starts: on hold: {reason}" in line for line in shop.lines)
    assert reason in shop.command("status").stdout
    assert "quarantined" not in shop.states().values()
    for source in sources:
        source.write_text(source.stem)
    shop.release()
    assert shop.drain() == 0
    assert_all_is_well(shop, "a", "b", "c")


def test_a_device_that_was_lost_is_found_again_by_a_new_worker(shop: Workshop) -> None:
    well = shop.root / "well"
    with shop.settings() as settings:
        settings["worker"]["retry_delays"] = [10]
    shop.put("nail", "first", f"device {well}")
    shop.start()
    shop.see("next try in")
    well.touch()
    shop.see("done: published as nail.out")
    assert shop.stop() == 0
    started = [line for line in shop.lines if "started on cpu" in line]
    assert len(started) >= 2 and sum("segment 1 of 2 done" in line for line in shop.lines) == 1
    assert not any("a bug in Darkroom" in line for line in shop.lines)
    assert f"cpu: {LOST}; next try in" in shop.command("show", "1").stdout
    assert shop.results() == {"nail.out": f"FIRST\nDEVICE {well}\n".upper().encode()} and shop.strays() == []


def test_a_device_that_stays_lost_pauses_the_queue_and_no_file_is_blamed(shop: Workshop) -> None:
    well = shop.root / "well"
    for name in "abcd":
        shop.put(name, f"device {well}", name)
    assert shop.drain() == 75
    (line,) = (line for line in shop.lines if "no job starts: on hold" in line)
    assert f"3 jobs in a row ended the worker on cpu, and last cpu: {LOST}" in line
    assert set(shop.states().values()) == {"queued"}
    well.touch()
    shop.release()
    assert shop.drain() == 0
    assert_all_is_well(shop, "a", "b", "c", "d")


def test_of_two_devices_the_one_that_stays_lost_is_put_on_hold_and_the_other_does_all(tmp_path: Path) -> None:
    shop = Workshop(tmp_path / "shop", {"devices": ["cpu", "cuda:7"]})
    go = shop.root / "go"
    for name in "abcd":
        shop.put(name, "broken cuda:7", f"silent {go}", name)
    shop.start()
    shop.see("cuda:7: on hold: 3 jobs in a row ended the worker on cuda:7")
    wait_until(lambda: "cuda:7: on hold: 3 jobs" in shop.command("status").stdout)
    go.touch()
    wait_until(lambda: set(shop.states().values()) == {"done"})
    assert not any("no job starts: on hold" in line for line in shop.lines)
    assert shop.stop() == 0
    shop.put("e", "after a start")
    assert shop.drain() == 0
    assert "job=5 e.txt started on cpu" in "".join(shop.lines), "the hold outlives the daemon"
    shop.release()
    assert "on hold" not in shop.command("status").stdout


# -- nobody listens --------------------------------------------------------------------------------------------------


def full_pipe() -> tuple[int, int]:
    """Return both ends of a pipe that takes no more."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while os.write(writing, b"." * 65536):
            pass
    os.set_blocking(writing, True)
    return reading, writing


@pytest.mark.parametrize("stream", ["a full pipe", "a full disk", "closed"])
def test_a_log_that_nobody_takes_holds_up_no_work(shop: Workshop, stream: str) -> None:
    shop.put("nail", "first", "second")
    ends = full_pipe() if stream == "a full pipe" else (os.open("/dev/full", os.O_WRONLY),)
    command = [*shop.program, "--config", str(shop.config), "run", "--drain"]
    if stream == "closed":
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    assert subprocess.run(command, stderr=ends[-1], timeout=PATIENCE_S, check=False).returncode == 0
    for end in ends:
        os.close(end)
    assert_all_is_well(shop, "nail")
    assert (shop.state / "lock").stat().st_size == 0, "what was to be said was written elsewhere"


@pytest.mark.parametrize("there", [True, False])
def test_a_service_manager_that_does_not_listen_holds_up_no_work(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
    with socket.socket(socket.AF_UNIX, kind) as door, socket.socket(socket.AF_UNIX, kind) as filling:
        if there:
            door.bind(str(tmp_path / "notify"))
            with suppress(BlockingIOError):
                while filling.sendto(b"." * 100, str(tmp_path / "notify")):
                    pass
        shop.put("nail")
        assert shop.drain() == 0
    assert_all_is_well(shop, "nail")
