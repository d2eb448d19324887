"""A daemon under fire: files arrive in every way, processes die, the disk fills up; then an audit.

`make soak`, or `MINUTES=60 make soak`. Ends with status 1 if a promise was broken. The same seed tells the same story.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from arrivals import NOTE, Dropper
from auditing import Finding, Sample, audit, sample, steady
from cutting import cut
from rows import ROOT, conditions, replaced, table

from darkroom.daemon import live
from darkroom.daemon.journal import FILE, Journal
from darkroom.daemon.states import State
from darkroom.pipelines.errors import Unavailable

REPORT = ROOT / "docs" / "soak.md"
POLICIES = {"kept": "keep", "moved": "move", "deleted": "delete"}  # folders by name
CLIPS, FRAMES, SIZE = 6, (8, 24), (96, 64)
DISK_MIB = 256
FULL_S = 3.0
CALM_SHARE = 0.5  # of the time, at the end, in which the daemon itself is let live, so that its memory can be watched
PATIENCE_S = 600


@dataclass(frozen=True, kw_only=True)
class Asked:
    minutes: float
    seed: int
    report: Path
    rows: Path | None


class Daemon:
    """The daemon on the configuration in `root`, which comes and goes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._command = [sys.executable, "-P", "-m", "darkroom", "--config", str(root / "config.yaml")]
        self._process: subprocess.Popen[bytes] | None = None
        self._log = (root.parent / f"{root.name}.log").open("ab")  # not on the disk that fills up

    def configure(self, **settings: object) -> None:
        """Write the configuration, with `settings` on top."""
        folders = [
            {"name": name, "pipeline": "upscale", "inbox": f"{name}/inbox", "outbox": f"{name}/outbox"}
            | {"originals": policy, "originals_folder": f"{name}/originals", "settle": 1.5, "duplicates": "process"}
            | {"options": {"model": "fast", "segment_frames": 8}}
            for name, policy in POLICIES.items()
        ]
        known: dict[str, object] = {
            "folders": folders,
            "worker": {"retry_delays": ["2 s"], "attempts": 100, "keep_warm": "30 s", "drain": "30 s"},
            "watch": {"scan_local": "5 s"},
            "disk": {"work_reserve": "1 MiB", "outbox_reserve": "1 MiB"},
        }
        (self.root / "config.yaml").write_text(yaml.safe_dump(known | settings))

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self._process = subprocess.Popen([*self._command, "run"], stderr=self._log)

    def revive(self) -> bool:
        """Start it again if it is not there, and tell whether it was not."""
        if self._process is not None and self._process.poll() is None:
            return False
        self.start()
        return True

    def send(self, number: int, *, wait: bool = True) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        if wait:
            self._process.wait(PATIENCE_S)

    def is_up(self) -> bool:
        """Tell whether it has said so: before that a signal would end it."""
        now = live.read(self.root / "state")
        return now is not None and now.pid == self.pid

    def workers(self) -> list[int]:
        found: list[int] = []
        for children in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, children.read_text().split())
        return found

    def drain(self) -> int:
        """Work off what is left and return the exit status."""
        return subprocess.run(
            [*self._command, "run", "--drain"], stderr=self._log, timeout=PATIENCE_S, check=False
        ).returncode

    def journal(self) -> Journal:
        return Journal(self.root / "state" / FILE)


