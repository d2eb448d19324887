"""This machine's own files, booted with a real systemd and the service in it; `boot_systemd.sh` says how.

The booted machine has what README's commands make of it. Beyond that it has three things for the tests: the
turnstiles of `turnstile.py`, the toy pipeline of `studio.py`, and drop-ins that shorten times (and take
away the unit's niceness, with which a busy machine would make them long).
"""

import compileall
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from house import PATIENCE_S, wait_until

import darkroom

COMMAND_S = 300.0  # a start may take so long
HERE = Path(__file__).parent
NEEDED = ("setpriv", "unshare", "nsenter", "findmnt", "systemctl", "journalctl", "/lib/systemd/systemd")
NAMESPACES = ("-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w")  # the last two: its root, and to begin there
VERSION = f"python{sysconfig.get_python_version()}"
PYTHON = "/opt/darkroom/bin/python"
CONFIG = "etc/darkroom/config.yaml"
SHARE = "srv/darkroom"
GO = "srv/darkroom/go"  # the file that paintings wait for
STUDIO = f'{PYTHON} -P -c "import sys; sys.path.insert(0, {"/opt/studio"!r}); import studio; studio.main()"'
PAINTING = f"ExecStart=\nExecStart={STUDIO} --config /{CONFIG} run"
QUICK = "[Service]\nRestartSec=200ms\nNice=0"


class Unbootable(Exception):
    """Why no systemd can be booted here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the machine's journal about the service."""

    words: str
    priority: int  # syslog(3)
    by: str  # "systemd", or the service's program


