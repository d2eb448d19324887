import os
import signal
import subprocess
import sys
from pathlib import Path

from house import wait_until

CHILD = """
import os, sys, time
from darkroom.pipelines.child import die_with
die_with(int(sys.argv[1]) or os.getppid(), "keeper")
print(os.getpid(), flush=True)
time.sleep(600)
"""
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-P', '-c', sys.argv[1], '0'])"


def is_there(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_goes_with_its_parent_and_not_by_a_signal_to_both() -> None:
    with subprocess.Popen([sys.executable, "-P", "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(child, number)
        assert is_there(child)
        parent.kill()
        wait_until(lambda: not is_there(child))


def test_it_does_not_begin_if_its_parent_is_gone_already() -> None:
    command = [sys.executable, "-P", "-c", CHILD, "999999999"]
    gone = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (gone.returncode, gone.stdout) == (1, "")
    assert gone.stderr.strip() == "the keeper ended while this process was starting"
