"""Shows Darkroom at work: a short film goes into an inbox and comes out twice as large.

python bench/demo.py [--picture FILE]

Everything is made anew in the folder `demo` and stays there to be looked at.
"""

import argparse
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import av
from picture import before_after, frame
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from darkroom.daemon import live
from darkroom.daemon.live import WorkerNow

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT / "tests" / "clips" / "bunny.mp4"  # an excerpt of Big Buck Bunny, (c) Blender Foundation, CC BY 3.0
HOUSE = ROOT / "demo"
FRAME, CORNER = 22, (0.22, 0.13)  # of the clip: the bunny's face, and where it is
LOOK_EVERY_S = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description="Upscale a short film through an inbox, and show the result.")
    parser.add_argument("--picture", type=Path, default=HOUSE / "before-after.png", help="where the picture goes")
    picture = parser.parse_args().picture
    shutil.rmtree(HOUSE, ignore_errors=True)
    subprocess.run([*darkroom(), "init", str(HOUSE)], check=True)
    shutil.copy(CLIP, HOUSE / "inbox" / "upscale")
    seconds = develop(Console(stderr=True))
    result = next((HOUSE / "outbox" / "upscale").glob("bunny.*"))
    draw(result, picture)
    print(f"\nsource   {CLIP}\n         {facts(CLIP)}")
    print(f"result   {result}\n         {facts(result)}\n         made in {seconds:.0f} s")
    print(f"picture  {picture}")


def darkroom() -> list[str]:
    return [sys.executable, "-P", "-m", "darkroom"]


def develop(console: Console) -> float:
    """Run the daemon until its inbox is worked off, showing its log and its progress; returns the seconds."""
    began = time.monotonic()
    command = [*darkroom(), "--config", str(HOUSE / "config.yaml"), "run", "--drain"]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace")
        assert daemon.stderr is not None, "it was asked for"
        reader = threading.Thread(target=repeat, args=(daemon.stderr, console))
        reader.start()
        follow(daemon, progress, console)
        reader.join()
    if daemon.returncode:
        raise SystemExit(f"demo: darkroom ended with {daemon.returncode}; its last lines above say why")
    return time.monotonic() - began


def repeat(lines: IO[str], console: Console) -> None:
    for line in lines:
        console.out(line.rstrip("\n"), highlight=False)


def follow(daemon: "subprocess.Popen[str]", progress: Progress, console: Console) -> None:
    """Show how far the job is until `daemon` ends: a bar on a terminal, elsewhere a line for every tenth."""
    bar, told = progress.add_task("starting", total=None), 0
    while daemon.poll() is None:
        if (worker := busy()) and worker.units:
            progress.update(bar, description=worker.stage, completed=worker.done, total=worker.units)
            tenth = 10 * worker.done // worker.units
            if not console.is_terminal and told < tenth < 10:
                console.out(f"{worker.stage}: {worker.done} of {worker.units} {worker.unit}s", highlight=False)
                told = tenth
        time.sleep(LOOK_EVERY_S)


def busy() -> WorkerNow | None:
    now = live.read(HOUSE / "state")
    return next((worker for worker in now.workers.values() if worker.job), None) if now else None


def facts(video: Path) -> str:
    with av.open(str(video)) as container:
        picture = container.streams.video[0]
        streams = ", ".join(f"{stream.type} {stream.codec_context.name}" for stream in container.streams)
        shown = sum(bool(packet.size) for packet in container.demux(picture))
        rate = float(picture.average_rate or 0)
        return f"{picture.width}x{picture.height}, {shown} frames, {rate:g} fps, {streams}"


def draw(result: Path, picture: Path) -> None:
    before, after = frame(CLIP, FRAME), frame(result, FRAME)
    labels = (
        f"before: {before.width}x{before.height}, enlarged by bicubic interpolation",
        f"after: model photo, {after.width}x{after.height}",
    )
    picture.parent.mkdir(parents=True, exist_ok=True)
    before_after(before, after, CORNER, labels).save(picture, optimize=True)


if __name__ == "__main__":
    main()
