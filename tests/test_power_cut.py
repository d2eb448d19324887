"""The power is cut at each step of a job: what was committed is there, what has a name is whole, and it goes on.

A step is a crash point. Each is cut twice, on one kind of file system at once, and on another just after that wrote
its own log, where names are on the disk and content is only if somebody synced it.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from itertools import count
from pathlib import Path

import pytest
from killing import at_each_point, at_point, die, in_child
from one_job import SOURCE, OneJob, use_toys
from power import Disk, disk

from darkroom.daemon.backup import BACKUPS, back_up, damage, open_or_recover
from darkroom.daemon.config import load
from darkroom.daemon.job import NewJob, Signature
from darkroom.daemon.journal import FILE, Journal
from darkroom.daemon.marker import OUTBOX, adopt
from darkroom.daemon.retention import MEMORY, prune
from darkroom.daemon.states import State

OLD = b"of an earlier day, and in the way"
KINDS = ("ext4", "xfs")
Furnish = Callable[[Path], OneJob]


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    use_toys(monkeypatch)


@pytest.fixture(params=KINDS)
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    with disk(tmp_path / "disk", request.param) as made:
        yield made


def moving(root: Path) -> OneJob:
    return OneJob(root, "upscale", originals="move", stage="always")


def deleting_what_became_several_files(root: Path) -> OneJob:
    return OneJob(root, "ocr", originals="delete")


def replacing(root: Path) -> OneJob:
    job = OneJob(root, "upscale", conflict="replace")
    (job.outbox / "a").mkdir()
    (job.outbox / "a/film.bin").write_bytes(OLD)
    return job


def undisturbed(job: OneJob) -> list[tuple[str, int]]:
    """Work the job off in a child; return its crash points, each with the number of moves committed by then."""
    seen = job.root / "seen"

    def work() -> None:
        with seen.open("w", buffering=1) as file:
            at_each_point(lambda point: file.write(f"{point} {job.events()}\n"))
            job.work()

    assert in_child(work) and job.job().state is State.DONE
    return [(point, int(events)) for point, events in (line.split() for line in seen.read_text().splitlines())]


def cut_off(job: OneJob, point: int, *volumes: Disk, names_first: bool) -> None:
    """Work on the job until the power is cut at its crash point of this number."""
    for volume in volumes:
        volume.sync()

    def work() -> None:
        at_point(point, die)
        job.work()

    assert not in_child(work), "the same points each time"
    for volume in volumes:
        volume.cut_power(names_first=names_first)


def assert_nothing_is_lost(job: OneJob, calm: OneJob, events: int) -> None:
    """Look at a job after the cut: each name that is there stands for all of its content."""
    assert job.events() == events, "a move that was committed is lost"
    for name, content in job.results().items():
        assert content in (calm.results()[name], OLD), f"{name} has {len(content)} bytes"
    published, sources = job.results() == calm.results(), job.sources()
    assert all(content == SOURCE for content in sources.values()), sources
    assert sources or published, "the source is gone, and its result is not there"
    if job.job().state is State.DONE:
        assert published and sources == calm.sources()


def assert_done_again(job: OneJob, calm: OneJob) -> None:
    job.work()
    assert job.job().state is State.DONE, job.job().reason
    assert (job.results(), job.sources(), job.strays()) == (calm.results(), calm.sources(), [])


@pytest.mark.parametrize("furnish", [moving, deleting_what_became_several_files, replacing])
def test_a_job_goes_on_after_a_power_cut_at_any_step(volume: Disk, furnish: Furnish) -> None:
    calm = furnish(volume.path / "calm")
    for point, (_, events) in enumerate(undisturbed(calm)):
        job = furnish(volume.path / f"{point}")
        cut_off(job, point, volume, names_first=point % 2 == KINDS.index(volume.kind))
        assert_nothing_is_lost(job, calm, events)
        assert_done_again(job, calm)


def test_a_job_whose_outbox_is_on_another_disk_goes_on_after_a_power_cut_at_any_step(tmp_path: Path) -> None:
    with disk(tmp_path / "here", "ext4") as here, disk(tmp_path / "there", "xfs") as there:

        def furnish(name: str) -> OneJob:
            moved = str(there.path / name / "originals")
            outbox = there.path / name / "outbox"
            return OneJob(here.path / name, "upscale", outbox=outbox, originals="move", originals_folder=moved)

        calm = furnish("calm")
        points = undisturbed(calm)
        assert "original.copied" in [point for point, _ in points]
        first = next(number for number, (point, _) in enumerate(points) if point.startswith("place."))
        for point, (_, events) in [*enumerate(points)][first:]:  # up to there the outbox has no part in it
            job = furnish(f"{point}")
            cut_off(job, point, here, there, names_first=point % 2 == 0)
            assert_nothing_is_lost(job, calm, events)
            assert_done_again(job, calm)


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks the kernel to write now."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    monkeypatch.setattr(os, "posix_fadvise", lambda *_: None)


@pytest.mark.usefixtures("unsynced")
@pytest.mark.parametrize("where", ["original.synced", "work.removed"])
def test_without_syncing_these_cuts_find_a_source_gone_for_an_empty_result(tmp_path: Path, where: str) -> None:
    with disk(tmp_path / "disk", "ext4") as volume:  # xfs clones the result, and has it on the disk for that
        calm = deleting_what_became_several_files(volume.path / "calm")
        points = undisturbed(calm)
        number = [point for point, _ in points].index(where)
        job = deleting_what_became_several_files(volume.path / "job")
        cut_off(job, number, volume, names_first=True)
        assert job.sources() == {}
        with pytest.raises(AssertionError, match="has 0 bytes"):
            assert_nothing_is_lost(job, calm, points[number][1])


@pytest.mark.usefixtures("unsynced")
def test_without_syncing_these_cuts_find_an_empty_part_that_is_believed(volume: Disk) -> None:
    calm = moving(volume.path / "calm")
    points = [point for point, _ in undisturbed(calm)]
    first_part = [number for number, point in enumerate(points) if point == "atomic.name-synced"][1]
    job = moving(volume.path / "job")
    cut_off(job, first_part, volume, names_first=True)
    [part] = job.state.glob("work/1/*/000000*")
    assert part.stat().st_size == 0
    with pytest.raises(AssertionError, match="film"):
        assert_done_again(job, calm)


# -- what is not part of a job ---------------------------------------------------------------------------------------


def cut_at_each_point(volume: Disk, furnish: Callable[[Path], None], work: Callable[[Path], object]) -> Iterator[Path]:
    """Yield a folder that `furnish` made and on which `work` ended with the power, for each of its crash points."""
    for point in count():
        folder = volume.path / f"{point}"
        furnish(folder)
        volume.sync()

        def cut_short(folder: Path = folder, point: int = point) -> None:
            at_point(point, die)
            work(folder)

        if in_child(cut_short):
            assert point > 1, "it has crash points"
            return
        volume.cut_power(names_first=point % 2 == KINDS.index(volume.kind))
        yield folder


def jobs_in(state: Path) -> int:
    with Journal(state / FILE) as journal:
        return len(journal.jobs())


def enqueue(journal: Journal, *names: bytes) -> None:
    signature = Signature(size_bytes=1, mtime_ns=1, inode=1)
    journal.enqueue([NewJob(folder="films", pipeline="upscale", path=name, signature=signature) for name in names], 0)


def with_a_copy_of_yesterday(state: Path) -> None:
    journal, _ = open_or_recover(state)
    with journal:
        enqueue(journal, b"1", b"2")
        back_up(journal, state, 1, date(2026, 3, 1))
        enqueue(journal, b"3")


def copies(state: Path) -> list[str]:
    return sorted(path.name for path in (state / BACKUPS).iterdir())


def test_there_is_a_sound_copy_of_the_journal_whenever_the_power_is_cut(volume: Disk) -> None:
    def back_up_today(state: Path) -> None:
        with Journal(state / FILE) as journal:
            back_up(journal, state, 1, date(2026, 3, 2))

    for state in cut_at_each_point(volume, with_a_copy_of_yesterday, back_up_today):
        sound = [path for path in (state / BACKUPS).glob("journal-????-??-??.db") if not damage(path)]
        assert sound and jobs_in(state) == 3
        back_up_today(state)
        assert copies(state) == ["journal-2026-03-02.db"]


def test_a_damaged_journal_is_restored_though_the_power_is_cut_meanwhile(volume: Disk) -> None:
    def damaged(state: Path) -> None:
        with_a_copy_of_yesterday(state)
        (state / FILE).write_bytes(b"this is no database at all" * 400)

    def start(state: Path) -> None:
        open_or_recover(state)[0].close()

    for state in cut_at_each_point(volume, damaged, start):
        start(state)
        assert jobs_in(state) == 2
        aside = [path for path in state.glob("*.damaged-*") if path.read_bytes().startswith(b"this is no database")]
        assert len(aside) == 1 and not list(state.rglob("*draft*"))


def test_what_retention_remembers_is_that_of_before_or_after_the_cut(volume: Disk) -> None:
    def ended_long_ago(root: Path) -> None:
        job = OneJob(root, "upscale", originals="delete")
        job.work()
        with Journal(job.state / FILE) as journal:
            prune(job.config, journal, now=1e9)
        (job.state / "work/7").mkdir()  # of no job

    def clear_up(root: Path) -> None:
        config = load(root / "config.yaml")
        with Journal(config.state / FILE) as journal:
            prune(config, journal, now=root.stat().st_ctime + 2e9)

    for root in cut_at_each_point(volume, ended_long_ago, clear_up):
        json.loads((root / "state" / MEMORY).read_text())
        for _ in range(2):
            clear_up(root)
        assert jobs_in(root / "state") == 0 and list((root / "state/work").iterdir()) == []
        assert (root / "outbox/a/film.bin").stat().st_size, "a result has no age here"


def test_a_marker_is_whole_or_missing_after_a_power_cut(volume: Disk) -> None:
    for outbox in cut_at_each_point(volume, lambda _outbox: None, lambda outbox: adopt(outbox, OUTBOX)):
        with suppress(FileNotFoundError):
            assert len((outbox / OUTBOX).read_text().split()[0]) == 32
        assert len(adopt(outbox, OUTBOX)) == 32
