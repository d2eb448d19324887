"""What must hold after a soak: everything dropped is published as it should be, and nothing else is there."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression, median

from arrivals import Drop
from rows import memory_mb

from darkroom.daemon.journal import FILE, Journal
from darkroom.daemon.states import ENDS, MOVES, State

RSS_GROWTH_MIB = 4.0  # of a daemon over the calm stretch: allocators keep what a burst of files took
MORE_DESCRIPTORS = 2.0
WARM_UP_S = 60.0  # after which a daemon has met everything once

Expected = Mapping[tuple[str, str], bytes]
"""What each clip becomes, by its name and what is said beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One promise: on how much it was tried, and where it was broken."""

    promise: str
    looked_at: str
    broken: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        return not self.broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the daemon held at a moment."""

    pid: int
    at_s: float
    rss_mib: float
    descriptors: int


def audit(
    root: Path, policies: Mapping[str, str], drops: Sequence[Drop], clips: Mapping[str, bytes], expected: Expected
) -> list[Finding]:
    """Return each promise with where it was broken; the daemon on `root` has ended."""
    published = {name: _files(root / name / "outbox") for name in policies}
    count = f"{len(drops)} files"
    results = sum(map(len, published.values()))
    strays = tuple(_strays(root, policies))
    return [
        _finding(
            "each file is published in its last version", count, _unpublished(drops, policies, published, expected)
        ),
        _finding(
            "each result has the bytes of an undisturbed run", f"{results} results", _odd(drops, published, expected)
        ),
        _finding("no version is published twice", f"{results} results", _twice(drops, published, expected)),
        _finding("sources are where their folder wants them", count, _misplaced(root, policies, drops, clips)),
        _finding("nothing is left behind", f"{len(policies)} folders", strays),
        _finding("the journal is sound, and every job has ended", *_journal(root / "state" / FILE)),
    ]


def sample(pid: int) -> Sample:
    """Return what the process `pid` holds now. Raises OSError, ValueError if it is gone."""
    descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return Sample(pid=pid, at_s=time.monotonic(), rss_mib=memory_mb("VmRSS", pid), descriptors=descriptors)


def steady(samples: Sequence[Sample]) -> Finding:
    """Judge whether the daemon held at the end of its longest life what it held in the beginning: medians of thirds."""
    promise = "the daemon's memory and descriptors stay flat"
    lives = {each.pid: [other for other in samples if other.pid == each.pid] for each in samples}
    life = max(lives.values(), key=len, default=[])
    life = [each for each in life if each.at_s - life[0].at_s > WARM_UP_S]
    third = len(life) // 3
    if not third:
        return Finding(promise=promise, looked_at="too short to tell")
    ends = (life[:third], life[-third:])
    rss, files = ([median(getattr(each, of) for each in part) for part in ends] for of in ("rss_mib", "descriptors"))
    seconds = life[-1].at_s - life[0].at_s
    slope = linear_regression([each.at_s for each in life], [each.rss_mib for each in life]).slope * 3600
    found = (
        f"{seconds:.0f} s of one daemon: {rss[0]:.1f} to {rss[1]:.1f} MiB ({slope:+.1f} MiB an hour), "
        f"{files[0]:.0f} to {files[1]:.0f} descriptors"
    )
    grown = rss[1] - rss[0] > RSS_GROWTH_MIB or files[1] - files[0] > MORE_DESCRIPTORS
    return Finding(promise=promise, looked_at=found, broken=("they grew",) if grown else ())


def _finding(promise: str, looked_at: str, broken: Iterator[str] | Sequence[str]) -> Finding:
    return Finding(promise=promise, looked_at=looked_at, broken=tuple(broken))


def _of(drop: Drop, published: Mapping[str, Mapping[str, bytes]]) -> list[bytes]:
    """Return the results of one name: `film.mp4`, `film (2).mp4` and so on."""
    stem = drop.path.removesuffix(".mp4")
    names = (name for name in published[drop.folder] if name == f"{stem}.mp4" or name.startswith(f"{stem} ("))
    return [published[drop.folder][name] for name in names]


