"""Held with ranks that do nothing and start in a moment; test_rank.py and test_shared.py have real ones."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_S

from darkroom.pipelines.animate.parallel.launch import Group, sweep
from darkroom.pipelines.base import Segment
from darkroom.pipelines.errors import Rejected, Stopped, Unavailable

SEGMENT = Segment(1, 4, 7)

# What every rank begins with: `said` is what it was told first, `asked` the segment.
PRELUDE = """
    import os, signal, sys, time
    from pathlib import Path
    from multiprocessing.connection import Connection
    from darkroom.pipelines.animate.parallel.wire import receive, send
    pipe = Connection(int(sys.argv[1]))
    said = receive(pipe)
    rank = said["rank"]
    asked = receive(pipe)
"""


def group(body: str, *, size: int = 2, silent_s: float = PATIENCE_S, **begin: Any) -> Group:
    code = textwrap.dedent(PRELUDE) + textwrap.dedent(body)
    return Group(size, begin, command=(sys.executable, "-P", "-c", code), silent_s=silent_s)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ended(members: Group) -> bool:
    return not any(alive(rank.process.pid) for rank in members.ranks)


WORKING = """
    if rank == 0:
        for done in range(asked["segment"][1], asked["segment"][2] + 1):
            send(pipe, tick=done)
        Path(asked["out"]).write_text(said["word"] + str(asked["previous"]))
    send(pipe, done=asked["segment"][0])
    try:
        receive(pipe)
    except EOFError:
        Path(f"{asked['out']}.{rank}").touch()
"""


def test_a_segment_is_told_to_all_and_its_progress_comes_back(tmp_path: Path) -> None:
    out, ticks = tmp_path / "part", list[int]()
    with group(WORKING, word="after ") as members:
        members(SEGMENT, tmp_path / "before", out, ticks.append)
        assert out.read_text() == f"after {tmp_path / 'before'}"
    assert ticks == sorted(ticks)
    assert ticks[-1] == 7
    assert ended(members)
    assert (tmp_path / "part.0").exists() and (tmp_path / "part.1").exists(), "they were not let go in order"


def test_what_a_killed_worker_left_is_removed_and_what_another_uses_is_not(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    for name in (f"darkroom-meeting-{gone.pid}-abc", f"darkroom-meeting-{os.getpid()}-abc", "darkroom-else"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "meeting").touch()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"darkroom-meeting-{os.getpid()}-abc", "darkroom-else"}


def test_a_wish_to_stop_ends_all_at_once(tmp_path: Path) -> None:
    def tick(done: int) -> None:
        if done == 5:
            raise Stopped("cancel")

    with group("send(pipe, tick=5)\ntime.sleep(600)") as members, pytest.raises(Stopped):
        members(SEGMENT, None, tmp_path / "part", tick)
    assert ended(members)


def test_a_wish_is_heard_from_ranks_that_say_nothing_too(tmp_path: Path) -> None:
    def tick(done: int) -> None:
        raise Stopped("cancel")

    with group("time.sleep(600)") as members, pytest.raises(Stopped):
        members(SEGMENT, None, tmp_path / "part", tick)
    assert ended(members)


@pytest.mark.parametrize(
    ("body", "error", "told"),
    [
        (
            "os.kill(os.getpid(), signal.SIGKILL) if rank else time.sleep(600)",
            Unavailable,
            "rank 1: was killed by SIGKILL",
        ),
        ("sys.exit(3) if rank == 0 else time.sleep(600)", Unavailable, "rank 0: ended with status 3"),
        (
            """
            if rank == 1:
                send(pipe, failed={"kind": "Rejected", "line": "cat.png: too slow", "echo": False})
            time.sleep(600)
            """,
            Rejected,
            "cat.png: too slow",
        ),
    ],
)
def test_a_rank_that_goes_ends_all_and_the_reason_is_told(
    tmp_path: Path, body: str, error: type[Exception], told: str
) -> None:
    with group(body) as members, pytest.raises(error, match=told):
        members(SEGMENT, None, tmp_path / "part", lambda done: None)
    assert ended(members)


def test_the_cause_is_told_and_not_what_it_did_to_others(tmp_path: Path) -> None:
    body = """
        if rank == 1:
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGSEGV)
        send(pipe, failed={"kind": "Unavailable", "line": "connection closed by peer", "echo": True})
        os._exit(1)
    """
    with (
        group(textwrap.dedent(body), size=3) as members,
        pytest.raises(Unavailable, match="rank 1: was killed by SIGSEGV"),
    ):
        members(SEGMENT, None, tmp_path / "part", lambda done: None)


def test_an_echo_is_better_than_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.pipelines.animate.parallel.launch.ECHO_S", 0.1)
    body = """
        if rank == 0:
            send(pipe, failed={"kind": "Unavailable", "line": "connection reset", "echo": True})
        time.sleep(600)
    """
    with group(textwrap.dedent(body)) as members, pytest.raises(Unavailable, match="connection reset"):
        members(SEGMENT, None, tmp_path / "part", lambda done: None)


def test_ranks_that_hang_are_ended(tmp_path: Path) -> None:
    with (
        group("time.sleep(600)", silent_s=0.3) as members,
        pytest.raises(Unavailable, match="2 devices: none has moved"),
    ):
        members(SEGMENT, None, tmp_path / "part", lambda done: None)
    assert ended(members)


def test_what_a_rank_has_started_goes_with_it(tmp_path: Path) -> None:
    body = """
        import subprocess
        child = subprocess.Popen(["sleep", "600"])
        Path(asked["out"] + str(rank)).write_text(str(child.pid))
        send(pipe, failed={"kind": "Unavailable", "line": "done for", "echo": False})
        time.sleep(600)
    """
    with group(textwrap.dedent(body), size=1) as members, pytest.raises(Unavailable, match="done for"):
        members(SEGMENT, None, tmp_path / "part", lambda done: None)
    pid = int((tmp_path / "part0").read_text())
    until = time.monotonic() + PATIENCE_S
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.01)  # its parent is gone: who reaps it is not ours to wait for
    assert not alive(pid)


def test_a_rank_that_cannot_be_started_leaves_none_behind(tmp_path: Path) -> None:
    members = Group(2, {}, command=(str(tmp_path / "nothing"),))
    with pytest.raises(Unavailable, match="each device needs a process of its own"), members:
        pass
    assert ended(members)


def test_ranks_outlive_no_interrupt_of_the_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = group("time.sleep(600)")
    tell = Group._tell

    def interrupted(self: Group, to: Any, **words: Any) -> None:
        if to.number:
            raise KeyboardInterrupt
        tell(self, to, **words)

    monkeypatch.setattr(Group, "_tell", interrupted)
    with pytest.raises(KeyboardInterrupt), members:
        pass
    assert len(members.ranks) == 2
    assert ended(members)
