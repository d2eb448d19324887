"""Ranks as the worker starts them. Each start takes seconds, for the libraries are loaded: there are three here."""

import os
import signal
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from patience import PATIENCE_S
from tiny_wan import animate

from darkroom.pipelines.animate.parallel.launch import Group
from darkroom.pipelines.animate.parallel.rank import Beat, failure
from darkroom.pipelines.animate.parallel.wire import receive
from darkroom.pipelines.animate.part import read_part
from darkroom.pipelines.animate.pipeline import Animate
from darkroom.pipelines.animate.plan import AnimatePlan
from darkroom.pipelines.base import Process
from darkroom.pipelines.errors import Rejected, Stopped, Unavailable

ROUNDING = 1.3e-6  # of sums in float32 over other rows
TWO = {"parallel": {"ulysses": 2}}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pids(process: Process) -> list[int]:
    assert isinstance(process, Group)
    return [rank.process.pid for rank in process.ranks]


def job(models: Path, image: Path, work: Path, **options: Any) -> tuple[Animate, AnimatePlan, list[Path]]:
    pipeline = animate(models, seed=7, segment_steps=1, **options)
    plan = pipeline.plan(pipeline.probe(image))
    work.mkdir(exist_ok=True)
    return pipeline, plan, [work / f"{segment.index}.safetensors" for segment in plan.segments]


def make(plan: AnimatePlan, parts: list[Path], process: Process, indices: range) -> None:
    for index in indices:
        process(plan.segments[index], parts[index - 1] if index else None, parts[index], lambda done: None)


def when(units: int, act: Callable[[], object]) -> Callable[[int], None]:
    """Give a tick that acts once so many are done."""

    def tick(done: int) -> None:
        if done >= units:
            act()

    return tick


def stop() -> None:
    raise Stopped("cancel")


def test_a_job_of_two_devices_survives_the_death_of_one_and_makes_what_one_device_makes(
    models: Path, image: Path, tmp_path: Path
) -> None:
    pipeline, plan, parts = job(models, image, tmp_path / "two", **TWO)
    with pipeline.open(plan) as process:
        make(plan, parts, process, range(2))
        ranks = pids(process)
        kill = when(2, lambda: os.kill(ranks[1], signal.SIGKILL) if alive(ranks[1]) else None)
        with pytest.raises(Unavailable, match="rank 1: was killed by SIGKILL; the job goes on from its last part"):
            while True:  # until it is hit in the middle of a segment
                process(plan.segments[2], parts[1], tmp_path / "draft", kill)
    assert not any(map(alive, ranks))

    ticks: list[int] = []
    with pipeline.open(plan) as process:
        process(plan.segments[2], parts[1], parts[2], ticks.append)
        make(plan, parts, process, range(3, 5))
        ranks = pids(process)
        with pytest.raises(Stopped):
            process(plan.segments[3], parts[2], tmp_path / "stopped", when(3, stop))
        assert not any(map(alive, ranks))
        assert not (tmp_path / "stopped").exists()
    assert ticks[0] == 2 and ticks[-1] == 3

    one, alone, expected = job(models, image, tmp_path / "one")
    with one.open(alone) as process:
        make(alone, expected, process, range(5))
    latents = [read_part(path[3], "denoised", 3).tensors["latents"] for path in (parts, expected)]
    torch.testing.assert_close(*latents, atol=ROUNDING, rtol=0)
    frames = [read_part(path[-1], "decoded", 3).tensors["frames"].int() for path in (parts, expected)]
    torch.testing.assert_close(*frames, atol=1, rtol=0)
    pipeline.join(plan, parts, tmp_path / "result.mp4")
    assert (tmp_path / "result.mp4").stat().st_size


def test_no_rank_outlives_the_worker(
    models: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pipeline, plan, parts = job(models, image, tmp_path / "two", **TWO)
    noted = tmp_path / "pids"
    worker = os.fork()
    if not worker:
        try:
            with pipeline.open(plan) as process:
                noted.write_text(" ".join(map(str, pids(process))) + "\n")
                make(plan, parts, process, range(2))
                (tmp_path / "at work").touch()
                while True:
                    process(plan.segments[2], parts[1], tmp_path / "draft", lambda done: None)
        finally:
            os._exit(1)  # never back into pytest
    until(lambda: (tmp_path / "at work").exists() or not alive(worker))
    ranks = [int(pid) for pid in noted.read_text().split()]
    assert len(ranks) == 2
    assert all(map(alive, ranks)), "they failed before the worker was killed"
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    until(lambda: not any(map(alive, ranks)))


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_beat_says_each_number_at_once_and_the_same_now_and_then() -> None:
    now = [0.0]
    here, there = Pipe()
    with here, there:
        beat = Beat(there, lambda: now[0])
        for at, done in ((0.0, 1), (0.01, 1), (0.02, 2), (0.05, 2), (0.2, 2), (0.21, 2)):
            now[0] = at
            beat(done)
        there.close()
        said = []
        with pytest.raises(EOFError):
            while True:
                said.append(receive(here)["tick"])
    assert said == [1, 2, 2]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Rejected("cat.png: too slow"), {"kind": "Rejected", "line": "cat.png: too slow", "echo": False}),
        (
            ValueError("heads\nand more"),
            {"kind": "Unavailable", "line": "rank 1 on cuda:1: ValueError: heads", "echo": False},
        ),
        (KeyError(), {"kind": "Unavailable", "line": "rank 1 on cuda:1: KeyError: KeyError", "echo": False}),
        (
            RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer"),
            {
                "kind": "Unavailable",
                "line": "rank 1 on cuda:1: RuntimeError: "
                "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer",
                "echo": True,
            },
        ),
        (
            dist.DistBackendError("NCCL error"),
            {"kind": "Unavailable", "line": "rank 1 on cuda:1: DistBackendError: NCCL error", "echo": True},
        ),
    ],
)
def test_what_is_raised_is_told_in_a_line(error: Exception, told: dict[str, Any]) -> None:
    assert failure(error, "rank 1 on cuda:1") == told


def test_full_memory_is_told_with_what_helps() -> None:
    told = failure(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "rank 1 on cuda:1")
    assert told["kind"] == "Unavailable"
    assert not told["echo"]
    assert told["line"].startswith(
        "rank 1 on cuda:1: its memory is full (CUDA out of memory. Tried to allocate 2 GiB); "
    )
