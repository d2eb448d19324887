"""Disks that are full, read-only or broken: a job waits and says for what, nothing is left half written or lost."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from killing import at_point, in_child
from one_job import SOURCE, OneJob, use_toys
from power import Disk, disk

from darkroom.daemon import attempt
from darkroom.daemon.backup import damage
from darkroom.daemon.job import Job
from darkroom.daemon.journal import FILE
from darkroom.daemon.outbox import publish
from darkroom.daemon.states import State
from darkroom.pipelines.errors import Unavailable

Furnish = Callable[[Disk, Path], OneJob]


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    use_toys(monkeypatch)


def work_on(volume: Disk, root: Path) -> OneJob:
    job = OneJob(root, "upscale", stage="always")
    (volume.path / root.name).mkdir()
    (job.state / "work").symlink_to(volume.path / root.name)
    return job


def outbox_on(volume: Disk, root: Path) -> OneJob:
    return OneJob(root, "ocr", outbox=volume.path / root.name / "outbox", originals="delete")


def all_on(volume: Disk, root: Path) -> OneJob:
    return OneJob(volume.path / root.name, "upscale", originals="move")


def disturbed(job: OneJob, point: int, harm: Callable[[], object]) -> tuple[bool, str]:
    """Work on the job in a child that does `harm` at its crash point of this number.

    Returns whether it came to that point, and what it said if it could not use the journal.
    """
    told = job.root.with_name("told")

    def work() -> None:
        with told.open("w", buffering=1) as file:
            at_point(point, lambda: (file.write("harmed "), harm()))
            try:
                job.work()
            except Unavailable as error:
                file.write(str(error))

    assert in_child(work)
    harmed, _, said = told.read_text().partition(" ")
    return harmed != "", said


def assert_as_undisturbed(job: OneJob, calm: OneJob) -> None:
    assert (job.results(), job.sources(), job.strays()) == (calm.results(), calm.sources(), [])


@pytest.fixture
def volume(kind: str, tmp_path: Path) -> Iterator[Disk]:
    with disk(tmp_path / "disk", kind, megabytes=16) as made:
        yield made


@pytest.mark.parametrize(
    ("kind", "furnish"), [("tmpfs", work_on), ("ext4", outbox_on), ("tmpfs", all_on), ("ext4", all_on)]
)
def test_a_disk_that_fills_up_at_any_step_costs_no_job_and_leaves_no_draft(
    volume: Disk, furnish: Furnish, tmp_path: Path
) -> None:
    calm = furnish(volume, tmp_path / "calm")
    calm.work()
    for point in count():
        job = furnish(volume, tmp_path / f"{point}")
        harmed, said = disturbed(job, point, volume.fill)
        drafts = [path for path in job.strays() if "draft" in path.name or path.name.startswith("JOB")]
        assert drafts == []
        assert all(content == calm.results()[name] for name, content in job.results().items())
        volume.free()
        assert damage(job.state / FILE) == ""
        assert_it_says_what_is_full(job.job(), said, volume)
        job.work()
        assert job.job().state is State.DONE
        assert_as_undisturbed(job, calm)
        if not harmed:
            assert point > 20, "a job has many steps"
            return


def assert_it_says_what_is_full(job: Job, said: str, volume: Disk) -> None:
    """Look at a job before its next attempt: it is done, or waits for space, or its journal was full itself."""
    if said:
        assert "is full" in said and "journal.db" in said
    elif job.state is not State.DONE:
        full, _, _ = job.reason.partition(": No space left on device")
        assert Path(full).resolve().is_relative_to(volume.path)
        assert job.state is State.QUEUED and job.failures == 0 and "; waits for space, next try in" in job.reason


class Syncs:
    """Stands in for os.fsync: one call fails, and what it was about is in doubt until it is synced or made again."""

    def __init__(self, failing: int) -> None:
        """Let call number `failing` fail, counted from 0."""
        self.calls = 0
        self._failing = failing
        self._doubtful: dict[int, int] = {}  # by inode: an open handle, so that the number is not used again

    def __call__(self, handle: int) -> None:
        inode = os.fstat(handle).st_ino
        self.calls += 1
        if self.calls - 1 == self._failing:
            self._doubtful[inode] = os.dup(handle)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if stat.S_ISDIR(os.fstat(handle).st_mode):  # a second sync of a file says nothing of what the first one lost
            self._settle(inode)

    def in_doubt(self, *roots: Path) -> list[Path]:
        """Return what is in doubt below `roots`, but for drafts."""
        found = [path for root in roots for path in (root, *root.rglob("*"))]
        return [path for path in found if path.stat().st_ino in self._doubtful and "draft" not in path.name]

    def close(self) -> None:
        for inode in [*self._doubtful]:
            self._settle(inode)

    def _settle(self, inode: int) -> None:
        if (kept := self._doubtful.pop(inode, None)) is not None:
            os.close(kept)


@pytest.mark.parametrize(
    ("pipeline", "settings"),
    [
        ("upscale", {"originals": "move", "stage": "always"}),
        ("ocr", {"originals": "delete"}),
        ("upscale", {"conflict": "replace"}),
    ],
)
def test_what_could_not_be_synced_is_never_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipeline: str, settings: dict[str, Any]
) -> None:
    calm = OneJob(tmp_path / "calm", pipeline, **settings)
    calm.work()
    for failing in count():
        job = OneJob(tmp_path / f"{failing}", pipeline, **settings)
        syncs = Syncs(failing)

        relied_on: list[Path] = []  # though it was in doubt: the journal says now that there is a result

        def noting(
            *args: Any, see: Syncs = syncs, state: Path = job.state, seen: list[Path] = relied_on, **options: Any
        ) -> Path:
            seen += see.in_doubt(state)
            return publish(*args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", syncs)
            patch.setattr(attempt, "publish", noting)
            job.work()
            assert syncs.calls > failing or job.job().state is State.DONE
            assert [path for path in syncs.in_doubt(job.state / "work") if path.is_file()] == [], "a part in doubt"
            for _ in range(2):
                job.work()
        assert job.job().state is State.DONE, job.job().reason
        assert relied_on == []
        assert syncs.in_doubt(job.outbox) == []
        assert not [path for path in syncs.in_doubt(job.root / "originals") if path.is_file()]
        assert job.results() == calm.results() and job.strays() == []
        kept = {f"inbox/{job.source.relative_to(job.inbox)}": SOURCE}
        assert job.sources() in (calm.sources(), kept), "a source is kept where its folder could not be synced"
        syncs.close()
        if syncs.calls <= failing:
            assert failing > 20
            return
