import fcntl
import json
import os
import sqlite3
from datetime import datetime
from pathlib import Path

import pytest

from darkroom.daemon import live
from darkroom.daemon.config import Config, load
from darkroom.daemon.job import NewJob, Signature
from darkroom.daemon.journal import FILE, Journal
from darkroom.daemon.lock import take_lock
from darkroom.daemon.setup import init
from darkroom.daemon.states import State
from darkroom.daemon.status import (
    job_status_values,
    job_values,
    journal_of,
    picture_of,
    status_values,
    take_job_status,
    take_status,
)

NOW = datetime(2026, 1, 10, 12)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(init(tmp_path))


def new(path: bytes) -> NewJob:
    signature = Signature(size_bytes=1, mtime_ns=2, inode=3)
    return NewJob(folder="upscale", pipeline="upscale", path=path, signature=signature)


def open_journal(config: Config) -> Journal:
    return Journal(config.state / FILE)


def draw(config: Config, **folder: object) -> live.Live:
    settings = {"mode": "events", "waiting": {"a.txt": "ignored: .txt"}, "waiting_count": 1} | folder
    picture = live.Live(
        pid=os.getpid(),
        since=1.0,
        at=2.0,
        version="1",
        folders={"upscale": live.FolderNow(**settings)},  # type: ignore[arg-type]  # settings are FolderNow's
        workers={"cpu": live.WorkerNow(state="busy", job=1, segments=3)},
    )
    live.write(config.state, picture)
    return picture


def test_before_the_first_start_there_is_nothing_and_that_is_no_fault(config: Config) -> None:
    status = take_status(config, NOW)
    assert (status.live, status.next, dict(status.folders[0].counts)) == (None, (), {})
    assert list(config.state.iterdir()) == []
    config.state.rmdir()
    assert take_status(config, NOW).folders[0].closed == "", "a folder that the start makes is not missing"


def test_with_the_daemon_down_the_journal_tells_the_queue_and_why_jobs_would_not_start(config: Config) -> None:
    with open_journal(config) as journal:
        journal.enqueue([new(b"a.mkv"), new(b"b.mkv")], 1.0)
        journal.move(1, State.CANCELLED, "", now=1.0)
        journal.hold("upscale", "guests", now=1.0)
    status = take_status(config, NOW)
    assert dict(status.folders[0].counts) == {State.QUEUED: 1, State.CANCELLED: 1}
    assert status.folders[0].closed == "on hold: guests"
    assert [job.name for job in status.next] == ["b.mkv"]


def test_outside_its_schedule_a_folder_says_so_with_the_daemon_down(config: Config) -> None:
    night = config.folders[0].model_copy(update={"schedule": ["22:00-07:00"]})
    status = take_status(config.model_copy(update={"folders": [night]}), NOW)
    assert status.folders[0].closed == "outside its schedule (22:00-07:00)"


def test_the_picture_of_a_running_daemon_is_taken_and_that_of_a_killed_one_is_not(config: Config) -> None:
    picture = draw(config, closed="outbox offline")
    assert picture_of(config) is None, "its number may be that of another program now; its lock is free"
    handle = take_lock(config.state)
    assert picture_of(config) == picture
    assert take_status(config, NOW).folders[0].closed == "outbox offline"
    os.close(handle)
    assert picture_of(config) is None


def test_to_ask_does_not_keep_a_daemon_from_starting(config: Config) -> None:
    (config.state / "lock").touch()
    assert picture_of(config) is None
    with (config.state / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_values_for_programs_survive_json_whatever_a_file_is_called(config: Config) -> None:
    draw(config)
    handle = take_lock(config.state)
    with open_journal(config) as journal:
        journal.enqueue([new(b"\xff\x1b[31m.mkv")], 1.0)
    values = json.loads(json.dumps(status_values(take_status(config, NOW))))
    os.close(handle)
    assert (values["running"], values["pid"], values["workers"]["cpu"]["segments"]) == (True, os.getpid(), 3)
    assert values["folders"]["upscale"]["waiting"] == {"a.txt": "ignored: .txt"}
    assert values["folders"]["upscale"]["jobs"] == {"queued": 1}
    assert values["folders"]["upscale"]["inbox"] == str(config.folders[0].inbox)
    assert os.fsencode(values["next"][0]["path"]) == b"\xff\x1b[31m.mkv"
    assert values["next"][0]["name"] == r"\xff\x1b[31m.mkv"


def test_with_the_daemon_down_the_values_have_the_same_keys(config: Config) -> None:
    down = status_values(take_status(config, NOW))
    draw(config)
    handle = take_lock(config.state)
    up = status_values(take_status(config, NOW))
    os.close(handle)
    assert down["running"] is False and down["workers"] == {} and down["notes"] == []
    assert up["folders"]["upscale"].keys() == down["folders"]["upscale"].keys()


def test_a_jobs_files_are_found_from_its_row(config: Config) -> None:
    with open_journal(config) as journal:
        journal.enqueue([new(b"d/a.mkv")], 1.0)
        parts = config.state / "work/1/0123"
        parts.mkdir(parents=True)
        (parts / "000000.mkv").touch()
        journal.note(1, result=b"d/a.mkv")
        status = take_job_status(config, journal, journal.job(1))
    folder = config.folders[0]
    assert (status.source, status.result) == (folder.inbox / "d/a.mkv", folder.outbox / "d/a.mkv")
    assert (status.parts, status.work) == (1, config.state / "work/1")
    values = json.loads(json.dumps(job_status_values(status)))
    assert [event["new"] for event in values["events"]] == ["queued"]
    assert values["result_path"] == str(folder.outbox / "d/a.mkv")
    assert values.keys() > job_values(status.job).keys()


def test_a_job_of_a_folder_that_is_no_longer_configured_is_shown_all_the_same(config: Config) -> None:
    with open_journal(config) as journal:
        journal.enqueue([new(b"a.mkv")], 1.0)
        renamed = config.folders[0].model_copy(update={"name": "other"})
        status = take_job_status(config.model_copy(update={"folders": [renamed]}), journal, journal.job(1))
    assert status.source is None and job_status_values(status)["source"] is None


def test_a_status_of_100_000_jobs_reads_indexes_and_ten_rows(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_journal(config) as journal:
        journal.enqueue([new(b"0.mkv")], 1.0)
    with sqlite3.connect(config.state / FILE) as sql:
        columns = "folder, pipeline, size_bytes, mtime_ns, inode, state, created"
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)"
        sql.execute(f"INSERT INTO jobs (path, {columns}) {numbers} SELECT CAST(i AS BLOB), {columns} FROM n, jobs")
    queries: list[str] = []
    reader = journal_of(config)
    assert reader is not None
    reader._sql.set_trace_callback(queries.append)
    monkeypatch.setattr("darkroom.daemon.status.journal_of", lambda _: reader)
    started = datetime.now()
    status = take_status(config, NOW)
    print(f"status of 100,000 jobs took {(datetime.now() - started).total_seconds():.3f} s")
    assert len(status.next) == 10
    assert status.folders[0].counts == {State.QUEUED: 100_000}
    with sqlite3.connect(config.state / FILE) as sql:
        plans = [str(row[3]) for query in queries for row in sql.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert len(plans) == 3
    assert "SCAN jobs USING COVERING INDEX by_state" in plans
    assert "SCAN jobs USING INDEX next_job" in plans
