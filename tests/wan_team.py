"""Ranks in forked children: they have the libraries already, so that a team is there in a moment."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from patience import PATIENCE_S

from darkroom.pipelines.animate.options import ParallelOptions
from darkroom.pipelines.animate.parallel.team import Team, joined


def on_team(work: Callable[[Team], object], **parallel: Any) -> list[Any]:
    """Run `work` on each rank, and give what each returns. A fork has one thread, and must need no others."""
    options = ParallelOptions(**parallel)
    with TemporaryDirectory() as name:
        children = [_forked(Path(name), rank, options, work) for rank in range(options.devices)]
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * options.devices
        return [torch.load(Path(name) / f"{rank}", weights_only=False) for rank in range(options.devices)]


def _forked(folder: Path, rank: int, parallel: ParallelOptions, work: Callable[[Team], object]) -> int:
    if pid := os.fork():
        return pid
    status = 1
    try:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        with joined(folder / "meeting", rank, "cpu", parallel, PATIENCE_S) as team:
            torch.save(work(team), folder / f"{rank}")
            dist.barrier()  # they are let go together
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)  # never back into pytest
