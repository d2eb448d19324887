import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.daemon.memory import SHARE, held_bytes, usable_bytes

GIB = 2**30
TAKES = "import sys; taken = b'x' * int(sys.argv[1]); print('taken', flush=True); sys.stdin.read()"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {TAKES!r}, sys.argv[1]])"


@pytest.mark.parametrize("program", [TAKES, PARENT], ids=["itself", "its child"])
def test_what_a_process_and_its_children_hold_is_counted_until_they_end(program: str) -> None:
    command = [sys.executable, "-c", program, str(200 * 2**20)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"taken\n"
        assert 200 * 2**20 < held_bytes(process.pid) < 300 * 2**20
        process.stdin.close()
    assert held_bytes(process.pid) == 0


def test_what_is_swapped_out_still_counts_and_mapped_files_do_not(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text("Name:\tx\nRssAnon:\t3 kB\nRssFile:\t900 kB\nVmSwap:\t4 kB\n")
    assert held_bytes(7, tmp_path) == 7 * 1024


def machine(root: Path, cgroup: str, limits: dict[str, str]) -> int:
    """Give what is usable on a machine of 8 GiB, in `cgroup`, where files below /sys/fs/cgroup hold `limits`."""
    (root / "self").mkdir()
    (root / "self" / "cgroup").write_text(cgroup)
    (root / "meminfo").write_text(f"MemTotal:  {8 * GIB // 1024} kB\nMemFree:  1 kB\n")
    for name, limit in limits.items():
        (root / "sys" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "sys" / name).write_text(limit)
    return usable_bytes(root, root / "sys")


LIMITS: dict[str, tuple[str, dict[str, str], int]] = {
    "the machine's": ("0::/\n", {}, 8),
    "none set": ("0::/a\n", {"a/memory.max": "max\n"}, 8),
    "version 2": ("0::/a/b\n", {"a/b/memory.max": f"{2 * GIB}\n"}, 2),
    "of a cgroup above": ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": f"{GIB}\n"}, 1),
    "version 1": ("9:cpu:/x\n4:memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": f"{3 * GIB}\n"}, 3),
    "version 1, none set": ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712\n"}, 8),
    "a container's": ("4:memory:/docker/1f\n", {"memory/memory.limit_in_bytes": f"{4 * GIB}\n"}, 4),
}


@pytest.mark.parametrize(("cgroup", "limits", "gib"), LIMITS.values(), ids=LIMITS)
def test_nine_tenths_of_what_there_is_can_be_used(
    tmp_path: Path, cgroup: str, limits: dict[str, str], gib: int
) -> None:
    assert machine(tmp_path, cgroup, limits) == int(SHARE * gib * GIB)


def test_this_machine_says_how_much_it_has() -> None:
    assert 2**28 < usable_bytes() < 2**50
