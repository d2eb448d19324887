import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from darkroom.daemon import place as place_module
from darkroom.daemon.filesystem import opened_folder
from darkroom.daemon.place import CHUNK, NameTaken, copier, folder_below, is_there, place, unavailable
from darkroom.pipelines.errors import Stopped, Unavailable

DATA = os.urandom(CHUNK + 12345)
SHA256 = hashlib.sha256(DATA).hexdigest()


def no_beat() -> None:
    pass


def writes(data: bytes) -> Callable[[int], None]:
    def write(file: int) -> None:
        assert os.write(file, data) == len(data)

    return write


@contextmanager
def source_of(folder: Path, data: bytes = DATA) -> Iterator[int]:
    (folder / "source").write_bytes(data)
    file = os.open(folder / "source", os.O_RDONLY)
    try:
        yield file
    finally:
        os.close(file)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def put(root: Path, path: bytes, data: bytes = b"new", **options: Any) -> None:
    with opened_folder(root) as handle:
        place(handle, path, writes(data), draft="JOB-1.part", **options)


def drafts(root: Path) -> list[str]:
    return [path.name for path in (root / ".darkroom-tmp").iterdir()]


def refuse(monkeypatch: pytest.MonkeyPatch, *ways: str) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    if "renameat2" in ways:
        monkeypatch.setattr(place_module, "_rename_free", refused)
    if "link" in ways:
        monkeypatch.setattr(os, "link", refused)


WAYS = pytest.mark.parametrize("missing", [(), ("renameat2",), ("renameat2", "link")], ids=["rename", "link", "claim"])


@WAYS
def test_a_file_gets_its_name_whole_and_no_draft_is_left(
    root: Path, missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, *missing)
    put(root, b"a/b/film.mkv")
    assert (root / "a/b/film.mkv").read_bytes() == b"new"
    assert (root / "a/b/film.mkv").stat().st_nlink == 1
    assert drafts(root) == []


@WAYS
def test_a_taken_name_is_never_written_over(
    root: Path, missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, *missing)
    (root / "film.mkv").write_bytes(b"somebody's")
    (root / "empty.mkv").write_bytes(b"")
    for name in (b"film.mkv", b"empty.mkv"):
        with pytest.raises(NameTaken, match="another file"):
            put(root, name)
    assert (root / "film.mkv").read_bytes() == b"somebody's"
    assert (root / "empty.mkv").read_bytes() == b""
    assert drafts(root) == []


def test_replacing_is_one_step_in_which_the_name_never_vanishes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "film.mkv").write_bytes(b"old")
    before = (root / "film.mkv").stat().st_ino
    monkeypatch.setattr(os, "unlink", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError()))
    put(root, b"film.mkv", replace=True)
    assert (root / "film.mkv").read_bytes() == b"new"
    assert (root / "film.mkv").stat().st_ino != before


def test_a_failed_write_leaves_nothing(root: Path) -> None:
    def fails(file: int) -> None:
        os.write(file, b"half")
        raise Stopped("drain")

    with opened_folder(root) as handle, pytest.raises(Stopped):
        place(handle, b"film.mkv", fails, draft="JOB-1.part")
    assert not (root / "film.mkv").exists()
    assert drafts(root) == []


def test_an_fsync_that_fails_is_not_believed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync
    faults = [errno.EIO]

    def once(file: int) -> None:
        if faults and Path(f"/proc/self/fd/{file}").readlink().suffix == ".part":
            raise OSError(faults.pop(), "EIO")
        real(file)

    monkeypatch.setattr(os, "fsync", once)
    with pytest.raises(OSError, match="EIO"):
        put(root, b"film.mkv")
    assert not (root / "film.mkv").exists()
    assert drafts(root) == []
    put(root, b"film.mkv")
    assert (root / "film.mkv").read_bytes() == b"new"


