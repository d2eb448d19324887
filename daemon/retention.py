"""Clearing up: finds what may go, lets `expiry` choose, and removes it.

Sources in an inbox and results that are not published yet are not even looked at. Of an outbox only those files
are candidates that the journal knows as published there, of the reports only what is a report of ours.
"""

import json
import logging
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path

from darkroom.daemon.clock import Boot
from darkroom.daemon.config import Config, Folder, Limit
from darkroom.daemon.crash_points import CrashPoint, reach
from darkroom.daemon.expiry import Choice, Entry, Removal, choose_expired, removal, too_many
from darkroom.daemon.filesystem import opened_folder
from darkroom.daemon.job import Job
from darkroom.daemon.journal import Journal
from darkroom.daemon.lookout import IDENTITIES
from darkroom.daemon.marker import INBOX, OUTBOX, load_identities, why_offline
from darkroom.daemon.outbox import Publication, recorded
from darkroom.daemon.parts import DRAFT, remove_folder, work_folder, write_durably
from darkroom.daemon.place import TEMP, discard, folder_below, split
from darkroom.daemon.report import is_report
from darkroom.daemon.states import ENDS, LIVE, State

log = logging.getLogger(__name__)

MEMORY = "retention.json"  # below the state folder: what the run before found too old
JUMP_S = 3600.0  # by so much the date of the boot moves only if the clock is set
GRACE_S = 86_400  # for what no job claims: the journal may have been restored from yesterday's copy
STRAY = re.compile(r"JOB-(\d+)\..+")
UNWANTED = (State.FAILED, State.QUARANTINED, State.CANCELLED)


def prune(
    config: Config, journal: Journal, now: float, dry_run: bool = False, *, boot: Boot | None = None
) -> list[Removal]:
    """Remove what the retention rules let go and return it; with `dry_run` only say what would go now.

    now:  Unix seconds;  boot: if it is another by date than in the last run, what that found too old is not believed

    What cannot be removed stays, is told in the log and comes up again in the next run.
    Folders that become empty stay. Of a folder that is away, or another than it was, nothing goes. Raises Unavailable
    if the journal cannot be used.
    """
    states = {job.id: job.state for job in journal.jobs()}
    previous, away = _recall(config.state / MEMORY, boot), _away(config)
    choices = list(_choices(config, journal, now, previous, away))
    old_rows = {f"job {job.id}": job for job in _rows_past_use(config, journal, now, away)}
    rows = [(key, job) for key, job in old_rows.items() if key in previous]
    if warning := too_many(len(old_rows), len(states), config.retention.max_fraction):
        log.warning("jobs: %s none is forgotten", warning)
        rows = []
    removals = [
        *chain.from_iterable(choice.removals for choice in choices),
        *_unclaimed(config.state, states, now),
        *_strays(config, states, now, away),
    ]
    if not dry_run:
        removals = [going for going in removals if _remove(going, journal)]
        journal.forget(job.id for _, job in rows)
        aged = set(old_rows).union(*(choice.aged for choice in choices))
        memory = {"aged": sorted(aged), **(asdict(boot) if boot else {})}
        write_durably(config.state / MEMORY, json.dumps(memory).encode())
    forgotten = "ended long ago and its source is gone"
    return removals + [Removal(path=Path(f"{key}: {job.name}"), size_bytes=0, why=forgotten) for key, job in rows]


# -- what may go -----------------------------------------------------------------------------------------------------


def _away(config: Config) -> set[Path]:
    """Return which inboxes, outboxes and originals folders are not there as they were: nothing is concluded there."""
    identities = load_identities(config.state / IDENTITIES)
    marked = {(path, mark, folder.name) for folder in config.folders for path, mark in _marked(folder)}
    return {
        path
        for path, mark, name in marked
        if str(path) in identities and why_offline(path, mark, identities[str(path)], name)
    }


def _marked(folder: Folder) -> Iterator[tuple[Path, str]]:
    yield folder.inbox, INBOX
    yield folder.outbox, OUTBOX
    if folder.originals_folder:
        yield folder.originals_folder, OUTBOX


