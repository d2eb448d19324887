import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toys

from darkroom import pipelines
from darkroom.daemon.config import Folder, Watch
from darkroom.daemon.content import fingerprint
from darkroom.daemon.devices import SCOPE
from darkroom.daemon.ignore import Rules
from darkroom.daemon.inbox import Inbox
from darkroom.daemon.intake import take_in
from darkroom.daemon.job import Job, NewJob, Signature
from darkroom.daemon.journal import EVERYTHING, Journal
from darkroom.daemon.marker import INBOX, adopt
from darkroom.daemon.states import IllegalMove, State
from darkroom.daemon.wishes import (
    add,
    arrival,
    cancel,
    faulty,
    hold,
    hold_folder,
    read_setting,
    release,
    release_folder,
    retry,
)
from darkroom.pipelines.errors import Rejected

NOW = 1_800_000_000.0


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.db") as journal:
        yield journal


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "in").mkdir()
    settings = {"name": "films", "pipeline": "upscale", "inbox": tmp_path / "in", "outbox": tmp_path / "out"}
    return Folder.model_validate(settings)


def queued(journal: Journal, path: bytes = b"a.mkv", **columns: Any) -> Job:
    signature = Signature(size_bytes=1, mtime_ns=2, inode=3)
    settings: dict[str, Any] = {"folder": "films", "pipeline": "upscale", "path": path, "signature": signature}
    return journal.job(journal.enqueue([NewJob(**settings | columns)], NOW)[0])


def running(journal: Journal) -> Job:
    queued(journal)
    job = journal.claim(["films"], now=NOW, uptime=1.0, boot="b")
    assert job is not None
    return job


def ended(journal: Journal, state: State, path: bytes = b"a.mkv", **columns: Any) -> Job:
    job = queued(journal, path)
    journal.claim(["films"], now=NOW, uptime=1.0, boot="b")
    return journal.move(job.id, state, "as it went", now=NOW, **columns)


# -- jobs that wait or run --------------------------------------------------------------------------------------------


def test_a_waiting_job_is_cancelled_at_once(journal: Journal) -> None:
    job = queued(journal)
    assert cancel(journal, job, now=NOW) == f"job {job.id} a.mkv: cancelled"
    assert journal.job(job.id).state is State.CANCELLED
    assert journal.job(job.id).ended == NOW


@pytest.mark.parametrize(("wish", "asked"), [("cancel", cancel), ("hold", None)])
def test_a_running_job_stays_its_workers_and_the_wish_is_left_for_the_daemon(
    journal: Journal, wish: str, asked: Any
) -> None:
    job = running(journal)
    line = asked(journal, job, now=NOW) if asked else hold(journal, job, "guests", now=NOW)
    assert "is running; the daemon" in line
    assert (journal.job(job.id).state, journal.job(job.id).ask) == (State.RUNNING, wish)


