import logging
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import toys

from darkroom import pipelines
from darkroom.daemon.config import Folder, Watch
from darkroom.daemon.inbox import Arrival, Inbox, Sighting
from darkroom.daemon.intake import free_twins, take_in
from darkroom.daemon.job import Job, Signature
from darkroom.daemon.journal import Journal
from darkroom.daemon.marker import INBOX, adopt
from darkroom.daemon.sidecar import Takes
from darkroom.daemon.states import LIVE, State


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.db") as opened:
        yield opened


def folder(**fields: Any) -> Folder:
    return Folder.model_validate(
        {"name": "films", "pipeline": "upscale", "inbox": "/in", "outbox": "/out", "priority": 4} | fields
    )


def arrival(path: bytes, content: str = "", **fields: Any) -> Arrival:
    values: dict[str, Any] = {"sidecar": "", "beside": None, "takes": ({},), "fault": ""} | fields
    signature = Signature(size_bytes=1, mtime_ns=2, inode=3)
    return Arrival(path=path, signature=signature, content=content or path.decode(), **values)


def see(journal: Journal, *arrivals: Arrival, at: Folder | None = None, **fields: Any) -> list[int]:
    return take_in(journal, at or folder(), Sighting(arrivals=arrivals, next_look_s=60, **fields), 100.0)


def jobs(journal: Journal) -> dict[bytes, Job]:
    """Return the newest job of each path."""
    return {job.path: job for job in journal.jobs()}


def states(journal: Journal) -> dict[bytes, State]:
    return {path: job.state for path, job in jobs(journal).items()}


def run_to(journal: Journal, *steps: State) -> Job:
    """Claim the next job and bring it on its way."""
    job = journal.claim(["films"], now=1.0, uptime=0.0, boot="")
    assert job is not None
    for step in steps:
        job = journal.move(job.id, step, "", now=1.0)
    return job


# -- arrivals --------------------------------------------------------------------------------------------------------


