import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.daemon import stage as stage_module
from darkroom.daemon.config import Folder
from darkroom.daemon.job import Job, NewJob, Signature
from darkroom.daemon.journal import Journal
from darkroom.daemon.marker import INBOX, adopt
from darkroom.daemon.parts import DRAFT
from darkroom.daemon.stage import CHANGED, CHUNK, check_unchanged, source_path, staged
from darkroom.pipelines.errors import Stopped, Unavailable

FILM = bytes(range(256)) * 100


class Film:
    """A file in an inbox, and the job about it."""

    def __init__(self, root: Path, name: str = "a.mkv", **folder: Any) -> None:
        self.inbox, self.work = root / "in", root / "work"
        adopt(self.inbox, INBOX)
        self.work.mkdir()
        settings = {"name": "films", "pipeline": "upscale", "inbox": self.inbox, "outbox": root / "out"}
        self.folder = Folder.model_validate(settings | folder)
        self.path = self.inbox / name
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_bytes(FILM)
        self.journal_path = root / "journal.db"
        self.job = self.job_for(os.fsencode(name))

    def job_for(self, path: bytes) -> Job:
        found = (self.inbox / os.fsdecode(path)).stat()
        signature = Signature(size_bytes=found.st_size, mtime_ns=found.st_mtime_ns, inode=found.st_ino)
        with Journal(self.journal_path) as journal:
            new = NewJob(folder="films", pipeline="upscale", path=path, signature=signature)
            return journal.job(journal.enqueue([new], 1.0)[0])

    def check(self) -> None:
        check_unchanged(self.job, self.folder)

    def stage(self, beat: Callable[[], None] = lambda: None) -> Path:
        return staged(self.job, self.folder, self.work, beat)


@pytest.fixture
def film(tmp_path: Path) -> Film:
    return Film(tmp_path)