def test_a_job_that_a_worker_took_in_the_meantime_is_never_moved_under_its_hands(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued(journal)

    def claimed_just_now(number: int, wish: str) -> bool:
        journal.claim(["films"], now=NOW, uptime=1.0, boot="b")
        return False  # it was not running when we asked

    monkeypatch.setattr(journal, "ask", claimed_just_now)
    with pytest.raises(IllegalMove, match=f"job {job.id} is running"):
        cancel(journal, job, now=NOW)
    assert journal.job(job.id).state is State.RUNNING


def test_a_job_that_is_publishing_can_be_neither_cancelled_nor_held(journal: Journal) -> None:
    job = running(journal)
    journal.move(job.id, State.PUBLISHING, "as a.mkv", now=NOW)
    with pytest.raises(IllegalMove, match="publishing"):
        cancel(journal, job, now=NOW)
    with pytest.raises(IllegalMove, match="publishing"):
        hold(journal, job, "guests", now=NOW)


def test_a_held_job_waits_with_its_reason_until_it_is_released(journal: Journal) -> None:
    job = queued(journal)
    hold(journal, job, "guests", now=NOW)
    assert (journal.job(job.id).state, journal.job(job.id).reason) == (State.HELD, "guests")
    assert journal.claim(["films"], now=NOW, uptime=1.0, boot="b") is None
    release(journal, job, now=NOW)
    assert journal.job(job.id).state is State.QUEUED


def test_a_released_duplicate_waits_for_its_twin_no_longer(journal: Journal) -> None:
    first = queued(journal)
    second = queued(journal, b"b.mkv", state=State.HELD, twin=first.id)
    release(journal, second, now=NOW)
    assert journal.job(second.id).twin is None
    assert journal.freed_twins() == []


def test_a_job_that_waits_for_its_prompt_is_not_released_and_says_what_it_waits_for(journal: Journal) -> None:
    job = queued(journal, b"cat.jpg", state=State.HELD, lacks="prompt", reason="waiting for cat.txt or cat.yaml")
    with pytest.raises(
        IllegalMove, match=r"job 1 cat\.jpg: is waiting for cat\.txt or cat\.yaml; it is queued by itself"
    ):
        release(journal, job, now=NOW)
    assert journal.job(job.id).state is State.HELD
    cancel(journal, job, now=NOW)
    assert (journal.job(job.id).state, journal.job(job.id).lacks) == (State.CANCELLED, "")


def test_only_a_held_job_can_be_released(journal: Journal) -> None:
    with pytest.raises(IllegalMove, match="is done"):
        release(journal, ended_done(journal), now=NOW)


def ended_done(journal: Journal) -> Job:
    job = running(journal)
    journal.move(job.id, State.PUBLISHING, "as a.mkv", now=NOW)
    return journal.move(job.id, State.DONE, "published", now=NOW)


# -- jobs that ended --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.FAILED, State.QUARANTINED, State.CANCELLED, State.SKIPPED])
def test_an_ended_job_is_queued_again_without_its_past_faults(journal: Journal, state: State) -> None:
    job = ended(journal, state, failures=3, crashes=2, crash_segment=1)
    retry(journal, job, now=NOW)
    again = journal.job(job.id)
    assert (again.state, again.failures, again.crashes, again.ended) == (State.QUEUED, 0, 0, None)


def test_a_live_job_is_not_tried_again(journal: Journal) -> None:
    with pytest.raises(IllegalMove, match="is queued"):
        retry(journal, queued(journal), now=NOW)


def test_a_job_whose_file_has_a_newer_job_is_not_tried_again(journal: Journal) -> None:
    job = ended(journal, State.FAILED)
    queued(journal)
    with pytest.raises(IllegalMove, match="a newer job has its file"):
        retry(journal, job, now=NOW)
    assert journal.job(job.id).state is State.FAILED


def test_a_job_whose_file_is_gone_is_not_tried_again(journal: Journal) -> None:
    with pytest.raises(IllegalMove, match="has changed or gone"):
        retry(journal, ended(journal, State.CANCELLED, mtime_ns=-1), now=NOW)


def test_faulty_are_the_newest_jobs_of_their_files_that_failed_or_were_refused(journal: Journal) -> None:
    ended(journal, State.FAILED, b"old.mkv")
    newer = ended(journal, State.QUARANTINED, b"old.mkv")
    failed = ended(journal, State.FAILED, b"b.mkv")
    ended(journal, State.CANCELLED, b"c.mkv")
    assert [job.id for job in faulty(journal, None)] == [newer.id, failed.id]
    assert faulty(journal, "another") == []


def test_of_a_batch_all_faulty_jobs_are_tried_again_and_of_an_older_one_none(journal: Journal) -> None:
    signature = Signature(size_bytes=1, mtime_ns=2, inode=3)

    def batch(*ends: State) -> list[int]:
        new = [
            NewJob(folder="films", pipeline="upscale", path=b"a.mkv", signature=signature, take=take)
            for take in range(len(ends))
        ]
        numbers = journal.enqueue(new, NOW)
        for number, end in zip(numbers, ends, strict=True):
            journal.claim(["films"], now=NOW, uptime=1.0, boot="b")
            journal.move(number, end, "as it went", now=NOW)
        return numbers

    batch(State.FAILED, State.FAILED)
    first, _, third = batch(State.FAILED, State.CANCELLED, State.QUARANTINED)
    assert [job.id for job in faulty(journal, None)] == [first, third]
    for job in faulty(journal, None):
        retry(journal, job, now=NOW)
    assert [job.state for job in journal.jobs()].count(State.QUEUED) == 2
    with pytest.raises(IllegalMove, match="a newer job has its file"):
        retry(journal, journal.job(1), now=NOW)


# -- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_and_everything_are_held_and_released_apart(journal: Journal) -> None:
    hold_folder(journal, "films", "guests", now=NOW)
    hold_folder(journal, EVERYTHING, "heat", now=NOW)
    assert journal.holds() == {"films": "guests", EVERYTHING: "heat"}
    assert release_folder(journal, EVERYTHING) == "everything: released; still on hold: films"
    assert release_folder(journal, "films") == "films: released"
    assert release_folder(journal, "films") == "films: was not on hold"


def test_releasing_a_folder_says_that_everything_is_still_on_hold(journal: Journal) -> None:
    hold_folder(journal, EVERYTHING, "heat", now=NOW)
    hold_folder(journal, "films", "guests", now=NOW)
    assert release_folder(journal, "films") == "films: released; still on hold: everything"


def test_releasing_everything_releases_the_devices_at_fault_too(journal: Journal) -> None:
    journal.hold(f"{SCOPE}cuda:1", "three fell", now=NOW)
    assert release_folder(journal, EVERYTHING) == "everything: released"
    assert journal.holds() == {}
    journal.hold(f"{SCOPE}cuda:1", "three fell", now=NOW)
    assert release_folder(journal, "films") == "films: was not on hold"
    assert journal.holds() == {f"{SCOPE}cuda:1": "three fell"}


# -- adding a file ----------------------------------------------------------------------------------------------------


def film(folder: Folder, name: str = "a.mkv", content: bytes = b"film") -> Path:
    path = folder.inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_file_in_the_inbox_is_added_by_the_job_a_scan_would_have_made(journal: Journal, folder: Folder) -> None:
    path = film(folder, "season/e1.mkv")
    path.with_name("e1.mkv.yaml").write_text("scale: 4\n")
    watch = Watch.model_validate({"settle_local": 0.1, "settle_network": 0.1})
    lines = add(journal, folder, watch, path, {}, now=NOW)
    assert lines == ["job 1 season/e1.mkv: queued in films"]
    job = journal.job(1)
    assert (job.path, job.options, job.state) == (b"season/e1.mkv", {"scale": 4}, State.QUEUED)
    inbox = Inbox(folder, watch, adopt(folder.inbox, INBOX))
    for at in (0.0, 1.0):
        sighting = inbox.look(journal.known("films"), at)
        assert sighting.arrivals == () and sighting.replaced == () and sighting.missing == ()
    assert take_in(journal, folder, sighting, NOW) == []
    assert len(journal.jobs()) == 1


def test_a_file_elsewhere_is_added_by_its_absolute_path(journal: Journal, folder: Folder, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.mkv"
    path.write_bytes(b"film")
    add(journal, folder, Watch(), path, {"crf": 20}, now=NOW)
    job = journal.job(1)
    assert job.path == os.fsencode(path)
    assert (job.size_bytes, job.mtime_ns) == (4, path.stat().st_mtime_ns)
    with path.open("rb") as file:
        assert job.content == fingerprint(file.fileno(), 4)
    assert job.options == {"crf": 20}


def test_a_relative_path_and_a_link_are_followed_to_the_file(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film(folder, "a.mkv")
    (tmp_path / "link.mkv").symlink_to(folder.inbox / "a.mkv")
    monkeypatch.chdir(tmp_path)
    assert arrival(folder, Watch(), Path("in/a.mkv"), {})[0].path == b"a.mkv"
    assert arrival(folder, Watch(), Path("link.mkv"), {})[0].path == b"a.mkv"


def test_options_of_the_command_go_before_the_sidecars(folder: Folder) -> None:
    path = film(folder)
    path.with_name("a.mkv.yml").write_text("scale: 4\ncrf: 20\n")
    assert arrival(folder, Watch(), path, {"scale": 2})[0].options == {"scale": 2, "crf": 20}


def test_a_file_that_is_on_its_way_is_not_added_twice_and_one_that_ended_is(journal: Journal, folder: Folder) -> None:
    path = film(folder)
    add(journal, folder, Watch(), path, {}, now=NOW)
    with pytest.raises(Rejected, match=r"a\.mkv: is on its way already, queued as job 1; cancel that first"):
        add(journal, folder, Watch(), path, {}, now=NOW)
    journal.move(1, State.CANCELLED, "", now=NOW)
    add(journal, folder, Watch(), path, {}, now=NOW)
    assert [job.state for job in journal.jobs()] == [State.CANCELLED, State.QUEUED]


def test_a_duplicate_is_queued_and_said_to_be_one(journal: Journal, folder: Folder) -> None:
    add(journal, folder, Watch(), film(folder), {}, now=NOW)
    lines = add(journal, folder, Watch(), film(folder, "b.mkv"), {}, now=NOW)
    assert lines[1] == "its content is that of job 1 (a.mkv), which is queued"
    assert journal.job(2).state is State.QUEUED


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.mkv", b"", "empty"),
        ("notes.txt", b"x", "is no source of upscale"),
        ("film.mkv.part", b"x", "temporary name"),
        (".hidden.mkv", b"x", "hidden"),
    ],
)
def test_what_the_inbox_would_not_take_is_refused_with_the_same_reason(
    folder: Folder, name: str, content: bytes, reason: str
) -> None:
    with pytest.raises(Rejected, match=reason):
        arrival(folder, Watch(), film(folder, name, content), {})
    assert reason == "empty" or reason in Rules(folder, Watch()).file(name.encode())


def test_a_folder_a_fifo_and_a_missing_file_are_refused(folder: Folder) -> None:
    (folder.inbox / "d.mkv").mkdir()
    os.mkfifo(folder.inbox / "f.mkv")
    for name in ("d.mkv", "f.mkv"):
        with pytest.raises(Rejected, match=f"{name}: not a regular file"):
            arrival(folder, Watch(), folder.inbox / name, {})
    with pytest.raises(FileNotFoundError):
        arrival(folder, Watch(), folder.inbox / "gone.mkv", {})


def test_a_file_that_is_being_written_is_refused(folder: Folder) -> None:
    path = film(folder)
    with path.open("ab"), pytest.raises(Rejected, match="another program is writing it"):
        arrival(folder, Watch(), path, {})


def test_a_faulty_option_is_refused_whether_from_the_command_or_a_sidecar(folder: Folder) -> None:
    path = film(folder)
    with pytest.raises(Rejected, match=r"a\.mkv: scal: unknown key; did you mean scale\?"):
        arrival(folder, Watch(), path, {"scal": 2})
    path.with_name("a.mkv.yaml").write_text("- no\n- options\n")
    with pytest.raises(Rejected, match=r"a\.mkv\.yaml: entry 1: expected options .* entry 2: expected options"):
        arrival(folder, Watch(), path, {})


@pytest.fixture
def art(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setitem(pipelines.KINDS, "paint", toys.PAINT)
    (tmp_path / "art").mkdir()
    settings = {"name": "art", "pipeline": "paint", "inbox": tmp_path / "art", "outbox": tmp_path / "out"}
    return Folder.model_validate(settings)


def test_an_image_is_added_with_the_prompt_beside_it_or_of_the_command_and_refused_without(
    journal: Journal, art: Folder
) -> None:
    image = film(art, "cat.jpg")
    with pytest.raises(Rejected, match=r"cat\.jpg: has no prompt; write it in its sidecar, or say --set prompt=\.\.\."):
        add(journal, art, Watch(), image, {}, now=NOW)
    assert arrival(art, Watch(), image, {"prompt": "one"})[0].options == {"prompt": "one"}
    image.with_name("cat.txt").write_text("two")
    add(journal, art, Watch(), image, {}, now=NOW)
    assert (journal.job(1).options, journal.job(1).state) == ({"prompt": "two"}, State.QUEUED)


def test_a_list_beside_a_file_is_added_as_so_many_jobs_all_or_none(journal: Journal, art: Folder) -> None:
    image = film(art, "cat.jpg")
    image.with_name("cat.yaml").write_text("[{prompt: one}, {prompt: two}]")
    lines = add(journal, art, Watch(), image, {"strokes": 5}, now=NOW)
    assert lines == ["job 1 cat.jpg: queued in art", "job 2 cat.jpg: queued in art"]
    assert [job.options for job in journal.jobs()] == [{"prompt": "one", "strokes": 5}, {"prompt": "two", "strokes": 5}]
    journal.move(1, State.CANCELLED, "", now=NOW)
    with pytest.raises(Rejected, match=r"cat\.jpg: is on its way already, queued as job 2; cancel that first"):
        add(journal, art, Watch(), image, {}, now=NOW)
    assert len(journal.jobs()) == 2


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("scale=4", ("scale", 4)),
        (" preset = slow", ("preset", "slow")),
        ("preset=", ("preset", None)),
        ("a=b=c", ("a", "b=c")),
    ],
)
def test_a_setting_is_read_as_in_the_configuration(text: str, option: tuple[str, Any]) -> None:
    assert read_setting(text) == option


@pytest.mark.parametrize("text", ["scale", "scale=[", ""])
def test_what_is_no_setting_is_refused_as_it_was_written(text: str) -> None:
    with pytest.raises(Rejected, match=f"^--set {re.escape(text)}: "):
        read_setting(text)
