"""What the commands show: values in, tables for a terminal out. Nothing is read or asked here.

Names, reasons and tracebacks come from files of strangers: each becomes a `Text` without control characters, so that
a file called `[red]x`, or one with an escape sequence in its name, neither colours nor moves anything.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from darkroom.daemon.expiry import Removal
from darkroom.daemon.gate import WISHES
from darkroom.daemon.job import Job, printable
from darkroom.daemon.live import FolderNow, WorkerNow
from darkroom.daemon.setup import Place, Survey
from darkroom.daemon.states import State
from darkroom.daemon.status import FolderStatus, JobStatus, Status
from darkroom.daemon.units import show_bytes, show_seconds

FEW = 5  # waiting files that are named, of each folder
STYLES = {
    State.RUNNING: "cyan",
    State.PUBLISHING: "cyan",
    State.DONE: "green",
    State.HELD: "yellow",
    State.FAILED: "red",
    State.QUARANTINED: "red",
}


def plain(value: object, style: str = "") -> Text:
    """Return `value` as text that shows as it is written: control characters as escapes, no markup."""
    return Text(printable(str(value).encode(errors="surrogateescape")), style=style, overflow="fold")


def status_view(status: Status, *, everything: bool = False) -> RenderableType:
    """Return the picture of `status`; of the waiting files a FEW, or all with `everything`."""
    rows: list[RenderableType] = [_headline(status)]
    if status.live:
        rows += [plain(f"! {note}", "yellow") for note in status.live.notes]
        rows.append(_workers(status.live.workers))
        rows += [
            plain(f"{name}: {now.what}") for name, now in status.live.workers.items() if now.what not in ("", name)
        ]
    rows.append(_folders(status))
    waiting = [_waiting(entry, everything) for entry in status.folders if entry.now and entry.now.waiting]
    rows += waiting
    if status.next:
        rows += [Text("next in the queue", style="bold"), jobs_view(status.next, status.at)]
    return Group(*rows)


def jobs_view(jobs: Sequence[Job], now: float) -> RenderableType:
    """Return a table of `jobs`, in their order; `now` in Unix seconds."""
    table = _table("job", "folder", "file", "state", "age", "reason")
    for job in jobs:
        state = Text(job.state, style=STYLES.get(job.state, ""))
        since = job.ended or job.started or job.created
        cells = (plain(job.id), plain(job.folder), plain(job.name), state, _ago(now, since), plain(job.reason))
        table.add_row(*cells)
    return table if jobs else Text("no jobs")


def job_view(status: JobStatus) -> RenderableType:
    """Return all about one job: what it is about, where its files lie, what happened to it."""
    job = status.job
    rows: dict[str, object] = {
        "job": job.id,
        "state": f"{job.state}{f': {job.reason}' if job.reason else ''}",
        "asked": job.ask,
        "folder": f"{job.folder}, pipeline {job.pipeline}",
        "source": status.source or job.name,
        "size": show_bytes(job.size_bytes),
        "content": job.content,
        "twin": job.twin or "",
        "entry": f"{job.take + 1} of its sidecar, the first is job {job.batch}" if job.take else "",
        "options": ", ".join(f"{key}={value}" for key, value in job.options.items()),
        "priority": job.priority,
        "tries": f"{job.attempts} in all, {job.failures} failed and {job.crashes} crashed in a row",
        "parts": f"{status.parts} finished in {status.work}" if status.parts else "",
        "result": status.result or "",
        "with": ", ".join(path.name for path in status.companions),
        "result size": show_bytes(job.result_size) if job.result_size else "",
        "sha256": job.result_sha256,
    }
    moves = _table("at", "from", "to", "reason")
    for event in status.events:
        moves.add_row(plain(_time(event.at)), plain(event.old), plain(event.new), plain(event.reason))
    details = [_detail(event.at, event.detail) for event in status.events if event.detail]
    return Group(_pairs(rows), Text(), moves, *details)


def survey_view(surveys: Sequence[Survey], state: Place) -> RenderableType:
    """Return what a configuration comes to on this machine."""
    rows: list[RenderableType] = [_pairs({"state": _place(state)}), Text()]
    for survey in surveys:
        rows += [_pairs(_survey_rows(survey)), Text()]
    return Group(*rows)


def removals_view(removals: Sequence[Removal], *, dry_run: bool) -> RenderableType:
    """Return what clearing up removed, or with `dry_run` would remove."""
    table = _table("file", "size", "why")
    for removal in removals:
        table.add_row(plain(removal.path), plain(show_bytes(removal.size_bytes)), plain(removal.why))
    total = show_bytes(sum(removal.size_bytes for removal in removals))
    line = plain(f"{len(removals)} {'would go' if dry_run else 'removed'}, {total}")
    return Group(table, line) if removals else line


def _headline(status: Status) -> Text:
    if status.live is None:
        return Text("darkroom is not running", style="bold yellow")
    since = show_seconds(max(0.0, status.at - status.live.since))
    return plain(f"darkroom {status.live.version} has been running for {since}, pid {status.live.pid}", "bold")


def _workers(workers: Mapping[str, WorkerNow]) -> Table:
    table = _table("device", "job", "file", "stage", "done", "rate", "left")
    for device, worker in workers.items():
        if worker.state != "busy":
            idle = worker.stage or "idle" if worker.state == "idle" else "no worker"
            table.add_row(plain(device), "", "", plain(idle), "", "", "")
            continue
        done = f"{worker.done} of {worker.units} {worker.unit}s" if worker.units else ""
        rate = f"{worker.rate:.3g} {worker.unit}s/s" if worker.rate else ""
        left = show_seconds(worker.eta_s) if worker.eta_s else ""
        table.add_row(*(plain(cell) for cell in (device, worker.job, worker.name, _stage(worker), done, rate, left)))
    return table


def _stage(worker: WorkerNow) -> str:
    there = f"segment {worker.segment} of {worker.segments}"
    return worker.stage if not worker.segment or there in worker.stage else f"{worker.stage}, {there}"


def _folders(status: Status) -> Table:
    table = _table("folder", "pipeline", "inbox", "watched", "jobs", "now")
    for entry in status.folders:
        folder, seen = entry.folder, entry.now
        names = (plain(folder.name), plain(folder.pipeline), plain(folder.inbox))
        table.add_row(*names, plain(_watched(seen, status.at)), _counts(entry), _state(entry))
    return table


def _watched(seen: FolderNow | None, at: float) -> str:
    if seen is None:
        return "no"
    return f"{seen.mode}, looked at {show_seconds(max(0.0, at - seen.last_scan))} ago" if seen.last_scan else seen.mode


def _counts(entry: FolderStatus) -> Text:
    counts = [plain(f"{number} {state}", STYLES.get(state, "")) for state, number in entry.counts.items()]
    return Text(", ").join(counts)


def _state(entry: FolderStatus) -> Text:
    if offline := entry.now.offline if entry.now else "":
        return plain(f"offline: {offline}", "red")
    if entry.closed:
        return plain(entry.closed, "yellow" if entry.closed.startswith(WISHES) else "red")
    return Text("open", style="green")


def _waiting(entry: FolderStatus, everything: bool) -> RenderableType:
    assert entry.now is not None, "only a folder that is watched has waiting files"
    shown = list(entry.now.waiting.items())[: None if everything else FEW]
    table = _table(f"{entry.folder.name}: seen and not queued", "why")
    for name, why in shown:
        table.add_row(plain(name), plain(why))
    if rest := entry.now.waiting_count - len(shown):
        table.add_row(plain(f"and {rest} more"), plain("" if everything else "--all shows them"))
    return table


def _survey_rows(survey: Survey) -> dict[str, object]:
    folder, schedule = survey.folder, ", ".join(survey.folder.schedule)
    settle = show_seconds(survey.settle_s)
    return {
        "folder": folder.name,
        "pipeline": folder.pipeline,
        "inbox": _place(survey.inbox),
        "outbox": _place(survey.outbox),
        "watched": f"{survey.mode}, every {show_seconds(survey.scan_every_s)}; a file must be still for {settle}",
        "schedule": schedule or "always",
        "originals": folder.originals if folder.originals != "move" else f"move to {folder.originals_folder}",
        "options": _options(survey.options),
        "trouble": "; ".join(place.trouble for place in (survey.inbox, survey.outbox) if place.trouble),
    }


def _place(place: Place) -> str:
    kind = f"{place.mount.kind}, {'local' if place.mount.local else 'network'}"
    state = "" if place.exists else ", made at the first start"
    right = "" if place.writable else ", read only"
    return f"{place.path} ({kind}, {show_bytes(place.free_bytes)} free{state}{right})"


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={'null' if value is None else value}" for key, value in options.items())


def _pairs(rows: Mapping[str, object]) -> Table:
    """Return a table of keys and values, leaving out what is empty."""
    table = Table.grid(padding=(0, 2))
    for key, value in rows.items():
        if value != "":
            table.add_row(Text(key, style="bold"), plain(value, "red" if key == "trouble" else ""))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(plain(column), overflow="fold")
    return table


def _detail(at: float, detail: str) -> RenderableType:
    lines: Iterable[Text] = (plain(line, "dim") for line in detail.splitlines())
    return Group(Text(), plain(f"details of {_time(at)}", "bold"), *lines)


def _ago(now: float, then: float) -> Text:
    return plain(show_seconds(max(0.0, now - then)))


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")
