import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from darkroom.daemon import marker
from darkroom.daemon.clock import Boot
from darkroom.daemon.config import Config, Folder, Limit, Retention
from darkroom.daemon.job import Job, NewJob, Signature
from darkroom.daemon.journal import Journal
from darkroom.daemon.lookout import IDENTITIES
from darkroom.daemon.parts import work_folder
from darkroom.daemon.report import FORMAT
from darkroom.daemon.retention import prune
from darkroom.daemon.states import State

DAY = 86_400.0
SOON = time.time() + 60
LATER = time.time() + 40 * DAY
MONTH = Limit(age=30 * DAY)
ALL = {kind: MONTH for kind in ("work", "jobs", "originals", "reports", "results")}


class Rooms:
    """A configuration on the disk with one folder, and its journal."""

    def __init__(self, base: Path, **retention: Any) -> None:
        folder = Folder(
            name="films",
            pipeline="upscale",
            inbox=base / "inbox",
            outbox=base / "outbox",
            originals_folder=base / "originals",
            report_folder=base / "state/reports/films",
        )
        rules = {"max_fraction": 1.0, "work": Limit(), "jobs": Limit(), "reports": Limit()} | retention
        self.config = Config(state=base / "state", folders=[folder], retention=Retention(**rules))
        self.inbox, self.outbox, self.originals = folder.inbox, folder.outbox, base / "originals"
        self.reports, self.state = base / "state/reports/films", base / "state"
        for path in (self.originals, self.reports):
            path.mkdir(parents=True)
        identity = {
            str(self.inbox): marker.adopt(self.inbox, marker.INBOX),
            str(self.outbox): marker.adopt(self.outbox, marker.OUTBOX),
        }
        marker.save_identities(self.state / IDENTITIES, identity)
        self.journal = Journal(self.state / "journal.db")

    def job(self, state: State, path: bytes = b"film.avi", **columns: Any) -> Job:
        signature = Signature(size_bytes=1, mtime_ns=1, inode=1)
        now = time.time()
        new = NewJob(folder="films", pipeline="upscale", path=path, signature=signature)
        [number] = self.journal.enqueue([new], now=now)
        if state in (State.QUEUED, State.HELD, State.CANCELLED):
            return self.journal.job(number) if state is State.QUEUED else self.journal.move(number, state, "", now=now)
        self.journal.claim(["films"], now=now, uptime=1, boot="b")
        if state is State.RUNNING:
            return self.journal.job(number)
        if state is State.DONE:
            self.journal.move(number, State.PUBLISHING, "", now=now, **columns)
            return self.journal.move(number, State.DONE, "", now=now)
        return self.journal.move(number, state, "", now=now)

    def done(self, name: str, size: int = 6) -> Job:
        (self.outbox / name).write_bytes(b"result")
        return self.job(State.DONE, os.fsencode(name), result=os.fsencode(name), result_size=size)

    def work(self, job: int, *files: str) -> Path:
        folder = work_folder(self.state, job) / "fingerprint"
        folder.mkdir(parents=True)
        for name in files or ("000000.mp4",):
            (folder / name).write_bytes(b"part")
        return folder.parent

    def prune(self, now: float = LATER, *, runs: int = 2, dry_run: bool = False) -> list[str]:
        """Return the names of what went in the last of `runs`; the first only finds what is too old."""
        for _ in range(runs - 1):
            assert prune(self.config, self.journal, now) == []
        return sorted(removal.path.name for removal in prune(self.config, self.journal, now, dry_run))


def write(path: Path, data: bytes = b"data") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_nothing_that_is_in_use_or_a_source_or_not_ours_ever_goes(tmp_path: Path) -> None:
    here = Rooms(tmp_path, **ALL)
    safe = [write(here.inbox / "film.avi"), write(here.outbox / "somebody's.mkv"), write(here.reports / "notes.json")]
    safe += [here.work(here.job(State.FAILED, b"full").id, "result.mkv"), write(here.state / "work/mine/file")]
    safe += [here.work(here.job(state, state.encode()).id) for state in (State.RUNNING, State.HELD, State.QUEUED)]
    safe += [write(tmp_path / "outside"), here.outbox / ".darkroom-outbox", here.inbox / ".darkroom-inbox"]
    (here.originals / "link").symlink_to(tmp_path / "outside")
    for _ in range(3):
        assert prune(here.config, here.journal, LATER) == []
    assert all(path.exists() for path in safe)


