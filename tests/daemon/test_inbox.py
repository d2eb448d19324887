import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import toys
from patience import PATIENCE_S

from darkroom import pipelines
from darkroom.daemon.config import Folder, Watch
from darkroom.daemon.filesystem import MOUNTINFO, as_stat
from darkroom.daemon.inbox import MOST_JOBS, Arrival, Inbox, Sighting
from darkroom.daemon.job import Known, NewJob
from darkroom.daemon.journal import Journal
from darkroom.daemon.marker import INBOX, adopt
from darkroom.daemon.states import ENDS, LIVE, State

FRESH: Mapping[bytes, Known] = {}


def inbox_at(path: Path, *, watch: dict[str, Any] | None = None, mountinfo: Path = MOUNTINFO, **folder: Any) -> Inbox:
    """An inbox whose files settle in 2 s."""
    settings = {"name": "films", "pipeline": "upscale", "inbox": path, "outbox": "/out", **folder}
    return Inbox(
        Folder.model_validate(settings), Watch.model_validate(watch or {}), adopt(path, INBOX), mountinfo=mountinfo
    )


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return inbox_at(tmp_path / "in")


def put(inbox: Inbox, name: str, data: bytes = b"film") -> Path:
    path = inbox.folder.inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def settled(inbox: Inbox, known: Mapping[bytes, Known] = FRESH, *, now: float = 0.0) -> Sighting:
    """Look twice, far enough apart for all that is still."""
    inbox.look(known, now)
    return inbox.look(known, now + 60)


def as_known(arrival: Arrival, *states: State) -> dict[bytes, Known]:
    """A file whose jobs, from number 41 on, are in `states`."""
    jobs = enumerate(states, 41)
    live = tuple((job, state) for job, state in jobs if state in LIVE)
    known = Known(batch=41, state=states[-1], signature=arrival.signature, sidecar=arrival.sidecar, live=live)
    return {arrival.path: known}


def paths(sighting: Sighting) -> list[bytes]:
    return [arrival.path for arrival in sighting.arrivals]


# -- a file on its way in --------------------------------------------------------------------------------------------


def test_a_file_arrives_once_it_has_been_still(inbox: Inbox) -> None:
    path = put(inbox, "a/b.mkv", b"x" * 100)
    first = inbox.look(FRESH, 100.0)
    assert (first.arrivals, first.next_look_s) == ((), 2.0)
    second = inbox.look(FRESH, 101.5)
    assert second.waiting == {b"a/b.mkv": "settling: still for 1.5 s of 2 s"}
    assert second.next_look_s == pytest.approx(0.5)
    third = inbox.look(FRESH, 102.0)
    (arrival,) = third.arrivals
    assert (arrival.path, arrival.signature.size_bytes, arrival.signature.inode) == (
        b"a/b.mkv",
        100,
        path.stat().st_ino,
    )
    assert (arrival.sidecar, arrival.takes, arrival.fault) == ("", ({},), "")
    assert arrival.content.startswith("100-")
    assert (third.waiting, third.files, third.folders, third.offline) == ({}, 1, 2, "")


def test_an_arrival_is_told_until_the_journal_knows_it(inbox: Inbox) -> None:
    put(inbox, "a.mkv")
    (arrival,) = settled(inbox).arrivals
    assert inbox.look(FRESH, 61.0).arrivals == (arrival,)
    assert inbox.look(as_known(arrival, State.QUEUED), 62.0).arrivals == ()


@pytest.mark.parametrize("mtime", [0, 10**9, 4 * 10**9, -(10**9)])
def test_the_age_a_file_claims_to_have_means_nothing(inbox: Inbox, mtime: int) -> None:
    os.utime(put(inbox, "a.mkv"), (mtime, mtime))
    assert paths(inbox.look(FRESH, 0.0)) == []
    assert paths(inbox.look(FRESH, 1.9)) == []
    assert paths(inbox.look(FRESH, 2.0)) == [b"a.mkv"]


def test_an_empty_file_waits_with_its_reason(inbox: Inbox) -> None:
    path = put(inbox, "a.mkv", b"")
    assert settled(inbox).waiting == {b"a.mkv": "empty"}
    path.write_bytes(b"film")
    assert inbox.look(FRESH, 100.0).arrivals == ()
    assert paths(inbox.look(FRESH, 102.0)) == [b"a.mkv"]


def test_what_is_left_alone_is_told(inbox: Inbox) -> None:
    put(inbox, "a.mkv.part")
    assert settled(inbox).waiting == {b"a.mkv.part": "ignored: temporary name *.part"}


