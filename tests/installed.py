"""The service, on a booted machine, as README's commands install it.

Beyond that there are drop-ins that shorten times (and take away the unit's niceness, with which a busy machine would
make them long), and a configuration with the toy pipeline of `studio.py`.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from booted import HERE, PYTHON, Machine, Unbootable, own_group, why_not
from house import wait_until
from patience import PATIENCE_S

CONFIG = "etc/darkroom/config.yaml"
SHARE = "srv/darkroom"
GO = "srv/darkroom/go"  # the file that paintings wait for
STUDIO = f'{PYTHON} -P -c "import sys; sys.path.insert(0, {"/opt/studio"!r}); import studio; studio.main()"'
PAINTING = f"ExecStart=\nExecStart={STUDIO} --config /{CONFIG} run"
QUICK = "[Service]\nRestartSec=200ms\nNice=0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the machine's journal about the service."""

    words: str
    priority: int  # syslog(3)
    by: str  # "systemd", or the service's program


class Service:
    """darkroom.service in a booted machine."""

    def __init__(self, machine: Machine) -> None:
        """Follow what the journal of `machine` says of the service."""
        self.machine = machine
        self.lines: list[Line] = []
        self._turnstiles = machine.root / "run/turnstiles"
        self._drop_in = machine.root / "run/systemd/system/darkroom.service.d/test.conf"
        self._turnstiles.mkdir()
        self._drop_in.parent.mkdir(parents=True)
        self._follower = machine.follow("journalctl", "--follow", "--lines=all", "--output=json", "--unit=darkroom")
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def state(self) -> Path:
        return self.machine.root / "var/lib/darkroom"

    def systemctl(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Give `systemctl` a command about the service."""
        return self.machine.run("systemctl", *words, "darkroom", check=check)

    def show(self, name: str) -> str:
        """Return a property of the service, as `systemctl show` names them."""
        return self.machine.run("systemctl", "show", "-P", name, "darkroom").stdout.strip()

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Give a `darkroom` command, of a program that knows the toy pipeline, as the service's user."""
        return self.machine.run(*shlex.split(STUDIO), *words, user="darkroom", check=False)

    def jobs(self) -> dict[str, str]:
        """Return the state of each job by its name."""
        return {job["name"]: job["state"] for job in json.loads(self.command("jobs", "--json").stdout)}

    def configure(self, *sections: str) -> None:
        """Lay settings of a service over the installed unit, and QUICK."""
        self._drop_in.write_text("\n".join((QUICK, *sections)) + "\n")
        self.machine.run("systemctl", "daemon-reload")

    def paint(
        self, *sections: str, worker: dict[str, object] | None = None, start: Sequence[str] = (), **options: object
    ) -> None:
        """Start the service with the toy pipeline and one picture, which waits for `go`.

        sections, of the unit, are laid over it; options are the pipeline's.
        """
        folder = {"name": "walls", "pipeline": "paint", "inbox": f"/{SHARE}/inbox/animate", "settle": 0.2}
        folder |= {"outbox": f"/{SHARE}/outbox/animate", "options": {"prompt": "a wall", "after": f"/{GO}"} | options}
        settings = {"state": "/var/lib/darkroom", "folders": [folder], "worker": worker or {}}
        (self.machine.root / CONFIG).write_text(yaml.safe_dump(settings))
        self.configure(PAINTING, *sections)
        (self.machine.root / SHARE / "inbox/animate/wall.png").write_text("a picture")
        self.systemctl("start", *start)

    def go(self) -> None:
        """Let the toy pipeline paint."""
        (self.machine.root / GO).touch()

    def painted(self) -> str:
        """Wait for the picture and return it."""
        found = self.machine.root / SHARE / "outbox/animate/wall.out"
        wait_until(found.exists)
        return found.read_text()

    def processes(self) -> list[int]:
        """Return the numbers, here, of the service's processes."""
        group = own_group() / self.machine.name / "system.slice/darkroom.service/cgroup.procs"
        return [int(number) for number in group.read_text().split()]

    def workers(self) -> list[int]:
        """Return those of its workers."""
        words = {number: Path(f"/proc/{number}/cmdline").read_bytes() for number in self.processes()}
        return [number for number, line in words.items() if b"darkroom.daemon.worker" in line]

    @contextmanager
    def hanging(self, number: int) -> Iterator[None]:
        """Let the process `number`, as it is called here, stand still."""
        os.kill(number, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(number, signal.SIGCONT)

    def hold(self, name: str) -> None:
        """Let each process wait before it opens, or renames to, a file called `name`."""
        (self._turnstiles / name).touch()

    def let_go(self, *names: str) -> None:
        """Let processes pass again."""
        for turnstile in [self._turnstiles / name for name in names] or list(self._turnstiles.iterdir()):
            turnstile.unlink()

    def now(self) -> int:
        """Return the number of the next line; all that has been said so far is in `lines`."""
        self.machine.run("journalctl", "--sync")
        said = self.machine.run("journalctl", "--output=json", "--output-fields=", "--unit=darkroom").stdout.count("\n")
        wait_until(lambda: len(self.lines) >= said)
        return said

    def see(self, words: str, since: int = 0) -> Line:
        """Wait for a line with `words` in it, later than number `since`, and return it."""
        wait_until(lambda: any(words in line.words for line in self.lines[since:]))
        return next(line for line in self.lines[since:] if words in line.words)

    def wait(self, name: str, wanted: str) -> None:
        """Wait until a property of the service is as `wanted`, a regular expression for all of it."""
        deadline = time.monotonic() + PATIENCE_S
        while not re.fullmatch(wanted, found := self.show(name)):
            assert time.monotonic() < deadline, f"{name} is {found!r}, not {wanted!r}"
            time.sleep(0.1)

    def _read(self) -> None:
        assert self._follower.stdout is not None
        for text in self._follower.stdout:
            entry = json.loads(text)
            by = str(entry.get("SYSLOG_IDENTIFIER", ""))
            self.lines.append(Line(words=str(entry["MESSAGE"]), priority=int(entry["PRIORITY"]), by=by))


def readme_commands(chapter: str) -> list[str]:
    """Return the commands of README's first block in `chapter`."""
    text = (HERE.parent / "README.md").read_text().split(f"### {chapter}\n")[1]
    return text.split("```\n")[1].splitlines()


@contextmanager
def installed(scratch: Path) -> Iterator[Service]:
    """Yield the service of a machine on which README's commands were run, but for those that install the package.

    The machine is switched off whatever happens. Skips the test where none can be booted.
    """
    if why := why_not():
        pytest.skip(f"no systemd can be booted here: {why}")
    try:
        machine = Machine(scratch)
    except Unbootable as error:
        pytest.skip(f"no systemd can be booted here: {error}")
    try:
        service = Service(machine)
        service.configure()
        commands = [
            line for line in readme_commands("Of the machine") if "pip install" not in line and "venv" not in line
        ]
        machine.run("bash", "-eux", words="\n".join(["cd /opt/checkout", *commands]))
        machine.run("useradd", "--groups=darkroom", "--create-home", "alice")
        yield service
    finally:
        machine.end()


@contextmanager
def rested(service: Service) -> Iterator[Service]:
    """Yield the service as README leaves it, but stopped and with nothing done yet; set it back to that afterwards."""
    config = service.machine.root / CONFIG
    kept = config.read_text()
    service.systemctl("stop")
    service.machine.run("bash", "-c", f"rm -rf /var/lib/darkroom/* /{GO} /{SHARE}/*/*/{{*,.darkroom*}}")
    mark = service.now()
    yield service
    print(*service.lines[mark:], sep="\n")
    service.let_go()
    service.systemctl("kill", "--signal=KILL", check=False)
    service.systemctl("stop")
    service.configure()
    service.systemctl("reset-failed", check=False)
    config.write_text(kept)