class Soak:
    """One run: who drops what, and what is done to the daemon meanwhile."""

    def __init__(self, root: Path, clips: dict[str, bytes], seed: int) -> None:
        self.dice = random.Random(seed)
        self.daemon = Daemon(root)
        self.daemon.configure()
        self.dropper = Dropper(root, clips, random.Random(seed + 1))
        self.blows: Counter[str] = Counter()
        self.samples: list[Sample] = []
        self._calm = False

    def run(self, seconds: float) -> None:
        """Drop and disturb for so long, and then see everything worked off."""
        for name in POLICIES:
            (self.daemon.root / name / "inbox").mkdir(parents=True)
        self.daemon.start()
        began = time.monotonic()
        with ThreadPoolExecutor(4) as hands:
            waiting = [hands.submit(self.dropper.plan(self._any_folder()))]
            blow_s = began + 4
            while (now := time.monotonic() - began) < seconds:
                self._calm = now > seconds * (1 - CALM_SHARE)
                if sum(not drop.done() for drop in waiting) < 4 and self.dice.random() < 0.5:
                    waiting.append(hands.submit(self.dropper.plan(self._any_folder())))
                if time.monotonic() > blow_s:
                    self._strike()
                    blow_s = time.monotonic() + self.dice.uniform(1, 8)
                self._look_after()
                time.sleep(0.5)
            for drop in waiting:
                drop.result()
        self.daemon.send(signal.SIGTERM)

    def finish(self) -> int:
        """Try again what our own blows ended, work it off, and return the number of jobs tried again."""
        self.daemon.drain()
        with self.daemon.journal() as journal:
            release_all(journal)
            struck = [job for job in journal.jobs(states=[State.QUARANTINED]) if "SIGKILL" in job.reason]
            for job in struck:
                with contextlib.suppress(ValueError):  # a newer job has its file
                    journal.retry(job.id, now=time.time())
        self.daemon.drain()
        return len(struck)

    def _any_folder(self) -> str:
        return self.dice.choice(sorted(POLICIES))

    def _look_after(self) -> None:
        """Sample the daemon; start it if it went by itself; release what it held because so many workers died."""
        if self.daemon.revive():
            self.blows["found dead, started again"] += 1
        if self._calm:
            with contextlib.suppress(OSError, ValueError):  # it has just died
                self.samples.append(sample(self.daemon.pid))
        with contextlib.suppress(Unavailable), self.daemon.journal() as journal:
            if release_all(journal):
                self.blows["held for dying workers, released"] += 1

    def _strike(self) -> None:
        blows = [self._kill_worker, self._kill_worker, self._reload, self._fill_disk]
        if not self._calm:
            blows += [self._kill_daemon, self._kill_daemon, self._stop_daemon]
        blow = self.dice.choice(blows)
        blow()

    def _kill_worker(self) -> None:
        for pid in self.daemon.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.blows["worker killed"] += 1

    def _kill_daemon(self) -> None:
        self.daemon.send(signal.SIGKILL)
        self.daemon.start()
        self.blows["daemon killed"] += 1

    def _stop_daemon(self) -> None:
        self.daemon.send(signal.SIGTERM)
        self.daemon.start()
        self.blows["daemon stopped"] += 1

    def _reload(self) -> None:
        self.daemon.configure(log={"level": self.dice.choice(["info", "debug"])})
        if self.daemon.is_up():
            self.daemon.send(signal.SIGHUP, wait=False)
            self.blows["reloaded"] += 1

    def _fill_disk(self) -> None:
        """Leave next to nothing on the disk for a while; where it is not ours alone, ask for more than there is."""
        root = self.daemon.root
        if not os.path.ismount(root):
            self.daemon.configure(disk={"work_reserve": "900 TiB", "outbox_reserve": "900 TiB"})
            if self.daemon.is_up():
                self.daemon.send(signal.SIGHUP, wait=False)
            time.sleep(FULL_S)
            self._reload()
        else:
            left = self.dice.choice([0, 64, 512]) * 1024
            free = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize
            with (root / "ballast").open("wb") as file, contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, max(1, free - left))
            time.sleep(FULL_S)
            (root / "ballast").unlink()
        self.blows["disk full"] += 1