def test_a_file_may_vanish_while_it_settles(inbox: Inbox) -> None:
    path = put(inbox, "a.mkv")
    inbox.look(FRESH, 0.0)
    path.unlink()
    assert inbox.look(FRESH, 2.0).waiting == {}
    put(inbox, "a.mkv")
    assert inbox.look(FRESH, 3.0).arrivals == ()


def test_settle_can_be_set_for_the_folder(tmp_path: Path) -> None:
    inbox = inbox_at(tmp_path / "in", settle="30 s")
    put(inbox, "a.mkv")
    inbox.look(FRESH, 0.0)
    assert inbox.look(FRESH, 29.0).arrivals == ()
    assert paths(inbox.look(FRESH, 30.0)) == [b"a.mkv"]


def test_arrivals_come_in_the_order_of_their_names(inbox: Inbox) -> None:
    for name in ("e10.mkv", "e01.mkv", "e02.mkv", "a/z.mkv"):
        put(inbox, name)
    assert paths(settled(inbox)) == [b"a/z.mkv", b"e01.mkv", b"e02.mkv", b"e10.mkv"]


@pytest.mark.parametrize("name", [b"new\nline.mkv", b"bad\xff\xfe.mkv", b"a" * 251 + b".mkv", b"\x1b[31m.mkv"])
def test_any_name_arrives(inbox: Inbox, name: bytes) -> None:
    put(inbox, os.fsdecode(name))
    assert paths(settled(inbox)) == [name]


# -- writers ---------------------------------------------------------------------------------------------------------

WRITER = """
import os, sys
from pathlib import Path
folder = Path(sys.argv[1])
def wait():
    print("waiting", flush=True)
    if not sys.stdin.readline(): sys.exit(1)
"""


