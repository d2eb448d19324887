"""What befalls the journal: locked, damaged, cut off, on a disk that cannot be written. No file is lost of it."""

import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from house import wait_until
from patience import PATIENCE_S, patiently
from workshop import Workshop

from darkroom.daemon.backup import open_or_recover
from darkroom.daemon.job import NewJob, Signature
from darkroom.daemon.journal import FILE, Journal

READ_ONLY = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"']
MAY_MOUNT = shutil.which("unshare") is not None and not subprocess.run(["unshare", "--mount", "true"]).returncode


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    shop = Workshop(tmp_path / "shop")
    yield shop
    shop.clear()


def lock(shop: Workshop) -> sqlite3.Connection:
    """Return a connection that keeps everybody else from writing."""
    other = sqlite3.connect(shop.state / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


# -- locked ----------------------------------------------------------------------------------------------------------


def test_a_journal_that_stays_locked_delays_the_work_and_loses_and_blames_nothing(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKSHOP_PATIENCE_S", "0.2")
    go_on = shop.root / "go-on"
    shop.put("nail", "first", f"silent {go_on}")
    shop.start()
    shop.see("segment 1 of 2 done")
    with closing(lock(shop)):
        shop.put("late")
        go_on.touch()
        mark = len(shop.lines)
        shop.see("trying again", mark)  # the daemon cannot record what came
        wait_until(lambda: not shop.workers())  # the worker cannot say that it is done
        assert shop.command("status").returncode == 0, "to read is always possible"
        refused = shop.command("cancel", "1")
        assert refused.returncode == 69 and "database is locked" in refused.stderr
    shop.see("done: published as nail.out")
    shop.see("done: published as late.out")
    assert shop.stop() == 0
    assert sum("segment 1 of 2 done" in line for line in shop.lines) == 1
    assert sum("trying again" in line for line in shop.lines) == 1, "it is told once and not with each round"
    assert {(job.state, job.crashes, job.failures) for job in shop.jobs().values()} == {("done", 0, 0)}


def test_a_lock_that_ends_in_time_is_not_noticed(tmp_path: Path) -> None:
    path = tmp_path / FILE
    Journal(path).close()
    writer = os.fork()
    if not writer:
        status = 1
        try:
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                (tmp_path / "locked").touch()
                wait_until((tmp_path / "waits").exists)
            status = 0
        finally:
            os._exit(status)  # never back into pytest
    wait_until((tmp_path / "locked").exists)
    with Journal(path, patience_s=PATIENCE_S) as journal:
        journal._sql.set_trace_callback(lambda _: (tmp_path / "waits").touch())  # as it begins to wait
        assert enqueue(journal, 1) == [1]
    assert os.waitpid(writer, 0)[1] == 0


def test_a_stop_while_the_journal_is_locked_is_orderly_and_the_next_start_goes_on(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKSHOP_PATIENCE_S", "0.2")
    shop.put("nail", "first", f"silent {shop.root / 'go-on'}")
    shop.start()
    shop.see("segment 1 of 2 done")
    with closing(lock(shop)):
        os.kill(shop.pid(), signal.SIGTERM)
        shop.see("a second signal stops at once")
        assert shop.stop() == 0
    assert any("the next start sets right what was running" in line for line in shop.lines)
    (shop.root / "go-on").touch()
    assert shop.drain() == 0
    assert list(shop.results()) == ["nail.out"] and shop.strays() == []


def test_what_commands_write_while_the_daemon_is_coming_up_is_done(shop: Workshop) -> None:
    """The very first start: the journal is made, brought up to date and written by three processes at once."""
    elsewhere = shop.root / "elsewhere"
    elsewhere.mkdir()
    for name in "ab":
        (elsewhere / f"{name}.txt").write_text(name)
    shop.start()
    command = [*shop.program, "--config", str(shop.config), "add", "--folder", "iron"]
    adding = [
        subprocess.Popen([*command, str(elsewhere / f"{name}.txt")], stderr=subprocess.PIPE, text=True) for name in "ab"
    ]
    said = [add.communicate(timeout=PATIENCE_S)[1] for add in adding]
    assert [add.returncode for add in adding] == [0, 0], said
    for name in "ab":
        shop.see(f"done: published as {name}.out")
    assert shop.stop() == 0
    assert sorted(shop.results()) == ["a.out", "b.out"]


# -- damaged ---------------------------------------------------------------------------------------------------------


def enqueue(journal: Journal, count: int, first: int = 0) -> list[int]:
    signature = Signature(size_bytes=1, mtime_ns=1, inode=1)
    names = [f"{number}.txt".encode() for number in range(first, first + count)]
    return journal.enqueue([NewJob(folder="a", pipeline="b", path=name, signature=signature) for name in names], 1.0)


def torn_off(state: Path) -> Path:
    """Leave a journal as a killed daemon does: ten jobs in the file, 30 commits more in the log beside it."""
    path = state / FILE
    with Journal(path) as journal:
        enqueue(journal, 10)
    child = os.fork()
    if not child:
        try:
            journal = Journal(path)
            for number in range(30):
                enqueue(journal, 1, first=10 + number)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert path.with_name(f"{FILE}-wal").stat().st_size > 30 * 4096
    return path


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_by_a_little(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def zero_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(4096))


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("end", "harm", "least"),
    [
        *((("-wal"), harm, least) for harm, least in [(cut, 15), (cut_by_a_little, 39), (zero_the_middle, 15)]),
        *((("-wal"), harm, 10) for harm in (zero, remove)),
        *((("-shm"), harm, 40) for harm in (cut, zero_the_middle, zero, remove)),
    ],
)
def test_a_log_that_was_cut_off_leaves_what_was_whole_before_the_cut(
    tmp_path: Path, end: str, harm: Callable[[Path], None], least: int
) -> None:
    path = torn_off(tmp_path)
    harm(path.with_name(path.name + end))
    journal, told = open_or_recover(tmp_path)
    with journal:
        paths = [job.path for job in journal.jobs()]
        assert paths == [f"{number}.txt".encode() for number in range(len(paths))]
        assert least <= len(paths) <= 40 and told == "" and journal.damage() == ""
        assert enqueue(journal, 1, first=99) == [len(paths) + 1]


def test_a_journal_whose_log_vanished_never_has_a_result_overwritten(shop: Workshop) -> None:
    shop.put("nail")
    shop.start()
    shop.see("done: published as nail.out")
    shop.kill()
    (shop.state / f"{FILE}-wal").unlink(missing_ok=True)  # a worker that closed the journal in time took it along
    before = (shop.outbox / "nail.out").stat()
    assert shop.drain() == 0
    after = (shop.outbox / "nail.out").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert set(shop.results().values()) == {b"NAIL\n"} and (shop.inbox / "nail.txt").exists()
    assert shop.strays() == []


def test_a_journal_that_is_damaged_under_the_daemon_ends_it_with_one_line_and_is_mended_at_the_next_start(
    shop: Workshop,
) -> None:
    shop.put("nail")
    shop.start()
    shop.see("done: published as nail.out")
    for path in (shop.state / FILE, shop.state / f"{FILE}-wal"):
        with path.open("r+b") as file:
            file.write(os.urandom(path.stat().st_size))
    shop.put("horseshoe")
    assert shop.wait() == 69
    assert any("the journal is damaged" in line for line in shop.lines)
    assert not any("Traceback" in line for line in shop.lines)
    assert shop.drain() == 0
    assert any("was damaged" in line and "is kept as journal.db.damaged-" in line for line in shop.lines)
    assert {"nail.out", "horseshoe.out"} <= set(shop.results()) and len(list(shop.inbox.glob("*.txt"))) == 2


# -- not writable ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not MAY_MOUNT, reason="may not make a mount namespace")
def test_a_state_folder_that_cannot_be_written_ends_it_with_69_and_one_line_and_harms_nothing(shop: Workshop) -> None:
    shop.put("nail")
    shop.state.mkdir()
    Journal(shop.state / FILE).close()
    for command in (["run", "--drain"], ["cancel", "1"]):
        whole = [*READ_ONLY, str(shop.state), *shop.program, "--config", str(shop.config), *command]
        done = patiently(whole)
        assert done.returncode == 69 and str(shop.state) in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert shop.drain() == 0
    assert list(shop.results()) == ["nail.out"]
