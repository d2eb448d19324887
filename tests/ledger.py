"""What a model house must hold, at any moment and in the end: each promise is a function that asserts it.

It knows the files that people left and what each version of each should become, and reads the rest from the disk and
the journal's own file.
"""

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import stamping
from model_folders import Version
from model_house import SETTLE_S, ModelHouse

from darkroom.daemon.job import GONE_NS, Job
from darkroom.daemon.journal import FILE
from darkroom.daemon.states import ENDS, LIVE, MOVES, State

# What people write in sidecars, and what it says; None: nothing that can be used.
NOTES: dict[bytes, tuple[dict[str, Any], ...] | None] = {
    b"copies: 1\n": ({"copies": 1},),
    b"copies: 3\ntitle: moon\n": ({"copies": 3, "title": "moon"},),
    b"- {copies: 1, title: a}\n- {copies: 2, title: b}\n": ({"copies": 1, "title": "a"}, {"copies": 2, "title": "b"}),
    b"copies: many\n": None,
}
PROMPTS = {b"sea\n": ({"title": "sea"},)}
SIDECARS = (".yaml", ".txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A job that was published, as it was then."""

    job: int
    name: bytes
    version: Version
    content: bytes
    options: Mapping[str, Any]


@dataclass
class Ledger:
    """What was seen of `house` so far."""

    house: ModelHouse
    done: list[Done] = field(default_factory=list)
    _given_up: set[bytes] = field(default_factory=set)  # results of jobs that the last step, or a person, ended
    _states: dict[int, str] = field(default_factory=dict)
    _event: int = 0

    def check(self) -> None:
        """Hold what must hold at any moment."""
        self._follow_events()
        self._check_results()
        self._check_sources()
        self.house.visited = False
        for name in self.house.offline:
            assert not any((self.house.root / name).iterdir()), "written below a mount point"

    def check_end(self) -> None:
        """Hold what must hold once everything is mounted, well, and worked off."""
        self.check()
        for job in self.house.journal.jobs():
            assert job.state in ENDS or job.lacks, f"{job.name}: {job.state} ({job.reason})"
            assert self._excuse(job), f"job {job.id} {job.name}: {job.state} without cause: {job.reason}"
        for path in self.house.files:
            if _is_source(path) and self.house.files[path]:
                self._check_version(path)
        names = [done.name for done in self.done]
        if self.house.folder.conflict != "replace":
            # Two jobs whose results are equal to the byte may share one: who was kept from placing his, and finds it
            # there, cannot know that it is another's.
            results = {(done.name, stamping.stamped(done.content, done.options)) for done in self.done}
            assert len({name for name, _ in results}) == len(results), "one name for two results"
            own = Counter((done.job, done.name) for done in self.done)
            assert max(own.values(), default=1) == 1, "a job was published twice under one name"
        missing = set(names) - self._results().keys()
        assert not missing, f"published, and not there: {missing}"
        stray = self._results().keys() - set(names) - self._given_up
        assert not stray, f"in the outbox by no job: {stray}"
        assert not list(self._litter()), "left behind"

    def forget(self) -> None:
        """Clearing up has removed rows: numbers of events begin again."""
        self._event = self.house.journal.last_event()

    # -- at any moment -------------------------------------------------------------------------------------------

    def _follow_events(self) -> None:
        with sqlite3.connect(self.house.config.state / FILE) as sql:
            found = sql.execute("SELECT id, job, old, new, reason FROM events WHERE id > ? ORDER BY id", (self._event,))
            for self._event, number, old, new, reason in found.fetchall():
                before = self._states.get(number, "")
                assert old == before, f"job {number} was {before or 'new'}, and its event says {old or 'new'}"
                assert not old or new in MOVES[State(old)], f"job {number}: {old} to {new}"
                self._states[number] = new
                if not old:
                    self._check_patience(self.house.journal.job(number))
                if new == State.DONE:
                    name = os.fsencode(reason.removeprefix("published as "))
                    self.done.append(self._as_done(self.house.journal.job(number), name))
        for job in self.house.journal.jobs():
            assert self._states[job.id] == job.state, f"job {job.id} is {job.state} by no event"
            if job.state is State.FAILED or job.id in self.house.cancelled:
                self._given_up.add(job.result)

    def _check_patience(self, job: Job) -> None:
        """A file is not taken before it has been still for long enough, and no program has it open."""
        now, still = self.house.clocks.since_boot, self.house.still_since.get(_version(job), 0.0)  # gone already
        assert now - still >= SETTLE_S, f"{job.name} was taken too early"
        if (opened := self.house.open_since.get(job.path, now)) < now:
            still = max(opened, still)
            assert now - still >= self.house.config.watch.lease_wait, f"{job.name} was taken while it was open"

    def _as_done(self, job: Job, name: bytes) -> Done:
        version, options = _version(job), self._options(job)
        content = self.house.versions[version]
        result = self._results().get(name)
        mounted = "outbox" not in self.house.offline
        assert not mounted or self.house.folder.conflict == "replace" or result == stamping.stamped(content, options)
        return Done(job=job.id, name=name, version=version, content=content, options=options)

    def _check_results(self) -> None:
        """What is in the outbox has the right bytes for the version of the source it was made of."""
        for name, found in self._results().items():
            owners = [(done.content, done.options) for done in self.done if done.name == name]
            owners += [
                (self.house.versions[_version(job)], self._options(job))
                for job in self.house.journal.jobs()
                if job.result == name and _version(job) in self.house.versions
            ]
            assert any(found == stamping.stamped(*owner) for owner in owners), f"{name!r} is of no version: {found!r}"

    def _check_sources(self) -> None:
        """What people left is there, or published and moved or deleted as the folder says."""
        for path, content in sorted(self.house.files.items(), key=lambda file: not _is_source(file[0])):
            file = self.house.place("inbox") / os.fsdecode(path)
            if file.exists():
                assert file.read_bytes() == content, f"{path!r} was changed"
                continue
            policy = self.house.folder.originals
            assert policy != "keep", f"{path!r} is gone"
            if policy == "move":
                assert content in _contents(self.house.place("originals")), f"{path!r} was not moved"
            del self.house.files[path]
            if _is_source(path):
                assert self._is_published(path, content), f"{path!r} is gone and was not published"
            else:
                others = [other for other in self.house.files if _beside(other, path, self.house.folder.pipeline)]
                # A visitor may have put another file in place of one that took its sidecar along.
                assert not others or self.house.visited or self._is_between(others), f"{path!r} is gone before {others}"

    def _is_between(self, sources: list[bytes]) -> bool:
        """Tell whether a crash or a broken disk may have kept one of `sources` from following its sidecar."""
        jobs = (job for job in self.house.journal.jobs() if job.path in sources)
        return any(job.result and (job.state is not State.DONE or job.id in self.house.disturbed) for job in jobs)

    def _is_published(self, path: bytes, content: bytes) -> bool:
        if any(done.version[0] == path and done.content == content for done in self.done):
            return True
        results = self._results()
        jobs = [job for job in self.house.journal.jobs() if job.path == path and job.result in results]
        return any(results[job.result] == stamping.stamped(content, self._options(job)) for job in jobs)

    # -- in the end ----------------------------------------------------------------------------------------------

    def _check_version(self, path: bytes) -> None:
        """The version of a file that is there has a job, and all its jobs have ended."""
        found = (self.house.place("inbox") / os.fsdecode(path)).stat()
        known = self.house.journal.known(self.house.folder.name).get(path)
        assert known is not None, f"{path!r} was never seen"
        signature = known.signature
        assert (signature.size_bytes, signature.mtime_ns) == (found.st_size, found.st_mtime_ns), (
            f"{path!r} is overlooked"
        )

    def _excuse(self, job: Job) -> bool:
        """Tell whether the journal's reason for the end of `job` is one."""
        content, options = self.house.versions.get(_version(job)), self._options(job)
        own = content or b""
        said = {
            State.DONE: True,
            State.SKIPPED: "conflict is skip" in job.reason
            or "is equal to entry" in job.reason
            or any((done.content, done.options) == (content, options) for done in self.done),
            State.QUARANTINED: own.startswith((stamping.FAULTY, stamping.DEADLY))
            or self.house.kills[job.id] > 1
            or (bool(job.sidecar) and not options),
            State.FAILED: own.startswith((stamping.BUGGY, stamping.LACKING))
            or job.id in self.house.disturbed
            or self.house.kills[job.id] > 1,
            State.CANCELLED: job.id in self.house.cancelled or job.mtime_ns == GONE_NS,
            State.HELD: self.house.folder.pipeline == "titled" and "title" not in options,
        }
        return said[job.state]

    def _litter(self) -> Iterator[Path]:
        root = self.house.root
        yield from (path for path in root.rglob("*.darkroom-tmp/*"))
        work = self.house.config.state / "work"  # what ended badly keeps it, drafts and all, until it is cleared up
        yield from (path for path in root.rglob("*draft*") if path.is_file() and work not in path.parents)
        yield from (path for name in ("inbox", "outbox") for path in (root / name).glob(".darkroom-*box-*"))
        for folder in work.glob("*"):
            state = self.house.journal.job(int(folder.name)).state
            if state in LIVE - {State.HELD} or state in (State.DONE, State.SKIPPED, State.CANCELLED):
                yield folder

    # -- what is there -------------------------------------------------------------------------------------------

    def _options(self, job: Job) -> Mapping[str, Any]:
        """Return what the sidecar of `job` says, by what was written in it."""
        if not job.sidecar:
            return {}
        size, mtime_ns = map(int, job.sidecar.removesuffix("-prompt").split("-"))
        texts = [text for (_, *seen), text in self.house.versions.items() if seen == [size, mtime_ns]]
        takes = (PROMPTS if job.sidecar.endswith("-prompt") else NOTES)[texts[0]]
        return takes[job.take] if takes else {}

    def _results(self) -> dict[bytes, bytes]:
        outbox = self.house.place("outbox")
        files = (
            path
            for path in outbox.rglob("*")
            if path.is_file() and not path.relative_to(outbox).parts[0].startswith(".")
        )
        return {os.fsencode(path.relative_to(outbox)): path.read_bytes() for path in files}


def _version(job: Job) -> Version:
    return job.path, job.size_bytes, job.mtime_ns


def _is_source(path: bytes) -> bool:
    return path.endswith((b".jpg", b".png"))


def _beside(source: bytes, sidecar: bytes, pipeline: str) -> bool:
    """Tell whether `sidecar` is one of `source`."""
    if not _is_source(source):
        return False
    own = sidecar == source + b".yaml"
    return own or (pipeline == "titled" and sidecar.rpartition(b".")[0] == source.rpartition(b".")[0])


def _contents(folder: Path) -> set[bytes]:
    return {path.read_bytes() for path in folder.rglob("*") if path.is_file()}
