from pathlib import Path
from typing import Any

import pytest
from tables import bench

from darkroom.daemon.job import NewJob, Signature
from darkroom.daemon.journal import FILE, Journal
from darkroom.daemon.states import State

auditing, arrivals = bench("auditing"), bench("arrivals")
CLIPS = {"one": b"first film", "two": b"second film"}
EXPECTED = {("one", ""): b"ONE", ("two", ""): b"TWO", ("one", arrivals.NOTE): b"ONE, larger"}
POLICIES = {"kept": "keep", "moved": "move", "deleted": "delete"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three folders, each with one film dropped and published."""
    for name in POLICIES:
        for place in ("inbox", "outbox", "originals"):
            (tmp_path / name / place).mkdir(parents=True)
        (tmp_path / name / "outbox" / "film.mp4").write_bytes(b"ONE")
    (tmp_path / "kept" / "inbox" / "film.mp4").write_bytes(CLIPS["one"])
    (tmp_path / "moved" / "originals" / "film.mp4").write_bytes(CLIPS["one"])
    (tmp_path / "state").mkdir()
    with Journal(tmp_path / "state" / FILE) as journal:
        signature = Signature(size_bytes=10, mtime_ns=1, inode=1)
        journal.enqueue([NewJob(folder="kept", pipeline="upscale", path=b"film.mp4", signature=signature)], 1.0)
        journal.move(1, State.CANCELLED, "asked to cancel", now=2.0)
    return tmp_path


def drops(*folders: str) -> list[Any]:
    films = [arrivals.Film(clip="one")]
    return [arrivals.Drop(folder=name, path="film.mp4", pattern="slow copy", films=films) for name in folders]


def broken(root: Path, dropped: list[Any]) -> dict[str, int]:
    found = auditing.audit(root, POLICIES, dropped, CLIPS, EXPECTED)
    return {finding.promise: len(finding.broken) for finding in found if not finding.kept}


def test_all_is_well_where_each_file_is_published_and_each_source_where_it_belongs(root: Path) -> None:
    assert broken(root, drops(*POLICIES)) == {}


def test_a_file_without_a_result_is_found(root: Path) -> None:
    (root / "deleted" / "outbox" / "film.mp4").unlink()
    assert broken(root, drops(*POLICIES)) == {"each file is published in its last version": 1}


def test_a_result_of_other_bytes_is_found(root: Path) -> None:
    (root / "kept" / "outbox" / "film (2).mp4").write_bytes(b"ON")
    assert broken(root, drops(*POLICIES)) == {"each result has the bytes of an undisturbed run": 1}


def test_a_result_that_is_there_twice_is_found(root: Path) -> None:
    (root / "kept" / "outbox" / "film (2).mp4").write_bytes(b"ONE")
    assert broken(root, drops(*POLICIES)) == {"no version is published twice": 1}


@pytest.mark.parametrize(
    ("lost", "put"),
    [
        ("kept/inbox/film.mp4", ""),
        ("moved/originals/film.mp4", ""),
        ("", "moved/inbox/film.mp4"),
        ("", "deleted/inbox/film.mp4"),
    ],
)
def test_a_source_that_is_not_where_its_folder_wants_it_is_found(root: Path, lost: str, put: str) -> None:
    if lost:
        (root / lost).unlink()
    if put:
        (root / put).write_bytes(CLIPS["one"])
    assert broken(root, drops(*POLICIES)) == {"sources are where their folder wants them": 1}


@pytest.mark.parametrize(
    "stray", ["kept/outbox/.darkroom-tmp/JOB-1.part", "state/work/3/part", "state/live.draft.json"]
)
def test_what_a_crash_left_is_found(root: Path, stray: str) -> None:
    (root / stray).parent.mkdir(parents=True, exist_ok=True)
    (root / stray).touch()
    assert broken(root, drops(*POLICIES)) == {"nothing is left behind": 1}


def test_a_job_that_has_not_ended_is_found(root: Path) -> None:
    with Journal(root / "state" / FILE) as journal:
        journal.retry(1, now=3.0)
    assert broken(root, drops(*POLICIES)) == {"the journal is sound, and every job has ended": 1}


def test_memory_that_grows_is_told_from_memory_that_does_not() -> None:
    def life(growth: float) -> list[Any]:
        return [
            auditing.Sample(pid=7, at_s=second, rss_mib=50 + growth * second, descriptors=20) for second in range(300)
        ]

    assert auditing.steady(life(0.0)).kept
    assert not auditing.steady(life(0.1)).kept
    assert auditing.steady(life(0.1)[:50]).looked_at == "too short to tell"
