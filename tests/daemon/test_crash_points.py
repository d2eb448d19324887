import subprocess
import sys

from darkroom.daemon.crash_points import CrashPoint

LISTENER = """
import sys
sys.addaudithook(lambda event, _: print(event) if event.startswith("darkroom.") else None)
from darkroom.daemon.crash_points import CrashPoint, reach
for point in CrashPoint:
    reach(point)
"""


def test_each_point_is_told_to_who_listens_by_its_name() -> None:
    told = subprocess.run([sys.executable, "-P", "-c", LISTENER], capture_output=True, text=True, check=True)
    assert told.stdout.split() == [f"darkroom.{point}" for point in CrashPoint]