def test_file_and_folder_are_synced_around_the_rename(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    real_fsync, real_rename = os.fsync, place_module._rename_free

    def fsync(file: int) -> None:
        steps.append(Path(f"/proc/self/fd/{file}").readlink().name)
        real_fsync(file)

    def rename(*arguments: Any) -> None:
        steps.append("rename")
        real_rename(*arguments)

    (root / ".darkroom-tmp").mkdir()
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(place_module, "_rename_free", rename)
    put(root, b"a/film.mkv")
    assert steps[-3:] == ["JOB-1.part", "rename", "a"]
    assert "root" in steps[:-3]  # the new folder's name


def test_an_old_draft_that_is_a_link_to_a_published_file_is_not_written_through(root: Path) -> None:
    (root / ".darkroom-tmp").mkdir()
    (root / "renamed by a person.mkv").write_bytes(b"published before the crash")
    os.link(root / "renamed by a person.mkv", root / ".darkroom-tmp/JOB-1.part")
    put(root, b"film.mkv")
    assert (root / "renamed by a person.mkv").read_bytes() == b"published before the crash"


def test_a_crash_after_holding_the_name_is_finished_by_the_next_run(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "renameat2", "link")
    (root / ".darkroom-tmp").mkdir()
    (root / ".darkroom-tmp/JOB-1.part.claim").touch()
    (root / "film.mkv").touch()
    put(root, b"film.mkv")
    assert (root / "film.mkv").read_bytes() == b"new"
    assert drafts(root) == []


def test_a_writer_who_takes_the_name_at_the_last_moment_is_not_written_over(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, "renameat2", "link")
    real = os.open

    def beaten(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if path == b"film.mkv" and flags & os.O_EXCL and not (root / "film.mkv").exists():
            (root / "film.mkv").touch()  # about to be filled by somebody else
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", beaten)
    with pytest.raises(NameTaken):
        put(root, b"film.mkv")
    assert (root / "film.mkv").read_bytes() == b""
    assert drafts(root) == []


@pytest.mark.parametrize("planted", ["folder", "temp"])
def test_a_planted_link_leads_nowhere(root: Path, tmp_path: Path, planted: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / {"folder": "a", "temp": ".darkroom-tmp"}[planted]).symlink_to(outside)
    with pytest.raises(NotADirectoryError):
        put(root, b"a/film.mkv")
    assert list(outside.iterdir()) == []


def test_a_planted_link_in_place_of_the_file_counts_as_taken(root: Path, tmp_path: Path) -> None:
    (root / "film.mkv").symlink_to(tmp_path / "outside")
    with pytest.raises(NameTaken):
        put(root, b"film.mkv")
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("bad", [b"../film.mkv", b"/film.mkv", b"a//film.mkv", b"./film.mkv"])
def test_a_path_cannot_climb(root: Path, bad: bytes) -> None:
    with pytest.raises(ValueError, match="no folder's name"):
        put(root, bad)


def test_names_of_any_bytes_work(root: Path) -> None:
    for name in (b"new\nline", b"\xff\xfe", b"-rf", "🎞".encode() * 60, b"n" * 255):
        put(root, name, b"x")
    assert len([entry for entry in os.scandir(bytes(root)) if entry.is_file()]) == 5


def test_the_mode_comes_from_the_umask_and_the_group_from_the_folder(root: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to hand out another group")
    (root / "shared").mkdir()
    os.chown(root / "shared", -1, 12345)
    (root / "shared").chmod(0o2775)
    old = os.umask(0o002)
    try:
        put(root, b"shared/inner/film.mkv")
    finally:
        os.umask(old)
    found = (root / "shared/inner/film.mkv").stat()
    assert (found.st_mode & 0o7777, found.st_gid) == (0o664, 12345)
    assert (root / "shared/inner").stat().st_mode & 0o7777 == 0o2775


@pytest.mark.parametrize("across", [False, True])
def test_a_copy_is_whole_whether_by_reference_or_through_the_kernel(
    root: Path, tmp_path: Path, across: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if across:
        monkeypatch.setattr(
            os, "copy_file_range", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "another file system"))
        )
    beats: list[int] = []
    with source_of(tmp_path) as source, opened_folder(root) as handle:
        write = copier(source, sha256=SHA256, beat=lambda: beats.append(1))
        place(handle, b"film.mkv", write, draft="JOB-1.part")
    assert (root / "film.mkv").read_bytes() == DATA
    assert len(beats) >= 4  # two chunks, copied and read back


def test_a_copy_to_another_file_system_is_whole(tmp_path: Path, second_disk: Path) -> None:
    with source_of(tmp_path) as source, opened_folder(second_disk) as handle:
        place(handle, b"film.mkv", copier(source, sha256=SHA256, beat=no_beat), draft="JOB-1.part")
    assert (second_disk / "film.mkv").read_bytes() == DATA


def test_a_copy_that_differs_is_refused_and_removed(root: Path, tmp_path: Path) -> None:
    with (
        source_of(tmp_path, DATA[:-1] + b"?") as source,
        opened_folder(root) as handle,
        pytest.raises(Unavailable, match="copy differs"),
    ):
        place(handle, b"film.mkv", copier(source, sha256=SHA256, beat=no_beat), draft="JOB-1.part")
    assert not (root / "film.mkv").exists()
    assert drafts(root) == []


def test_is_there_asks_for_size_and_content_and_waits_for_no_pipe(root: Path) -> None:
    (root / "film.mkv").write_bytes(DATA)
    os.mkfifo(root / "pipe")
    (root / "link").symlink_to(root / "film.mkv")
    with opened_folder(root) as handle:
        assert is_there(handle, b"film.mkv", len(DATA), SHA256, no_beat)
        assert not is_there(handle, b"film.mkv", len(DATA), "0" * 64, no_beat)
        assert not is_there(handle, b"film.mkv", len(DATA) + 1, SHA256, no_beat)
        for name in (b"pipe", b"link", b"missing"):
            assert not is_there(handle, name, len(DATA), SHA256, no_beat)


def test_a_folder_that_is_not_there_is_not_made_unasked(root: Path) -> None:
    with opened_folder(root) as handle, pytest.raises(FileNotFoundError), folder_below(handle, [b"a"]):
        pass
    assert list(root.iterdir()) == []


def test_a_refusal_of_the_system_is_said_with_its_remedy() -> None:
    with pytest.raises(Unavailable, match="/out: No space left on device; free some space"), unavailable(Path("/out")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("code", "patient"), [(errno.EROFS, True), (errno.ENOSPC, False), (errno.EIO, False)])
def test_a_file_system_that_may_only_be_read_is_waited_for_as_long_as_it_takes(code: int, patient: bool) -> None:
    with pytest.raises(Unavailable) as caught, unavailable(Path("/outbox")):
        raise OSError(code, os.strerror(code))
    assert caught.value.patient is patient
    assert str(caught.value).startswith(f"/outbox: {os.strerror(code)}; ")
