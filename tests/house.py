"""A whole Darkroom in a temporary folder: real processes, real clips, and ways to disturb them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import yaml
from patience import PATIENCE_S, patiently

BUNNY = Path(__file__).parent / "clips" / "bunny.mp4"


class House:
    """A configuration with one folder, its daemon, and what is in its inbox and outbox."""

    program: tuple[str, ...] = (sys.executable, "-P", "-m", "darkroom")

    def __init__(self, root: Path, worker: dict[str, object] | None = None, **folder: object) -> None:
        self.root = root
        self.inbox, self.outbox, self.state = root / "inbox", root / "outbox", root / "state"
        self.config = root / "config.yaml"
        self.inbox.mkdir(parents=True)
        entry = {"name": "films", "pipeline": "upscale", "inbox": "inbox", "outbox": "outbox", "settle": 0.2}
        options = {"options": {"model": "fast", "segment_frames": 8}}
        settings = {
            "folders": [entry | options | folder],
            "worker": worker or {},
            "disk": {"work_reserve": 0, "outbox_reserve": 0},
        }
        self.config.write_text(yaml.safe_dump(settings))
        self.lines: list[str] = []
        self._daemon: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @contextmanager
    def settings(self) -> Iterator[dict[str, Any]]:
        """Yield what the configuration says, to be changed in the block."""
        found = yaml.safe_load(self.config.read_text())
        yield found
        self.config.write_text(yaml.safe_dump(found))

    def start(self, *arguments: str) -> None:
        """Start the daemon; `--drain` is one of its arguments."""
        command = [*self.program, "--config", str(self.config), "run", *arguments]
        self._daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace")
        self._reader = threading.Thread(target=self._read, args=(self._daemon,), daemon=True)
        self._reader.start()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one `darkroom` command on this house."""
        command = [*self.program, "--config", str(self.config), *arguments]
        return patiently(command)

    def drain(self) -> int:
        """Work off the inbox and return the daemon's exit status."""
        self.start("--drain")
        return self.wait()

    def wait(self) -> int:
        """Wait for the daemon's end and return its exit status."""
        assert self._daemon is not None and self._reader is not None
        status = self._daemon.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return status

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the daemon a signal and wait for its end."""
        assert self._daemon is not None
        self._daemon.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL the daemon, and wait until its worker is gone as well."""
        self.stop(signal.SIGKILL)
        for pid in self.workers():
            wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists())

    def clear(self) -> None:
        """Leave no process behind."""
        if self._daemon is not None:
            self._daemon.kill()
        self.signal_workers(signal.SIGKILL)
        if self._daemon is not None:
            self.wait()

    def pid(self) -> int:
        """Return the daemon's process number."""
        assert self._daemon is not None
        return self._daemon.pid

    def workers(self) -> list[int]:
        """Return the process numbers of the workers on this house."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"darkroom.daemon.worker" in words and os.fsencode(self.config) in words:
                found.append(int(entry.parent.name))
        return found

    def signal_workers(self, number: int) -> None:
        """Send each worker that is still there a signal."""
        for pid in self.workers():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def see(self, words: str, since: int = 0) -> str:
        """Wait for a log line with `words` in it, later than number `since`, and return it."""
        wait_until(lambda: any(words in line for line in self.lines[since:]) or self._over())
        return next(line for line in self.lines[since:] if words in line)

    def results(self) -> dict[str, bytes]:
        """Return what a media server sees in the outbox."""
        files = [path for path in self.outbox.rglob("*") if path.is_file() and not path.name.startswith(".")]
        return {str(path.relative_to(self.outbox)): path.read_bytes() for path in files}

    def strays(self) -> list[Path]:
        """Return drafts, temporary files and work folders, none of which may outlive a job."""
        temporary = [path for path in self.outbox.glob(".darkroom-tmp/*") if path.is_file()]
        # os.walk, for a daemon that runs takes folders away under a glob
        drafts = [Path(where, name) for where, _, names in os.walk(self.root) for name in names if "draft" in name]
        return [*temporary, *drafts, *self.state.glob("work/*")]

    def _over(self) -> bool:
        assert self._daemon is not None
        return self._daemon.poll() is not None

    def _read(self, daemon: subprocess.Popen[str]) -> None:
        assert daemon.stderr is not None
        for line in daemon.stderr:
            self.lines.append(line.rstrip("\n"))


def wait_until(holds: object) -> None:
    """Return once `holds()` is true; fail after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def cut_clip(target: Path, frames: int = 40, *, skip: int = 0, size: tuple[int, int] = (96, 64)) -> Path:
    """Write the first `frames` pictures of the real clip, small, with their sound, and return `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(BUNNY)) as source, av.open(str(target), "w") as out:
        sound = out.add_stream_from_template(source.streams.audio[0])
        video = out.add_stream("libx264", rate=source.streams.video[0].average_rate)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.time_base = Fraction(1, 12800)
        length_s = frames / float(video.codec_context.framerate)
        for packet in source.demux(source.streams.audio[0]):
            if packet.size and float((packet.pts or 0) * packet.time_base) < length_s:
                packet.stream = sound
                out.mux(packet)
        source.seek(0)
        for number, frame in enumerate(source.decode(video=0)):
            if number >= skip + frames:
                break
            if number >= skip:
                small = frame.reformat(width=size[0], height=size[1])
                small.pts, small.time_base = (number - skip) * 512, Fraction(1, 12800)
                out.mux(video.encode(small))
        out.mux(video.encode(None))
    return target
