"""A whole daemon and its disks: full, out of inodes, over quota, read-only, dead, without power; and of many kinds."""

import os
import signal
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import studio
from house import House, wait_until
from one_job import OneJob, use_toys
from power import Disk, disk

from darkroom.daemon.backup import damage
from darkroom.daemon.ending import UNAVAILABLE
from darkroom.daemon.journal import FILE
from darkroom.daemon.states import State

PICTURES = {"a.png": b"one picture", "b.png": b"another"}


class Studio(House):
    """A house whose jobs paint their prompt, each once the file `go` is there."""

    program = studio.PROGRAM

    def __init__(self, root: Path, **folder: Any) -> None:
        super().__init__(root, worker={"retry_delays": ["1 s"], "attempts": 2}, pipeline="paint", **folder)
        self.go = root / "go"
        with self.settings() as settings:
            settings["watch"] = {"scan_local": 1, "scan_network": 1}
            settings["folders"][0]["options"] = {"prompt": "a cat", "strokes": 3, "after": str(self.go)}

    def furnish(self) -> None:
        for name, content in PICTURES.items():
            (self.inbox / name).write_bytes(content)

    def assert_all_is_done(self) -> None:
        assert self.results() == {name.replace(".png", ".out"): b"a cat\n" * 3 for name in PICTURES}
        assert self.strays() == [] and damage(self.state / FILE) == ""


def assert_originals_are_moved(house: Studio) -> None:
    originals = house.root / "originals/films"
    assert {path.name: path.read_bytes() for path in originals.glob("*.png")} == PICTURES


@pytest.fixture
def houses() -> Iterator[list[Studio]]:
    """The houses of a test, in which nobody stays."""
    found: list[Studio] = []
    yield found
    for house in found:
        print(*house.lines, sep="\n")  # seen where the test fails
        house.clear()


TROUBLES: dict[str, tuple[str, Callable[[Disk], object], Callable[[Disk], object], str]] = {
    "full": ("tmpfs", Disk.fill, Disk.free, "No space left on device; free some space; waits for space"),
    "out of inodes": ("ext4", Disk.fill_inodes, Disk.free, "inodes free, 1"),
    "over quota": ("btrfs", Disk.use_up_quota, Disk.end_quota, "quota exceeded; raise the"),
    "read-only": ("ext4", lambda d: d.allow(writing=False), lambda d: d.allow(writing=True), "no job starts: "),
    "dead": ("xfs", Disk.die, Disk.revive, "Input/output error"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_an_outbox_in_trouble_is_waited_for_and_costs_no_job(
    tmp_path: Path, houses: list[Studio], trouble: str
) -> None:
    kind, begin, end, words = TROUBLES[trouble]
    with disk(tmp_path / "disk", kind, options=["-N", "2000"] if trouble == "out of inodes" else []) as volume:
        house = Studio(tmp_path / "house", outbox=str(volume.path / "out"), originals="delete")
        houses.append(house)
        house.outbox = volume.path / "out"
        house.furnish()
        house.start()
        house.see("started on")
        begin(volume)
        house.go.touch()
        house.see(words)
        assert {path.name for path in house.inbox.glob("*.png")} == set(PICTURES), "no source goes before its result"
        mark = len(house.lines)
        end(volume)
        for name in ("a.out", "b.out"):
            house.see(f"done: published as {name}", mark)
        assert house.stop() == 0
        house.assert_all_is_done()
        assert not [line for line in house.lines if "failed" in line]


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_full_disk_below_everything_is_waited_for_and_the_journal_stays_sound(
    tmp_path: Path, houses: list[Studio], kind: str
) -> None:
    with disk(tmp_path / "disk", kind) as volume:
        house = Studio(volume.path / "house")
        houses.append(house)
        house.furnish()
        house.start()
        house.see("started on")
        house.go.touch()
        volume.fill()
        house.see("database or disk is full")
        volume.free()
        house.see("b.out")
        wait_until(lambda: house.strays() == [])
        assert house.stop() == 0
        house.assert_all_is_done()


@pytest.mark.parametrize(("kind", "end"), [("ext4", Disk.die), ("xfs", Disk.die), ("ext4", Disk.abort)])
def test_a_disk_below_everything_that_dies_ends_the_daemon_and_the_next_start_goes_on(
    tmp_path: Path, houses: list[Studio], kind: str, end: Callable[[Disk], None]
) -> None:
    with disk(tmp_path / "disk", kind) as volume:
        house = Studio(volume.path / "house", originals="move")
        houses.append(house)
        house.go = tmp_path / "go"  # on another disk: the worker is to go on, and to write
        with house.settings() as settings:
            settings["folders"][0]["options"]["after"] = str(house.go)
        house.furnish()
        volume.sync()
        house.start()
        house.see("segments to do")
        end(volume)
        house.go.touch()
        assert house.wait() == UNAVAILABLE
        assert any("the next start on it goes on where this one ends" in line for line in house.lines)
        assert not any("Traceback" in line for line in house.lines)
        assert house.drain() == UNAVAILABLE
        volume.revive()
        assert house.drain() == 0
        house.assert_all_is_done()
        assert_originals_are_moved(house)


MOMENTS = [
    ("ext4", "queued in"),
    ("xfs", "segments to do"),
    ("ext4", "segment 2 of 3"),
    ("xfs", "publishing: as"),
    ("ext4", "done: "),
]


@pytest.mark.parametrize(("kind", "moment"), MOMENTS)
def test_a_daemon_goes_on_after_a_power_cut(tmp_path: Path, houses: list[Studio], kind: str, moment: str) -> None:
    with disk(tmp_path / "disk", kind) as volume:
        house = Studio(volume.path / "house", originals="move")
        houses.append(house)
        house.furnish()
        house.go.touch()
        volume.sync()
        house.start()
        house.see(moment)
        os.kill(house.pid(), signal.SIGSTOP)
        workers = house.workers()
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        volume.die()
        for pid in workers:  # one that is still starting would not go with its daemon
            os.kill(pid, signal.SIGKILL)
        house.kill()
        volume.detach()
        volume.attach()
        assert house.drain() == 0
        house.assert_all_is_done()
        assert_originals_are_moved(house)
        assert house.drain() == 0, "and there is nothing left to do"
        house.assert_all_is_done()


LOCAL = ["tmpfs", "ext4", "btrfs"]
ANY = [*LOCAL, "exfat-fuse"]  # the last has neither hard links nor a rename that does not replace, nor owners


@pytest.mark.parametrize(("outbox", "originals"), [*product(ANY, ANY), ("vfat", "ext4"), ("ext4", "vfat")])
def test_results_are_equal_wherever_state_outbox_and_originals_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outbox: str, originals: str
) -> None:
    use_toys(monkeypatch)
    calm = OneJob(tmp_path / "calm", "ocr", originals="move")
    calm.work()
    with disk(tmp_path / "out", outbox) as out, disk(tmp_path / "moved", originals) as moved:
        for state in LOCAL:
            with disk(tmp_path / state, state) as here:
                job = OneJob(
                    here.path / "job",
                    "ocr",
                    outbox=out.path / state,
                    originals="move",
                    originals_folder=str(moved.path / state),
                )
                job.work()
                assert job.job().state is State.DONE, job.job().reason
                assert (job.results(), job.sources(), job.strays()) == (calm.results(), calm.sources(), [])
