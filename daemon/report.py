"""The report of a published result: what it was made of, by what, how long it took; `NAME.json`."""

import errno
import json
import logging
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import darkroom
from darkroom.daemon.clock import unix_now
from darkroom.daemon.config import Folder
from darkroom.daemon.filesystem import opened, opened_folder
from darkroom.daemon.job import Job, printable
from darkroom.daemon.marker import OUTBOX
from darkroom.daemon.outbox import Publication
from darkroom.daemon.place import NameTaken, look, place

log = logging.getLogger(__name__)

FORMAT = "darkroom report"
SCHEMA = 1  # raised when a key changes its meaning; new keys may come without
MAX_BYTES = 16 * 2**20
PACKAGES = ("torch", "av", "numpy")  # whose versions may change a result


def make_report(
    job: Job,
    made: Mapping[str, Any],
    stages: Mapping[str, float],
    warnings: Sequence[str],
    *,
    now: float | None = None,
) -> dict[str, Any]:
    """Return the report of `job`, whose result is recorded, as plain values.

    made:    what the pipeline says of its result: settings, weights, facts of the source
    stages:  seconds of this attempt by stage
    now:     Unix seconds of the end; None: the clock's
    """
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "job": job.id,
        "folder": job.folder,
        "pipeline": job.pipeline,
        "source": {
            "path": printable(job.path),
            "size_bytes": job.size_bytes,
            "modified": _iso(job.mtime_ns / 1e9),
            "mtime_ns": job.mtime_ns,
            "fingerprint": job.content,
        },
        "result": {"path": printable(job.result), "size_bytes": job.result_size, "sha256": job.result_sha256},
        "companions": [
            {"path": printable(os.fsencode(name)), "size_bytes": size, "sha256": sha256}
            for name, size, sha256 in job.companions
        ],
        "options": dict(job.options),
        "made": dict(made),
        "times": {
            "queued": _iso(job.created),
            "started": _iso(job.started),
            "ended": _iso(unix_now() if now is None else now),
            "seconds_by_stage": {stage: round(seconds, 3) for stage, seconds in stages.items()},
        },
        "attempts": job.attempts,
        "warnings": list(warnings),
        "versions": {"darkroom": darkroom.__version__, "python": platform.python_version(), **_versions()},
    }


def write_report(folder: Folder, publication: Publication, report: Mapping[str, Any]) -> Path | None:
    """Write `report` where `folder.report` wants it, whole or not at all, and return its path.

    An older report of that name is replaced. Another file of that name stays, and the report goes beside it
    as `NAME.report.json`. None if the folder wants no reports or none could be written, which the log says:
    the result is out, and a report is not worth making it again.
    """
    root = report_root(folder)
    if root is None:
        return None
    try:
        if root != folder.outbox:
            root.mkdir(parents=True, exist_ok=True)
        with opened_folder(root) as handle:
            if root == folder.outbox and look(handle, OUTBOX.encode()) is None:
                raise FileNotFoundError(errno.ENOENT, f"the outbox is offline, its {OUTBOX} is missing")
            return root / os.fsdecode(_write_free(handle, publication.name, report))
    except (OSError, NameTaken) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        log.warning("job=%d report not written to %s: %s", report["job"], root, reason)
    return None


def report_root(folder: Folder) -> Path | None:
    """Return the folder below which the reports of `folder` lie like the results in the outbox, None without any."""
    where = {"beside": folder.outbox, "folder": folder.report_folder, "none": None}
    return where[folder.report]


def is_report(root: int, path: bytes) -> bool:
    """Tell whether the file `path` below the open folder `root` is one of our reports, whatever it is called."""
    try:
        with opened(path, root) as file:
            report = json.loads(os.read(file, MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(report, dict) and report.get("format") == FORMAT


def _write_free(root: int, name: bytes, report: Mapping[str, Any]) -> bytes:
    """Write the report of the result `name` below the open folder `root` and return its path there."""
    text = json.dumps(report, indent=2, ensure_ascii=False, default=str)
    # What a prompt or a tag of a stranger's file holds must not drive the terminal of who looks at the report.
    plain = "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)
    data = plain.encode() + b"\n"

    def write(file: int) -> None:
        with open(file, "wb", closefd=False) as stream:
            stream.write(data)

    draft = f"JOB-{report['job']}.report"
    path = name + b".json"
    try:
        place(root, path, write, draft=draft, replace=is_report(root, path))
    except NameTaken:
        path = name + b".report.json"
        place(root, path, write, draft=draft, replace=is_report(root, path))
    return path


def _iso(seconds: float | None) -> str | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None  # a file may say that it was modified in the year 30000


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