def undisturbed(root: Path, clips: dict[str, bytes]) -> dict[tuple[str, str], bytes]:
    """Return what each clip becomes, without a sidecar and with one, when nobody disturbs anything."""
    daemon = Daemon(root)
    root.mkdir()
    daemon.configure()
    inbox = root / "kept" / "inbox"
    inbox.mkdir(parents=True)
    for name, data in clips.items():
        (inbox / f"{name}.mp4").write_bytes(data)
        (inbox / f"{name} said.mp4").write_bytes(data)
        (inbox / f"{name} said.mp4.yaml").write_text(NOTE)
    status = daemon.drain()
    if status:
        raise SystemExit(f"soak: an undisturbed run ended with {status}; the log is {daemon.root}.log")
    outbox = root / "kept" / "outbox"
    plain = {(name, ""): (outbox / f"{name}.mp4").read_bytes() for name in clips}
    return plain | {(name, NOTE): (outbox / f"{name} said.mp4").read_bytes() for name in clips}


@contextmanager
def own_disk(root: Path) -> Iterator[Path]:
    """Yield `root` on a small disk of its own, where we may mount one."""
    root.mkdir()
    size = f"size={DISK_MIB}m"
    mounted = (
        os.geteuid() == 0
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "tmpfs", root], capture_output=True, check=False
        ).returncode
        == 0
    )
    try:
        yield root
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", root], check=True)


def make_clips(folder: Path, seed: int) -> dict[str, bytes]:
    """Return small films that all differ, by name."""
    dice = random.Random(seed)
    return {
        f"clip {number}": cut(folder / f"{number}.mp4", dice.randint(*FRAMES), skip=15 * number, size=SIZE).read_bytes()
        for number in range(CLIPS)
    }


def main() -> None:
    ask = asked()
    with tempfile.TemporaryDirectory(prefix="darkroom-soak-") as folder:
        clips = make_clips(Path(folder), ask.seed)
        expected = undisturbed(Path(folder) / "calm", clips)
        with own_disk(Path(folder) / "house") as root:
            soak = Soak(root, clips, ask.seed)
            soak.run(ask.minutes * 60)
            again = soak.finish()
            findings = [*audit(root, POLICIES, soak.dropper.drops, clips, expected), steady(soak.samples)]
    publish(ask, soak, findings, again)
    if not all(finding.kept for finding in findings):
        raise SystemExit(1)


def publish(ask: Asked, soak: Soak, findings: list[Finding], again: int) -> None:
    """Print what was found, and write it where it is asked for."""
    rows = [{"promise": each.promise, "looked at": each.looked_at, "broken": len(each.broken)} for each in findings]
    patterns = Counter(drop.pattern for drop in soak.dropper.drops)
    blows = ", ".join(f"{count} x {name}" for name, count in sorted(soak.blows.items()))
    notes = [
        f"{ask.minutes:g} minutes with seed {ask.seed}. Dropped: "
        f"{', '.join(f'{count} x {name}' for name, count in sorted(patterns.items()))}.",
        f"Meanwhile: {blows}. Jobs that two of our kills made look like poison, tried again by hand: {again}.",
        *(f"**Broken**, {each.promise}: {what}" for each in findings for what in each.broken),
    ]
    text = "\n\n".join([table(rows), *notes, conditions("soak")])
    print(text)
    before = ask.report.read_text() if ask.report.exists() else ""
    ask.report.write_text(replaced(before, "soak", text))
    if ask.rows is not None:
        ask.rows.write_text(json.dumps([*rows, dict(soak.blows)], indent=1))


def release_all(journal: Journal) -> bool:
    """Undo all holds; tell whether there were any."""
    return any([journal.release(scope) for scope in journal.holds()])


def asked() -> Asked:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20, help="how long files arrive (20)")
    parser.add_argument("--seed", type=int, default=1, help="of the dice (1)")
    parser.add_argument("--report", type=Path, default=REPORT, help="the page with the table (docs/soak.md)")
    parser.add_argument("--rows", type=Path, help="write the rows as JSON there as well")
    given = parser.parse_args()
    return Asked(minutes=given.minutes, seed=given.seed, report=given.report, rows=given.rows)


if __name__ == "__main__":
    main()
