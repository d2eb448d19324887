import json
from pathlib import Path
from typing import Any, Literal

import pytest

import darkroom
from darkroom.daemon.config import Folder
from darkroom.daemon.filesystem import opened_folder
from darkroom.daemon.job import Job, NewJob, Signature
from darkroom.daemon.journal import Journal
from darkroom.daemon.outbox import Publication
from darkroom.daemon.report import is_report, make_report, write_report
from darkroom.daemon.states import State

RESULT = Publication(name=b"a/film.mkv", size_bytes=5, sha256="ab" * 32)


def publishing_job(tmp_path: Path, path: bytes = b"a/film.avi", mtime_ns: int = 86_400 * 10**9) -> Job:
    with Journal(tmp_path / "journal.db") as journal:
        signature = Signature(size_bytes=3, mtime_ns=mtime_ns, inode=9)
        new = NewJob(folder="films", pipeline="upscale", path=path, signature=signature, content="3-ff")
        [number] = journal.enqueue([new], now=1_000_000)
        journal.claim(["films"], now=1_000_060, uptime=1, boot="b")
        columns: dict[str, Any] = {
            "result": RESULT.name,
            "result_size": RESULT.size_bytes,
            "result_sha256": RESULT.sha256,
            "companions": json.dumps([("a/film.srt", 2, "cd" * 32)]),
        }
        return journal.move(number, State.PUBLISHING, "", now=1_000_090, **columns)


def report_of(tmp_path: Path, **options: Any) -> dict[str, Any]:
    made = {"model": "photo", "weights": "0123"}
    return make_report(publishing_job(tmp_path, **options), made, {"joining": 1.23456}, ["a warning"], now=1_000_100)


def folder_of(tmp_path: Path, report: Literal["beside", "folder", "none"]) -> Folder:
    (tmp_path / "outbox").mkdir()
    (tmp_path / "outbox/.darkroom-outbox").touch()
    return Folder(
        name="films",
        pipeline="upscale",
        inbox=tmp_path / "inbox",
        outbox=tmp_path / "outbox",
        report=report,
        report_folder=tmp_path / "state/reports/films",
    )


def test_a_report_says_what_made_the_result_of_what_and_how_long_it_took(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    versions = report.pop("versions")
    assert versions["darkroom"] == darkroom.__version__
    assert versions["torch"]
    assert report == {
        "format": "darkroom report",
        "schema": 1,
        "job": 1,
        "folder": "films",
        "pipeline": "upscale",
        "source": {
            "path": "a/film.avi",
            "size_bytes": 3,
            "modified": "1970-01-02T00:00:00+00:00",
            "mtime_ns": 86_400 * 10**9,
            "fingerprint": "3-ff",
        },
        "result": {"path": "a/film.mkv", "size_bytes": 5, "sha256": "ab" * 32},
        "companions": [{"path": "a/film.srt", "size_bytes": 2, "sha256": "cd" * 32}],
        "options": {},
        "made": {"model": "photo", "weights": "0123"},
        "times": {
            "queued": "1970-01-12T13:46:40+00:00",
            "started": "1970-01-12T13:47:40+00:00",
            "ended": "1970-01-12T13:48:20+00:00",
            "seconds_by_stage": {"joining": 1.235},
        },
        "attempts": 1,
        "warnings": ["a warning"],
    }


def test_a_source_of_any_name_and_time_has_a_report(tmp_path: Path) -> None:
    report = report_of(tmp_path, path=b"\xff\n\x1b.avi", mtime_ns=2**63 - 1)
    folder = folder_of(tmp_path, "folder")
    path = write_report(folder, RESULT, report)
    assert path is not None
    source = json.loads(path.read_text())["source"]
    assert source["path"] == r"\xff\n\x1b.avi"


def test_a_report_drives_no_terminal_whatever_is_in_it(tmp_path: Path) -> None:
    odd = "a\x1b[2J\x7f\x9b31m\u202e\U000e0001\ud800\tb"
    report = report_of(tmp_path) | {"options": {"prompt": odd}}
    path = write_report(folder_of(tmp_path, "folder"), RESULT, report)
    assert path is not None
    text = path.read_text()
    assert all(char.isprintable() or char == "\n" for char in text)
    assert json.loads(text)["options"]["prompt"] == odd


@pytest.mark.parametrize(
    ("where", "path"), [("beside", "outbox/a/film.mkv.json"), ("folder", "state/reports/films/a/film.mkv.json")]
)
def test_a_report_lies_where_the_folder_wants_it_like_the_result(
    tmp_path: Path, where: Literal["beside", "folder"], path: str
) -> None:
    report = report_of(tmp_path)
    written = write_report(folder_of(tmp_path, where), RESULT, report)
    assert written == tmp_path / path
    assert json.loads(written.read_text()) == report


def test_without_reports_nothing_is_written(tmp_path: Path) -> None:
    assert write_report(folder_of(tmp_path, "none"), RESULT, report_of(tmp_path)) is None
    assert list(tmp_path.rglob("*.json")) == []


def test_writing_again_replaces_our_own_report(tmp_path: Path) -> None:
    folder, report = folder_of(tmp_path, "beside"), report_of(tmp_path)
    write_report(folder, RESULT, report | {"attempts": 1})
    path = write_report(folder, RESULT, report | {"attempts": 2})
    assert path == tmp_path / "outbox/a/film.mkv.json"
    assert json.loads(path.read_text())["attempts"] == 2


@pytest.mark.parametrize("foreign", ["{}", "[1]", "not JSON", ""])
def test_a_foreign_file_of_that_name_is_left_alone(tmp_path: Path, foreign: str) -> None:
    folder, report = folder_of(tmp_path, "beside"), report_of(tmp_path)
    (tmp_path / "outbox/a").mkdir()
    (tmp_path / "outbox/a/film.mkv.json").write_text(foreign)
    for _ in range(2):
        assert write_report(folder, RESULT, report) == tmp_path / "outbox/a/film.mkv.report.json"
    assert (tmp_path / "outbox/a/film.mkv.json").read_text() == foreign


def test_a_report_that_cannot_be_written_fails_no_job(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, report = folder_of(tmp_path, "folder"), report_of(tmp_path)
    (tmp_path / "state").write_text("a file stands here")
    assert write_report(folder, RESULT, report) is None
    assert "report not written" in caplog.text


def test_nothing_is_written_beside_results_that_went_offline(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, report = folder_of(tmp_path, "beside"), report_of(tmp_path)
    (tmp_path / "outbox/.darkroom-outbox").unlink()
    assert write_report(folder, RESULT, report) is None
    assert list((tmp_path / "outbox").iterdir()) == []
    assert "the outbox is offline" in caplog.text


def test_is_report_follows_no_link(tmp_path: Path) -> None:
    path = write_report(folder_of(tmp_path, "folder"), RESULT, report_of(tmp_path))
    assert path is not None
    (path.parent / "link.json").symlink_to(path)
    with opened_folder(path.parent) as root:
        assert is_report(root, b"film.mkv.json")
        assert not is_report(root, b"link.json")
        assert not is_report(root, b"missing.json")
