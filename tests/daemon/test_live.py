import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.daemon.live import FILE, FolderNow, Live, WorkerNow, read, write


def picture(pid: int) -> Live:
    folder = FolderNow(mode="events", files=3, waiting={"a\udcff.mkv": "settling", "é.txt": "ignored"}, waiting_count=2)
    worker = WorkerNow(state="busy", pid=12, job=3, name="film.mkv", done=5, units=9, rate=0.5, eta_s=8.0)
    return Live(
        pid=pid, since=1.0, at=2.0, version="1", folders={"films": folder}, workers={"cpu": worker}, notes=["look"]
    )


def test_a_picture_is_read_as_it_was_written(tmp_path: Path) -> None:
    seen = picture(os.getpid())
    seen.folders["films"].waiting.pop("a\udcff.mkv")  # names in it are printable, as `printable` makes them
    write(tmp_path, seen)
    assert read(tmp_path) == seen
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_without_a_file_no_daemon_is_running(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    assert read(tmp_path / "missing") is None


def test_the_picture_of_a_daemon_that_is_gone_is_not_believed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / FILE).write_text(json.dumps({"pid": ended.pid, "folders": {}, "workers": {}}))
    assert read(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"pid": 1, "folder'])
def test_a_damaged_picture_is_no_picture(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert read(tmp_path) is None
