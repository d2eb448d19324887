import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from darkroom.daemon.job import GONE_NS, Job, NewJob, Signature
from darkroom.daemon.journal import EVERYTHING, FILE, Journal
from darkroom.daemon.sqlite_faults import Damaged
from darkroom.daemon.states import BUSY, ENDS, LIVE, MOVES, IllegalMove, State
from darkroom.pipelines.errors import Unavailable

SIGNATURE = Signature(size_bytes=1000, mtime_ns=5, inode=7)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with Journal(path) as opened:
        opened._sql.execute("PRAGMA synchronous = OFF")  # quicker: nobody cuts the power of a test
        yield opened


def new(path: bytes = b"a.mkv", **fields: Any) -> NewJob:
    values: dict[str, Any] = {"folder": "films", "pipeline": "upscale", "path": path, "signature": SIGNATURE}
    return NewJob(**values | fields)


def add(journal: Journal, path: bytes = b"a.mkv", **fields: Any) -> int:
    (job,) = journal.enqueue([new(path, **fields)], 100.0)
    return job


def claim(journal: Journal, *folders: str, oldest: bool = False, uptime: float = 0.0) -> int | None:
    job = journal.claim(folders or ("films",), now=200.0, uptime=uptime, boot="boot", oldest=oldest)
    return job.id if job else None


def bring(journal: Journal, job: int, state: State) -> Job:
    """Bring a queued job to `state` by legal moves."""
    ways: dict[State, tuple[State, ...]] = {State.QUEUED: (), State.DONE: (State.RUNNING, State.PUBLISHING, State.DONE)}
    by_hold = {State.HELD: (State.HELD,), State.SKIPPED: (State.HELD, State.SKIPPED)}
    for step in (ways | by_hold).get(state, (State.RUNNING, state) if state is not State.RUNNING else (state,)):
        journal.move(job, step, f"to {step}", now=300.0)
    return journal.job(job)


