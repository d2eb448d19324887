from pathlib import Path

import av
import pytest
from clips.shapes import BUNNY

from darkroom.pipelines.errors import Rejected, Unavailable
from darkroom.pipelines.video.source import blame, opened, spoken


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


def test_an_input_output_error_is_the_machines_fault_and_bad_data_the_files() -> None:
    assert isinstance(blame(Path("a"), av.error.OSError(5, "Input/output error")), Unavailable)
    assert isinstance(blame(Path("a"), av.error.InvalidDataError(1, "Invalid data")), Rejected)
