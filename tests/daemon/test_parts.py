import errno
import os
from pathlib import Path

import pytest

from darkroom.daemon.parts import DRAFT, Parts, atomic, count_parts, remove_folder, work_folder, write_durably
from darkroom.pipelines.base import Plan, split

PLAN = Plan(unit="frame", segments=split(30, 10), part_suffix=".mkv", result_suffix=".mp4")


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path / "work" / "plan", PLAN)


def test_parts_are_named_by_their_segment(parts: Parts) -> None:
    assert [path.name for path in parts.all()] == ["000000.mkv", "000001.mkv", "000002.mkv"]
    assert parts.before(PLAN.segments[0]) is None
    assert parts.before(PLAN.segments[2]) == parts.path(PLAN.segments[1])
    assert parts.result.name == "result.mp4"


def test_a_segment_is_missing_until_its_part_exists(parts: Parts) -> None:
    assert parts.missing() == list(PLAN.segments)
    with atomic(parts.path(PLAN.segments[1])) as draft:
        draft.write_bytes(b"part")
        assert parts.missing() == list(PLAN.segments), "a draft is not a part"
    assert parts.missing() == [PLAN.segments[0], PLAN.segments[2]]


def test_drafts_of_a_crash_are_cleared_away_and_parts_are_not(parts: Parts) -> None:
    for name in (f"000001{DRAFT}.mkv", f"result{DRAFT}.mp4", "000000.mkv", "result.mp4"):
        (parts.folder / name).write_bytes(b"x")
    again = Parts(parts.folder, PLAN)
    assert sorted(path.name for path in again.folder.iterdir()) == ["000000.mkv", "result.mp4"]


def test_a_draft_keeps_the_suffix_by_which_writers_choose_the_format(tmp_path: Path) -> None:
    with atomic(tmp_path / "000001.part.mkv") as draft:
        assert draft.suffix == ".mkv" and DRAFT in draft.name and draft.parent == tmp_path
        draft.touch()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(error), atomic(target) as draft:
        draft.write_bytes(b"new, but")
        raise error
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]


def test_content_then_name_then_folder_are_made_durable_in_this_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(handle: int) -> None:
        order.append(f"fsync {Path(f'/proc/self/fd/{handle}').readlink().name}")
        fsync(handle)

    def note_replace(self: Path, target: Path) -> Path:
        order.append(f"rename to {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    write_durably(tmp_path / "made.json", b"{}")
    assert order == [f"fsync made{DRAFT}.json", "rename to made.json", f"fsync {tmp_path.name}"]


def test_a_disk_that_cannot_keep_the_content_is_never_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    target = tmp_path / "file"
    write_durably(target, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="Input/output"):
            write_durably(target, b"new")
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]
    write_durably(target, b"new")
    assert target.read_bytes() == b"new"


def test_parts_that_were_named_before_a_crash_are_made_durable_before_they_are_relied_on(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").readlink()))
    Parts(parts.folder, PLAN)
    assert synced[:3] == [parts.folder, *parts.folder.parents[:2]]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_without_room_is_said_with_the_file_that_needs_it(tmp_path: Path, code: int) -> None:
    with pytest.raises(OSError) as caught, atomic(tmp_path / "part.mkv"):
        raise OSError(code, os.strerror(code))
    assert caught.value.filename == str(tmp_path / "part.mkv")


def test_a_fault_of_what_is_read_is_not_laid_on_the_file_that_is_written(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, atomic(tmp_path / "part.mkv"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    assert caught.value.filename is None


def test_a_pipeline_that_writes_nothing_makes_no_part(parts: Parts) -> None:
    with pytest.raises(FileNotFoundError), atomic(parts.path(PLAN.segments[0])):
        pass
    assert parts.missing() == list(PLAN.segments)


def test_finished_parts_are_counted_over_all_plans_without_drafts_and_results(tmp_path: Path) -> None:
    work = work_folder(tmp_path, 41)
    for name in ("one/000000.mkv", "one/000001.mkv", f"one/000002{DRAFT}.mkv", "one/result.mkv", "two/000000.mkv"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).touch()
    (work / "made.json").touch()
    assert count_parts(work) == 3
    assert count_parts(work_folder(tmp_path, 42)) == 0


def test_a_folder_is_removed_with_all_in_it_and_a_missing_one_is_fine(parts: Parts) -> None:
    (parts.folder / "deep").mkdir()
    (parts.folder / "deep" / "file").touch()
    for _ in range(2):
        remove_folder(parts.folder)
    assert not parts.folder.exists()


def test_a_folder_of_files_is_there_with_all_of_them_or_not_at_all(parts: Parts) -> None:
    with pytest.raises(ValueError), atomic(parts.folder / "result.files") as draft:
        draft.mkdir()
        (draft / "0.txt").touch()
        raise ValueError
    assert list(parts.folder.iterdir()) == []
    with atomic(parts.folder / "result.files") as draft:
        draft.mkdir()
        (draft / "0.txt").write_bytes(b"text")
        assert not (parts.folder / "result.files").exists()
    assert [path.name for path in (parts.folder / "result.files").iterdir()] == ["0.txt"]


def test_the_files_of_a_folder_are_made_durable_before_it_gets_its_name(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    rename = Path.replace

    def renamed(self: Path, target: Path) -> Path:
        order.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", lambda handle: order.append(Path(f"/proc/self/fd/{handle}").readlink().name))
    monkeypatch.setattr(Path, "replace", renamed)
    with atomic(parts.folder / "result.files") as draft:
        draft.mkdir()
        (draft / "0.txt").write_bytes(b"text")
    assert order == ["0.txt", draft.name, "rename", parts.folder.name]


def test_the_draft_of_a_folder_that_a_crash_left_is_cleared_away(parts: Parts) -> None:
    (parts.folder / f"result{DRAFT}.files").mkdir()
    (parts.folder / f"result{DRAFT}.files/0.txt").touch()
    assert list(Parts(parts.folder, PLAN).folder.iterdir()) == []