def _unpublished(
    drops: Sequence[Drop], policies: Mapping[str, str], published: Mapping[str, Mapping[str, bytes]], expected: Expected
) -> Iterator[str]:
    for drop in drops:
        wanted = [expected[drop.films[-1].clip, drop.films[-1].note]]
        if policies[drop.folder] != "keep" and drop.pattern == "sidecar later":
            wanted.append(expected[drop.films[0].clip, ""])  # the source had gone before the word came
        if not set(wanted) & set(_of(drop, published)):
            yield f"{drop.folder}/{drop.path} ({drop.pattern}) has no result"


def _odd(drops: Sequence[Drop], published: Mapping[str, Mapping[str, bytes]], expected: Expected) -> Iterator[str]:
    for drop in drops:
        right = {expected[film.clip, film.note] for film in drop.films}
        if any(result not in right for result in _of(drop, published)):
            yield f"{drop.folder}/{drop.path} ({drop.pattern}) has a result of other bytes"


def _twice(drops: Sequence[Drop], published: Mapping[str, Mapping[str, bytes]], expected: Expected) -> Iterator[str]:
    for drop in drops:
        most = [expected[film.clip, film.note] for film in drop.films]
        found = _of(drop, published)
        if any(found.count(result) > most.count(result) for result in most):
            yield f"{drop.folder}/{drop.path} ({drop.pattern}) is there {len(found)} times"


def _misplaced(
    root: Path, policies: Mapping[str, str], drops: Sequence[Drop], clips: Mapping[str, bytes]
) -> Iterator[str]:
    originals = {name: set(_files(root / name / "originals").values()) for name in policies}
    for drop in drops:
        source, data = root / drop.folder / "inbox" / drop.path, clips[drop.films[-1].clip]
        policy = policies[drop.folder]
        if source.exists() and source.read_bytes() != data:
            yield f"{drop.folder}/{drop.path}: the source has changed"
        if source.exists() != (policy == "keep"):
            found = "there" if source.exists() else "gone"
            yield f"{drop.folder}/{drop.path} ({drop.pattern}): the source is {found}, and the policy {policy}"
        if policy == "move" and data not in originals[drop.folder]:
            yield f"{drop.folder}/{drop.path}: not among the originals"


def _strays(root: Path, policies: Mapping[str, str]) -> Iterator[str]:
    for name in policies:
        temporary = [*(root / name).glob("*/.darkroom-tmp/*"), *(root / name).glob("*/.darkroom-*box-*")]
        yield from (str(path.relative_to(root)) for path in temporary)
    work = (root / "state" / "work").glob("*")
    drafts = (path for path in root.rglob("*draft*") if path.is_file())
    yield from (str(path.relative_to(root)) for path in [*work, *drafts])


def _journal(path: Path) -> tuple[str, list[str]]:
    with Journal(path) as journal:
        jobs = journal.jobs()
        broken = [damage] if (damage := journal.damage()) else []
        broken += [f"{job.name}: {job.state}: {job.reason}" for job in jobs if job.state not in ENDS]
        broken += [f"{job.name}: failed: {job.reason}" for job in jobs if job.state is State.FAILED]
        moves = [(job, move) for job in jobs for move in journal.events(job.id) if move.old]
        broken += [
            f"{job.name}: {move.old} to {move.new}" for job, move in moves if move.new not in MOVES[State(move.old)]
        ]
    return f"{len(jobs)} jobs, {len(moves)} moves", broken


def _files(folder: Path) -> dict[str, bytes]:
    """Return what others see in `folder`, by its path there."""
    files = (path for path in folder.rglob("*") if path.is_file())
    shown = ((os.fspath(path.relative_to(folder)), path) for path in files)
    return {name: path.read_bytes() for name, path in shown if not name.startswith(".")}
