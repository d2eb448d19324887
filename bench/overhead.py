"""Where the seconds go between a tiny file's last byte and its result, with a cold and with a warm worker."""

import json
import os
import tempfile
from pathlib import Path
from statistics import median

from cutting import cut
from rows import Row, asked, in_child, publish, spent
from running import Running

from darkroom.daemon.job import Job
from darkroom.daemon.journal import FILE, Journal
from darkroom.pipelines import KINDS

FRAMES, SIZE = 8, (96, 64)
STAGES = ("reading the source", "loading the model", "segments", "joining")
MODULE = KINDS["upscale"].pipeline.partition(":")[0]


def main() -> None:
    ask = asked("Seconds from a tiny file's last byte to its published result, by what they are spent on.")
    if ask.child:
        took = spent(lambda: __import__(ask.child[0]))
        print(json.dumps({"wall_s": took.wall_s, "cpu_s": took.cpu_s}))
        return
    rounds = 1 if ask.quick else 5
    found = [attempt for _ in range(rounds) for attempt in measure()]
    imports = [in_child(__file__, name, quick=False) for _ in range(rounds) for name in ("torch", MODULE)]
    rows = [middle([row for row in found if row["worker"] == worker]) for worker in ("cold", "warm")]
    publish("overhead", rows, notes(imports, rounds), ask)


def measure() -> list[Row]:
    """Let a fresh daemon develop two files, the second by the worker that the first one left warm."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        clips = [cut(Path(folder, f"{name}.mp4"), FRAMES, skip=skip, size=SIZE) for name, skip in (("a", 0), ("b", 50))]
        with Running(Path(folder, "house")) as daemon:
            before_s = 0.0
            for count, (clip, worker) in enumerate(zip(clips, ("cold", "warm"), strict=True), 1):
                written = daemon.drop(clip)
                job = daemon.done(count)[-1]
                cpu_s = processor_seconds(daemon.worker())
                rows.append(split(daemon, job, written, worker, cpu_s - before_s))
                before_s = cpu_s
    return rows


def processor_seconds(pid: int) -> float:
    """Return what the process has computed so far, all threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def split(daemon: Running, job: Job, written: float, worker: str, cpu_s: float) -> Row:
    """Return how the time of `job` was spent, from the journal's events and the report."""
    with Journal(daemon.state / FILE, readonly=True) as journal:
        at = {event.new: event.at for event in journal.events(job.id)}
    report = next(daemon.state.glob(f"reports/**/{job.result.decode()}.json"))
    stages = json.loads(report.read_text())["times"]["seconds_by_stage"]
    known = [float(stages[stage]) for stage in STAGES]
    return {
        "worker": worker,
        "until queued": at["queued"] - written,
        "until claimed": at["running"] - at["queued"],
        "worker and imports": at["publishing"] - at["running"] - sum(known),
        "probe and plan": known[0],
        "load the model": known[1],
        "segments": known[2],
        "join": known[3],
        "publish": at["done"] - at["publishing"],
        "all": at["done"] - written,
        "CPU-s of the worker": cpu_s,
    }


def middle(rows: list[Row]) -> Row:
    """Return the medians, column by column."""
    return {
        key: value if key == "worker" else median(float(str(row[key])) for row in rows)
        for key, value in rows[0].items()
    }


def notes(imports: list[dict[str, float]], rounds: int) -> list[str]:
    """Return what the table does not say."""
    torch, everything = (
        tuple(median(took[key] for took in imports[first::2]) for key in ("wall_s", "cpu_s")) for first in (0, 1)
    )
    return [
        f"Seconds; medians of {rounds} rounds, each a fresh daemon that gets two films of {FRAMES} frames at "
        f"{SIZE[0]}x{SIZE[1]}, model `fast`. `until queued` holds `settle_local`, 2 s as installed. Alone in a bare "
        f"process, `import torch` takes {torch[0]:.2f} s ({torch[1]:.2f} CPU-s) and the pipeline with all it needs "
        f"{everything[0]:.2f} s ({everything[1]:.2f} CPU-s)."
    ]


if __name__ == "__main__":
    main()
