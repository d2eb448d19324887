from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from darkroom.daemon.config import Folder
from darkroom.daemon.expiry import Removal
from darkroom.daemon.filesystem import Mount
from darkroom.daemon.job import Event, Job
from darkroom.daemon.live import FolderNow, Live, WorkerNow
from darkroom.daemon.setup import Place, Survey
from darkroom.daemon.states import State
from darkroom.daemon.status import FolderStatus, JobStatus, Status
from darkroom.daemon.view import FEW, job_view, jobs_view, plain, removals_view, status_view, survey_view

NASTY = b"[red]x[/red]\x1b[31m\x1b]0;title\x07\r\n\xff\xe2\x80\xae.mkv"


def shown(what: RenderableType, *, width: int = 1000, terminal: bool = False) -> str:
    console = Console(file=StringIO(), width=width, force_terminal=terminal, highlight=False)
    console.print(what)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def a_folder(name: str = "films") -> Folder:
    return Folder.model_validate({"name": name, "pipeline": "upscale", "inbox": f"/in/{name}", "outbox": "/out"})


def a_job(number: int = 1, path: bytes = b"a.mkv", **columns: Any) -> Job:
    settings: dict[str, Any] = dict.fromkeys(Job.__dataclass_fields__, 0) | {
        **{"id": number, "path": path, "folder": "films", "pipeline": "upscale", "state": State.QUEUED, "options": {}},
        **{"reason": "", "ask": "", "content": "", "result": b"", "result_sha256": "", "twin": None},
        **{"started": None, "ended": None, "created": 100.0},
    }
    return Job(**settings | columns)


def a_status(**folder: Any) -> Status:
    seen = FolderNow(**{"mode": "events", "last_scan": 95.0, **folder})
    counts = {State.QUEUED: 2, State.DONE: 9}
    return Status(
        at=100.0,
        live=Live(pid=7, since=40.0, at=99.0, version="1.2", folders={}, workers={}),
        folders=(FolderStatus(folder=a_folder(), closed=seen.closed, counts=counts, now=seen),),
        next=(),
    )


# -- names of strangers -----------------------------------------------------------------------------------------------


def test_no_name_or_reason_styles_the_text_or_moves_the_cursor() -> None:
    job = a_job(path=NASTY, reason=f"cannot read {NASTY.decode(errors='surrogateescape')}")
    folder = a_status(waiting={NASTY.decode(errors="surrogateescape"): "[b]why[/b]\x1b[2J"}, waiting_count=1)
    event = Event(at=1.0, old="", new="failed", reason="\x1b[31m", detail="Traceback [bold]\n  \x1b[2J")
    whole = JobStatus(job=job, events=(event,), parts=1, work=Path("/w"), source=Path("/in/[i]x"), result=None)
    for what in (jobs_view([job], 200.0), status_view(folder), job_view(whole)):
        text = shown(what)
        assert not set(text) & set("\x1b\x07\r\u202e"), "only line breaks of our own"
        assert "[red]x[/red]\\x1b[31m" in text or "[b]why[/b]\\x1b[2J" in text
    assert "/in/[i]x" in shown(job_view(whole))


def test_plain_text_is_escaped_once_and_keeps_its_letters() -> None:
    assert plain("Größe [dim] \t\u202e").plain == r"Größe [dim] \t\u202e"


def test_no_colour_reaches_a_pipe_and_some_reach_a_terminal() -> None:
    jobs = jobs_view([a_job(state=State.FAILED)], 200.0)
    assert "\x1b" not in shown(jobs)
    assert "\x1b[31m" in shown(jobs, terminal=True)


# -- status -----------------------------------------------------------------------------------------------------------


def test_a_status_tells_folders_with_counts_mode_and_the_last_look() -> None:
    lines = shown(status_view(a_status())).splitlines()
    assert lines[0] == "darkroom 1.2 has been running for 1 min, pid 7"
    row = next(line for line in lines if line.startswith("films"))
    assert all(part in row for part in ("/in/films", "events, looked at 5 s ago", "2 queued, 9 done", "open"))


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"closed": "on hold: guests"}, "on hold: guests"),
        ({"offline": "/in: no marker", "closed": "x"}, "offline: /in"),
    ],
)
def test_a_status_says_why_a_folders_jobs_do_not_start(seen: dict[str, str], words: str) -> None:
    assert words in shown(status_view(a_status(**seen)))


def test_a_status_without_a_daemon_says_that_it_is_not_running() -> None:
    status = Status(
        at=100.0, live=None, folders=(FolderStatus(folder=a_folder(), closed="", counts={}, now=None),), next=(a_job(),)
    )
    text = shown(status_view(status))
    assert text.startswith("darkroom is not running")
    assert "next in the queue" in text and "a.mkv" in text


