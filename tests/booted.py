"""This machine's own files, booted with a real systemd; `boot_systemd.sh` says how.

Beyond those files it has Darkroom's program, with the turnstiles of `turnstile.py`, and `studio.py`'s toy pipeline.
"""

import compileall
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

from house import wait_until
from patience import PATIENCE_S, patiently

import darkroom

HERE = Path(__file__).parent
NEEDED = ("setpriv", "unshare", "nsenter", "findmnt", "systemctl", "journalctl", "/lib/systemd/systemd")
NAMESPACES = ("-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w")  # the last two: its root, and to begin there
VERSION = f"python{sysconfig.get_python_version()}"
PYTHON = "/opt/darkroom/bin/python"


class Unbootable(Exception):
    """Why no systemd can be booted here."""


class Machine:
    """A booted machine; `root` are its files, seen from here."""

    def __init__(self, scratch: Path) -> None:
        """Boot, with a folder of our own for what that needs. Raises Unbootable."""
        self.name = f"darkroom-test-{secrets.token_hex(4)}"
        self._groups = own_group() / self.name
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
        done = patiently(whole, input=words)
        assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def follow(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in the machine whose lines are read as they come; it ends with the machine."""
        whole = [*self._enter(), *command]
        self._followers.append(subprocess.Popen(whole, stdout=subprocess.PIPE, text=True, errors="replace"))
        return self._followers[-1]

    def process(self, unit: str) -> int:
        """Return the number, here, of the main process of `unit`."""
        group = own_group() / self.name / "system.slice" / f"{unit}.service/cgroup.procs"
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


def own_group() -> Path:
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
    compiled = shutil.ignore_patterns("__pycache__")  # which changes while other tests import
    shutil.copytree(Path(darkroom.__file__).parent, packages / "darkroom", ignore=compiled)
    shutil.copy(HERE / "turnstile.py", packages)
    (packages / "turnstile.pth").write_text("import turnstile\n")
    (packages / "here.pth").write_text("/opt/packages\n")
    compileall.compile_dir(packages, quiet=2)
    (opt / "studio").mkdir()
    for toy in ("studio.py", "programs.py", "toys.py", "sandbox.py"):
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
