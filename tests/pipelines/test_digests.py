"""Digests that are remembered, and files that are written whole or not at all."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from darkroom.pipelines.digests import FILE, digest, durable, known, remember


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"film" * 1000)
    return path


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_digest_is_read_once_and_then_remembered(weights: Path) -> None:
    assert known(weights) == ""
    assert digest(weights) == sha256(b"film" * 1000)
    before = weights.stat()
    weights.write_bytes(b"FILM" * 1000)  # behind its back: same size, and the time set back
    os.utime(weights, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert digest(weights) == known(weights) == sha256(b"film" * 1000)


@pytest.mark.parametrize(("data", "later_ns"), [(b"film" * 1001, 0), (b"FILM" * 1000, 1)])
def test_a_file_of_another_size_or_time_is_read_anew(weights: Path, data: bytes, later_ns: int) -> None:
    digest(weights)
    time_ns = weights.stat().st_mtime_ns + later_ns
    weights.write_bytes(data)
    os.utime(weights, ns=(time_ns, time_ns))
    assert known(weights) == ""
    assert digest(weights) == sha256(data)


def test_a_file_that_is_written_meanwhile_is_not_remembered(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = hashlib.file_digest

    def slow(file: object, name: str) -> object:
        found = real(file, name)  # type: ignore[arg-type]
        with weights.open("ab") as late:
            late.write(b"x")
        return found

    monkeypatch.setattr(hashlib, "file_digest", slow)
    digest(weights)
    assert not weights.with_name(FILE).exists()


def test_the_digests_of_a_folder_are_kept_side_by_side_and_those_of_gone_files_go(weights: Path) -> None:
    other, third = weights.with_name("other.bin"), weights.with_name("third.bin")
    for path in (other, third):
        path.write_bytes(b"x")
    digest(weights), digest(other)
    other.unlink()
    remember(third, "ab" * 32)
    assert set(json.loads(weights.with_name(FILE).read_text())) == {"weights.bin", "third.bin"}
    assert known(third) == "ab" * 32


@pytest.mark.parametrize(
    "rubbish", [b"", b"[1]", b'{"weights.bin": 3}', b"\xff", b'{"weights.bin": {"size_bytes": 4000}}']
)
def test_damaged_notes_cost_time_only(weights: Path, rubbish: bytes) -> None:
    weights.with_name(FILE).write_bytes(rubbish)
    assert digest(weights) == sha256(b"film" * 1000) == known(weights)


def test_a_folder_that_cannot_be_written_is_read_each_time(
    weights: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    assert digest(weights) == sha256(b"film" * 1000)
    assert known(weights) == ""
    assert "cannot be written (Permission denied)" in caplog.text
    assert [path.name for path in weights.parent.iterdir()] == ["weights.bin"]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        digest(tmp_path / "nothing")


def test_a_draft_becomes_the_file_only_when_all_went_well(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), durable(target) as draft:
        draft.write_text("half")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["target"] and target.read_text() == "old"
    with durable(target) as draft:
        draft.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
