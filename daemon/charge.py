"""Who is to blame when a job ends without a result, and what becomes of it: the poison and retry rules.

Pure: a job, what happened, and the limits go in; the next state and its columns come out.
"""

import errno
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from darkroom.daemon.config import Worker
from darkroom.daemon.job import Job
from darkroom.daemon.states import State
from darkroom.daemon.units import show_seconds

CRASHES = 2  # of the worker without a new part in between: the file is poison
OUTAGES = 3  # of the whole machine, likewise; a power cut is less the file's fault than a dead worker

# What torch and its libraries say once the device, or this process's hold on it, is gone. They have no type for it in
# all versions, and the daemon does not import torch.
DEVICE_GONE = (
    *("CUDA error", "CUDA failure", "CUDA unknown error", "CUDA driver", "No CUDA GPUs", "NVIDIA driver", "HIP error"),
    *("not compiled with CUDA", "cuDNN error", "CUDNN_STATUS", "CUBLAS_STATUS", "Triton Error", "NPU function error"),
    "out of memory",  # of the device, where nothing smaller was to be had: a new process begins with all of it
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The state a job goes to, why, and what else is noted in its row."""

    state: State
    reason: str
    columns: Mapping[str, Any] = field(default_factory=dict)


def crashed(job: Job, how: str, parts: int, limit: int = CRASHES) -> Verdict:
    """Judge a job whose worker (or machine) went down with it.

    how:   what ended the worker, in words
    parts: finished parts of the job; a new one since the last crash clears the job of blame
    """
    crashes = job.crashes + 1 if job.crash_segment == parts else 1
    columns = {"crashes": crashes, "crash_segment": parts}
    is_made = job.state is State.PUBLISHING or job.result != b""  # a later attempt starts as running, too
    where = "publishing" if is_made else f"at segment {parts + 1}"
    if crashes >= limit:
        # A file whose result is whole is not poison: what went wrong is the outbox's fault, or the machine's.
        state = State.FAILED if is_made else State.QUARANTINED
        reason = f"{how}, {crashes} times {where}; `darkroom retry {job.id}` tries again"
        return Verdict(state=state, reason=reason, columns=columns)
    reason = f"{how} {where}; finished parts are kept"
    return Verdict(state=State.QUEUED, reason=reason, columns=columns)


def unavailable(job: Job, what: str, limits: Worker, uptime: float) -> Verdict:
    """Judge a job that something on the machine (disk, device, weights) kept from its result."""
    failures = job.failures + 1
    if failures >= limits.attempts:
        reason = f"{what} (tried {failures} times); `darkroom retry {job.id}` tries again"
        return Verdict(state=State.FAILED, reason=reason, columns={"failures": failures})
    delay = limits.retry_delays[min(failures, len(limits.retry_delays)) - 1]
    return Verdict(
        state=State.QUEUED,
        reason=f"{what}; next try in {show_seconds(delay)}",
        columns={"failures": failures, "not_before": uptime + delay},
    )


def disk_full(job: Job, what: str, limits: Worker, uptime: float) -> Verdict:
    """Judge a job that found the disk full: it waits for space as long as it takes, and no try is counted."""
    delay = limits.retry_delays[0]
    reason = f"{what}; waits for space, next try in {show_seconds(delay)}"
    return Verdict(state=State.QUEUED, reason=reason, columns={"failures": job.failures, "not_before": uptime + delay})


def away(job: Job, what: str, limits: Worker, uptime: float) -> Verdict:
    """Judge a job that needs something elsewhere: it waits for that as long as it takes, and no try is counted."""
    delay = limits.retry_delays[0]
    reason = f"{what}; waits for it, next try in {show_seconds(delay)}"
    return Verdict(state=State.QUEUED, reason=reason, columns={"failures": 0, "not_before": uptime + delay})


def is_disk_full(error: BaseException | None) -> bool:
    """Tell whether a full disk, or a used-up quota, is behind `error`."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False


def is_device_gone(error: BaseException | None) -> bool:
    """Tell whether a device that failed is behind `error`: then all else in this process would fail as well."""
    while error is not None:
        if any(words in str(error) for words in DEVICE_GONE):
            return True
        error = error.__cause__
    return False


def exit_words(status: int) -> str:
    """Say how a worker ended, from its exit status as `subprocess` gives it."""
    if status >= 0:
        return f"the worker ended with status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    hint = " (out of memory?)" if -status == signal.SIGKILL else ""
    return f"the worker was ended by {name}{hint}"