def touch(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


# -- unchanged? ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.mkv", "season 1/b.mkv", os.fsdecode(b"\xff\n.mkv")])
def test_a_file_as_it_was_is_unchanged(tmp_path: Path, name: str) -> None:
    Film(tmp_path, name).check()


def test_a_new_inode_alone_is_no_change(film: Film) -> None:
    copy = film.path.with_name("copy")
    copy.write_bytes(FILM)
    os.utime(copy, ns=(0, film.job.mtime_ns))
    copy.replace(film.path)
    film.check()


@pytest.mark.parametrize(
    "change",
    [touch, lambda path: path.write_bytes(b"another"), Path.unlink],
    ids=["touched", "written", "removed"],
)
def test_another_version_or_none_stops_the_job(film: Film, change: Callable[[Path], Any]) -> None:
    change(film.path)
    with pytest.raises(Stopped, match=CHANGED):
        film.check()


def test_a_file_whose_subfolder_went_is_gone(tmp_path: Path) -> None:
    film = Film(tmp_path, "season 1/b.mkv")
    film.path.parent.rename(tmp_path / "elsewhere")
    with pytest.raises(Stopped, match=CHANGED):
        film.check()


@pytest.mark.parametrize("name", ["a.mkv", "season 1/b.mkv"])
@pytest.mark.parametrize("empty", [True, False], ids=["empty mount point", "no mount point"])
def test_a_file_is_not_gone_because_its_share_is_not_mounted(tmp_path: Path, name: str, empty: bool) -> None:
    film = Film(tmp_path, name)
    film.inbox.rename(tmp_path / "unmounted")
    if empty:
        film.inbox.mkdir()
    with pytest.raises(Unavailable, match="mounted"):
        film.check()


@pytest.mark.parametrize("change", [touch, Path.unlink], ids=["another version", "none"])
def test_of_another_share_in_its_place_nothing_is_concluded(film: Film, change: Callable[[Path], Any]) -> None:
    known = {str(film.inbox): "that of the right share"}
    check_unchanged(film.job, film.folder, known)
    change(film.path)
    with pytest.raises(Unavailable, match="another folder's") as caught:
        check_unchanged(film.job, film.folder, known)
    assert caught.value.patient


def test_a_file_added_by_hand_needs_no_marker_to_be_gone(film: Film, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.mkv"
    elsewhere.write_bytes(FILM)
    job = film.job_for(os.fsencode(elsewhere))
    assert source_path(job, film.folder) == elsewhere
    check_unchanged(job, film.folder)
    elsewhere.unlink()
    with pytest.raises(Stopped, match=CHANGED):
        check_unchanged(job, film.folder)


def test_behind_a_link_it_is_the_file_that_counts(tmp_path: Path) -> None:
    film = Film(tmp_path, "deep/a.mkv", symlinks=True)
    (film.inbox / "link.mkv").symlink_to(film.path)
    job = film.job_for(b"link.mkv")
    check_unchanged(job, film.folder)
    touch(film.path)
    with pytest.raises(Stopped, match=CHANGED):
        check_unchanged(job, film.folder)


def test_a_link_where_none_are_taken_is_not_the_file(film: Film) -> None:
    film.path.rename(film.path.with_name("b.mkv"))
    film.path.symlink_to("b.mkv")
    with pytest.raises(Stopped, match=CHANGED):
        film.check()


def test_a_link_as_long_and_as_old_as_the_file_is_not_the_file(film: Film, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    way = "/" * (len(FILM[:200]) - len(str(secret))) + str(secret)
    film.path = film.inbox / "b.mkv"
    film.path.write_bytes(FILM[: len(way)])
    job = film.job_for(b"b.mkv")
    film.path.unlink()
    film.path.symlink_to(way)
    os.utime(film.path, ns=(0, job.mtime_ns), follow_symlinks=False)
    seen = film.path.lstat()
    assert (seen.st_size, seen.st_mtime_ns) == (job.size_bytes, job.mtime_ns)
    with pytest.raises(Stopped, match=CHANGED):
        check_unchanged(job, film.folder)


@pytest.mark.parametrize("symlinks", [False, True])
def test_a_way_out_of_the_inbox_to_a_file_of_this_size_and_time_is_not_taken(tmp_path: Path, symlinks: bool) -> None:
    film = Film(tmp_path, "deep/a.mkv", symlinks=symlinks)
    film.path.parent.rename(tmp_path / "outside")
    film.path.parent.symlink_to(tmp_path / "outside")
    assert film.path.stat().st_mtime_ns == film.job.mtime_ns
    with pytest.raises(Stopped, match=CHANGED):
        film.check()
    film.folder = film.folder.model_copy(update={"stage": "always"})
    with pytest.raises(Stopped, match=CHANGED):
        film.stage()


# -- staged ----------------------------------------------------------------------------------------------------------


def on_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the kernel's list of mounts say that `tmp_path` is a share."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 0:1 / {tmp_path} rw - nfs4 nas:/films rw\n")
    monkeypatch.setattr(stage_module, "MOUNTINFO", mounts)


@pytest.mark.parametrize(("stage", "local", "copied"), [
    ("auto", True, False), ("auto", False, True), ("always", True, True), ("never", False, False),
])  # fmt: skip
def test_a_source_is_copied_as_the_folder_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, local: bool, copied: bool
) -> None:
    film = Film(tmp_path, stage=stage)
    if not local:
        on_network(monkeypatch, tmp_path)
    source = film.stage()
    assert (source == film.work / "source.mkv") if copied else (source == film.path)
    assert source.read_bytes() == FILM


def test_a_copy_has_the_time_of_its_source_and_outlives_it(tmp_path: Path) -> None:
    film = Film(tmp_path, stage="always")
    copy = film.stage()
    assert copy.stat().st_mtime_ns == film.job.mtime_ns
    film.path.unlink()
    assert film.stage() == copy and copy.read_bytes() == FILM


def test_a_long_copy_shows_that_it_moves(tmp_path: Path) -> None:
    film = Film(tmp_path, stage="always")
    with film.path.open("r+b") as file:
        file.truncate(CHUNK * 2 + 1)
    film.path = film.path.rename(film.inbox / "long.mkv")
    film.job = film.job_for(b"long.mkv")
    beats: list[int] = []
    copy = film.stage(lambda: beats.append(1))
    assert len(beats) == 3 and copy.stat().st_size == CHUNK * 2 + 1


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_file_that_changes_is_not_kept_as_a_copy_of_the_old_one(tmp_path: Path, when: str) -> None:
    film = Film(tmp_path, stage="always")
    if when == "before":
        touch(film.path)
    with pytest.raises(Stopped, match=CHANGED):
        film.stage((lambda: touch(film.path)) if when == "during" else lambda: None)
    with pytest.raises(Stopped, match=CHANGED):
        film.stage()


def test_a_file_swapped_for_a_link_before_it_is_opened_is_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = Film(tmp_path, stage="always")
    (tmp_path / "secret").write_bytes(FILM[::-1])

    def swap(_job: Job, _folder: Folder, _identities: object) -> None:
        film.path.unlink(missing_ok=True)
        film.path.symlink_to(tmp_path / "secret")

    monkeypatch.setattr(stage_module, "check_unchanged", swap)
    with pytest.raises(OSError, match="symbolic"):
        film.stage()
    assert list(film.work.iterdir()) == []


def test_a_copy_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    film = Film(tmp_path, stage="always")

    def fall() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        film.stage(fall)
    assert not list(film.work.glob(f"*{DRAFT}*")) and not list(film.work.glob("source*"))
    assert film.stage().read_bytes() == FILM


def test_a_copy_of_another_file_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    film = Film(tmp_path, stage="always")
    old = film.work / "source.mkv"
    old.write_bytes(bytes(len(FILM)))  # left by the job of this number before the journal was lost
    assert film.stage() == old
    assert old.read_bytes() == FILM
    film.path.unlink()
    assert film.stage() == old, "its own copy is used again"
