import errno
import signal
from pathlib import Path
from typing import Any

import pytest

from darkroom.daemon.charge import (
    CRASHES,
    OUTAGES,
    Verdict,
    away,
    crashed,
    disk_full,
    exit_words,
    is_device_gone,
    is_disk_full,
    unavailable,
)
from darkroom.daemon.config import Worker
from darkroom.daemon.job import Job, NewJob, Signature
from darkroom.daemon.journal import Journal
from darkroom.daemon.states import MOVES, State
from darkroom.pipelines.errors import Unavailable

LIMITS = Worker(attempts=3, retry_delays=[60, 300])


def running(tmp_path: Path, state: State = State.RUNNING) -> tuple[Journal, Job]:
    journal = Journal(tmp_path / "journal.db")
    signature = Signature(size_bytes=1, mtime_ns=2, inode=3)
    (number,) = journal.enqueue([NewJob(folder="films", pipeline="upscale", path=b"a", signature=signature)], 1.0)
    job = journal.claim(["films"], now=1.0, uptime=0.0, boot="boot")
    assert job is not None and job.id == number
    return journal, journal.move(number, state, "", now=1.0) if state is not job.state else job


def apply(journal: Journal, job: Job, verdict: Verdict) -> Job:
    """Record the verdict, and claim the job again if it is queued."""
    assert verdict.state in MOVES[job.state]
    ended = journal.move(job.id, verdict.state, verdict.reason, now=1.0, **verdict.columns)
    if ended.state is State.QUEUED:
        return journal.claim(["films"], now=1.0, uptime=1e9, boot="boot") or ended
    return ended


def test_a_file_that_ends_the_worker_twice_at_one_segment_is_poison(tmp_path: Path) -> None:
    journal, job = running(tmp_path)
    with journal:
        job = apply(journal, job, crashed(job, "the worker was ended by SIGSEGV", parts=3))
        assert job.state is State.RUNNING
        job = apply(journal, job, crashed(job, "the worker was ended by SIGSEGV", parts=3))
    assert job.state is State.QUARANTINED
    assert job.reason == (
        f"the worker was ended by SIGSEGV, 2 times at segment 4; `darkroom retry {job.id}` tries again"
    )


def test_a_new_part_clears_a_job_of_its_crashes(tmp_path: Path) -> None:
    journal, job = running(tmp_path)
    with journal:
        for parts in range(10):
            job = apply(journal, job, crashed(job, "it fell", parts=parts))
        assert (job.state, job.crashes, job.crash_segment) == (State.RUNNING, 1, 9)


def test_a_power_cut_is_less_the_files_fault_than_a_dead_worker(tmp_path: Path) -> None:
    journal, job = running(tmp_path)
    with journal:
        for _ in range(OUTAGES - 1):
            assert job.state is State.RUNNING
            job = apply(journal, job, crashed(job, "the machine went down", 0, OUTAGES))
        assert OUTAGES > CRASHES and job.state is State.RUNNING
        assert apply(journal, job, crashed(job, "the machine went down", 0, OUTAGES)).state is State.QUARANTINED


def test_a_file_whose_result_is_whole_is_never_poison_but_does_not_crash_for_ever(tmp_path: Path) -> None:
    journal, job = running(tmp_path, State.PUBLISHING)
    with journal:
        verdict = crashed(job, "it fell", parts=7)
        assert (verdict.state, verdict.reason) == (State.QUEUED, "it fell publishing; finished parts are kept")
        apply(journal, job, verdict)
        again = journal.move(job.id, State.PUBLISHING, "", now=1.0)
        verdict = crashed(again, "it fell", parts=7)
        assert verdict.state is State.FAILED and "2 times publishing" in verdict.reason
        apply(journal, again, verdict)


def test_a_crash_before_publishing_goes_on_is_no_fault_of_a_file_whose_result_is_whole(tmp_path: Path) -> None:
    journal, job = running(tmp_path, State.PUBLISHING)
    with journal:
        journal.note(job.id, result=b"a.mkv")
        job = apply(
            journal, journal.job(job.id), crashed(journal.job(job.id), "the worker was ended by SIGKILL", parts=3)
        )
        assert job.state is State.RUNNING, "claimed again, and not publishing yet"
        job = apply(journal, job, crashed(job, "the worker was ended by SIGKILL", parts=3))
    assert job.state is State.FAILED and "2 times publishing" in job.reason


