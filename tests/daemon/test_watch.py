import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S
from watchdog.observers.inotify_c import InotifyEvent, InotifyFD

from darkroom.daemon import watch
from darkroom.daemon.watch import Watcher


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Watcher]:
    watcher = Watcher()
    watcher.start()
    yield watcher
    watcher.stop()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    inbox = tmp_path / "in"
    inbox.mkdir()
    return inbox


def watched(watcher: Watcher, *roots: Path) -> None:
    for root in roots:
        watcher.add(root, folders=1)
    watcher.touched()


def woken_by(watcher: Watcher, root: Path) -> None:
    """Wait until `root` is said to be worth a look."""
    seen: set[Path] = set()
    while root not in seen:
        assert watcher.woken.wait(PATIENCE_S), f"nothing happened in {root}"
        seen |= watcher.touched()


def test_a_new_watch_asks_for_a_look_at_once(watcher: Watcher, inbox: Path) -> None:
    watcher.add(inbox)
    assert watcher.woken.is_set()
    assert watcher.touched() == {inbox}
    assert not watcher.woken.is_set()
    assert watcher.touched() == set()


def test_a_file_written_anywhere_below_wakes(watcher: Watcher, inbox: Path) -> None:
    (inbox / "a/b").mkdir(parents=True)
    watched(watcher, inbox)
    (inbox / "a/b/film.mkv").write_bytes(b"x")
    woken_by(watcher, inbox)


def test_a_file_in_a_folder_made_later_wakes(watcher: Watcher, inbox: Path) -> None:
    watched(watcher, inbox)
    (inbox / "new").mkdir()
    woken_by(watcher, inbox)
    (inbox / "new/film.mkv").write_bytes(b"x")
    woken_by(watcher, inbox)


def test_a_file_moved_in_wakes(watcher: Watcher, inbox: Path) -> None:
    outside = inbox.with_name("film.mkv")
    outside.write_bytes(b"x")
    watched(watcher, inbox)
    outside.rename(inbox / "film.mkv")
    woken_by(watcher, inbox)


def test_names_in_broken_utf8_wake(watcher: Watcher, inbox: Path) -> None:
    watched(watcher, inbox)
    (inbox / os.fsdecode(b"bad\xff\n.mkv")).write_bytes(b"x")
    woken_by(watcher, inbox)


def test_the_inbox_concerned_is_told(watcher: Watcher, inbox: Path) -> None:
    other = inbox.with_name("other")
    other.mkdir()
    watched(watcher, inbox, other)
    (other / "film.mkv").write_bytes(b"x")
    assert watcher.woken.wait(PATIENCE_S)
    assert watcher.touched() == {other}


def test_the_event_may_be_the_callers_own(inbox: Path) -> None:
    bell = threading.Event()
    watcher = Watcher(bell)
    watcher.touch(inbox)
    assert bell.is_set()


def test_a_working_watch_is_kept(watcher: Watcher, inbox: Path) -> None:
    watched(watcher, inbox)
    watcher.add(inbox, folders=1)
    assert watcher.touched() == set()


def test_a_root_that_was_replaced_is_watched_anew(watcher: Watcher, inbox: Path) -> None:
    watched(watcher, inbox)
    inbox.rename(inbox.with_name("away"))
    inbox.mkdir()
    watcher.add(inbox)
    assert watcher.touched() == {inbox}
    (inbox / "film.mkv").write_bytes(b"x")
    woken_by(watcher, inbox)


def test_a_watch_whose_thread_died_is_told_and_made_anew(watcher: Watcher, inbox: Path) -> None:
    watched(watcher, inbox)
    observer = watcher._watched[inbox].observer
    observer.stop()
    observer.join(PATIENCE_S)
    assert watcher.problems() == [f"{inbox}: its watch died; it is made anew after the next scan"]
    watcher.add(inbox, folders=1)
    assert watcher.problems() == []
    watcher.touched()
    (inbox / "film.mkv").write_bytes(b"x")
    woken_by(watcher, inbox)


def test_a_root_that_is_gone_is_a_problem_until_it_is_back(watcher: Watcher, inbox: Path) -> None:
    watched(watcher, inbox)
    inbox.rmdir()
    watcher.add(inbox)
    assert (
        f"{inbox}: not watched, scanned only: No such file or directory; is it there and readable?"
        in watcher.problems()
    )
    inbox.mkdir()
    watcher.add(inbox, folders=1)
    assert watcher.problems() == []
    watcher.remove(inbox)


def test_a_removed_root_wakes_no_more_and_leaves_nothing_behind(watcher: Watcher, inbox: Path) -> None:
    (inbox / "a").mkdir()
    before = watcher.watches, threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    watched(watcher, inbox)
    assert watcher.watches == before[0] + 2
    watcher.remove(inbox)
    assert (watcher.watches, threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))) == before


# -- what watchdog does not say --------------------------------------------------------------------------------------


def test_an_overflow_has_all_inboxes_looked_at(watcher: Watcher, inbox: Path) -> None:
    other = inbox.with_name("other")
    other.mkdir()
    watched(watcher, inbox, other)
    observer = watcher._watched[inbox].observer
    # the kernel's own message for it: watch -1, IN_Q_OVERFLOW
    (event,) = _events(b"\xff\xff\xff\xff" + (0x4000).to_bytes(4, "little") + bytes(8))
    observer._inotify_fd.handle_event(event)  # type: ignore[attr-defined]
    assert watcher.touched() == {inbox, other}
    assert watcher.overflows >= 1
    (inbox / "film.mkv").write_bytes(b"x")
    woken_by(watcher, inbox)  # watchdog took up its watches again


