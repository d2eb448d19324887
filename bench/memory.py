"""How much memory a long film takes more than a short one, and ten thousand waiting files more than none."""

import tempfile
from pathlib import Path

from cutting import cut, looped
from rows import Row, asked, memory_mb, publish
from running import Running

SIZE = (160, 90)
CLIP_FRAMES = 125  # five seconds
GOAL = 1.1


def main() -> None:
    ask = asked("Peak memory of a worker by the length of the film, and of the supervisor by the files that wait.")
    loops = (1, 2) if ask.quick else (2, 120)  # of five seconds: 10 s and 10 min
    files = 50 if ask.quick else 10_000
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        root = Path(folder)
        rows = [worker(root / f"worker-{turns}", turns) for turns in loops]
        rows += [supervisor(root / f"supervisor-{count}", count) for count in (0, files)]
    publish("memory", rows, notes(rows), ask)


def worker(root: Path, turns: int) -> Row:
    """Measure the processes that upscale a film of so many times five seconds."""
    root.mkdir()
    film = looped(root / "film.mp4", cut(root / "clip.mp4", CLIP_FRAMES, size=SIZE), turns)
    with Running(root / "house", settle_s=0.2) as daemon:
        daemon.drop(film)
        daemon.done(1)
        # The worker stays warm for minutes after the job, so its peak can be read when it is over.
        return row("worker", f"film of {turns * CLIP_FRAMES // 25} s, {turns * CLIP_FRAMES} frames", daemon.worker())


def supervisor(root: Path, files: int) -> Row:
    """Measure the daemon while so many files wait in its journal."""
    with Running(root, held=True, settle_s=0.2) as daemon:
        if files == 0:  # a first job shows that all of the daemon is up
            (daemon.inbox / "first.mp4").write_bytes(b"one file")
        for number in range(files):
            (daemon.inbox / f"film {number:05}.mp4").write_bytes(f"film {number}".encode() * 100)
        daemon.wait_for(max(1, files), waiting=True)
        return row("supervisor", f"{files:,} files waiting" if files else "1 file waiting", daemon.pid)


def row(process: str, load: str, pid: int) -> Row:
    """Return what the process `pid` holds now and at most."""
    return {
        "process": process,
        "load": load,
        "peak RSS, MiB": memory_mb("VmHWM", pid),
        "RSS at the end, MiB": memory_mb("VmRSS", pid),
    }


def notes(rows: list[Row]) -> list[str]:
    """Return the ratios of the peaks."""
    short, long, idle, full = (float(str(line["peak RSS, MiB"])) for line in rows)
    kept = "kept" if long / short <= GOAL else "missed"
    return [
        f"Worker, long film / short film: **{long / short:.3f}** (goal: at most {GOAL}; {kept}). "
        f"Supervisor, full / empty: **{full / idle:.2f}**."
    ]


if __name__ == "__main__":
    main()