class Writer:
    """Another process that writes a step further each time it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process, self._orders, self._answers = process, process.stdin, process.stdout
        assert self._answers.readline() == "waiting\n"

    def go_on(self) -> None:
        self._orders.write("\n")
        self._orders.flush()
        assert self._answers.readline() == "waiting\n"

    def finish(self) -> None:
        self._orders.write("\n")
        self._orders.flush()
        assert self._process.wait(timeout=PATIENCE_S) == 0


@contextmanager
def writer(inbox: Inbox, script: str) -> Iterator[Writer]:
    command = [sys.executable, "-c", WRITER + script, str(inbox.folder.inbox)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        try:
            yield Writer(process)
        finally:
            process.kill()


def test_a_slow_copy_arrives_after_its_last_byte(inbox: Inbox) -> None:
    script = (
        "f = (folder / 'a.mkv').open('wb', buffering=0)\nfor _ in range(4): f.write(b'x' * 1000); wait()\nf.close()"
    )
    with writer(inbox, script) as copy:
        for now in (0.0, 1.5, 3.0):
            assert inbox.look(FRESH, now).arrivals == ()
            copy.go_on()
        assert inbox.look(FRESH, 4.5).arrivals == ()
        copy.finish()
    assert paths(inbox.look(FRESH, 6.5)) == [b"a.mkv"]


def test_a_writer_that_pauses_for_longer_than_settle_is_waited_for(inbox: Inbox) -> None:
    script = "f = (folder / 'a.mkv').open('wb', buffering=0)\nf.write(b'x'); wait(); f.write(b'y'); f.close()"
    with writer(inbox, script) as copy:
        inbox.look(FRESH, 0.0)
        paused = inbox.look(FRESH, 30.0)
        assert paused.waiting == {b"a.mkv": "open for writing in another program: waiting 1 min at most"}
        assert paused.next_look_s == 2.0
        copy.finish()
    assert inbox.look(FRESH, 31.0).arrivals == ()
    (arrival,) = inbox.look(FRESH, 33.0).arrivals
    assert arrival.signature.size_bytes == 2


def test_a_program_that_never_closes_its_file_is_waited_for_only_so_long(tmp_path: Path) -> None:
    inbox = inbox_at(tmp_path / "in", watch={"lease_wait": "20 s"})
    with put(inbox, "a.mkv").open("ab"):
        inbox.look(FRESH, 0.0)
        assert inbox.look(FRESH, 21.9).arrivals == ()
        assert paths(inbox.look(FRESH, 22.0)) == [b"a.mkv"]


def test_a_preallocated_file_is_waited_for(inbox: Inbox) -> None:
    script = (
        "f = (folder / 'a.mkv').open('wb', buffering=0); os.posix_fallocate(f.fileno(), 0, 100_000)\n"
        "wait(); f.write(b'x' * 100_000); f.close()"
    )
    with writer(inbox, script) as copy:
        inbox.look(FRESH, 0.0)
        assert inbox.look(FRESH, 50.0).arrivals == ()
        copy.finish()
    inbox.look(FRESH, 51.0)
    assert paths(inbox.look(FRESH, 53.0)) == [b"a.mkv"]


def test_a_file_opened_again_and_again_starts_settling_again_and_again(inbox: Inbox) -> None:
    script = "for n in range(4):\n    with (folder / 'a.mkv').open('ab') as f: f.write(b'x')\n    wait()"
    with writer(inbox, script) as copy:
        for now in (0.0, 1.5, 3.0):
            assert inbox.look(FRESH, now).arrivals == ()
            copy.go_on()
        assert inbox.look(FRESH, 4.5).arrivals == ()
        assert paths(inbox.look(FRESH, 6.5)) == [b"a.mkv"]


def test_times_set_back_after_writing_do_not_hide_it(inbox: Inbox) -> None:
    path = put(inbox, "a.mkv")
    os.utime(path, ns=(0, 10**18))
    inbox.look(FRESH, 0.0)
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the kernel's clock may tick every 10 ms only
        path.write_bytes(b"FILM")
        os.utime(path, ns=(0, 10**18))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert inbox.look(FRESH, 2.0).arrivals == ()
    assert paths(inbox.look(FRESH, 4.0)) == [b"a.mkv"]


def test_a_copy_under_a_temporary_name_arrives_after_its_rename(inbox: Inbox) -> None:
    script = "f = folder / 'a.mkv.part'; f.write_bytes(b'film'); wait(); f.rename(folder / 'a.mkv'); wait()"
    with writer(inbox, script) as copy:
        inbox.look(FRESH, 0.0)
        assert inbox.look(FRESH, 9.0).waiting == {b"a.mkv.part": "ignored: temporary name *.part"}
        copy.go_on()
        assert inbox.look(FRESH, 10.0).arrivals == ()
        assert paths(inbox.look(FRESH, 12.0)) == [b"a.mkv"]


def test_a_file_that_changes_while_it_is_read_is_not_taken(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(inbox, "a.mkv")

    def read_and_change(handle: int, size_bytes: int) -> str:
        path.write_bytes(b"another film")
        return "4-beef"

    inbox.look(FRESH, 0.0)
    monkeypatch.setattr("darkroom.daemon.inbox.fingerprint", read_and_change)
    assert inbox.look(FRESH, 2.0).waiting == {b"a.mkv": "changed while it was read"}


# -- compared with the journal ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(State))
def test_a_known_file_that_did_not_change_is_left_in_peace(inbox: Inbox, state: State) -> None:
    put(inbox, "a.mkv")
    (arrival,) = settled(inbox).arrivals
    again = settled(inbox, as_known(arrival, state), now=100)
    assert (again.arrivals, again.replaced, again.missing, again.waiting) == ((), (), (), {})


@pytest.mark.parametrize("state", sorted(ENDS))
def test_a_changed_file_whose_job_ended_arrives_again(inbox: Inbox, state: State) -> None:
    path = put(inbox, "a.mkv")
    known = as_known(settled(inbox).arrivals[0], state)
    path.write_bytes(b"the director's cut")
    assert inbox.look(known, 100.0).arrivals == ()
    again = inbox.look(known, 102.0)
    assert paths(again) == [b"a.mkv"]
    assert again.replaced == ()


@pytest.mark.parametrize("state", [State.QUEUED, State.HELD, State.RUNNING])
def test_a_live_job_whose_file_changed_is_replaced_and_the_file_waits_for_its_end(inbox: Inbox, state: State) -> None:
    path = put(inbox, "a.mkv")
    (old,) = settled(inbox).arrivals
    path.write_bytes(b"the director's cut")
    for now in (100.0, 102.0):
        changed = inbox.look(as_known(old, state), now)
        assert (changed.replaced, changed.arrivals) == ((41,), ())
        assert changed.waiting == {b"a.mkv": "changed: waiting for job 41 to end"}
    assert paths(inbox.look(as_known(old, State.CANCELLED), 103.0)) == [b"a.mkv"]  # it settled meanwhile


def test_a_job_that_is_publishing_is_not_disturbed(inbox: Inbox) -> None:
    path = put(inbox, "a.mkv")
    (old,) = settled(inbox).arrivals
    path.write_bytes(b"the director's cut")
    changed = inbox.look(as_known(old, State.PUBLISHING), 100.0)
    assert (changed.replaced, changed.arrivals) == ((), ())


def test_a_file_replaced_by_another_of_the_same_size_and_time_is_seen(inbox: Inbox) -> None:
    path = put(inbox, "a.mkv", b"film one")
    known = as_known(settled(inbox).arrivals[0], State.DONE)
    other = put(inbox, ".b", b"film two")
    os.utime(other, ns=(0, path.stat().st_mtime_ns))
    other.replace(path)
    assert paths(settled(inbox, known, now=100)) == [b"a.mkv"]


def test_waiting_jobs_without_a_file_are_missing(inbox: Inbox) -> None:
    path = put(inbox, "a.mkv")
    (arrival,) = settled(inbox).arrivals
    path.rename(path.with_name("b.mkv"))
    missing = {state: inbox.look(as_known(arrival, state), 100.0).missing for state in State}
    assert {state for state, jobs in missing.items() if jobs == (41,)} == {State.QUEUED, State.HELD}


def test_a_file_added_by_hand_from_elsewhere_is_not_missing(inbox: Inbox) -> None:
    put(inbox, "a.mkv")
    (arrival,) = settled(inbox).arrivals
    (known,) = as_known(arrival, State.QUEUED).values()
    assert inbox.look({b"/films/a.mkv": known}, 100.0).missing == ()


def test_a_file_that_is_ignored_by_now_is_not_missing(tmp_path: Path) -> None:
    inbox = inbox_at(tmp_path / "in")
    put(inbox, "raw/a.mkv")
    known = as_known(settled(inbox).arrivals[0], State.QUEUED)
    assert inbox_at(tmp_path / "in", ignore=["raw"]).look(known, 0.0).missing == ()
    assert inbox_at(tmp_path / "in", ignore=["a.*"]).look(known, 0.0).missing == ()


@pytest.mark.parametrize(("code", "missing"), [(2, (41,)), (20, (41,)), (5, ()), (13, ()), (116, ())])
def test_a_job_is_missing_its_file_only_if_the_file_system_is_sure(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, code: int, missing: tuple[int, ...]
) -> None:
    path = put(inbox, "d/a.mkv")
    known = as_known(settled(inbox).arrivals[0], State.QUEUED)
    path.unlink()

    def trouble(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("darkroom.daemon.inbox.fresh_stat", trouble)
    assert inbox.look(known, 100.0).missing == missing


def test_a_file_left_out_of_a_listing_is_not_missing(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    put(inbox, "a.mkv")
    known = as_known(settled(inbox).arrivals[0], State.QUEUED)
    real = os.scandir

    @contextmanager
    def forgetful(handle: int) -> Iterator[list[os.DirEntry[str]]]:
        with real(handle) as entries:
            yield [entry for entry in entries if entry.name != "a.mkv"]  # as servers do while a folder changes

    monkeypatch.setattr(os, "scandir", forgetful)
    found = inbox.look(known, 100.0)
    assert (found.files, found.missing) == (0, ())


def test_settling_tells_files_that_wait_for_time_from_those_that_wait_for_somebody(inbox: Inbox) -> None:
    path = put(inbox, "a.mkv", b"")
    put(inbox, "b.mkv.part")
    assert not inbox.look(FRESH, 0.0).settling
    path.write_bytes(b"film")
    assert inbox.look(FRESH, 1.0).settling
    assert not inbox.look(FRESH, 3.0).settling


def test_arrivals_go_through_the_journal_once(inbox: Inbox, tmp_path: Path) -> None:
    put(inbox, "a.mkv")
    put(inbox, "bad\xff.mkv")
    with Journal(tmp_path / "journal.db") as journal:
        found = settled(inbox, journal.known("films"))
        jobs = [
            NewJob(folder="films", pipeline="upscale", path=new.path, signature=new.signature, content=new.content)
            for new in found.arrivals
        ]
        assert len(journal.enqueue(jobs, 0.0)) == 2
        again = settled(inbox, journal.known("films"), now=100)
    assert (again.arrivals, again.waiting) == ((), {})


# -- sidecars --------------------------------------------------------------------------------------------------------


def test_a_sidecar_gives_the_options_of_its_file(inbox: Inbox) -> None:
    put(inbox, "d/a.mkv")
    put(inbox, "d/a.mkv.yaml", b"scale: 4\n")
    (arrival,) = settled(inbox).arrivals
    assert (arrival.path, arrival.takes, arrival.fault) == (b"d/a.mkv", ({"scale": 4},), "")
    assert arrival.sidecar.startswith("9-")


def test_a_faulty_sidecar_comes_with_its_fault_and_no_options(inbox: Inbox) -> None:
    put(inbox, "a\n.mkv")
    put(inbox, "a\n.mkv.yaml", b"scal: 4\nmodel: anime\n")
    (arrival,) = settled(inbox).arrivals
    assert arrival.takes == ({},)
    assert arrival.fault == "a\\n.mkv.yaml: scal: unknown key; did you mean scale?"


def test_a_file_waits_until_its_sidecar_is_still(inbox: Inbox) -> None:
    put(inbox, "a.mkv")
    inbox.look(FRESH, 0.0)
    inbox.look(FRESH, 1.0)
    put(inbox, "a.mkv.yml", b"scale: 3")
    assert inbox.look(FRESH, 2.0).arrivals == ()
    put(inbox, "a.mkv.yml", b"scale: 4 # no, better so")
    assert inbox.look(FRESH, 3.5).arrivals == ()
    (arrival,) = inbox.look(FRESH, 5.5).arrivals
    assert arrival.takes == ({"scale": 4},)


def test_a_sidecar_that_comes_or_changes_makes_a_new_job_and_one_that_goes_does_not(inbox: Inbox) -> None:
    put(inbox, "a.mkv")
    known = as_known(settled(inbox).arrivals[0], State.DONE)
    sidecar = put(inbox, "a.mkv.yaml", b"scale: 3")
    (came,) = settled(inbox, known, now=100).arrivals
    known = as_known(came, State.DONE)
    assert settled(inbox, known, now=200).arrivals == ()
    sidecar.write_bytes(b"model: fast")
    (changed,) = settled(inbox, known, now=300).arrivals
    assert changed.takes == ({"model": "fast"},)
    sidecar.unlink()
    assert settled(inbox, as_known(changed, State.DONE), now=400).arrivals == ()
    (again,) = settled(inbox, as_known(changed, State.QUARANTINED), now=500).arrivals
    assert (again.sidecar, again.fault) == ("", ""), "a refusal for the sidecar's sake goes with the sidecar"


def test_a_sidecar_that_changes_replaces_a_queued_job(inbox: Inbox) -> None:
    put(inbox, "a.mkv")
    known = as_known(settled(inbox).arrivals[0], State.QUEUED)
    put(inbox, "a.mkv.yaml", b"scale: 3")
    assert inbox.look(known, 100.0).replaced == (41,)


def test_a_sidecar_without_its_file_is_told(inbox: Inbox) -> None:
    put(inbox, "a.mkv.yaml", b"scale: 3")
    assert settled(inbox).waiting == {b"a.mkv.yaml": "sidecar without its file a.mkv"}


# -- prompts and batches ---------------------------------------------------------------------------------------------


@pytest.fixture
def art(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inbox:
    monkeypatch.setitem(pipelines.KINDS, "paint", toys.PAINT)
    return inbox_at(tmp_path / "art", pipeline="paint")


@pytest.mark.parametrize("names", [("cat.jpg", "cat.txt"), ("cat.txt", "cat.jpg")])
def test_an_image_and_its_prompt_arrive_together_whichever_is_first_while_they_settle(
    art: Inbox, names: tuple[str, str]
) -> None:
    put(art, names[0], b"a cat")
    art.look(FRESH, 0.0)
    put(art, names[1], b"a cat")
    assert art.look(FRESH, 1.0).arrivals == ()
    (arrival,) = art.look(FRESH, 3.0).arrivals
    assert (arrival.path, arrival.beside, arrival.takes) == (b"cat.jpg", b"cat.txt", ({"prompt": "a cat"},))


def test_an_image_without_its_prompt_arrives_and_is_replaced_when_the_prompt_comes(art: Inbox) -> None:
    put(art, "cat.jpg")
    (arrival,) = settled(art).arrivals
    assert (arrival.beside, arrival.takes) == (None, ({},))
    put(art, "cat.txt", b"a cat")
    assert art.look(as_known(arrival, State.HELD), 100.0).replaced == (41,)


def test_a_better_sidecar_takes_the_place_of_a_prompt_and_so_does_a_new_name(art: Inbox) -> None:
    put(art, "cat.jpg")
    prompt = put(art, "cat.yaml", b"a cat")
    (faulty,) = settled(art).arrivals
    assert faulty.fault == "cat.yaml: expected options such as `option: value`, got str"
    prompt.rename(prompt.with_suffix(".txt"))
    (said,) = settled(art, as_known(faulty, State.QUARANTINED), now=100).arrivals
    assert said.takes == ({"prompt": "a cat"},)
    put(art, "cat.jpg.yml", b"prompt: a dog")
    (better,) = settled(art, as_known(said, State.DONE), now=200).arrivals
    assert better.takes == ({"prompt": "a dog"},)


def test_a_list_comes_with_its_file_as_so_many_takes(art: Inbox) -> None:
    put(art, "cat.jpg")
    put(art, "cat.yaml", b"[{prompt: one}, {prompt: two}]")
    (arrival,) = settled(art).arrivals
    assert arrival.takes == ({"prompt": "one"}, {"prompt": "two"})


def test_of_a_batch_all_jobs_that_are_live_are_replaced_or_missing_but_those_that_publish(art: Inbox) -> None:
    path = put(art, "cat.jpg")
    (arrival,) = settled(art).arrivals
    known = as_known(arrival, State.DONE, State.PUBLISHING, State.RUNNING, State.QUEUED, State.HELD)
    assert art.look(known, 100.0).replaced == art.look(known, 100.0).missing == ()
    path.write_bytes(b"another cat")
    changed = art.look(known, 101.0)
    assert changed.replaced == (43, 44, 45) and changed.arrivals == ()
    assert changed.waiting == {b"cat.jpg": "changed: waiting for job 42 to end"}
    path.unlink()
    assert art.look(known, 102.0).missing == (44, 45)


def test_the_jobs_of_one_look_are_counted_not_its_files(art: Inbox) -> None:
    for number in range(4):
        put(art, f"{number}.jpg", b"%d" % number)
        put(art, f"{number}.yaml", b"- {}\n" * 200)
    first = settled(art)
    assert paths(first) == [b"0.jpg", b"1.jpg", b"2.jpg"]
    assert first.waiting == {b"3.jpg": "ready: 500 others go first"}


# -- links -----------------------------------------------------------------------------------------------------------


def test_a_link_within_the_inbox_arrives_where_links_are_wanted(tmp_path: Path) -> None:
    inbox = inbox_at(tmp_path / "in", symlinks=True)
    real = put(inbox, ".store/real.mkv")
    (inbox.folder.inbox / "a.mkv").symlink_to(real)
    (arrival,) = settled(inbox).arrivals
    assert (arrival.path, arrival.signature.inode) == (b"a.mkv", real.stat().st_ino)


def test_a_file_swapped_for_a_link_between_look_and_open_is_not_read(
    inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(inbox, "a.mkv")
    (tmp_path / "secret").write_bytes(b"film")
    inbox.look(FRESH, 0.0)

    def swap(*_: object) -> float:
        path.unlink()
        path.symlink_to(tmp_path / "secret")
        return 60.0

    monkeypatch.setattr(inbox._settling, "still_s", swap)  # the last step before the file is opened
    found = inbox.look(FRESH, 2.0)
    assert found.arrivals == ()
    assert found.waiting[b"a.mkv"].startswith("unreadable: Too many levels of symbolic links")


# -- offline ---------------------------------------------------------------------------------------------------------


def test_an_inbox_without_its_marker_is_offline_and_nothing_is_concluded(inbox: Inbox) -> None:
    put(inbox, "a.mkv")
    known = as_known(settled(inbox).arrivals[0], State.QUEUED)
    put(inbox, "new.mkv")
    (inbox.folder.inbox / INBOX).unlink()
    (inbox.folder.inbox / "a.mkv").unlink()
    found = settled(inbox, known, now=100)
    assert "marker .darkroom-inbox is missing" in found.offline and "check --adopt films" in found.offline
    assert (found.arrivals, found.replaced, found.missing, found.waiting) == ((), (), (), {})


def test_an_inbox_that_is_gone_is_offline_and_comes_back(inbox: Inbox) -> None:
    put(inbox, "a.mkv")
    known = as_known(settled(inbox).arrivals[0], State.QUEUED)
    root = inbox.folder.inbox
    root.rename(root.with_name("away"))
    assert "No such file or directory" in inbox.look(known, 100.0).offline
    root.touch()
    assert "Not a directory" in inbox.look(known, 101.0).offline
    root.unlink()
    root.with_name("away").rename(root)
    back = inbox.look(known, 102.0)
    assert (back.offline, back.missing, back.arrivals) == ("", (), ())


def test_files_settle_anew_after_an_outage(inbox: Inbox) -> None:
    put(inbox, "a.mkv")
    marker = inbox.folder.inbox / INBOX
    inbox.look(FRESH, 0.0)
    marker.rename(marker.with_name(".away"))
    inbox.look(FRESH, 1.0)
    marker.with_name(".away").rename(marker)
    assert inbox.look(FRESH, 2.5).arrivals == ()
    assert paths(inbox.look(FRESH, 4.5)) == [b"a.mkv"]


@pytest.mark.parametrize("code", [107, 116, 5])  # ENOTCONN, ESTALE, EIO
def test_a_dead_file_server_means_offline(inbox: Inbox, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    put(inbox, "a.mkv")

    def dead(*_: object) -> Iterator[os.DirEntry[str]]:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "scandir", dead)
    found = inbox.look(FRESH, 0.0)
    assert os.strerror(code) in found.offline
    assert found.waiting == {}


MOUNTS = """
import os, subprocess, sys
from pathlib import Path
from test_inbox import inbox_at, paths, put, settled, as_known
from darkroom.daemon.states import State

