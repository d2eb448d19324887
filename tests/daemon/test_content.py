import hashlib
import os
from pathlib import Path

import pytest

from darkroom.daemon.content import WINDOW, fingerprint


def of(path: Path, *, whole: bool = False, size: int | None = None) -> str:
    handle = os.open(path, os.O_RDONLY)
    try:
        return fingerprint(handle, path.stat().st_size if size is None else size, whole=whole)
    finally:
        os.close(handle)


def film(path: Path, size: int, *, change: int | None = None) -> Path:
    data = bytearray(hashlib.shake_128(b"film").digest(size))
    if change is not None:
        data[change] ^= 1
    path.write_bytes(data)
    return path


def test_equal_content_has_one_name_whatever_the_file_is_called(tmp_path: Path) -> None:
    assert of(film(tmp_path / "a", 5 * WINDOW)) == of(film(tmp_path / "b", 5 * WINDOW))


@pytest.mark.parametrize("size", [0, 1, WINDOW - 1, 3 * WINDOW, 3 * WINDOW + 1, 7 * WINDOW + 13])
def test_the_name_begins_with_the_size(tmp_path: Path, size: int) -> None:
    assert of(film(tmp_path / "a", size)).startswith(f"{size}-")


@pytest.mark.parametrize("size", [1, 3 * WINDOW])
def test_a_small_file_is_read_whole(tmp_path: Path, size: int) -> None:
    path = film(tmp_path / "a", size)
    assert of(path) == f"{size}-{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.mark.parametrize("where", [0, WINDOW - 1, 5 * WINDOW, 9 * WINDOW, 10 * WINDOW - 1])
def test_a_change_in_the_first_middle_or_last_part_shows(tmp_path: Path, where: int) -> None:
    size = 10 * WINDOW
    assert of(film(tmp_path / "a", size)) != of(film(tmp_path / "b", size, change=where))


def test_only_the_whole_hash_sees_a_change_elsewhere(tmp_path: Path) -> None:
    a, b = film(tmp_path / "a", 10 * WINDOW), film(tmp_path / "b", 10 * WINDOW, change=3 * WINDOW)
    assert of(a) == of(b)
    assert of(a, whole=True) != of(b, whole=True)


def test_a_short_name_never_equals_a_whole_one(tmp_path: Path) -> None:
    path = film(tmp_path / "a", 100)
    assert of(path) != of(path, whole=True)


def test_a_file_shorter_than_announced_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EOFError, match="ends at byte 100, its size said 200"):
        of(film(tmp_path / "a", 100), size=200)


def test_the_position_of_the_descriptor_stays(tmp_path: Path) -> None:
    with film(tmp_path / "a", 1000).open("rb", buffering=0) as file:
        file.seek(7)
        fingerprint(file.fileno(), 1000)
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 7