def _choices(
    config: Config, journal: Journal, now: float, previous: set[str], away: Collection[Path]
) -> Iterator[Choice]:
    """Yield what goes by the limits, for each root with a limit."""
    rules, share = config.retention, config.retention.max_fraction
    limited: dict[tuple[Path, str], tuple[Limit, list[Entry]]] = {}  # two folders may share a root
    for folder in config.folders:
        results = limited.setdefault((folder.outbox, "results"), (rules.results, []))
        if _is_set(rules.results):
            results[1].extend(_results(folder, journal))
        if folder.originals_folder and _is_set(rules.originals):
            found = list(_originals(folder.originals_folder, config))
            limited[folder.originals_folder, "originals"] = (rules.originals, found)
        if folder.report_folder and _is_set(rules.reports):
            limited[folder.report_folder, "reports"] = (rules.reports, list(_reports(folder.report_folder)))
    for (root, kind), (limit, entries) in limited.items():
        if root in away:
            continue
        choice = choose_expired(list(dict.fromkeys(entries)), limit, now, previous, share)
        if choice.warning:
            log.warning("%s in %s: %s nothing is removed by age", kind, root, choice.warning)
        yield choice
    # Work of jobs that ended badly is nobody's only copy: there is no share of it that must stay.
    yield choose_expired(list(_work_of_ended(config.state, journal)), rules.work, now, previous, 1.0)


def _is_set(limit: Limit) -> bool:
    return limit.age is not None or limit.size is not None


def _results(folder: Folder, journal: Journal) -> Iterator[Entry]:
    """Yield the published results, of each those files that are still what was published; they go together."""
    for job in journal.jobs(states=[State.DONE], folder=folder.name):
        there = [
            entry
            for file in _published(job)
            if (entry := _file(folder.outbox, file.below(folder.outbox))) and entry.size_bytes == file.size_bytes
        ]
        if there:
            yield replace(
                there[0],
                size_bytes=sum(entry.size_bytes for entry in there),
                since=max(entry.since for entry in there),
                companions=tuple(entry.path for entry in there[1:]),
            )


def _published(job: Job) -> tuple[Publication, ...]:
    publication = recorded(job)
    return publication.files if publication else ()


def _originals(root: Path, config: Config) -> Iterator[Entry]:
    """Yield the files of an originals folder; whatever else of ours is, or lies in, that folder is left out."""
    ours = {config.state}
    for folder in config.folders:
        ours |= {folder.inbox, folder.outbox, folder.report_folder or folder.outbox}
        ours |= {folder.originals_folder or folder.outbox} - {root}
    inner = {path for path in ours if path == root or root in path.parents}
    return (entry for entry in _files(root) if inner.isdisjoint(entry.path.parents))


def _reports(root: Path) -> Iterator[Entry]:
    for entry in _files(root):
        if entry.path.suffix == ".json" and _is_report(root, entry.path):
            yield entry


def _work_of_ended(state: Path, journal: Journal) -> Iterator[Entry]:
    """Yield the work folders of jobs that ended badly, but for a finished result that could not be published."""
    for job in journal.jobs(states=UNWANTED):
        folder = work_folder(state, job.id)
        if job.state is State.FAILED and any(DRAFT not in path.name for path in folder.glob("*/result.*")):
            continue
        if folder.is_dir():
            yield _folder(folder, job.ended or folder.lstat().st_ctime)


def _unclaimed(state: Path, states: Mapping[int, State], now: float) -> Iterator[Removal]:
    """Yield work folders that finished jobs left behind, and those of no job."""
    for folder in (state / "work").glob("[0-9]*"):
        job = states.get(int(folder.name)) if folder.name.isdecimal() else State.HELD
        if job not in (None, State.DONE, State.SKIPPED) or not folder.is_dir():
            continue
        entry = _folder(folder, folder.lstat().st_ctime)
        if now - entry.since > GRACE_S:
            yield removal(entry, f"work of a job that is {job}" if job else "work of no job")


def _strays(config: Config, states: Mapping[int, State], now: float, away: Collection[Path]) -> Iterator[Removal]:
    """Yield drafts that a crash left, of jobs that are no longer live."""
    for root in sorted({root for folder in config.folders for root in _roots(folder)} - set(away)):
        for path in sorted((root / os.fsdecode(TEMP)).glob("JOB-*")):
            match, entry = STRAY.fullmatch(path.name), _file(root, path)
            if match and entry and states.get(int(match[1])) not in LIVE and now - entry.since > GRACE_S:
                yield removal(entry, "draft that a crash left")


