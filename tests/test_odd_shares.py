"""Shares that answer with errors, and file systems that lack what others have."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from house import wait_until
from shares import Yard, is_mounted

from darkroom.daemon.config import Config
from darkroom.daemon.inbox import Inbox, Sighting
from darkroom.daemon.intake import take_in
from darkroom.daemon.journal import Journal
from darkroom.daemon.marker import INBOX, adopt
from darkroom.daemon.stage import check_unchanged
from darkroom.pipelines.errors import Unavailable

LIBRARY = find_library("fuse") or find_library("fuse3")
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/fuse").exists() or not find_spec("mfusepy") or not LIBRARY,
    reason="a file system of our own takes root, /dev/fuse, libfuse and mfusepy",
)

PROGRAM = Path(__file__).with_name("odd_share.py")
ERRORS = [errno.EIO, errno.ESTALE, errno.ENOTCONN]


class Odd:
    """An odd share, mounted."""

    def __init__(self, root: Path) -> None:
        self.server, self.at, self._faults = root / "server", root / "share", root / "faults.json"
        for folder in (self.server, self.at):
            folder.mkdir()
        self.fails({})
        self.process = subprocess.Popen([sys.executable, PROGRAM, self.server, self.at, self._faults])
        wait_until(lambda: is_mounted(self.at))

    def fails(self, faults: dict[str, int]) -> None:
        """Answer with these errors, by path, from now on."""
        draft = self._faults.with_name("draft")
        draft.write_text(json.dumps(faults))
        draft.replace(self._faults)


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Odd]:
    share = Odd(tmp_path)
    yield share
    subprocess.run(["umount", "--lazy", share.at], check=False)
    share.process.kill()
    share.process.wait()


class Look:
    """An inbox on the odd share with one file in it, whose job is queued."""

    def __init__(self, odd: Odd, root: Path) -> None:
        (odd.server / "season").mkdir()
        (odd.server / "season/a.mkv").write_bytes(b"film")
        folder = {"name": "films", "pipeline": "upscale", "inbox": odd.at, "outbox": root / "out", "settle": 2}
        self.config = Config.model_validate({"state": root / "state", "folders": [folder]})
        self.identity = adopt(odd.at, INBOX)
        self.inbox = Inbox(self.config.folders[0], self.config.watch, self.identity)
        self.journal = Journal(root / "journal.db")
        self.now = 0.0
        self()
        take_in(self.journal, self.config.folders[0], self(), 1.0)
        (self.job,) = self.journal.jobs()

    def __call__(self) -> Sighting:
        self.now += 5
        return self.inbox.look(self.journal.known("films"), self.now)

    def check(self) -> None:
        check_unchanged(self.job, self.config.folders[0], {str(self.inbox.folder.inbox): self.identity})


@pytest.fixture
def look(odd: Odd, tmp_path: Path) -> Iterator[Look]:
    made = Look(odd, tmp_path)
    yield made
    made.journal.close()


@pytest.mark.parametrize("where", ["/", f"/{INBOX}"], ids=["root", "marker"])
@pytest.mark.parametrize("fault", ERRORS, ids=os.strerror)
def test_an_inbox_that_answers_with_an_error_is_offline_and_nothing_in_it_is_gone(
    odd: Odd, look: Look, where: str, fault: int
) -> None:
    odd.fails({where: fault})
    seen = look()
    assert os.strerror(fault) in seen.offline and (seen.missing, seen.replaced, seen.arrivals) == ((), (), ())
    odd.fails({})
    assert look().offline == ""


@pytest.mark.parametrize("where", ["/season", "/season/a.mkv"])
@pytest.mark.parametrize("fault", ERRORS, ids=os.strerror)
def test_what_a_server_cannot_show_is_told_and_not_taken_for_gone(odd: Odd, look: Look, where: str, fault: int) -> None:
    odd.fails({where: fault})
    seen = look()
    assert f"unreadable: {os.strerror(fault)}" in seen.waiting.values() and seen.missing == seen.replaced == ()
    with pytest.raises(OSError, match=os.strerror(fault)):
        look.check()
    odd.fails({})
    look.check()
    assert not look().waiting


@pytest.mark.parametrize("fault", ERRORS, ids=os.strerror)
def test_a_source_that_cannot_be_asked_for_is_waited_for_like_its_share(odd: Odd, look: Look, fault: int) -> None:
    odd.fails({"/season": fault, "/season/a.mkv": fault, f"/{INBOX}": fault})
    with pytest.raises(Unavailable, match=os.strerror(fault)) as caught:
        look.check()
    assert caught.value.patient


@pytest.mark.parametrize("originals", ["keep", "move", "delete"])
def test_a_whole_job_on_a_disk_without_links_modes_case_and_fine_times(
    odd: Odd, tmp_path: Path, originals: str
) -> None:
    places: dict[str, Any] = {
        "inbox": str(odd.at / "in"),
        "outbox": str(odd.at / "out"),
        "originals_folder": str(odd.at / "kept"),
    }
    yard = Yard(tmp_path / "yard", **places | {"originals": originals})
    (odd.at / "in/Season").mkdir(parents=True)
    (odd.at / "in/Season/Film.jpg").write_text("film")
    (odd.at / "out/season").mkdir(parents=True)
    (odd.at / "out/season/film.out").write_text("somebody else's")
    assert yard.drain() == 0
    assert yard.drain() == 0, "the second run finds nothing to do"
    assert yard.ends() == {"Season/Film.jpg": ["done"]}
    found = {str(path.relative_to(odd.server)): path.read_text() for path in odd.server.rglob("*") if path.is_file()}
    shown = {name: text for name, text in found.items() if not Path(name).name.startswith(".")}
    source = {"keep": {"in/Season/Film.jpg": "film"}, "move": {"kept/Season/Film.jpg": "film"}, "delete": {}}[originals]
    assert shown == {"out/season/film.out": "somebody else's", "out/season/Film (2).out": "a cat\n" * 3} | source
    assert not [name for name in found if "draft" in name or "JOB-" in name]
    assert not any("original kept" in line for line in yard.lines)
