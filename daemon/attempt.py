"""One attempt at one claimed job, from wherever it was left to the state it ends in."""

import json
import logging
import os
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from darkroom import pipelines
from darkroom.daemon.charge import away, disk_full, is_device_gone, is_disk_full, unavailable
from darkroom.daemon.clock import unix_now, uptime
from darkroom.daemon.config import Config, Folder, options_for
from darkroom.daemon.crash_points import CrashPoint, reach
from darkroom.daemon.job import GONE_NS, Job, printable
from darkroom.daemon.journal import Journal
from darkroom.daemon.lookout import IDENTITIES
from darkroom.daemon.marker import OUTBOX, load_identities, why_offline
from darkroom.daemon.names import fields_of, result_name
from darkroom.daemon.originals import settle_original
from darkroom.daemon.outbox import Publication, choose, made_files, publish, recorded
from darkroom.daemon.parts import Parts, count_parts, remove_folder, work_folder, write_durably
from darkroom.daemon.place import NameTaken
from darkroom.daemon.report import make_report, write_report
from darkroom.daemon.run import run
from darkroom.daemon.sidecar import fault_beside, fault_in, lack_of, sidecar_beside, why_waiting
from darkroom.daemon.stage import CHANGED, check_unchanged, source_path, staged
from darkroom.daemon.states import ASKED, State
from darkroom.daemon.wire import DRAIN, Wire
from darkroom.pipelines.base import Reviews, Site
from darkroom.pipelines.errors import Rejected, Stopped, Unavailable

log = logging.getLogger(__name__)

MADE = "made.json"  # what the pipeline says of its result, kept beside it until the report is written
LEARNED = "learned.json"  # in the state folder: what the pipelines have found out about this machine


class DeviceGone(Exception):
    """The device failed, and this process has lost it for good; a new one may find it well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What an attempt works with."""

    job: Job
    folder: Folder
    config: Config
    journal: Journal
    device: str
    wire: Wire

    @property
    def identities(self) -> Mapping[str, str]:
        """What inbox and outbox are known by. Raises Unavailable."""
        return load_identities(self.config.state / IDENTITIES)

    @property
    def outbox_identity(self) -> str:
        """What the outbox is known by, "" if that was not noted."""
        return self.identities.get(str(self.folder.outbox), "")

    @property
    def work(self) -> Path:
        """The job's own folder: parts, staged source, result."""
        return work_folder(self.config.state, self.job.id)

    def move(self, new: State, reason: str, *, detail: str = "", **columns: Any) -> Job:
        """Bring the job to `new`, or where a person has just asked it to go, and say so in the log."""
        wish = self.journal.job(self.job.id).ask if new is State.QUEUED else ""
        if wish in ASKED:  # too late for this run to hear of it
            new, reason = ASKED[wish], f"asked to {wish}"
        moved = self.journal.move(self.job.id, new, reason, now=unix_now(), detail=detail, **columns)
        level = logging.WARNING if new in (State.FAILED, State.QUARANTINED) else logging.INFO
        log.log(level, "job=%d %s %s%s", moved.id, moved.name, new, f": {reason}" if reason else "")
        return moved


def site(config: Config, device: str, crashes: int = 0) -> Site:
    """Say where a pipeline runs that `device` has to itself."""
    return Site(device=device, models=config.models, learned=config.state / LEARNED, crashes=crashes)


