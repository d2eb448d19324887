import os
from pathlib import Path

import av
import pytest
from clips.shapes import BUNNY

from darkroom.pipelines.errors import Rejected, Unavailable
from darkroom.pipelines.video.source import blame, opened, spoken, unwritten_bytes


def test_control_characters_and_broken_bytes_of_a_name_are_escaped() -> None:
    assert spoken(Path("/x/a\x1b[2J\nb\udcff é.mkv")) == "a\\x1b[2J\\nb\\udcff é.mkv"


def test_a_name_with_a_colon_is_no_protocol(tmp_path: Path) -> None:
    odd = tmp_path / "http:a%03d,b'.mp4"
    odd.write_bytes(BUNNY.read_bytes())
    with opened(odd) as container:
        assert container.streams.video[0].width == 320


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile '{BUNNY}'\n")
    with pytest.raises(Rejected, match="not a video file"), opened(playlist):
        pass


def test_a_missing_file_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"gone\.mkv"), opened(tmp_path / "gone.mkv"):
        pass


def test_an_input_output_error_is_the_machines_fault_where_the_file_cannot_be_read(tmp_path: Path) -> None:
    error = av.error.OSError(5, "Input/output error")
    assert isinstance(blame(tmp_path / "gone.mkv", error), Unavailable)
    assert isinstance(blame(Path("/proc/self/mem"), error), Unavailable), "reading it fails on the way"
    assert isinstance(blame(BUNNY, error), Rejected), "a header that is cut off is called so as well"
    assert isinstance(blame(BUNNY, av.error.PermissionError(1, "Operation not permitted")), Rejected), "a key of ASF"


def test_bad_data_is_the_files_fault(tmp_path: Path) -> None:
    assert isinstance(blame(tmp_path / "a", av.error.InvalidDataError(1, "Invalid data")), Rejected)


def test_a_lack_of_memory_is_the_machines_fault_only_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    error = av.error.MemoryError(12, "Cannot allocate memory")
    assert "asks for more memory" in str(blame(BUNNY, error))
    monkeypatch.setattr("darkroom.pipelines.video.source.ENOUGH_BYTES", 2**62)
    found = blame(BUNNY, error)
    assert isinstance(found, Unavailable) and "end what else uses it" in str(found)


def test_no_picture_is_decoded_that_is_larger_than_its_container_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darkroom.pipelines.video.source.MOST_PIXELS", 320 * 180 - 1)
    with opened(BUNNY) as container, pytest.raises(av.error.FFmpegError):
        list(container.decode(video=0))


def test_holes_are_what_nobody_has_written(tmp_path: Path) -> None:
    path, block = tmp_path / "a", 2**20
    with path.open("wb") as file:
        for position in (0, 5, 9):
            file.seek(position * block)
            file.write(b"x" * block)
    assert unwritten_bytes(path) == 7 * block
    os.truncate(path, 2**40)
    assert unwritten_bytes(path) == 2**40 - 3 * block
    assert unwritten_bytes(BUNNY) == 0
    with pytest.raises(Unavailable):
        unwritten_bytes(tmp_path / "gone")