def test_a_running_job_is_shown_with_stage_segment_progress_rate_and_time_left() -> None:
    worker = WorkerNow(
        state="busy", job=3, name="film.mkv", stage="segment 2 of 9", done=50, units=900, segment=2, segments=9,
        rate=2.5, eta_s=340.0,
    )  # fmt: skip
    status = a_status()
    assert status.live is not None
    status.live.workers["cuda:0"] = worker
    status.live.workers["cuda:1"] = WorkerNow(state="idle", pid=1)
    status.live.workers["cuda:2"] = WorkerNow(state="idle", pid=2, stage="loading the model of films", what="cuda:2")
    status.live.notes.append("only 3 of 9 folders are watched")
    text = shown(status_view(status))
    row = next(line for line in text.splitlines() if line.startswith("cuda:0"))
    assert row.split("  ")[0] == "cuda:0"
    for part in ("3", "film.mkv", "segment 2 of 9", "50 of 900 frames", "2.5 frames/s", "5 min 40 s"):
        assert part in row
    assert row.count("segment 2 of 9") == 1
    assert "cuda:2  " in text and "loading the model of films" in text
    assert "idle" in text and "! only 3 of 9 folders are watched" in text


def test_what_does_the_work_is_said_below_the_workers() -> None:
    status = a_status()
    assert status.live is not None
    status.live.workers["cpu"] = WorkerNow(state="idle", pid=1, what="photo, torch bf16 (auto: no FlashVSR weights)")
    status.live.workers["cuda:1"] = WorkerNow(what="cuda:1")
    text = shown(status_view(status))
    assert "cpu: photo, torch bf16 (auto: no FlashVSR weights)" in text.splitlines()
    assert "cuda:1: " not in text


def test_of_many_waiting_files_the_first_are_named_and_the_rest_counted() -> None:
    waiting = {f"{number}.txt": "ignored: .txt" for number in range(FEW + 2)}
    status = a_status(waiting=waiting, waiting_count=len(waiting) + 10)
    few, everything = shown(status_view(status)), shown(status_view(status, everything=True))
    assert f"{FEW - 1}.txt" in few and f"{FEW}.txt" not in few and "and 12 more" in few
    assert f"{FEW + 1}.txt" in everything and "and 10 more" in everything


def test_on_a_narrow_terminal_long_names_are_folded_and_never_cut() -> None:
    name = "long-" * 40
    text = shown(jobs_view([a_job(path=name.encode())], 200.0), width=80)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("long") + text.count("ong-") >= 30


# -- jobs -------------------------------------------------------------------------------------------------------------


def test_no_jobs_are_said_to_be_none() -> None:
    assert shown(jobs_view([], 1.0)) == "no jobs\n"


def test_one_job_is_shown_with_its_events_and_the_details_of_its_faults() -> None:
    job = a_job(5, options={"scale": 4}, state=State.FAILED, reason="out of luck", size_bytes=2**20, attempts=2)
    events = (
        Event(at=0.0, old="", new="queued", reason="", detail=""),
        Event(at=9.0, old="running", new="failed", reason="out of luck", detail="Traceback\n  line 3"),
    )
    text = shown(
        job_view(JobStatus(job=job, events=events, parts=2, work=Path("/w/5"), source=Path("/in/a.mkv"), result=None))
    )
    for part in ("failed: out of luck", "scale=4", "1 MiB", "2 finished in /w/5", "/in/a.mkv", "2 in all", "  line 3"):
        assert part in text
    assert "result" not in text and "twin" not in text and "entry" not in text, "what is empty is left out"


def test_a_job_of_a_batch_says_which_entry_it_is() -> None:
    job = a_job(7, take=2)
    text = shown(job_view(JobStatus(job=job, events=(), parts=0, work=Path("/w/7"), source=None, result=None)))
    assert "3 of its sidecar, the first is job 5" in text


# -- check and prune --------------------------------------------------------------------------------------------------


def test_a_survey_shows_options_in_full_and_troubles() -> None:
    mount = Mount(path=b"/", kind="nfs4", source="nas:/films")
    good = Place(path=Path("/in"), exists=True, writable=True, mount=mount, free_bytes=2**30, trouble="")
    bad = Place(path=Path("/out"), exists=False, writable=False, mount=mount, free_bytes=0, trouble="/out: is away")
    survey = Survey(
        folder=a_folder(), inbox=good, outbox=bad, mode="poll", scan_every_s=15, settle_s=10,
        options={"scale": None, "crf": 17},
    )  # fmt: skip
    text = shown(survey_view([survey], good))
    for part in ("/in (nfs4, network, 1 GiB free)", "made at the first start, read only", "poll, every 15 s"):
        assert part in text
    for part in ("still for 10 s", "scale=null, crf=17", "always", "/out: is away"):
        assert part in text


def test_removals_are_listed_with_their_sum_and_none_is_a_line() -> None:
    removals = [Removal(path=Path(f"/w/{number}"), size_bytes=2**20, why="older than 7 d") for number in range(3)]
    text = shown(removals_view(removals, dry_run=True))
    assert "/w/2" in text and text.endswith("3 would go, 3 MiB\n")
    assert shown(removals_view([], dry_run=False)) == "0 removed, 0 B\n"