def _events(message: bytes) -> list[InotifyEvent]:
    return [InotifyEvent(*fields) for fields in InotifyFD._parse_event_buffer(message)]


def test_overflows_are_heard_by_a_daemon_that_logs_errors_only(watcher: Watcher, inbox: Path) -> None:
    watched(watcher, inbox)
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)
    try:
        logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed; events were lost")
    finally:
        root.setLevel(level)
    assert (watcher.overflows, watcher.touched()) == (1, {inbox})


def test_other_lines_of_watchdogs_log_mean_nothing(watcher: Watcher, inbox: Path) -> None:
    watched(watcher, inbox)
    logging.getLogger("watchdog.observers.inotify").warning("something else")
    assert (watcher.overflows, watcher.touched()) == (0, set())


def test_after_stop_the_log_is_not_listened_to() -> None:
    watcher = Watcher()
    watcher.start()
    watcher.stop()
    logging.getLogger("watchdog.observers.inotify").warning("Inotify queue overflowed")
    assert watcher.overflows == 0


def test_watches_are_counted_as_the_kernel_counts_them(watcher: Watcher, inbox: Path) -> None:
    for name in "abc":
        (inbox / name).mkdir()
    before = watcher.watches
    watched(watcher, inbox)
    assert watcher.watches - before == 4
    assert watcher.limit > 0


def test_folders_beyond_the_limit_are_told_with_the_remedy(tmp_path: Path, inbox: Path) -> None:
    proc = tmp_path / "proc"
    (proc / "self/fdinfo").mkdir(parents=True)
    (proc / "sys/fs/inotify").mkdir(parents=True)
    (proc / "sys/fs/inotify/max_user_watches").write_text("100\n")
    (proc / "self/fdinfo/3").write_text("pos:\t0\nflags:\t02\n")
    lines = "".join(f"inotify wd:{n:x} ino:{n:x} sdev:fe00000 mask:182 ignored_mask:0\n" for n in range(1, 101))
    (proc / "self/fdinfo/9").write_text(f"pos:\t0\nflags:\t00\n{lines}")
    watcher = Watcher(proc=proc)
    try:
        watcher.add(inbox, folders=301)
        (problem,) = watcher.problems()
    finally:
        watcher.stop()
    assert problem == (
        "only 100 of 301 folders are watched, the others wait for the scan: the limit is 100;"
        " raise it: sysctl fs.inotify.max_user_watches=1024"
    )


SCARCE = """
import sys
from pathlib import Path
from darkroom.daemon.watch import Watcher
Path("/proc/sys/user/max_inotify_watches").write_text("100")
watcher = Watcher()
watcher.start()
watcher.add(Path(sys.argv[1]), folders=301)
print(*watcher.problems(), sep="\\n")
watcher.stop()
"""
SCARCELY = ["unshare", "--user", "--map-root-user"]


MAY_LIMIT = shutil.which("unshare") is not None and not subprocess.run([*SCARCELY, "true"]).returncode


@pytest.mark.skipif(not MAY_LIMIT, reason="may not make a user namespace")
def test_watchdog_hides_that_the_watches_ran_out_and_we_tell(inbox: Path) -> None:
    for number in range(300):
        (inbox / str(number)).mkdir()
    command = [*SCARCELY, sys.executable, "-c", SCARCE, str(inbox)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == (
        "only 100 of 301 folders are watched, the others wait for the scan: the limit is 100;"
        " raise it: sysctl user.max_inotify_watches=1024\n"
    ), done.stderr


NONE_LEFT = """
import sys, threading
from pathlib import Path
from darkroom.daemon.watch import Watcher
limit, files = Path("/proc/sys/user/max_inotify_watches"), Path("/proc/self/fd")
watcher = Watcher()
watcher.start()
before = threading.active_count(), len(list(files.iterdir()))
limit.write_text("0")
watcher.add(Path(sys.argv[1]))
print(*watcher.problems(), sep="\\n")
print((threading.active_count(), len(list(files.iterdir()))) == before)
limit.write_text("100")
watcher.add(Path(sys.argv[1]))
print(watcher.problems(), watcher.watches)
watcher.stop()
"""


@pytest.mark.skipif(not MAY_LIMIT, reason="may not make a user namespace")
def test_an_inbox_that_cannot_be_watched_at_all_is_told_and_watched_later(inbox: Path) -> None:
    done = subprocess.run([*SCARCELY, sys.executable, "-c", NONE_LEFT, str(inbox)], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        f"{inbox}: not watched, scanned only: no inotify watches left; double the limit: sysctl"
        " fs.inotify.max_user_watches",
        "True",  # no thread or open file is left behind
        "[] 1",
    ], done.stderr


@pytest.mark.parametrize(
    ("error", "sysctl"),
    [
        (OSError(24, "inotify instance limit reached"), "fs.inotify.max_user_instances"),
        (OSError(28, "inotify watch limit reached"), "fs.inotify.max_user_watches"),
    ],
)
def test_limits_met_at_the_start_are_told_with_the_remedy(
    watcher: Watcher, inbox: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, sysctl: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as refusing:
        refusing.setattr(watch, "Observer", refuse)
        watcher.add(inbox)
    (problem,) = watcher.problems()
    assert problem.startswith(f"{inbox}: not watched, scanned only") and sysctl in problem
    watcher.add(inbox)
    assert watcher.problems() == []
