import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.daemon.lock import take_lock
from darkroom.pipelines.errors import Unavailable

HOLDS = """
import sys
from pathlib import Path
from darkroom.daemon.lock import take_lock
take_lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def holder(state: Path) -> subprocess.Popen[bytes]:
    """Return another process once it holds the lock."""
    command = [sys.executable, "-c", HOLDS, str(state)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    return process


def test_a_second_daemon_on_one_state_folder_is_refused(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        with pytest.raises(Unavailable, match="another darkroom is running on this state folder; stop it first"):
            take_lock(tmp_path, patience_s=0)
        other.terminate()


def test_a_killed_daemon_leaves_its_lock_to_the_next(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        other.send_signal(signal.SIGKILL)
        os.close(take_lock(tmp_path, patience_s=60))


def test_the_lock_is_held_until_it_is_closed(tmp_path: Path) -> None:
    handle = take_lock(tmp_path)
    with pytest.raises(Unavailable):
        take_lock(tmp_path, patience_s=0)
    os.close(handle)
    os.close(take_lock(tmp_path, patience_s=0))


def test_state_folders_do_not_lock_each_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    handles = [take_lock(tmp_path / name, patience_s=0) for name in ("a", "b")]
    for handle in handles:
        os.close(handle)


def test_a_program_that_is_started_does_not_take_the_lock_along_unasked(tmp_path: Path) -> None:
    handle = take_lock(tmp_path)
    assert not os.get_inheritable(handle)
    os.close(handle)