def _rows_past_use(config: Config, journal: Journal, now: float, away: Collection[Path]) -> Iterator[Job]:
    """Yield ended jobs past their age whose source is gone: a file without its row would be queued again."""
    age = config.retention.jobs.age
    if age is None:
        return
    identities = load_identities(config.state / IDENTITIES)
    for folder in config.folders:
        if str(folder.inbox) not in identities or {folder.inbox, folder.outbox} & set(away):
            continue  # its files only seem to be gone
        for job in journal.jobs(states=ENDS, folder=folder.name):
            if now - (job.ended or now) > age and _is_gone(folder.inbox, job) and not _is_needed(folder, job, config):
                yield job


def _is_gone(inbox: Path, job: Job) -> bool:
    """Tell whether the source is surely not there; one added by its absolute path is never queued by itself."""
    try:
        os.lstat(os.path.join(os.fsencode(inbox), job.path))  # noqa: PTH118  (bytes)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return job.path.startswith(b"/")


def _is_needed(folder: Folder, job: Job, config: Config) -> bool:
    """Tell whether the row still says whose the work folder is, or where a result is that has a limit of its own."""
    there = any(_file(folder.outbox, file.below(folder.outbox)) for file in _published(job))
    return (_is_set(config.retention.results) and there) or work_folder(config.state, job.id).exists()


# -- files and folders -----------------------------------------------------------------------------------------------


def _roots(folder: Folder) -> Iterator[Path]:
    """Yield the folders that hold what we publish, move and report."""
    yield from (root for root in (folder.outbox, folder.originals_folder, folder.report_folder) if root)


def _files(root: Path) -> Iterator[Entry]:
    """Yield all files below `root` but hidden ones, drafts and markers among them; links are not followed."""
    for path, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and (entry := _file(root, Path(path, name))):
                yield entry


def _file(root: Path, path: Path) -> Entry | None:
    """Return the regular file `path`, None if it is none.

    Its age is counted from its ctime, that of its place here: a film that was moved keeps its mtime of years ago.
    """
    try:
        found = path.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Entry(root=root, path=path, size_bytes=found.st_size, since=found.st_ctime)


def _folder(folder: Path, since: float) -> Entry:
    files = (_file(folder, Path(path, name)) for path, _, names in os.walk(folder) for name in names)
    size = sum(file.size_bytes for file in files if file)
    return Entry(root=folder.parent, path=folder, size_bytes=size, since=since)


def _is_report(root: Path, path: Path) -> bool:
    with opened_folder(root) as handle:
        return is_report(handle, os.fsencode(path.relative_to(root)))


# -- removing --------------------------------------------------------------------------------------------------------


def _remove(going: Removal, journal: Journal) -> bool:
    """Remove one thing and tell whether it is gone."""
    assert going.root is not None
    reach(CrashPoint.REMOVAL_DUE)
    try:
        if going.path.parent == going.root and going.path.is_dir():
            return _remove_work(going.path, journal)
        parents, name = split(os.fsencode(going.path.relative_to(going.root)))
        with opened_folder(going.root) as root, folder_below(root, parents) as folder:
            for companion in going.companions:  # of one folder, and before the file that the journal looks for
                discard(folder, os.fsencode(companion.name))
            discard(folder, name)
            if is_report(folder, name + b".json"):  # beside the result it tells of
                discard(folder, name + b".json")
    except OSError as error:
        log.warning("%s cannot be removed: %s", going.path, error.strerror)
        return False
    reach(CrashPoint.REMOVED)
    return True


def _remove_work(folder: Path, journal: Journal) -> bool:
    job = [found for found in journal.jobs(states=LIVE) if f"{found.id}" == folder.name]
    if job:
        return False  # asked to try again a moment ago
    remove_folder(folder)
    return not folder.exists()


def _recall(memory: Path, boot: Boot | None) -> set[str]:
    """Return what the last run found too old; nothing if the clock was set since, for one of the two was wrong."""
    try:
        found = json.loads(memory.read_bytes())
        jump_s = boot.at - found["at"] if boot and found.get("id") == boot.id else 0.0
        if abs(jump_s) > JUMP_S:
            log.warning("the clock was set by %+.0f s since the last run: nothing is removed by age", jump_s)
            return set()
        return set(found["aged"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return set()  # then nothing goes by age this time