class Machine:
    """A booted machine; `root` are its files, seen from here."""

    def __init__(self, scratch: Path) -> None:
        """Boot, with a folder of our own for what that needs. Raises Unbootable."""
        self.name = f"darkroom-test-{secrets.token_hex(4)}"
        self._groups = _own_group() / self.name
        self._followers: list[subprocess.Popen[str]] = []
        _furnish(scratch)
        said = scratch / "boot.log"
        with said.open("wb") as log:
            command = [str(HERE / "boot_systemd.sh"), self.name, str(scratch)]
            self._boot = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        try:
            wait_until(lambda: self._boot.poll() is not None or self._is_up())
            if self._boot.poll() is not None:
                raise Unbootable(" ".join(said.read_text().split()) or f"exit status {self._boot.returncode}")
            self.run("systemctl", "is-system-running", "--wait", check=False)
        except BaseException:
            self.end()
            raise

    @property
    def root(self) -> Path:
        """The machine's files; none of its symbolic links may be followed from here."""
        return Path(f"/proc/{self.first()}/root")

    def run(
        self, *command: str, user: str = "root", check: bool = True, words: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine; `words` are its standard input."""
        whole = [*self._enter(), *(("runuser", "-u", user, "--") if user != "root" else ()), *command]
        done = subprocess.run(whole, input=words, capture_output=True, text=True, timeout=COMMAND_S, check=False)
        assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def follow(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in the machine whose lines are read as they come; it ends with the machine."""
        whole = [*self._enter(), *command]
        self._followers.append(subprocess.Popen(whole, stdout=subprocess.PIPE, text=True, errors="replace"))
        return self._followers[-1]

    def process(self, unit: str) -> int:
        """Return the number, here, of the main process of `unit`."""
        group = _own_group() / self.name / "system.slice" / f"{unit}.service/cgroup.procs"
        return int(group.read_text().split()[0])

    def end(self) -> None:
        """Switch it off: nothing of it is left, or AssertionError is raised."""
        assert self._boot.stdin is not None
        self._boot.stdin.close()
        self._boot.wait(PATIENCE_S)
        for follower in self._followers:
            follower.wait(PATIENCE_S)
        assert not self._groups.exists()
        assert self.name not in Path("/proc/self/mountinfo").read_text()

    def _is_up(self) -> bool:
        return bool(self.first()) and (self.root / "run/systemd/private").exists()

    def first(self) -> int:
        """Return the number, here, of the machine's first process; 0 without one."""
        found = [first for child in _children(self._boot.pid, "unshare") for first in _children(child, "systemd")]
        return found[0] if found else 0

    def _enter(self) -> list[str]:
        return ["nsenter", "-t", str(self.first()), *NAMESPACES, "--"]


def why_not() -> str:
    """Say what keeps this machine from booting another, "" if nothing is known."""
    if os.geteuid() != 0:
        return "takes root"
    if missing := [program for program in NEEDED if not shutil.which(program)]:
        return f"not here: {', '.join(missing)}"
    return "" if "cgroup2" in Path("/proc/self/mountinfo").read_text() else "no control groups of version 2"


def _children(parent: int, name: str) -> list[int]:
    """Return the children of a process that run a program called `name`."""
    found = []
    with suppress(FileNotFoundError):  # they come and go
        for number in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            if Path(f"/proc/{number}/comm").read_text().strip() == name:
                found.append(int(number))
    return found


def _own_group() -> Path:
    where = subprocess.run(
        ["findmnt", "-n", "-t", "cgroup2", "-o", "TARGET"], capture_output=True, text=True, check=True
    )
    (mine,) = (line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    return Path(where.stdout.splitlines()[0] + mine)


def _furnish(scratch: Path) -> None:
    """Prepare what the machine has beyond this one: /opt/darkroom as `pip install` makes it, from what runs here.

    The packages and, unless it is the distribution's, the interpreter are those of this Python, bound to where any user
    may read them. Darkroom itself is copied: an editable installation would lead back to the checkout.
    """
    opt = scratch / "files/opt"
    packages = opt / f"darkroom/lib/{VERSION}/site-packages"
    shutil.copytree(Path(darkroom.__file__).parent, packages / "darkroom")
    shutil.copy(HERE / "turnstile.py", packages)
    (packages / "turnstile.pth").write_text("import turnstile\n")
    (packages / "here.pth").write_text("/opt/packages\n")
    compileall.compile_dir(packages, quiet=2)
    (opt / "studio").mkdir()
    for toy in ("studio.py", "toys.py", "sandbox.py"):
        shutil.copy(HERE / toy, opt / "studio")
    shutil.copytree(HERE.parent / "systemd", opt / "checkout/systemd")
    base = Path(sys.base_prefix)
    home = base if base == Path("/usr") else Path("/opt/python")
    (opt / "darkroom/pyvenv.cfg").write_text(f"home = {home}/bin\ninclude-system-site-packages = false\n")
    programs = opt / "darkroom/bin"
    programs.mkdir()
    (programs / "python").symlink_to(home / "bin" / VERSION)
    script = "import sys\nfrom darkroom.daemon.cli import main\nsys.exit(main())\n"
    (programs / "darkroom").write_text(f"#!{PYTHON}\n{script}")
    (programs / "darkroom").chmod(0o755)
    binds = {sysconfig.get_path("purelib"): "/opt/packages", str(base): str(home)}
    (scratch / "binds").write_text("".join(f"{a}\t{b}\n" for a, b in binds.items() if a != b))
    if home != base and sysconfig.get_config_var("Py_ENABLE_SHARED"):
        (scratch / "files/usr/lib").mkdir(parents=True)
        library = sysconfig.get_config_var("INSTSONAME")
        (scratch / "files/usr/lib" / library).symlink_to(home / "lib" / library)


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
        group = _own_group() / self.machine.name / "system.slice/darkroom.service/cgroup.procs"
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
    kept, mark = config.read_text(), len(service.lines)
    service.systemctl("stop")
    service.machine.run("bash", "-c", f"rm -rf /var/lib/darkroom/* /{GO} /{SHARE}/*/*/{{*,.darkroom*}}")
    yield service
    print(*service.lines[mark:], sep="\n")
    service.let_go()
    service.systemctl("kill", "--signal=KILL", check=False)
    service.systemctl("stop")
    service.configure()
    service.systemctl("reset-failed", check=False)
    config.write_text(kept)
