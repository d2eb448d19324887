"""A file that is still being written, however long its writer pauses: what is made in the end is the whole file.

The clock is the test's own: ten minutes pass in a second.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.daemon.config import Folder, Watch
from darkroom.daemon.inbox import Inbox
from darkroom.daemon.intake import take_in
from darkroom.daemon.job import Job
from darkroom.daemon.journal import FILE, Journal
from darkroom.daemon.marker import INBOX, adopt
from darkroom.daemon.states import LIVE, State

PIECES = [b"one ", b"two ", b"three"]
WHOLE = b"".join(PIECES)


class Watched:
    """An inbox that is looked at each second, and the journal of what was found."""

    def __init__(self, root: Path) -> None:
        settings = {"name": "films", "pipeline": "upscale", "inbox": root / "in", "outbox": root / "out"}
        self.folder = Folder.model_validate(settings)
        self.inbox = Inbox(self.folder, Watch(), adopt(root / "in", INBOX))
        self.journal = Journal(root / FILE)
        self.film = root / "in" / "film.mkv"
        self.now = 1000.0

    def wait(self, seconds: float) -> None:
        """Look each second for so long, as the daemon does."""
        for _ in range(int(seconds)):
            self.now += 1
            sighting = self.inbox.look(self.journal.known("films"), self.now)
            for running in take_in(self.journal, self.folder, sighting, self.now):
                self.journal.move(running, State.CANCELLED, "replaced", now=self.now)

    def jobs(self) -> list[Job]:
        return sorted(self.journal.jobs(), key=lambda job: job.id)

    def live(self) -> list[int]:
        return [job.size_bytes for job in self.jobs() if job.state in LIVE]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    watched.journal.close()


@pytest.mark.parametrize("pause_s", [0, 3, 30])
def test_a_writer_that_keeps_its_file_open_over_pauses_makes_one_job(watched: Watched, pause_s: int) -> None:
    with watched.film.open("wb", buffering=0) as file:
        for piece in PIECES:
            file.write(piece)
            watched.wait(pause_s)
        assert watched.jobs() == []
    watched.wait(5)
    assert [job.size_bytes for job in watched.jobs()] == [len(WHOLE)]


@pytest.mark.parametrize("keeps_open", [True, False])
@pytest.mark.parametrize("pause_s", [30, 600])
def test_a_writer_that_pauses_for_longer_than_is_waited_has_its_last_version_made(
    watched: Watched, pause_s: int, keeps_open: bool
) -> None:
    if keeps_open and pause_s < Watch().lease_wait:
        pause_s += int(Watch().lease_wait)
    file = watched.film.open("wb", buffering=0)
    for piece in PIECES:
        if not keeps_open:
            file = watched.film.open("ab", buffering=0)
        file.write(piece)
        if not keeps_open:
            file.close()
        watched.wait(pause_s)
        assert watched.live() == [watched.film.stat().st_size]
    file.close()
    watched.wait(5)
    assert watched.live() == [len(WHOLE)]
    assert [job.state for job in watched.jobs()][:-1] == ["cancelled"] * (len(watched.jobs()) - 1)


def test_a_version_that_was_done_during_a_pause_is_followed_by_the_whole(watched: Watched) -> None:
    watched.film.write_bytes(PIECES[0])
    watched.wait(600)
    job = watched.journal.claim(["films"], now=watched.now, uptime=watched.now, boot="b")
    assert job is not None
    watched.journal.move(job.id, State.PUBLISHING, "", now=watched.now, result=b"film.mkv", result_size=1)
    with watched.film.open("ab") as file:
        file.write(b"".join(PIECES[1:]))
    watched.wait(5)
    assert [job.state for job in watched.jobs()] == ["publishing"], "a result that is whole is not thrown away"
    watched.journal.move(job.id, State.DONE, "", now=watched.now)
    watched.wait(5)
    assert [(job.state, job.size_bytes) for job in watched.jobs()] == [("done", 4), ("queued", len(WHOLE))]


@pytest.mark.parametrize("preallocated", [True, False])
def test_a_file_written_backwards_is_taken_when_its_beginning_is_there(watched: Watched, preallocated: bool) -> None:
    with watched.film.open("wb", buffering=0) as file:
        if preallocated:
            os.posix_fallocate(file.fileno(), 0, len(WHOLE))
        for end in range(len(WHOLE), 0, -5):
            start = max(0, end - 5)
            os.pwrite(file.fileno(), WHOLE[start:end], start)
            watched.wait(10)
            assert watched.jobs() == []
    watched.wait(5)
    assert len(watched.jobs()) == 1
    again = Path(f"{watched.film}.copy.mkv")
    again.write_bytes(WHOLE)
    watched.wait(5)
    assert [job.twin for job in watched.jobs()] == [None, 1], "what was taken is the whole content"


@pytest.mark.parametrize("mtime_s", [-1, 0, 10**9, 4 * 10**9])
def test_times_set_back_or_forward_after_each_piece_hide_no_growth(watched: Watched, mtime_s: int) -> None:
    for length in range(1, len(PIECES) + 1):
        with watched.film.open("wb") as file:
            file.write(b"".join(PIECES[:length]))
        os.utime(watched.film, (mtime_s, mtime_s))
        watched.wait(5)
        assert watched.live() == [watched.film.stat().st_size]
    assert watched.live() == [len(WHOLE)]


def test_a_file_that_shrinks_to_nothing_after_it_was_queued_is_no_job_any_more(watched: Watched) -> None:
    watched.film.write_bytes(WHOLE)
    watched.wait(5)
    os.truncate(watched.film, 0)
    watched.wait(5)
    assert watched.live() == []
    watched.film.write_bytes(WHOLE)
    watched.wait(5)
    assert watched.live() == [len(WHOLE)]