def test_old_originals_go_by_the_time_they_were_moved_here(tmp_path: Path) -> None:
    here = Rooms(tmp_path, originals=MONTH)
    film = write(here.originals / "a/film.avi")
    os.utime(film, (0, 0))  # a film of 1970, moved a moment ago
    assert here.prune(SOON) == []
    assert film.exists()
    assert here.prune(LATER) == ["film.avi"]
    assert not film.exists()
    assert film.parent.is_dir()


def test_a_run_that_would_remove_too_much_removes_nothing_and_warns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here = Rooms(tmp_path, originals=MONTH, max_fraction=0.25)
    for number in range(8):
        write(here.originals / f"{number}.avi")
    assert here.prune(LATER, runs=3) == []
    assert "8 of 8" in caplog.text
    assert len(list(here.originals.iterdir())) == 8


def test_the_size_limit_removes_originals_at_once_until_the_rest_fits(tmp_path: Path) -> None:
    here = Rooms(tmp_path, originals=Limit(size=8))
    for number in range(4):
        write(here.originals / f"{number}.avi")
    assert len(here.prune(SOON, runs=1)) == 2
    assert sum(path.stat().st_size for path in here.originals.iterdir()) == 8


def test_our_other_folders_inside_an_originals_folder_are_left_out(tmp_path: Path) -> None:
    here = Rooms(tmp_path, originals=MONTH)
    folder = here.config.folders[0].model_copy(update={"originals_folder": tmp_path})
    here.config = here.config.model_copy(update={"folders": [folder]})
    write(here.inbox / "film.avi")
    write(here.outbox / "film.mkv")
    write(tmp_path / "original.avi")
    assert here.prune(LATER) == ["original.avi"]


def test_published_results_go_only_by_a_limit_of_their_own_with_the_report_beside(tmp_path: Path) -> None:
    here = Rooms(tmp_path / "a", jobs=MONTH)
    here.done("film.mkv")
    write(here.outbox / "other.mkv")
    here.prune(LATER)
    assert (here.outbox / "film.mkv").exists()

    here = Rooms(tmp_path / "b", results=MONTH)
    here.done("film.mkv")
    here.done("edited since.mkv", size=5)
    report = write(here.outbox / "film.mkv.json", f'{{"format": "{FORMAT}"}}'.encode())
    assert here.prune(LATER) == ["film.mkv"]
    assert not report.exists()


def test_reports_go_and_other_files_in_their_folder_stay(tmp_path: Path) -> None:
    here = Rooms(tmp_path, reports=MONTH)
    write(here.reports / "a/film.mkv.json", f'{{"format": "{FORMAT}"}}'.encode())
    other = write(here.reports / "a/other.json", b'{"format": "another"}')
    assert here.prune(LATER) == ["film.mkv.json"]
    assert other.exists()


def test_work_of_jobs_that_ended_badly_goes_after_its_time(tmp_path: Path) -> None:
    here = Rooms(tmp_path, work=MONTH)
    jobs = [here.job(state, state.encode()) for state in (State.FAILED, State.QUARANTINED, State.CANCELLED)]
    folders = [here.work(job.id) for job in jobs]
    assert here.prune(SOON) == []
    assert here.prune(LATER) == ["1", "2", "3"]
    assert not any(folder.exists() for folder in folders)


def test_work_of_no_job_or_of_a_finished_one_goes_after_a_day(tmp_path: Path) -> None:
    here = Rooms(tmp_path)
    folders = [here.work(here.done("film.mkv").id), here.work(999)]
    assert here.prune(SOON, runs=1) == []
    assert here.prune(SOON + 2 * DAY, runs=1) == ["1", "999"]
    assert not any(folder.exists() for folder in folders)