def look(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Ask the file itself, past the journal."""
    with sqlite3.connect(path) as sql:
        return sql.execute(query).fetchall()


# -- what comes in ---------------------------------------------------------------------------------------------------


def test_an_arrival_becomes_a_queued_job_with_its_event(journal: Journal) -> None:
    number = add(journal, b"x/a.mkv", options={"scale": 2}, priority=3, content="abc", sidecar="s")
    job = journal.job(number)
    assert (job.path, job.signature, job.options, job.priority) == (b"x/a.mkv", SIGNATURE, {"scale": 2}, 3)
    assert (job.state, job.created, job.ended, job.attempts) == (State.QUEUED, 100.0, None, 0)
    assert [(event.old, event.new, event.at) for event in journal.events(number)] == [("", "queued", 100.0)]


def test_many_arrivals_get_numbers_in_order(journal: Journal) -> None:
    paths = [f"{number}.mkv".encode() for number in range(2500)]
    numbers = journal.enqueue([new(path) for path in paths], 1.0)
    assert numbers == sorted(numbers) and len(numbers) == 2500
    assert [journal.job(number).path for number in numbers[::500]] == paths[::500]


@pytest.mark.parametrize("state", sorted(State))
def test_a_path_has_one_live_job_at_most(journal: Journal, state: State) -> None:
    first = add(journal)
    bring(journal, first, state)
    again = journal.enqueue([new(), new()], 101.0)
    assert len(again) == (0 if state in LIVE else 1)


def test_the_same_path_in_two_folders_is_two_files(journal: Journal) -> None:
    assert len(journal.enqueue([new(folder="films"), new(folder="clips")], 1.0)) == 2


def test_an_arrival_that_begins_ended_is_dated(journal: Journal) -> None:
    job = journal.job(add(journal, state=State.QUARANTINED, reason="a.yaml: no such option"))
    assert (job.state, job.ended, job.reason) == (State.QUARANTINED, 100.0, "a.yaml: no such option")


def test_job_numbers_are_never_used_again(journal: Journal) -> None:
    first = add(journal)
    bring(journal, first, State.DONE)
    journal.forget([first])
    assert add(journal) > first


@pytest.mark.parametrize(
    "name",
    [b"\xff\xfe.mkv", b"new\nline \x1b[31m.mkv", "é ü 映画.mkv".encode(), b"'; DROP TABLE jobs"],
    ids=["bytes", "controls", "letters", "quote"],
)
def test_a_path_comes_back_as_the_bytes_it_was(journal: Journal, name: bytes) -> None:
    assert journal.job(add(journal, name)).path == name
    assert list(journal.known("films")) == [name]


def test_known_are_the_newest_jobs_of_each_path(journal: Journal) -> None:
    old = add(journal)
    bring(journal, old, State.DONE)
    newer = add(journal, signature=Signature(size_bytes=9, mtime_ns=8, inode=7), sidecar="x")
    add(journal, b"else", folder="clips")
    known = journal.known("films")
    assert set(known) == {b"a.mkv"}
    assert (known[b"a.mkv"].batch, known[b"a.mkv"].state, known[b"a.mkv"].sidecar) == (newer, State.QUEUED, "x")
    assert known[b"a.mkv"].live == ((newer, State.QUEUED),)
    assert known[b"a.mkv"].signature.size_bytes == 9


# -- several jobs of one file ----------------------------------------------------------------------------------------


def takes(journal: Journal, count: int, path: bytes = b"a.mkv", **fields: Any) -> list[int]:
    return journal.enqueue([new(path, take=take, options={"n": take}, **fields) for take in range(count)], 100.0)


def test_the_jobs_of_a_file_are_recorded_together_and_found_together(journal: Journal) -> None:
    add(journal, b"b.mkv")
    first = takes(journal, 3)
    add(journal, b"c.mkv")
    for number in first:
        assert [job.id for job in journal.batch(journal.job(number))] == first
    assert [job.options for job in journal.batch(journal.job(first[1]))] == [{"n": 0}, {"n": 1}, {"n": 2}]


@pytest.mark.parametrize("taken", range(3))
def test_a_batch_is_recorded_whole_or_not_at_all_if_any_job_of_its_file_is_live(journal: Journal, taken: int) -> None:
    for number in takes(journal, 3):
        if number - 1 != taken:
            bring(journal, number, State.DONE)
    others = [new(b"b.mkv"), *(new(take=take) for take in range(4)), new(b"c.mkv")]
    assert [journal.job(number).path for number in journal.enqueue(others, 101.0)] == [b"b.mkv", b"c.mkv"]
    bring(journal, taken + 1, State.DONE)
    assert len(takes(journal, 4)) == 4


def test_a_batch_that_fails_in_the_middle_leaves_none_of_it(journal: Journal) -> None:
    with pytest.raises(sqlite3.Error):
        journal.enqueue([new(take=0), new(take=1), new(take=2, content=object())], 1.0)
    assert not journal.jobs()


def test_known_of_a_batch_is_its_version_and_all_that_is_live_of_the_file(journal: Journal) -> None:
    old = takes(journal, 3)
    for number in old:
        bring(journal, number, State.FAILED)
    first, second = takes(journal, 2, signature=Signature(size_bytes=9, mtime_ns=-8, inode=7))
    bring(journal, first, State.DONE)
    known = journal.known("films")[b"a.mkv"]
    assert (known.batch, known.signature.mtime_ns, known.live) == (first, -8, ((second, State.QUEUED),))
    bring(journal, second, State.DONE)
    journal.retry(old[1], now=1.0)
    assert journal.known("films")[b"a.mkv"].live == ((old[1], State.QUEUED),)


@pytest.mark.parametrize("gone", range(3))
def test_a_batch_of_which_one_job_lost_its_file_is_about_no_file(journal: Journal, gone: int) -> None:
    numbers = takes(journal, 3)
    journal.move(numbers[gone], State.CANCELLED, "the file is gone", now=1.0, mtime_ns=GONE_NS)
    assert journal.known("films")[b"a.mkv"].signature.mtime_ns == GONE_NS


def test_a_job_of_an_older_batch_is_not_retried_while_one_of_a_newer_is_live(journal: Journal) -> None:
    old = takes(journal, 3)
    for number in old:
        bring(journal, number, State.FAILED)
    (newer,) = takes(journal, 1)
    for number in old:
        with pytest.raises(IllegalMove, match="a newer job has its file"):
            journal.retry(number, now=1.0)
    bring(journal, newer, State.DONE)
    assert [journal.retry(number, now=1.0).state for number in old] == [State.QUEUED] * 3


def test_a_job_that_lacks_an_option_is_nobodys_twin_and_lacks_nothing_once_it_moves(journal: Journal) -> None:
    number = add(journal, content="c", state=State.HELD, lacks="prompt")
    assert journal.same_content("c", "films", {}) is None
    assert journal.move(number, State.QUEUED, "", now=1.0).lacks == ""
    assert journal.same_content("c", "films", {}) is not None


# -- claim -----------------------------------------------------------------------------------------------------------


def test_claim_returns_none_when_queue_is_empty(journal: Journal) -> None:
    assert claim(journal) is None
    add(journal)
    assert journal.claim([], now=0.0, uptime=0.0, boot="") is None


def test_the_highest_priority_goes_first_then_the_oldest(journal: Journal) -> None:
    low, first, second = add(journal, b"1"), add(journal, b"2", priority=5), add(journal, b"3", priority=5)
    assert [job.id for job in journal.next_jobs(9)] == [first, second, low]
    assert [claim(journal) for _ in range(4)] == [first, second, low, None]


def test_the_oldest_can_be_asked_for_whatever_its_priority(journal: Journal) -> None:
    low, high = add(journal, b"1", priority=-9), add(journal, b"2", priority=9)
    assert claim(journal, oldest=True) == low
    assert claim(journal, oldest=True) == high


def test_claim_leaves_other_folders_and_later_times_alone(journal: Journal) -> None:
    add(journal, b"1", folder="clips")
    late = add(journal, b"2")
    journal.note(late, not_before=50.0)
    assert claim(journal, "films", "books", uptime=49.9) is None
    assert claim(journal, "films", "books", uptime=50.0) == late


def test_a_claim_counts_its_attempt_and_forgets_old_words(journal: Journal) -> None:
    number = add(journal)
    journal.note(number, ask="hold", reason="waiting")
    claim(journal)
    job = journal.job(number)
    assert (job.state, job.attempts, job.boot, job.started, job.ask, job.reason) == (
        State.RUNNING,
        1,
        "boot",
        200.0,
        "",
        "",
    )
    assert [event.new for event in journal.events(number)] == ["queued", "running"]


CLAIMS = """
import sys
from pathlib import Path
from darkroom.daemon.journal import Journal
with Journal(Path(sys.argv[1])) as journal:
    print("ready", flush=True)
    sys.stdin.readline()
    while job := journal.claim(["films"], now=0, uptime=0, boot=""):
        print(job.id)
"""


def test_two_processes_never_claim_the_same_job(journal: Journal, path: Path) -> None:
    numbers = journal.enqueue([new(f"{number}".encode()) for number in range(120)], 1.0)
    command = [sys.executable, "-c", CLAIMS, str(path)]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    claimed = [[int(line) for line in process.communicate()[0].split()] for process in both]
    assert sorted(claimed[0] + claimed[1]) == numbers


# -- moves -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", sorted(State))
@pytest.mark.parametrize("target", sorted(State))
def test_a_move_is_legal_by_the_table_and_leaves_an_event(journal: Journal, old: State, target: State) -> None:
    number = add(journal)
    before, events = bring(journal, number, old), journal.events(number)
    if target in MOVES[old]:
        moved = journal.move(number, target, "why", now=400.0, detail="more")
        assert (moved.state, moved.reason, moved.ended) == (target, "why", None if target in LIVE else 400.0)
        last = journal.events(number)[-1]
        assert (last.old, last.new, last.reason, last.detail, last.at) == (old, target, "why", "more", 400.0)
    else:
        with pytest.raises(IllegalMove, match=f"job {number} is {old}"):
            journal.move(number, target, "why", now=400.0)
        assert (journal.job(number), journal.events(number)) == (before, events)


def test_a_move_from_another_state_than_expected_is_illegal(journal: Journal) -> None:
    number = add(journal)
    bring(journal, number, State.CANCELLED)
    with pytest.raises(IllegalMove):
        journal.move(number, State.QUEUED, "its twin gave no result", now=1.0, expected={State.HELD})
    assert journal.job(number).state is State.CANCELLED


def test_a_failing_move_changes_nothing(journal: Journal) -> None:
    number = add(journal)
    with pytest.raises(Unavailable):
        journal.move(number, State.CANCELLED, "why", now=1.0, no_such_column=1)
    assert journal.job(number).state is State.QUEUED and len(journal.events(number)) == 1
    assert claim(journal) == number  # and no transaction is left open


def test_a_failing_batch_records_none_of_it(journal: Journal) -> None:
    bad = new(b"2", content=object())
    with pytest.raises(sqlite3.Error):
        journal.enqueue([new(b"1"), bad], 1.0)
    assert not journal.known("films")


def test_a_job_nobody_knows_is_a_key_error(journal: Journal) -> None:
    with pytest.raises(KeyError, match="there is no job 41"):
        journal.job(41)
    with pytest.raises(KeyError, match="there is no job 41"):
        journal.move(41, State.DONE, "", now=0.0)


@pytest.mark.parametrize("end", sorted(ENDS))
def test_retry_makes_an_ended_job_as_good_as_new(journal: Journal, end: State) -> None:
    number = add(journal)
    bring(journal, number, end)
    journal.note(number, failures=3, crashes=2, crash_segment=4, not_before=9.0, result=b"x", result_size=5, ask="hold")
    job = journal.retry(number, now=500.0)
    assert (job.state, job.failures, job.crashes, job.crash_segment, job.not_before) == (State.QUEUED, 0, 0, None, 0)
    record = (b"x", 5) if end is State.FAILED else (b"", 0)  # a part of it may be in the outbox
    assert (job.result, job.result_size, job.result_sha256, job.ask, job.ended) == (*record, "", "", None)
    assert claim(journal) == number


def test_retry_of_a_job_whose_file_has_a_newer_one_is_an_illegal_move(journal: Journal) -> None:
    old = add(journal)
    bring(journal, old, State.CANCELLED)
    add(journal)
    with pytest.raises(IllegalMove, match="newer job"):
        journal.retry(old, now=1.0)


def test_a_wish_reaches_a_running_job_only(journal: Journal) -> None:
    number = add(journal)
    assert not journal.ask(number, "cancel")
    claim(journal)
    assert journal.ask(number, "cancel") and journal.job(number).ask == "cancel"
    assert journal.move(number, State.CANCELLED, "asked to cancel", now=1.0).ask == ""


def test_delays_of_another_boot_are_void(journal: Journal) -> None:
    numbers = [add(journal, name) for name in (b"1", b"2")]
    for number, boot in zip(numbers, ("before", "now"), strict=True):
        journal.note(number, not_before=1e9, boot=boot)
    journal.forget_delays("now")
    assert [journal.job(number).not_before for number in numbers] == [0.0, 1e9]


def test_only_ended_jobs_are_forgotten_and_their_events_with_them(journal: Journal, path: Path) -> None:
    ended, live = add(journal, b"1"), add(journal, b"2")
    bring(journal, ended, State.DONE)
    journal.forget([ended, live, 41])
    assert [job.id for job in journal.jobs()] == [live]
    assert look(path, "SELECT DISTINCT job FROM events") == [(live,)]


# -- jobs of the same content ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(State))
def test_same_content_is_a_job_done_or_on_its_way(journal: Journal, state: State) -> None:
    first = add(journal, content="c")
    bring(journal, first, state)
    found = journal.same_content("c", "films", {})
    assert (found.id if found else None) == (first if state in LIVE | {State.DONE} else None)


def test_same_content_asks_for_the_same_folder_and_options(journal: Journal) -> None:
    add(journal, b"1", content="c", options={"scale": 4})
    number = add(journal, b"2", content="c", options={"a": 1, "b": [2]})
    add(journal, b"3")
    found = journal.same_content("c", "films", {"b": [2], "a": 1})
    assert found is not None and found.id == number
    assert journal.same_content("c", "films", {}) is journal.same_content("c", "clips", {"scale": 4}) is None
    assert journal.same_content("", "films", {}) is None, "no fingerprint is not a fingerprint"


def test_a_job_that_waits_for_its_twin_is_nobodys_twin(journal: Journal) -> None:
    first = add(journal, b"1", content="c")
    add(journal, b"2", content="c", twin=first, state=State.HELD)
    bring(journal, first, State.FAILED)
    assert journal.same_content("c", "films", {}) is None


@pytest.mark.parametrize("end", [*sorted(ENDS), None])
def test_twins_are_freed_once_the_other_has_ended_or_is_forgotten(journal: Journal, end: State | None) -> None:
    first = add(journal, b"1", content="c")
    second = add(journal, b"2", content="c", twin=first, state=State.HELD)
    assert not journal.freed_twins()
    bring(journal, first, end or State.DONE)
    if end is None:
        journal.forget([first])
    assert [job.id for job in journal.freed_twins()] == [second]


def test_a_moved_job_waits_for_no_twin_any_more(journal: Journal) -> None:
    first = add(journal, b"1", content="c")
    second = add(journal, b"2", content="c", twin=first, state=State.HELD)
    journal.move(second, State.QUEUED, "released", now=1.0)
    journal.move(second, State.HELD, "asked to hold", now=2.0)
    bring(journal, first, State.DONE)
    assert not journal.freed_twins(), "what a person holds stays held"


# -- holds and reading -----------------------------------------------------------------------------------------------


def test_holds_are_kept_by_scope_until_released(journal: Journal) -> None:
    journal.hold("films", "nap", now=1.0)
    journal.hold("films", "longer nap", now=2.0)
    journal.hold(EVERYTHING, "no power", now=3.0)
    assert journal.holds() == {"films": "longer nap", EVERYTHING: "no power"}
    assert journal.release("films") and not journal.release("films")
    assert journal.holds() == {EVERYTHING: "no power"}


def test_jobs_are_listed_by_state_folder_age_and_number(journal: Journal) -> None:
    a, b, c = add(journal, b"1"), add(journal, b"2", folder="clips"), add(journal, b"3")
    claim(journal)
    numbers = {
        "all": [job.id for job in journal.jobs()],
        "busy": [job.id for job in journal.jobs(states=BUSY)],
        "films": [job.id for job in journal.jobs(folder="films", states=[State.QUEUED])],
        "newest": [job.id for job in journal.jobs(newest=True, limit=2)],
    }
    assert numbers == {"all": [a, b, c], "busy": [a], "films": [c], "newest": [c, b]}


def test_waiting_counts_delayed_jobs_too_but_for_those_without_a_limit_of_tries(journal: Journal) -> None:
    journal.note(add(journal, b"1"), not_before=1e9, failures=1)
    patient = add(journal, b"3")
    journal.note(patient, not_before=5.0)
    assert (journal.waiting(["films"], 4.0), journal.waiting(["films"], 5.0)) == (1, 2)
    journal.move(patient, State.CANCELLED, "", now=1.0)
    bring(journal, add(journal, b"2"), State.HELD)
    assert [journal.waiting(folders, 0.0) for folders in (["films"], ["clips"], [])] == [1, 0, 0]


def test_ended_since_counts_what_ended_after_an_event(journal: Journal) -> None:
    bring(journal, add(journal, b"1"), State.DONE)
    mark = journal.last_event()
    assert journal.ended_since(mark) == {}
    bring(journal, add(journal, b"2"), State.DONE)
    bring(journal, add(journal, b"3"), State.FAILED)
    add(journal, b"4")
    assert journal.ended_since(mark) == {State.DONE: 1, State.FAILED: 1}


# -- the file --------------------------------------------------------------------------------------------------------


def test_each_commit_is_on_the_disk_when_it_returns(path: Path) -> None:
    for _ in ("made", "opened again"):
        with Journal(path) as journal:
            assert look(path, "PRAGMA journal_mode") == [("wal",)]
            assert journal._sql.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL, of this connection
            assert journal._sql.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_a_readonly_journal_reads_what_the_daemon_writes(journal: Journal, path: Path) -> None:
    add(journal)
    with Journal(path, readonly=True) as reader:
        assert len(reader.jobs()) == 1
        add(journal, b"2")
        assert len(reader.jobs()) == 2
        with pytest.raises(Unavailable, match="readonly"):
            reader.hold("films", "why", now=1.0)


def test_a_readonly_journal_is_not_made(path: Path) -> None:
    with pytest.raises(Unavailable, match=FILE):
        Journal(path, readonly=True)
    assert not path.exists()


def test_a_journal_locked_by_another_process_is_unavailable(journal: Journal, path: Path) -> None:
    add(journal)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with Journal(path, patience_s=0.05) as impatient:
        with pytest.raises(Unavailable, match=r"journal\.db: database is locked"):
            add(impatient, b"2")
        assert len(impatient.jobs()) == 1, "readers are not locked out"
        other.execute("COMMIT")
        add(impatient, b"2")
    other.close()


def test_reading_a_journal_that_cannot_be_read_is_unavailable_too(path: Path) -> None:
    with Journal(path, patience_s=0.05) as journal:
        journal._sql.execute("DROP TABLE holds")
        with pytest.raises(Unavailable, match="holds"):
            journal.holds()


def test_a_file_that_is_no_journal_is_damaged_and_let_go(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(Damaged, match=r"journal\.db: the journal is damaged \(file is not a database\)"):
        Journal(path)
    assert not [link for link in Path("/proc/self/fd").iterdir() if os.path.realpath(link) == str(path)]


def test_damage_finds_a_torn_page(path: Path) -> None:
    with Journal(path) as journal:
        journal.enqueue([new(f"{number}".encode()) for number in range(500)], 1.0)
        assert journal.damage() == ""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 4096 * 3)
        file.write(os.urandom(4096 * 2))
    with Journal(path) as journal:
        assert journal.damage() != ""


def test_a_copy_is_a_whole_journal(journal: Journal, tmp_path: Path) -> None:
    number = add(journal)
    journal.copy_to(tmp_path / "copy.db")
    with Journal(tmp_path / "copy.db") as copy:
        assert copy.job(number) == journal.job(number)
    with pytest.raises(Unavailable):
        journal.copy_to(tmp_path / "copy.db")


def test_a_folder_with_odd_bytes_can_hold_a_journal(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"a?b#c%20\xff")
    folder.mkdir()
    with Journal(folder / FILE) as journal:
        add(journal)
    assert (folder / FILE).stat().st_size


# -- many jobs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    """A journal of 100,000 jobs in two folders, one in ten queued."""
    path = tmp_path_factory.mktemp("crowded") / FILE
    with Journal(path) as journal:
        journal._sql.execute("PRAGMA synchronous = OFF")  # nobody will read it after a crash
        states = [State.QUEUED, *[State.DONE] * 9]
        arrivals = [
            new(f"{number}".encode(), folder="films" if number % 20 < 15 else "clips", state=states[number % 10])
            for number in range(100_000)
        ]
        journal.enqueue(arrivals, 1.0)
        yield journal


def steps(journal: Journal, query: str, *values: Any) -> str:
    return " / ".join(row[3] for row in journal._sql.execute(f"EXPLAIN QUERY PLAN {query}", values))


def statements(journal: Journal, job: Any) -> list[str]:
    """Return the statements that `job` runs, with their values filled in."""
    seen: list[str] = []
    journal._sql.set_trace_callback(seen.append)
    try:
        job()
    finally:
        journal._sql.set_trace_callback(None)
    return [statement for statement in seen if statement.startswith(("SELECT", "UPDATE"))]


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda journal: journal.claim(["films", "clips"], now=1.0, uptime=0.0, boot=""), "next_job"),
        (lambda journal: journal.claim(["films", "clips"], now=1.0, uptime=0.0, boot="", oldest=True), "oldest_job"),
        (lambda journal: journal.next_jobs(5), "next_job"),
        (lambda journal: journal.jobs(states=BUSY), "busy_jobs"),
        (lambda journal: journal.freed_twins(), "twins"),
        (lambda journal: journal.same_content("c", "films", {}), "by_content"),
        (lambda journal: journal.known("clips"), "by_path"),
        (lambda journal: journal.batch(journal.job(7)), "by_path"),
        (lambda journal: journal.enqueue([new(b"50")], 1.0), "one_live_job_a_take"),
    ],
    ids=["claim", "claim the oldest", "next_jobs", "busy", "freed_twins", "same_content", "known", "batch", "enqueue"],
)
def test_a_question_goes_by_its_index(crowded: Journal, ask: Any, index: str) -> None:
    plan = steps(crowded, statements(crowded, lambda: ask(crowded))[-1])
    assert f"INDEX {index}" in plan
    assert "TEMP B-TREE" not in plan or index == "twins", "sorts what the index has in order"


def test_a_hundred_thousand_jobs_are_counted_and_compared(crowded: Journal) -> None:
    counts = crowded.counts()
    assert sum(counts.values()) == len(crowded.known("films")) + len(crowded.known("clips")) == 100_000
    assert counts["films", State.DONE] + counts["clips", State.DONE] == 90_000
    assert crowded.waiting(["films", "clips"], 0.0) == sum(
        n for (_, state), n in counts.items() if state is State.QUEUED
    )
