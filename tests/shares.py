"""Shares that come, go, hang and die: bindfs mounts of a folder on this disk, and a Darkroom that works on them.

bindfs is a FUSE file system, as sshfs is, and behaves as NFS and SMB do in what matters here: what is written on the
server's side tells the client no event, an unmounted share leaves an empty folder, a dead server an error, and a
stopped one no answer at all.
"""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import studio
from house import House, wait_until
from patience import PATIENCE_S
from programs import program

from darkroom.daemon import lookout
from darkroom.daemon.job import Job
from darkroom.daemon.journal import FILE, Journal

PROGRAM = program("shares")
HANGS_AFTER_S = 2.0
MOUNTINFO = Path("/proc/self/mountinfo")

needs_bindfs = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/fuse").exists() or not shutil.which("bindfs"),
    reason="mounting a share takes root, /dev/fuse and bindfs",
)


def main() -> None:
    """Be `darkroom` with the toy `paint`, and soon sure that a file server hangs."""
    lookout.HANGS_AFTER_S = HANGS_AFTER_S
    studio.main()


class Share:
    """A folder of a file server, and the place where it is mounted."""

    def __init__(self, server: Path, at: Path) -> None:
        self.server, self.at = server, at
        self._process: subprocess.Popen[bytes] | None = None
        server.mkdir(parents=True, exist_ok=True)

    def mount(self) -> None:
        """Mount it; attributes and names are asked of the server each time."""
        self.at.mkdir(parents=True, exist_ok=True)
        fresh = "attr_timeout=0,entry_timeout=0,negative_timeout=0"
        self._process = subprocess.Popen(["bindfs", "-f", "-o", fresh, str(self.server), str(self.at)])
        wait_until(lambda: is_mounted(self.at))

    def unmount(self) -> None:
        """Unmount it as soon as nobody looks into it."""
        wait_until(lambda: subprocess.run(["umount", self.at], capture_output=True, check=False).returncode == 0)
        self._reap()

    def die(self) -> None:
        """SIGKILL the server: what is mounted answers ENOTCONN."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def hang(self) -> None:
        """Stop the server: whoever asks it waits."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def answer(self) -> None:
        """Let a stopped server go on."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Take it away, whatever became of it."""
        self.answer()
        subprocess.run(["umount", "--lazy", self.at], capture_output=True, check=False)
        self._reap()

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait(PATIENCE_S)


class Yard(House):
    """A house whose first folder, `art`, may lie on shares; its second, `desk`, is on the disk."""

    program = PROGRAM

    def __init__(self, root: Path, worker: dict[str, object] | None = None, **folder: object) -> None:
        art = {"name": "art", "pipeline": "paint", "options": {"prompt": "a cat", "strokes": 3}} | folder
        super().__init__(root, worker, **art)
        self.desk = root / "desk"
        self.desk.mkdir()
        desk = {"name": "desk", "inbox": "desk", "outbox": "done", "originals_folder": "kept", "originals": "keep"}
        with self.settings() as settings:
            settings["folders"].append(settings["folders"][0] | desk)
            settings["watch"] = {"scan_network": 1, "scan_local": 1}

    def jobs(self) -> list[Job]:
        """Return all jobs of the journal."""
        with Journal(self.state / FILE, readonly=True) as journal:
            return journal.jobs()

    def ends(self) -> dict[str, list[str]]:
        """Return the states of the jobs of each file."""
        found: dict[str, list[str]] = {}
        for job in self.jobs():
            found.setdefault(job.name, []).append(str(job.state))
        return found

    def status(self, folder: str = "art") -> dict[str, Any]:
        """Return what `darkroom status` says of a folder."""
        seen: dict[str, Any] = self._status()["folders"][folder]
        return seen

    def notes(self) -> list[str]:
        """Return what `darkroom status` says the administrator should know."""
        seen: list[str] = self._status()["notes"]
        return seen

    def _status(self) -> dict[str, Any]:
        answer = self.command("status", "--json")
        assert answer.returncode == 0, answer.stderr
        seen: dict[str, Any] = json.loads(answer.stdout)
        return seen


def is_mounted(place: Path) -> bool:
    """Tell whether something is mounted at `place`; its server is not asked."""
    return any(line.split()[4] == str(place) for line in MOUNTINFO.read_text().splitlines())