def attempt(job: Job, *, config: Config, journal: Journal, device: str, wire: Wire) -> Job:
    """Work on `job` until it is published or cannot go on, and return it in its new state.

    An error of any kind is an outcome, and the next job goes on. Raises DeviceGone if that needs a new process.
    """
    this = Attempt(job=job, folder=config.folder(job.folder), config=config, journal=journal, device=device, wire=wire)
    try:
        this.work.mkdir(parents=True, exist_ok=True)
        reach(CrashPoint.WORK_MADE)
        ended = _developed_and_published(this)
    except Stopped as stop:
        return _stopped(this, str(stop))
    except NameTaken as error:
        return this.move(State.SKIPPED, str(error))
    except (Rejected, Unavailable, OSError, MemoryError) as error:
        cause = _behind(error, this)
        if isinstance(cause, Stopped):
            return _stopped(this, str(cause))
        if isinstance(cause, Rejected):
            return this.move(State.QUARANTINED, str(cause))
        detail = "" if isinstance(error, Unavailable) else traceback.format_exc()
        patient = isinstance(cause, Unavailable) and cause.patient
        judge = disk_full if is_disk_full(cause) else away if patient else unavailable
        verdict = judge(journal.job(job.id), _words(cause), config.worker, uptime())
        return this.move(verdict.state, verdict.reason, detail=detail, **verdict.columns)
    except Exception as error:
        if is_device_gone(error):
            verdict = unavailable(journal.job(job.id), f"{device}: {_words(error)}", config.worker, uptime())
            this.move(verdict.state, verdict.reason, detail=traceback.format_exc(), **verdict.columns)
            raise DeviceGone from error
        if isinstance(cause := _behind(error, this), Stopped):  # who reads a file that is being replaced may trip
            return _stopped(this, str(cause))
        reason = f"a bug in Darkroom: {type(error).__name__}: {error}; `darkroom show {job.id}` has the details"
        return this.move(State.FAILED, reason, detail=traceback.format_exc())
    if ended.state is State.DONE:  # else it waits, and its parts with it
        remove_folder(this.work)
    return ended


def _developed_and_published(this: Attempt) -> Job:
    """The way of a job: result, name, outbox, report, original, done. Each step is found done by the next attempt."""
    publication = recorded(this.job)
    if publication is None or not (this.work / MADE).exists():
        _check_options(this)
        if lacking := lack_of(this.job.options, this.folder):
            return _held(this, lacking)
        result = _develop(this)
        publication = _name(this, result, before=publication)
        if wish := this.journal.job(this.job.id).ask:  # given since the last tick; from here on it would be too late
            raise Stopped(wish)
    else:
        result = _result_in(this.work)
    this.move(State.PUBLISHING, f"as {printable(publication.name)}", **_columns(publication))
    this.wire.announce("publishing")
    publication = _place(this, result, publication)
    made = json.loads((this.work / MADE).read_text())
    batch = this.journal.batch(this.job)
    kept = settle_original(this.job, this.folder, publication, batch, identities=this.identities, beat=this.wire.beat)
    incomplete = made.get("incomplete", ())
    warnings = [*made.get("warnings", ()), *incomplete, *([kept] if kept else [])]
    write_report(this.folder, publication, make_report(this.journal.job(this.job.id), made, this.wire.stages, warnings))
    lacks = f"; {'; '.join(incomplete)}" if incomplete else ""
    return this.move(State.DONE, f"published as {printable(publication.name)}{lacks}")


def _check_options(this: Attempt) -> None:
    job, folder = this.job, this.folder
    if fault := fault_in(job.options, folder):  # the folder's options are others since the file was taken
        raise Rejected(f"{job.name}: {fault}; its own options do not go with those of {folder.name} any more")
    if job.sidecar and not job.options and (fault := fault_beside(source_path(job, folder), folder)):
        raise Rejected(f"{fault}; mend the sidecar or remove it")  # tried again as it was: not to be run without it


def _held(this: Attempt, lacking: str) -> Job:
    """Hold a job without the option it needs: the folder's default is gone, or somebody asked to try again."""
    beside = sidecar_beside(source_path(this.job, this.folder), pipelines.KINDS[this.job.pipeline])
    why = why_waiting(lacking, this.job.path, os.fsencode(beside) if beside else None)
    return this.move(State.HELD, why, lacks=lacking)