def test_drafts_of_a_crash_go_after_a_day_unless_their_job_lives(tmp_path: Path) -> None:
    here = Rooms(tmp_path)
    live = here.job(State.RUNNING).id
    kept = [write(here.outbox / f".darkroom-tmp/JOB-{live}.part"), write(here.outbox / ".darkroom-tmp/other")]
    gone = [write(here.outbox / ".darkroom-tmp/JOB-99.part"), write(here.originals / ".darkroom-tmp/JOB-98.original")]
    assert here.prune(SOON, runs=1) == []
    assert here.prune(SOON + 2 * DAY, runs=1) == ["JOB-98.original", "JOB-99.part"]
    assert [path.exists() for path in kept + gone] == [True, True, False, False]


def test_old_rows_go_only_if_their_source_is_gone(tmp_path: Path) -> None:
    here = Rooms(tmp_path, jobs=MONTH)
    here.done("gone.avi")
    here.done("there.avi")
    write(here.inbox / "there.avi")
    here.job(State.QUEUED, b"waiting.avi")
    assert here.prune(SOON) == []
    assert here.prune(LATER) == ["job 1: gone.avi"]
    assert [job.name for job in here.journal.jobs()] == ["there.avi", "waiting.avi"]


def test_a_clock_that_is_set_between_two_runs_lets_nothing_go_by_age(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One file is always too few for a share of it to be too much; so it is the date of the boot that tells."""
    here = Rooms(tmp_path, originals=MONTH, jobs=MONTH)
    film = write(here.originals / "film.avi")
    here.done("gone.avi")
    for wrong_s in (0.0, 20 * 365 * DAY, 20 * 365 * DAY + 7200, 0.0):
        boot = Boot(id="one", at=SOON + wrong_s)
        assert prune(here.config, here.journal, LATER + wrong_s, boot=boot) == []
    assert film.exists() and len(here.journal.jobs()) == 1
    assert sum("the clock was set by" in line for line in caplog.messages) == 3
    boot = Boot(id="another", at=LATER)
    assert [removal.path.name for removal in prune(here.config, here.journal, LATER + DAY, boot=boot)] == [
        "film.avi",
        "job 1: gone.avi",
    ]


def test_not_all_rows_are_forgotten_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    here = Rooms(tmp_path, jobs=MONTH, max_fraction=0.25)
    for number in range(8):
        here.done(f"{number}.avi")
        (here.outbox / f"{number}.avi").unlink()
    assert here.prune(LATER, runs=3) == []
    assert len(here.journal.jobs()) == 8 and "jobs: 8 of 8 entries are too old" in caplog.text


def test_no_row_goes_while_the_inbox_is_not_there(tmp_path: Path) -> None:
    here = Rooms(tmp_path, jobs=MONTH)
    here.done("gone.avi")
    shutil.rmtree(here.inbox)
    here.inbox.mkdir()  # the bare mount point
    assert here.prune(LATER, runs=3) == []
    assert len(here.journal.jobs()) == 1


def test_a_row_stays_as_long_as_its_result_is_to_be_cleared_up(tmp_path: Path) -> None:
    here = Rooms(tmp_path, jobs=Limit(age=DAY), results=Limit(age=100 * DAY))
    here.done("film.mkv")
    assert here.prune(LATER, runs=3) == []
    (here.outbox / "film.mkv").unlink()
    assert here.prune(LATER) == ["job 1: film.mkv"]


def test_a_dry_run_says_what_would_go_and_changes_nothing(tmp_path: Path) -> None:
    here = Rooms(tmp_path, originals=MONTH, jobs=MONTH)
    film = write(here.originals / "film.avi")
    here.done("gone.avi")
    here.prune(LATER, runs=1)
    memory = (here.state / "retention.json").read_bytes()
    assert here.prune(LATER, runs=1, dry_run=True) == ["film.avi", "job 1: gone.avi"]
    assert film.exists() and len(here.journal.jobs()) == 1
    assert (here.state / "retention.json").read_bytes() == memory


@pytest.mark.parametrize("damage", [b"", b"{", b"[1, {}]", b"5", b"{}", b'{"aged": [[]]}'])
def test_a_damaged_memory_only_delays(tmp_path: Path, damage: bytes) -> None:
    here = Rooms(tmp_path, originals=MONTH)
    write(here.originals / "film.avi")
    here.prune(LATER, runs=1)
    (here.state / "retention.json").write_bytes(damage)
    assert here.prune(LATER) == ["film.avi"]


def test_names_that_are_no_text_are_remembered(tmp_path: Path) -> None:
    here = Rooms(tmp_path, originals=MONTH)
    path = write(here.originals / os.fsdecode(b"bad\xff.avi"))
    here.prune(LATER)
    assert not path.exists()


def test_a_link_in_place_of_a_folder_of_the_outbox_is_not_followed(tmp_path: Path) -> None:
    here = Rooms(tmp_path, results=MONTH)
    outside = write(tmp_path / "outside/film.mkv", b"result")
    (here.outbox / "a").symlink_to(tmp_path / "outside")
    here.job(State.DONE, b"a/film.avi", result=b"a/film.mkv", result_size=6)
    assert here.prune(LATER) == []
    assert outside.exists()


def test_the_files_of_one_result_go_together_and_only_those_that_are_as_they_were(tmp_path: Path) -> None:
    here = Rooms(tmp_path, results=MONTH)
    for name in ("scan.pdf", "scan.txt", "scan.md"):
        write(here.outbox / name, b"result")
    companions = [("scan.txt", 6, ""), ("scan.md", 5, "")]  # somebody wrote to the last
    here.job(State.DONE, result=b"scan.pdf", result_size=6, companions=json.dumps(companions))
    for _ in range(2):
        removals = prune(here.config, here.journal, LATER)
    assert [(removal.path.name, removal.size_bytes) for removal in removals] == [("scan.pdf", 12)]
    assert [path.name for path in here.outbox.iterdir() if path.is_file()].count("scan.md") == 1
    assert not (here.outbox / "scan.pdf").exists() and not (here.outbox / "scan.txt").exists()


def test_the_size_limit_counts_all_files_of_a_result(tmp_path: Path) -> None:
    here = Rooms(tmp_path, results=Limit(size=15))
    for stem in ("a", "b"):
        write(here.outbox / f"{stem}.pdf", b"result")
        write(here.outbox / f"{stem}.txt", b"result")
        companions = json.dumps([(f"{stem}.txt", 6, "")])
        here.job(State.DONE, stem.encode(), result=f"{stem}.pdf".encode(), result_size=6, companions=companions)
    assert len(here.prune(SOON, runs=1)) == 1
    left = {path.stem for path in here.outbox.iterdir() if path.suffix in (".pdf", ".txt")}
    assert len(left) == 1 and len(list(here.outbox.glob("*.*"))) == 2 + 1  # and the marker


@pytest.mark.parametrize("how", ["another share", "an empty mount point", "gone"])
def test_nothing_goes_from_a_folder_that_is_away_or_another(tmp_path: Path, how: str) -> None:
    here = Rooms(tmp_path, results=MONTH, originals=MONTH, jobs=MONTH)
    known = {str(here.originals): marker.adopt(here.originals, marker.OUTBOX)}
    kept = here.state / IDENTITIES
    marker.save_identities(kept, marker.load_identities(kept) | known)
    here.done("film.avi")
    for root in (here.outbox, here.originals):
        root.rename(root.with_name(f"unmounted-{root.name}"))
        if how != "gone":
            root.mkdir()
    if how == "another share":
        for root in (here.outbox, here.originals):
            marker.adopt(root, marker.OUTBOX)
            (root / "film.avi").write_bytes(b"theirs")  # as long as ours
            (root / ".darkroom-tmp").mkdir()
            (root / ".darkroom-tmp/JOB-7.part").write_bytes(b"another Darkroom's")
    there = sorted(tmp_path.rglob("*.*"))
    assert here.prune(LATER, runs=3) == []
    assert [path for path in there if not path.exists()] == []
    assert len(here.journal.jobs()) == 1, "whose result only seems to be gone"
    for root in (here.outbox, here.originals):
        if how != "gone":
            shutil.rmtree(root)
        root.with_name(f"unmounted-{root.name}").rename(root)
    assert here.prune(LATER) == ["film.avi"]
