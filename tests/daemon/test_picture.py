import os
from pathlib import Path
from typing import Any

import pytest
from clocks import Clock

from darkroom.daemon import live
from darkroom.daemon import picture as picture_module
from darkroom.daemon.config import Config
from darkroom.daemon.inbox import Inbox, Sighting
from darkroom.daemon.live import WorkerNow
from darkroom.daemon.lookout import NOT_LOOKED, Look, Lookout
from darkroom.daemon.marker import INBOX, adopt
from darkroom.daemon.picture import EVERY_S, Picture, one_line

BUSY = WorkerNow(
    state="busy", pid=5, job=41, name="a.mkv", stage="segment 2 of 7", unit="frame", done=3, units=9, eta_s=90
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    wound = Clock()
    monkeypatch.setattr(picture_module, "time", wound)
    return wound


def lookout(root: Path, sighting: Sighting | None = None) -> Lookout:
    """Return a lookout that has just seen `sighting`."""
    entry = {"name": "films", "pipeline": "upscale", "inbox": root / "in", "outbox": root / "out"}
    config = Config.model_validate({"state": root, "folders": [entry]})
    made = Lookout(config.folders[0], config, {})
    if sighting is not None:
        made.inbox = Inbox(config.folders[0], config.watch, adopt(root / "in", INBOX))
        made.last = Look(sighting=sighting, outbox="", at=77.0)
    return made


def draw(picture: Picture, at: Lookout, **fields: Any) -> str:
    values = {"closed": {}, "workers": {"cpu": BUSY}, "notes": []} | fields
    return picture.draw({"films": at}, values["closed"], values["workers"], values["notes"])


def test_the_picture_shows_folders_workers_and_notes(tmp_path: Path, clock: Clock) -> None:
    waiting = {b"b\x1b.mkv": "settling", b"\xff": "empty"}
    seen = lookout(tmp_path, Sighting(waiting=waiting, files=3, seconds=0.12345, next_look_s=60))
    draw(Picture(tmp_path), seen, closed={"films": "on hold: nap"}, notes=["few watches"])
    shown = live.read(tmp_path)
    assert shown is not None and shown.pid == os.getpid() and shown.notes == ["few watches"]
    assert shown.workers == {"cpu": BUSY}
    folder = shown.folders["films"]
    assert folder.waiting == {r"b\x1b.mkv": "settling", r"\xff": "empty"} and folder.waiting_count == 2
    assert (folder.files, folder.scan_s, folder.last_scan, folder.closed) == (3, 0.123, 77.0, "on hold: nap")


def test_a_folder_before_its_first_look_is_shown_too(tmp_path: Path, clock: Clock) -> None:
    draw(Picture(tmp_path), lookout(tmp_path))
    shown = live.read(tmp_path)
    assert shown is not None and shown.folders["films"].offline == NOT_LOOKED


def test_many_waiting_files_are_counted_and_some_are_named(tmp_path: Path, clock: Clock) -> None:
    waiting = {f"{number}".encode(): "settling" for number in range(live.SHOWN + 10)}
    draw(Picture(tmp_path), lookout(tmp_path, Sighting(waiting=waiting, next_look_s=60)))
    shown = live.read(tmp_path)
    assert shown is not None and len(shown.folders["films"].waiting) == live.SHOWN
    assert shown.folders["films"].waiting_count == live.SHOWN + 10


def test_an_idle_daemon_writes_nothing_and_a_busy_one_once_a_second(tmp_path: Path, clock: Clock) -> None:
    picture, at, file = Picture(tmp_path), lookout(tmp_path), tmp_path / live.FILE
    draw(picture, at)
    file.unlink()
    clock.now += 100
    draw(picture, at)
    assert not file.exists(), "nothing has changed"
    draw(picture, at, notes=["changed"])
    assert file.exists()
    file.unlink()
    clock.now += EVERY_S / 2
    draw(picture, at, notes=["changed again"])
    assert not file.exists(), "that was too soon"
    clock.now += EVERY_S
    draw(picture, at, notes=["changed again"])
    assert file.exists()


def test_a_picture_that_cannot_be_written_is_told_once_and_tried_again(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    state, at = tmp_path / "state", lookout(tmp_path)
    picture = Picture(state)
    for _ in range(3):
        assert draw(picture, at).startswith("job 41")
        clock.now += EVERY_S
    assert len(caplog.messages) == 1 and "No such file" in caplog.messages[0]
    state.mkdir()
    draw(picture, at)
    assert live.read(state) is not None


def test_no_path_is_so_odd_that_it_cannot_be_drawn(tmp_path: Path, clock: Clock) -> None:
    odd = os.fsdecode(b"/in/\xff: not mounted")
    draw(Picture(tmp_path), lookout(tmp_path), closed={"films": odd})
    shown = live.read(tmp_path)
    assert shown is not None and shown.folders["films"].closed == odd


def test_a_daemon_that_ends_leaves_no_picture(tmp_path: Path, clock: Clock) -> None:
    picture = Picture(tmp_path)
    draw(picture, lookout(tmp_path))
    for _ in range(2):
        picture.clear()
    assert live.read(tmp_path) is None and not list(tmp_path.glob("*live*"))


@pytest.mark.parametrize(
    ("workers", "closed", "line"),
    [
        ([], {}, "idle"),
        ([WorkerNow(state="idle")], {"films": "", "clips": ""}, "idle"),
        ([], {"films": "on hold: nap", "clips": ""}, "films: on hold: nap"),
        ([BUSY], {"films": "on hold: nap"}, "job 41 a.mkv: segment 2 of 7, 3 of 9 frames, 1 min 30 s left"),
        ([WorkerNow(state="busy", job=7, name="b", stage="starting")], {}, "job 7 b: starting"),
    ],
)
def test_one_line_says_what_goes_on_or_why_nothing_does(
    workers: list[WorkerNow], closed: dict[str, str], line: str
) -> None:
    assert one_line({f"{number}": worker for number, worker in enumerate(workers)}, closed) == line