def _develop(this: Attempt) -> Path:
    job, folder = this.job, this.folder
    crashes = job.crashes if job.crash_segment == count_parts(this.work) else 0
    pipeline = pipelines.make(job.pipeline, options_for(folder, job.options), site(this.config, this.device, crashes))
    this.wire.stage("reading the source")
    source = staged(job, folder, this.work, this.wire.beat, this.identities)
    plan, result = run(pipeline, source, this.work, job.pipeline, this.wire)
    if source == source_path(job, folder):
        check_unchanged(job, folder, this.identities)  # read while it was written: the next version has its own job
    made = pipeline.report(plan)
    if isinstance(pipeline, Reviews):
        made |= pipeline.review(plan, Parts(result.parent, plan).all())
    write_durably(this.work / MADE, json.dumps(made, ensure_ascii=False).encode())
    return result


def _name(this: Attempt, result: Path, before: Publication | None) -> Publication:
    made: Mapping[str, Any] = json.loads((this.work / MADE).read_text())
    folder = this.folder
    fields = fields_of(this.job, made, date.today())
    longest = max((file.suffix for file in made_files(result)), key=len)
    wanted = result_name(folder.name_template, this.job.path, longest, fields, keep_tree=folder.keep_tree)
    stem = wanted.removesuffix(longest.encode())
    return choose(
        result,
        folder.outbox,
        stem,
        conflict=folder.conflict,
        first=this.job.take + 1,  # so that the jobs of one file neither replace nor skip each other
        before=before,
        identity=this.outbox_identity,
        beat=this.wire.beat,
    )


def _place(this: Attempt, result: Path, publication: Publication) -> Publication:
    """Publish; where somebody took the name in the meantime, under the next one, recorded before it is used."""
    while True:
        try:
            publish(
                result,
                this.folder.outbox,
                publication,
                job=this.job.id,
                conflict=this.folder.conflict,
                identity=this.outbox_identity,
                beat=this.wire.beat,
            )
            return publication
        except NameTaken:
            publication = _name(this, result, before=None)
            this.journal.note(this.job.id, **_columns(publication))


def _columns(publication: Publication) -> dict[str, Any]:
    return {
        "result": publication.name,
        "result_size": publication.size_bytes,
        "result_sha256": publication.sha256,
        "companions": json.dumps(
            [(os.fsdecode(file.name), file.size_bytes, file.sha256) for file in publication.companions]
        ),
    }


def _result_in(work: Path) -> Path:
    return next(iter(work.glob("*/result.*")), work / "result")


def _behind(error: Exception, this: Attempt) -> Exception:
    """Return what lies behind `error`: the source is gone or another, inbox or outbox is away; else `error` itself.

    A file that a share did not give whole looks damaged: nothing is said of it before the share is asked.
    """
    if this.journal.job(this.job.id).state is State.RUNNING and not this.job.result:  # else it is not read any more
        try:
            check_unchanged(this.job, this.folder, this.identities)
        except (Stopped, Unavailable) as cause:
            return cause
        except OSError as trouble:
            return trouble if isinstance(error, Rejected) else error
    identity = this.outbox_identity
    if isinstance(error, Rejected) or not identity:
        return error
    why = why_offline(this.folder.outbox, OUTBOX, identity, this.folder.name)
    return Unavailable(why, patient=True) if why else error


def _stopped(this: Attempt, wish: str) -> Job:
    if wish == "cancel":
        ended = this.move(State.CANCELLED, "asked to cancel")
        remove_folder(this.work)
        return ended
    if wish == CHANGED:
        ended = this.move(State.CANCELLED, "the file changed or went while it was processed", mtime_ns=GONE_NS)
        remove_folder(this.work)
        return ended
    if wish == "hold":
        return this.move(State.HELD, "asked to hold; finished parts are kept")
    reason = "stopped; finished parts are kept" if wish == DRAIN else wish
    return this.move(State.QUEUED, reason, attempts=this.job.attempts - 1)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes):
        return f"{printable(os.fsencode(error.filename))}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
