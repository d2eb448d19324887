import errno
import os
from pathlib import Path

import pytest

from darkroom.daemon.disk import short_of, shortage, why_gone

GIB = 2**30


def test_enough_space_is_no_shortage() -> None:
    assert shortage(10 * GIB, 10**6, 10 * GIB, waiting=False) == ""


def test_a_shortage_says_what_is_there_and_what_is_needed() -> None:
    assert shortage(int(1.2 * GIB), 10**6, int(3.4 * GIB), waiting=False) == "1.2 GiB free, 3.4 GiB needed"


@pytest.mark.parametrize(("free", "short"), [(10.0, True), (10.9, True), (11.1, False)])
def test_who_waits_goes_on_only_with_a_tenth_more(free: float, short: bool) -> None:
    assert bool(shortage(int(free * GIB), 10**6, 10 * GIB, waiting=True)) is short


def test_used_up_inodes_are_a_shortage_except_where_they_have_no_number() -> None:
    assert shortage(10 * GIB, 3, 0, waiting=False) == "3 inodes free, 1000 needed; remove small files"
    assert shortage(10 * GIB, None, 0, waiting=False) == ""


def test_a_real_volume_is_asked(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    free = found.f_bavail * found.f_frsize
    assert short_of(tmp_path, 0, 0) == ""
    assert short_of(tmp_path, free, GIB, volume="work volume").startswith(f"work volume {tmp_path}: ")
    assert short_of(tmp_path, free, GIB).endswith("needed; jobs wait")


def test_a_volume_that_became_read_only_is_a_reason_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(os.statvfs(tmp_path))
    flags = found.index(os.statvfs(tmp_path).f_flag, 8)  # the last but one of its numbers
    found[flags] |= os.ST_RDONLY
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(found))
    assert short_of(tmp_path, 0, 0) == f"{tmp_path}: read-only; mount it for writing; jobs wait"


def test_the_reserve_counts_on_top_of_the_need(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    half = found.f_bavail * found.f_frsize * 2 // 3
    assert short_of(tmp_path, half, 0) == "" and short_of(tmp_path, 0, half) == ""
    assert short_of(tmp_path, half, half)


def test_a_volume_that_does_not_answer_is_a_reason_to_wait(tmp_path: Path) -> None:
    assert short_of(tmp_path / "gone", 0, 0).endswith("No such file or directory; is it there and mounted? jobs wait")


@pytest.mark.parametrize(("number", "gone"), [(errno.EIO, True), (errno.EROFS, True), (errno.ENOSPC, False)])
def test_a_disk_that_died_is_told_from_one_that_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, gone: bool
) -> None:
    assert why_gone(tmp_path) == ""

    def fail(path: Path) -> None:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr("os.utime", fail)
    assert why_gone(tmp_path).startswith(f"{tmp_path}: {os.strerror(number)}; ") is gone