def test_an_arrival_is_queued_as_its_folder_says(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    see(journal, arrival(b"a.mkv", takes=({"scale": 2},), sidecar="s"))
    job = jobs(journal)[b"a.mkv"]
    assert (job.state, job.priority, job.pipeline, job.options, job.sidecar) == (
        State.QUEUED,
        4,
        "upscale",
        {"scale": 2},
        "s",
    )
    assert caplog.messages == [f"job={job.id} a.mkv queued in films"]


def test_a_faulty_sidecar_quarantines_the_file_with_its_reason(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    see(journal, arrival(b"a.mkv", fault="a.mkv.yaml: scale: expected 2 or 4"))
    job = jobs(journal)[b"a.mkv"]
    assert (job.state, job.reason) == (State.QUARANTINED, "a.mkv.yaml: scale: expected 2 or 4")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_an_arrival_seen_twice_is_one_job(journal: Journal) -> None:
    for _ in range(2):
        see(journal, arrival(b"a.mkv"))
    assert len(journal.jobs()) == 1


# -- the same content ------------------------------------------------------------------------------------------------


def test_of_equal_files_one_is_done_and_the_others_wait_for_it(journal: Journal) -> None:
    see(journal, *(arrival(name, "same") for name in (b"a", b"b", b"c")), arrival(b"d"))
    assert states(journal) == {b"a": State.QUEUED, b"b": State.HELD, b"c": State.HELD, b"d": State.QUEUED}
    assert jobs(journal)[b"c"].reason == f"duplicate of job {jobs(journal)[b'a'].id} (a), which is not done yet"
    run_to(journal, State.PUBLISHING, State.DONE)
    free_twins(journal, 2.0)
    assert states(journal) == {b"a": State.DONE, b"b": State.SKIPPED, b"c": State.SKIPPED, b"d": State.QUEUED}


def test_a_copy_of_what_is_done_is_skipped_at_once(journal: Journal) -> None:
    see(journal, arrival(b"a", "same"))
    done = run_to(journal, State.PUBLISHING, State.DONE)
    see(journal, arrival(b"b", "same"))
    assert (jobs(journal)[b"b"].state, jobs(journal)[b"b"].reason) == (State.SKIPPED, f"duplicate of job {done.id} (a)")


@pytest.mark.parametrize("end", [State.FAILED, State.QUARANTINED, State.CANCELLED])
def test_when_the_first_gives_no_result_the_next_takes_its_place(journal: Journal, end: State) -> None:
    see(journal, *(arrival(name, "same") for name in (b"a", b"b", b"c")))
    run_to(journal, end)
    free_twins(journal, 2.0)
    assert states(journal) == {b"a": end, b"b": State.QUEUED, b"c": State.HELD}
    assert jobs(journal)[b"c"].twin == jobs(journal)[b"b"].id
    run_to(journal, State.PUBLISHING, State.DONE)
    free_twins(journal, 3.0)
    assert states(journal) == {b"a": end, b"b": State.DONE, b"c": State.SKIPPED}


def test_a_duplicate_is_freed_by_the_next_look_when_its_twin_is_cancelled(journal: Journal) -> None:
    see(journal, arrival(b"a", "same"), arrival(b"b", "same"))
    journal.move(jobs(journal)[b"a"].id, State.CANCELLED, "asked to cancel", now=1.0)
    see(journal)
    assert states(journal)[b"b"] is State.QUEUED


def test_a_duplicate_with_other_options_is_another_job(journal: Journal) -> None:
    see(
        journal,
        arrival(b"a", "same"),
        arrival(b"b", "same", takes=({"scale": 4},)),
        arrival(b"c", "same", takes=({"scale": 4},)),
    )
    assert states(journal) == {b"a": State.QUEUED, b"b": State.QUEUED, b"c": State.HELD}
    assert jobs(journal)[b"c"].twin == jobs(journal)[b"b"].id


def test_duplicates_are_processed_where_the_folder_says_so(journal: Journal) -> None:
    see(journal, arrival(b"a", "same"), arrival(b"b", "same"), at=folder(duplicates="process"))
    assert set(states(journal).values()) == {State.QUEUED}


def test_a_duplicate_cancelled_while_it_is_freed_stays_cancelled(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    see(journal, arrival(b"a", "same"), arrival(b"b", "same"))
    run_to(journal, State.FAILED)
    freed = journal.freed_twins()
    journal.move(freed[0].id, State.CANCELLED, "asked to cancel", now=1.0)
    monkeypatch.setattr(journal, "freed_twins", lambda: freed)
    free_twins(journal, 2.0)
    assert states(journal)[b"b"] is State.CANCELLED


# -- prompts and batches ---------------------------------------------------------------------------------------------


@pytest.fixture
def art(monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setitem(pipelines.KINDS, "paint", toys.PAINT)
    return folder(pipeline="paint")


def takes(*prompts: str) -> tuple[dict[str, Any], ...]:
    return tuple({"prompt": prompt} for prompt in prompts)


def begun(journal: Journal) -> list[tuple[State, str]]:
    return [(job.state, job.reason) for job in journal.jobs()]


def test_a_job_without_its_prompt_is_held_and_says_what_it_waits_for(journal: Journal, art: Folder) -> None:
    dog = arrival(b"d/dog.jpg", takes=({"strokes": 3},), beside=b"d/dog.yaml")
    see(journal, arrival(b"d/cat.jpg"), dog, at=art)
    reasons = ["waiting for cat.txt or cat.yaml", "waiting for `prompt` in dog.yaml"]
    assert begun(journal) == [(State.HELD, reason) for reason in reasons]
    assert {job.lacks for job in journal.jobs()} == {"prompt"}


def test_a_prompt_that_the_folder_gets_frees_what_waited_for_one_but_not_what_a_person_holds(
    journal: Journal, art: Folder
) -> None:
    for new in (arrival(b"a.jpg", "same"), arrival(b"b.jpg", "same"), arrival(b"c.jpg", takes=takes("c"))):
        see(journal, new, at=art)
    see(journal, arrival(b"d.jpg", takes=takes(" ")), at=art)
    journal.move(3, State.HELD, "guests", now=1.0)
    see(journal, at=art)
    assert [state for state, _ in begun(journal)] == [State.HELD] * 4
    see(journal, at=folder(pipeline="paint", options={"prompt": "sky"}))
    assert begun(journal) == [
        (State.QUEUED, "the folder's options have the prompt now"),
        (State.HELD, "duplicate of job 1 (a.jpg), which is not done yet"),
        (State.HELD, "guests"),
        (State.HELD, "waiting for d.txt or d.yaml"),
    ]
    run_to(journal, State.PUBLISHING, State.DONE)
    free_twins(journal, 2.0)
    assert journal.job(2).state is State.SKIPPED


def test_each_entry_of_a_list_is_a_job_in_order_with_what_each_lacks_or_repeats(journal: Journal, art: Folder) -> None:
    entries: Takes = ({"prompt": "one"}, {}, {"prompt": "one"}, {"prompt": "two", "strokes": 1})
    see(journal, arrival(b"cat.jpg", takes=entries, beside=b"cat.yaml", sidecar="s"), at=art)
    assert begun(journal) == [
        (State.QUEUED, ""),
        (State.HELD, "waiting for `prompt` in cat.yaml"),
        (State.SKIPPED, "entry 3 of its sidecar is equal to entry 1"),
        (State.QUEUED, ""),
    ]
    assert [(job.take, job.options, job.batch) for job in journal.jobs()] == [
        (take, options, 1) for take, options in enumerate(entries)
    ]


def test_equal_entries_are_all_made_where_duplicates_are(journal: Journal, art: Folder) -> None:
    at = art.model_copy(update={"duplicates": "process"})
    see(journal, arrival(b"cat.jpg", takes=takes("one", "one")), at=at)
    assert [state for state, _ in begun(journal)] == [State.QUEUED] * 2


def test_a_faulty_list_is_one_refused_job(journal: Journal, art: Folder) -> None:
    see(journal, arrival(b"cat.jpg", fault="cat.yaml: entry 2: strokes: expected 1 to 100, got 0"), at=art)
    assert begun(journal) == [(State.QUARANTINED, "cat.yaml: entry 2: strokes: expected 1 to 100, got 0")]


def test_of_equal_files_with_lists_each_entry_is_done_once(journal: Journal, art: Folder) -> None:
    lists = {b"a.jpg": ("one", "two"), b"b.jpg": ("two", "three"), b"c.jpg": ("three", "one"), b"d.jpg": ("two",)}
    see(journal, *(arrival(path, "same", takes=takes(*prompts)) for path, prompts in lists.items()), at=art)
    queued = [job.options["prompt"] for job in journal.jobs() if job.state is State.QUEUED]
    assert sorted(queued) == ["one", "three", "two"]
    assert {job.state for job in journal.jobs() if job.twin} == {State.HELD} and len(journal.jobs()) == 7


def test_as_many_equal_files_as_there_are_take_two_transactions(journal: Journal) -> None:
    commits: list[str] = []
    journal._sql.set_trace_callback(lambda statement: commits.append(statement) if statement == "COMMIT" else None)
    see(journal, *(arrival(b"%d" % number, "same") for number in range(50)))
    assert len(commits) == 2 and len(journal.jobs()) == 50


class Gallery:
    """An inbox with an image and what is said of it, looked at until nothing is left to settle."""

    def __init__(self, root: Path, at: Folder) -> None:
        self.at = at.model_copy(update={"inbox": root / "in"})
        self.journal = root / "journal.db"
        adopt(self.at.inbox, INBOX)
        self.say("cat.jpg", "image")

    def say(self, name: str, text: str) -> None:
        (self.at.inbox / name).write_text(text)

    def live(self) -> list[str]:
        """Look until nothing changes, and return what is live then: its prompt, or its state if it has none."""
        inbox = Inbox(self.at, Watch(), adopt(self.at.inbox, INBOX))
        with Journal(self.journal) as journal:
            journal._sql.execute("PRAGMA synchronous = OFF")
            for look in range(5):
                take_in(journal, self.at, inbox.look(journal.known("films"), look * 60.0), 1.0)
            jobs = [job for job in journal.jobs() if job.state in LIVE]
        return [job.options.get("prompt", job.state) for job in jobs]


def killed_at(statement: int, work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run `work` in a child that is killed before a statement of its journal; tell whether it came so far."""
    child = os.fork()
    if not child:
        left = iter(range(statement))

        def count(_: str) -> None:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        prepare = Journal._prepare
        monkeypatch.setattr(Journal, "_prepare", lambda one: (prepare(one), one._sql.set_trace_callback(count)))
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


BATCH = ("cat.yaml", "[{prompt: one}, {prompt: two}, {prompt: three}]")


@pytest.mark.parametrize(
    ("before", "after", "live"),
    [
        (None, BATCH, ["one", "two", "three"]),
        (("dog.txt", "no matter"), ("cat.txt", "one"), ["one"]),
        (BATCH, ("cat.yaml", "[{prompt: two}, {prompt: four}]"), ["two", "four"]),
        (BATCH, ("cat.jpg", "another image"), ["one", "two", "three"]),
        (("cat.txt", "one"), BATCH, ["one", "two", "three"]),
    ],
    ids=["new", "prompt comes", "list changes", "image changes", "list comes"],
)
def test_killed_before_any_statement_no_entry_is_lost_or_doubled(
    tmp_path: Path,
    art: Folder,
    monkeypatch: pytest.MonkeyPatch,
    before: tuple[str, str] | None,
    after: tuple[str, str],
    live: list[str],
) -> None:
    for statement in range(0, 1000, 3):
        (tmp_path / f"{statement}").mkdir()
        gallery = Gallery(tmp_path / f"{statement}", art)
        if before:
            gallery.say(*before)
            gallery.live()
        gallery.say(*after)
        died = killed_at(statement, gallery.live, monkeypatch)
        assert gallery.live() == live
        with Journal(gallery.journal) as journal:
            batches = Counter(job.batch for job in journal.jobs())
            assert all(len(journal.batch(journal.job(batch))) == count for batch, count in batches.items())
        if not died:
            assert statement > 9
            return
    pytest.fail("never came to its end")


# -- files that change or go -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [False, True])
def test_a_waiting_job_whose_file_went_is_cancelled_and_its_return_is_news(journal: Journal, held: bool) -> None:
    see(journal, arrival(b"a"))
    number = jobs(journal)[b"a"].id
    if held:
        journal.move(number, State.HELD, "asked to hold", now=1.0)
    assert see(journal, missing=(number,)) == []
    assert journal.job(number).state is State.CANCELLED
    assert journal.known("films")[b"a"].signature.mtime_ns == -1, "the same file coming back differs from this"


def test_a_sidecar_that_comes_and_goes_again_loses_no_file(journal: Journal) -> None:
    see(journal, arrival(b"a"))
    see(journal, replaced=(1,))
    assert (journal.job(1).state, journal.job(1).reason) == (
        State.CANCELLED,
        "the file or its sidecar changed; a new job follows",
    )
    assert journal.known("films")[b"a"].signature.mtime_ns == -1, "the file as it was differs from this"


def test_a_running_job_whose_file_went_goes_on(journal: Journal) -> None:
    see(journal, arrival(b"a"))
    job = run_to(journal)
    assert see(journal, missing=(job.id,)) == [] and journal.job(job.id).state is State.RUNNING


def test_a_changed_file_ends_a_waiting_job_now_and_a_running_one_by_the_caller(journal: Journal) -> None:
    see(journal, arrival(b"a"), arrival(b"b"))
    running, waiting = run_to(journal), jobs(journal)[b"b"]
    assert see(journal, replaced=(running.id, waiting.id)) == [running.id]
    assert (journal.job(running.id).state, journal.job(waiting.id).state) == (State.RUNNING, State.CANCELLED)


def test_jobs_that_ended_or_were_forgotten_during_the_look_are_no_trouble(journal: Journal) -> None:
    see(journal, arrival(b"a"), arrival(b"b"))
    ended, forgotten = run_to(journal, State.FAILED), run_to(journal, State.FAILED)
    journal.forget([forgotten.id])
    assert see(journal, missing=(ended.id, forgotten.id), replaced=(ended.id, forgotten.id)) == []
    assert journal.job(ended.id).state is State.FAILED


@pytest.mark.parametrize("gone", ["missing", "replaced"])
def test_a_job_whose_result_has_its_name_is_finished_though_its_file_went(journal: Journal, gone: str) -> None:
    """Its original may have been deleted already, by the run that a crash ended."""
    see(journal, arrival(b"a.mkv"))
    job = run_to(journal, State.PUBLISHING, State.QUEUED)
    journal.note(job.id, result=b"a.mkv")
    changes: dict[str, Any] = {gone: (job.id,)}
    see(journal, **changes)
    assert journal.job(job.id).state is State.QUEUED
