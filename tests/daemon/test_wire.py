import logging
from collections.abc import Iterator
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import pytest
from clocks import Clock

from darkroom.daemon import wire as wire_module
from darkroom.daemon.job import Job, NewJob, Signature
from darkroom.daemon.journal import Journal
from darkroom.daemon.wire import DRAIN, QUIET_S, Wire
from darkroom.pipelines.base import Plan, split
from darkroom.pipelines.errors import Stopped

PLAN = Plan(
    unit="frame", segments=split(30, 10), part_suffix="", result_suffix="", warnings=("no sound",), why="auto: no GPU"
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    wound = Clock()
    monkeypatch.setattr(wire_module, "time", wound)
    return wound


@pytest.fixture
def job(tmp_path: Path) -> Job:
    with Journal(tmp_path / "journal.db") as journal:
        signature = Signature(size_bytes=1, mtime_ns=2, inode=3)
        (number,) = journal.enqueue([NewJob(folder="films", pipeline="upscale", path=b"a", signature=signature)], 1.0)
        return journal.job(number)


@pytest.fixture
def ends() -> Iterator[tuple[Connection, Connection]]:
    supervisor, worker = Pipe()
    with supervisor, worker:
        yield supervisor, worker


@pytest.fixture
def supervisor(ends: tuple[Connection, Connection]) -> Connection:
    return ends[0]


@pytest.fixture
def wire(ends: tuple[Connection, Connection], job: Job, clock: Clock) -> Wire:
    return Wire(ends[1], job)


def heard(supervisor: Connection) -> list[dict[str, Any]]:
    """Return what has come up, without the number of the job that each message names."""
    messages = []
    while supervisor.poll():
        message = supervisor.recv()
        assert message.pop("job") == 1
        messages.append(message)
    return messages


# -- up --------------------------------------------------------------------------------------------------------------


def test_the_way_of_a_job_is_told(
    wire: Wire, supervisor: Connection, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    wire.stage("reading the source")
    wire.planned(PLAN, PLAN.segments[1:])
    wire.segment(PLAN.segments[1])
    wire.tick(11)
    wire.part(PLAN.segments[1], 4.2)
    wire.announce("publishing")
    wire.ended()
    assert heard(supervisor) == [
        {"stage": "reading the source"},
        {"unit": "frame", "units": 30, "done": 10, "segments": 3, "what": "auto: no GPU"},
        {"stage": "segment 2 of 3", "segment": 2},
        {"done": 11},
        {"part": 1, "done": 20},
        {"stage": "publishing"},
        {"ended": True},
    ]
    assert caplog.messages == [
        "job=1 a 2 of 3 segments to do (20 frames)",
        "job=1 a model: auto: no GPU",
        "job=1 a no sound",
        "job=1 a segment 2 of 3 done in 4.2 s",
    ]


def test_ticks_and_beats_are_told_now_and_then_only(wire: Wire, supervisor: Connection, clock: Clock) -> None:
    for tick in range(1, 1001):
        clock.now += QUIET_S / 100
        wire.tick(tick)
    assert 9 <= len(heard(supervisor)) <= 11
    for _ in range(1000):
        clock.now += QUIET_S / 100
        wire.beat(1, 2)
    assert 9 <= len(heard(supervisor)) <= 11


def test_the_time_of_each_stage_is_added_up(wire: Wire, clock: Clock) -> None:
    wire.planned(PLAN, PLAN.segments)
    wire.stage("loading the model")
    for segment in PLAN.segments:
        clock.now += 2  # in the stage before, or between two segments
        wire.segment(segment)
        clock.now += 5
    wire.stage("joining")
    assert wire.stages == {"loading the model": 2.0, "segments": 3 * 5 + 2 * 2.0}


# -- down ------------------------------------------------------------------------------------------------------------


def test_a_drain_lets_the_running_segment_finish(wire: Wire, supervisor: Connection) -> None:
    wire.planned(PLAN, PLAN.segments)
    wire.segment(PLAN.segments[0])
    supervisor.send({"wish": DRAIN})
    wire.tick(1)
    wire.part(PLAN.segments[0], 1.0)
    with pytest.raises(Stopped, match=DRAIN):
        wire.segment(PLAN.segments[1])
    assert wire.wish == DRAIN


@pytest.mark.parametrize("wish", ["cancel", "hold", "replace"])
def test_other_wishes_end_the_job_at_the_next_tick(wire: Wire, supervisor: Connection, wish: str) -> None:
    wire.tick(1)
    supervisor.send({"wish": wish})
    with pytest.raises(Stopped, match=wish):
        wire.tick(2)
    assert wire.wish == wish


@pytest.mark.parametrize(
    "wishes", [("cancel", DRAIN), (DRAIN, "cancel"), ("hold", "cancel"), ("cancel", "hold", DRAIN)]
)
def test_a_cancel_is_not_forgotten_for_what_else_is_wished(
    wire: Wire, supervisor: Connection, wishes: tuple[str, ...]
) -> None:
    for wish in wishes:
        supervisor.send({"wish": wish})
    with pytest.raises(Stopped, match="cancel"):
        wire.tick(1)
    assert wire.wish == (DRAIN if DRAIN in wishes else "cancel"), "and a worker that is to go still goes"


def test_publishing_is_not_interrupted(wire: Wire, supervisor: Connection) -> None:
    supervisor.send({"wish": "cancel"})
    wire.announce("publishing")
    wire.beat()
    wire.ended()


def test_a_worker_whose_daemon_is_gone_stops_at_the_next_tick_and_goes(wire: Wire, supervisor: Connection) -> None:
    supervisor.close()
    wire.announce("publishing")
    wire.beat()
    with pytest.raises(Stopped, match="the daemon is gone"):
        wire.tick(1)
    assert wire.wish == DRAIN