def test_trouble_of_the_machine_is_waited_out_with_growing_delays_then_given_up(tmp_path: Path) -> None:
    journal, job = running(tmp_path)
    seen: list[tuple[Any, ...]] = []
    with journal:
        while job.state is State.RUNNING:
            verdict = unavailable(job, "cuda:0: out of memory", LIMITS, uptime=1000.0)
            seen.append((verdict.state, verdict.columns.get("not_before"), verdict.columns["failures"]))
            job = apply(journal, job, verdict)
        assert seen == [(State.QUEUED, 1060.0, 1), (State.QUEUED, 1300.0, 2), (State.FAILED, None, 3)]
        assert job.reason.startswith("cuda:0: out of memory (tried 3 times)") and "darkroom retry" in job.reason


def test_the_last_delay_is_repeated(tmp_path: Path) -> None:
    journal, job = running(tmp_path)
    with journal:
        journal.note(job.id, failures=7)
        verdict = unavailable(journal.job(job.id), "disk", LIMITS.model_copy(update={"attempts": 99}), uptime=0.0)
    assert verdict.columns == {"failures": 8, "not_before": 300.0} and verdict.reason == "disk; next try in 5 min"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "the worker ended with status 0"),
        (78, "the worker ended with status 78"),
        (-signal.SIGKILL, "the worker was ended by SIGKILL (out of memory?)"),
        (-signal.SIGSEGV, "the worker was ended by SIGSEGV"),
        (-(signal.SIGRTMIN + 3), f"the worker was ended by signal {signal.SIGRTMIN + 3}"),
    ],
)
def test_an_exit_status_is_said_in_words(status: int, words: str) -> None:
    assert exit_words(status) == words


def test_a_full_disk_is_waited_for_without_counting_tries(tmp_path: Path) -> None:
    journal, job = running(tmp_path)
    journal.close()
    verdict = disk_full(job, "/work: no space left", LIMITS, uptime=1000.0)
    assert verdict.state is State.QUEUED
    assert verdict.columns == {"failures": job.failures, "not_before": 1000.0 + LIMITS.retry_delays[0]}


def test_what_is_elsewhere_is_waited_for_without_counting_tries(tmp_path: Path) -> None:
    journal, job = running(tmp_path)
    with journal:
        for _ in range(LIMITS.attempts + 2):
            verdict = away(job, "http://there: does not answer", LIMITS, uptime=1000.0)
            assert verdict.columns == {"failures": 0, "not_before": 1000.0 + LIMITS.retry_delays[0]}
            assert verdict.reason == "http://there: does not answer; waits for it, next try in 1 min"
            job = apply(journal, job, verdict)
            assert job.state is State.RUNNING


def test_a_full_disk_is_recognised_behind_the_error_that_names_it() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as cause:
            raise Unavailable("part: is the disk full?") from cause
    except Unavailable as error:
        assert is_disk_full(error)
    assert not is_disk_full(OSError(errno.EIO, "Input/output error"))
    assert not is_disk_full(Unavailable("weights are missing"))


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "CUDA unknown error - this may be due to an incorrectly set up environment",
        "No CUDA GPUs are available",
        "Found no NVIDIA driver on your system.",
        "Torch not compiled with CUDA enabled",
        "Triton Error [CUDA]: device-side assert triggered",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 700: an illegal memory access was encountered",
    ],
)
def test_a_device_that_is_gone_is_recognised_behind_the_error_that_names_it(words: str) -> None:
    wrapped = ValueError("the model could not be run")
    wrapped.__cause__ = RuntimeError(words)
    assert is_device_gone(RuntimeError(words)) and is_device_gone(wrapped)


@pytest.mark.parametrize("words", ["Sizes of tensors must match except in dimension 1", "CUDA is not asked for", ""])
def test_a_bug_is_not_taken_for_a_fault_of_the_device(words: str) -> None:
    assert not is_device_gone(RuntimeError(words)) and not is_device_gone(None)