def run(*command): subprocess.run(command, check=True)
def mount(at): run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", at)

root = Path(sys.argv[1])
root.mkdir()
run("mount", "--make-rprivate", "/")
mount(root)
inbox = inbox_at(root)
(root / "nas").mkdir()
mount(root / "nas")
put(inbox, "a.mkv")
put(inbox, "nas/b.mkv")
both = settled(inbox)
known = {path: one for arrival in both.arrivals for path, one in as_known(arrival, State.QUEUED).items()}
print(paths(both))
run("umount", root / "nas")
print(inbox.look(known, 100.0).missing)
run("umount", root)  # would fail if a look had left anything open
(root / "below.mkv").write_bytes(b"written below the mount point")
away = settled(inbox, known, now=200.0)
print(away.offline.partition(": ")[2].partition("?")[0], paths(away), away.missing)
mount(root)  # another share in its place
(root / "c.mkv").write_bytes(b"film")
print(bool(inbox.look(known, 300.0).offline))
"""


MAY_MOUNT = shutil.which("unshare") is not None and not subprocess.run(["unshare", "--mount", "true"]).returncode


@pytest.mark.skipif(not MAY_MOUNT, reason="may not mount")
def test_an_inbox_that_is_unmounted_is_offline(tmp_path: Path) -> None:
    command = ["unshare", "--mount", sys.executable, "-c", MOUNTS, str(tmp_path / "in")]
    tests = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, env=tests)
    assert done.stdout.splitlines() == [
        "[b'a.mkv', b'nas/b.mkv']",
        "(41,)",
        "marker .darkroom-inbox is missing: is the share mounted [] ()",
        "True",
    ], done.stderr


# -- network file systems --------------------------------------------------------------------------------------------


def mounted(tmp_path: Path, **kinds: str) -> Path:
    """A table of mounts: the inbox `tmp_path`/in, or folders in it, on the file systems named."""
    table = tmp_path / "mountinfo"
    lines = [
        f"2 1 0:2 / {tmp_path}/in{'' if at == 'root' else '/' + at} rw - {kind} src rw" for at, kind in kinds.items()
    ]
    table.write_text("\n".join(["1 0 0:1 / / rw - ext4 /dev/vda rw", *lines]) + "\n")
    return table


@pytest.mark.parametrize(
    ("kind", "watch", "mode", "period"),
    [
        *(("ext4", "auto", "events", 60), ("tmpfs", "auto", "events", 60), ("ext4", "poll", "poll", 15)),
        *(("nfs4", "auto", "poll", 15), ("cifs", "auto", "poll", 15), ("fuse.sshfs", "auto", "poll", 15)),
        *(("whatever", "auto", "poll", 15), ("nfs4", "events", "events", 60)),
    ],
)
def test_the_mode_follows_the_file_system_unless_it_is_chosen(
    tmp_path: Path, kind: str, watch: str, mode: str, period: float
) -> None:
    folder = inbox_at(tmp_path / "in").folder.model_copy(update={"watch": watch})
    inbox = Inbox(folder, Watch.model_validate({}), "1", mountinfo=mounted(tmp_path, root=kind))
    assert (inbox.mode, inbox.scan_every_s, inbox.network) == (mode, period, kind not in ("ext4", "tmpfs"))


def test_a_share_mounted_inside_a_local_inbox_is_scanned_often_and_settles_slowly(tmp_path: Path) -> None:
    inbox = inbox_at(tmp_path / "in", mountinfo=mounted(tmp_path, nas="nfs4"))
    assert (inbox.mode, inbox.network, inbox.scan_every_s) == ("events", False, 15)
    put(inbox, "here.mkv")
    put(inbox, "nas/there.mkv")
    inbox.look(FRESH, 0.0)
    assert paths(inbox.look(FRESH, 5.0)) == [b"here.mkv"]
    assert paths(inbox.look(FRESH, 10.0)) == [b"here.mkv", b"nas/there.mkv"]


def test_a_mount_that_comes_late_changes_the_mode(tmp_path: Path) -> None:
    table = mounted(tmp_path)
    inbox = inbox_at(tmp_path / "in", mountinfo=table)
    assert inbox.mode == "events"
    mounted(tmp_path, root="cifs")
    inbox.look(FRESH, 0.0)
    assert (inbox.mode, inbox.network) == ("poll", True)


@pytest.mark.parametrize(("kind", "same"), [("nfs4", True), ("overlay", True), ("ext4", False)])
def test_a_new_inode_alone_is_a_change_only_where_inodes_are_stable(tmp_path: Path, kind: str, same: bool) -> None:
    inbox = inbox_at(tmp_path / "in", mountinfo=mounted(tmp_path, root=kind))
    path = put(inbox, "a.mkv")
    known = as_known(settled(inbox).arrivals[0], State.DONE)
    copy = put(inbox, ".copy")
    os.utime(copy, ns=(0, path.stat().st_mtime_ns))
    copy.replace(path)
    assert paths(settled(inbox, known, now=100)) == ([] if same else [b"a.mkv"])


def test_leases_are_not_asked_for_on_a_network(tmp_path: Path) -> None:
    inbox = inbox_at(tmp_path / "in", mountinfo=mounted(tmp_path, root="cifs"))
    with put(inbox, "a.mkv").open("ab"):
        assert paths(settled(inbox)) == [b"a.mkv"]


def test_a_cache_that_is_behind_replaces_no_job(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(inbox, "a.mkv")
    known = as_known(settled(inbox).arrivals[0], State.RUNNING)
    put(inbox, "old", b"fi")
    stale, real = (inbox.folder.inbox / "old").stat(), os.scandir

    @contextmanager
    def cached(handle: int) -> Iterator[list[Any]]:
        with real(handle) as entries:
            yield [_Cached(entry, stale) for entry in entries]

    monkeypatch.setattr(os, "scandir", cached)
    found = inbox.look(known, 100.0)
    assert found.replaced == ()
    assert path.name.encode() not in found.waiting


class _Cached:
    def __init__(self, entry: os.DirEntry[str], stale: os.stat_result) -> None:
        self.name, self.is_dir, self._stale = entry.name, entry.is_dir, stale

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        return self._stale


# -- many ------------------------------------------------------------------------------------------------------------


def test_many_files_arrive_in_batches(inbox: Inbox) -> None:
    for number in range(MOST_JOBS + 20):
        put(inbox, f"{number:04}.mkv", b"%d" % number)
    first = settled(inbox)
    assert len(first.arrivals) == MOST_JOBS
    assert first.waiting[b"0500.mkv"] == "ready: 500 others go first"
    assert first.next_look_s == 0
    known = {path: known for arrival in first.arrivals for path, known in as_known(arrival, State.QUEUED).items()}
    second = inbox.look(known, 61.0)
    assert len(second.arrivals) == 20
    assert second.waiting == {}


def test_twenty_thousand_old_friends_are_listed_and_no_more(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        (inbox.folder.inbox / str(number)).mkdir()
        for file in range(1000):
            os.close(os.open(inbox.folder.inbox / f"{number}/{file}.mkv", os.O_CREAT | os.O_WRONLY))
    waiting = inbox.look(FRESH, 0.0)
    assert len(waiting.waiting) == 20_000
    known = {path: known_at(inbox.folder.inbox / os.fsdecode(path)) for path in waiting.waiting}

    def touch(*_: object) -> None:
        pytest.fail("a known file was asked for")  # a round trip to the server for each of 20,000, every 15 s

    for name in ("fresh_stat", "opened", "fingerprint"):
        monkeypatch.setattr(f"darkroom.daemon.inbox.{name}", touch)
    look = inbox.look(known, 1.0)
    assert (look.files, look.waiting, look.arrivals) == (20_000, {}, ())
    assert len(inbox._settling) == 0


def known_at(path: Path) -> Known:
    return Known(batch=1, state=State.DONE, signature=as_stat(path.lstat()).signature, sidecar="")
