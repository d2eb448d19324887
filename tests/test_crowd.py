"""Many files at once, too few watches, and files that go again: all are found, none is taken for lost."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import wait_until
from workshop import Workshop

from darkroom.daemon import live
from darkroom.daemon.journal import FILE, Journal
from darkroom.daemon.states import State

# Two events for each: 16,384 fill the kernel's queue.
CROWD = int(os.environ.get("DARKROOM_CROWD", "8500"))
SCARCELY = ["unshare", "--user", "--map-root-user"]
FEW_WATCHES = 'echo 100 > /proc/sys/user/max_inotify_watches; exec "$@"'
MAY_LIMIT = shutil.which("unshare") is not None and not subprocess.run([*SCARCELY, "true"]).returncode


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    shop = Workshop(tmp_path / "shop")
    seldom = {"scan_local": "1h", "scan_network": "1h"}  # what is found is found by an event, or by what follows a loss
    with shop.settings() as settings:
        settings["watch"] = seldom
    yield shop
    shop.clear()


def queued(shop: Workshop) -> int:
    with Journal(shop.state / FILE, readonly=True) as journal:
        return journal.counts().get(("iron", State.QUEUED), 0)


def peak_bytes(pid: int) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def test_what_arrives_while_the_daemon_cannot_listen_is_queued_to_the_last_file(shop: Workshop) -> None:
    """Nobody reads the kernel's queue, as when native code keeps the interpreter: it overflows, events are lost."""
    shop.start()
    shop.see("jobs may start")
    shop.hold()
    shop.see("no job starts: on hold")
    os.kill(shop.pid(), signal.SIGSTOP)
    for number in range(CROWD):
        (shop.inbox / f"{number}.txt").write_text(f"{number}")
    os.kill(shop.pid(), signal.SIGCONT)
    while (before := queued(shop)) < CROWD:
        wait_until(lambda before=before: queued(shop) > before)
    assert any("overflow" in line.lower() for line in shop.lines), "nothing was lost: the test shows nothing"
    print(f"{CROWD} files: the daemon took {peak_bytes(shop.pid()) >> 20} MiB at most")
    assert peak_bytes(shop.pid()) < (150 << 20) + 5000 * CROWD
    assert shop.stop() == 0
    assert queued(shop) == CROWD


STATUS = """
import resource, subprocess, sys, time
began = time.monotonic()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(done.returncode, used.ru_maxrss, time.monotonic() - began)
"""


def test_a_status_of_a_hundred_thousand_waiting_files_stays_small(shop: Workshop) -> None:
    shop.put("nail")
    assert shop.drain() == 0
    with sqlite3.connect(shop.state / FILE) as sql:
        columns = "folder, pipeline, size_bytes, mtime_ns, inode, created"
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
        values = f"SELECT CAST(i AS BLOB), 'queued', {columns} FROM n, jobs WHERE id = 1"
        sql.execute(f"INSERT INTO jobs (path, state, {columns}) {numbers} {values}")
    command = [*shop.program, "--config", str(shop.config), "status"]
    done = subprocess.run([sys.executable, "-c", STATUS, *command], capture_output=True, text=True, check=True)
    status, peak_kib, seconds = done.stdout.split()
    print(f"status of 100,000 waiting files: {float(seconds):.2f} s, {int(peak_kib) >> 10} MiB")
    assert (status, int(peak_kib) < 150 << 10) == ("0", True)


@pytest.mark.skipif(not MAY_LIMIT, reason="may not make a user namespace")
def test_where_watches_are_too_few_it_is_told_with_numbers_and_all_is_found_by_the_scan(shop: Workshop) -> None:
    with shop.settings() as settings:
        settings["watch"] = {"scan_local": 5}
    for number in range(300):
        (shop.inbox / str(number)).mkdir()
    shop.program = (*SCARCELY, "sh", "-c", FEW_WATCHES, "sh", *shop.program)
    shop.start()
    shop.see("jobs may start")
    told = "only 100 of 301 folders are watched, the others wait for the scan: the limit is 100"
    wait_until(lambda: (now := live.read(shop.state)) is not None and told in " ".join(now.notes))
    shop.hold()
    for number in range(300):
        (shop.inbox / str(number) / "late.txt").write_text(f"{number}")
    wait_until(lambda: queued(shop) == 300)
    assert shop.stop() == 0


def test_files_that_go_again_while_they_settle_wait_or_are_worked_on_are_told_and_hold_up_nobody(
    shop: Workshop,
) -> None:
    go_on = shop.root / "go-on"
    with shop.settings() as settings:
        settings["folders"][0]["settle"] = 1
        settings["watch"] = {"scan_local": 5}
    running = shop.put("running", "first", f"silent {go_on}", "last")
    shop.start()
    shop.see("segment 1 of 3 done")
    waiting, _ = shop.put("waiting"), shop.put("stays")
    shop.see("stays.txt queued in iron")
    shop.see("waiting.txt queued in iron")
    settling = shop.put("settling")
    settling.unlink()
    waiting.unlink()
    running.unlink()
    shop.see("waiting.txt cancelled in iron: the file is no longer in the inbox")
    go_on.touch()
    shop.see("done: published as stays.out")
    assert shop.stop() == 0
    states = shop.states()
    assert "settling" not in states and states["waiting"] == "cancelled"
    # What was read before it went is published, or the job is cancelled: the file is read anew for each segment or not.
    assert states["running"] in ("done", "cancelled")
    assert set(shop.results()) - {"running.out"} == {"stays.out"} and shop.strays() == []
