from typing import Any

import pytest
import toys

from darkroom import pipelines
from darkroom.daemon.config import Folder, Watch
from darkroom.daemon.ignore import Rules


def rules(watch_ignore: list[str] | None = None, **folder: Any) -> Rules:
    settings = {"name": "films", "pipeline": "upscale", "inbox": "/in", "outbox": "/out", **folder}
    return Rules(Folder.model_validate(settings), Watch.model_validate({"ignore": watch_ignore or []}))


@pytest.mark.parametrize(
    "path", [b"a.mkv", b"A.MP4", b"deep/er/movie.part1.mov", b"draft.mkv", b"-rf.avi", b"x\xff.webm"]
)
def test_sources_of_the_pipeline_are_taken(path: bytes) -> None:
    assert rules().file(path) == ""


@pytest.mark.parametrize(
    "path",
    [
        *(
            b".movie.mkv.Xa3f9Q",
            b".syncthing.movie.mkv.tmp",
            b"~syncthing~movie.mkv.tmp",
            b".nfs00000000012f4a",
            b"._a.mkv",
        ),
        *(b"movie.mkv.part", b".movie.mkv.ocTransferId12.part", b"movie.mkv.!sync", b"movie.mkv.crdownload"),
        *(b"movie.mkv.!qB", b"movie.mkv.!ut", b"movie.mkv.tmp", b"movie.mkv.partial~", b"movie.mkv.backup~"),
        *(b"movie.sync-conflict-20240101-101010-ABCDEF.mkv", b"movie.mkv.unmanic.part", b"~$movie.mkv"),
        *(b"movie.draft.mkv", b"movie.mkv.draft", b"MOVIE.MKV.TMP"),
    ],
)
def test_temporary_names_are_left_alone(path: bytes) -> None:
    assert rules(include=["*"]).file(path).startswith("ignored: ")
    assert rules(include=["*"]).file(b"folder/" + path).startswith("ignored: ")


@pytest.mark.parametrize("path", [b".DS_Store", b"Thumbs.db", b"desktop.ini"])
def test_files_of_operating_systems_are_left_alone(path: bytes) -> None:
    assert rules(include=["*"]).file(path).startswith("ignored: ")


@pytest.mark.parametrize(
    "path",
    [
        *(b".~tmp~", b".stfolder", b".sync", b"a/.hidden", b"@eaDir", b"#recycle", b"x/@Recycle", b".@__thumb"),
        *(b"_UNPACK_film", b"_FAILED_film", b"lost+found", b"$RECYCLE.BIN", b"System Volume Information"),
    ],
)
def test_folders_of_other_programs_are_not_looked_into(path: bytes) -> None:
    assert rules().folder(path).startswith("ignored: ")


def test_other_folders_are_looked_into() -> None:
    assert rules().folder(b"season 1") == ""
    assert rules().folder(b"movie.mkv") == ""


def test_the_reason_names_the_rule() -> None:
    strict = rules(["*sample*"], ignore=["raw/*"])
    assert strict.file(b"a/Sample.mkv") == "ignored: pattern *sample*"
    assert strict.file(b"raw/a.mkv") == "ignored: pattern raw/*"
    assert strict.file(b"a.mkv.part") == "ignored: temporary name *.part"
    assert strict.file(b"a.txt") == "ignored: .txt is no source of upscale"
    assert strict.file(b"README") == "ignored: a name without a suffix is no source of upscale"
    assert strict.file(b".a.mkv") == "ignored: hidden"


def test_patterns_match_the_name_or_the_path_without_regard_to_case() -> None:
    strict = rules(ignore=["RAW", "b/c.mkv"])
    assert strict.folder(b"x/raw") == "ignored: pattern RAW"
    assert strict.file(b"b/C.mkv") == "ignored: pattern b/c.mkv"
    assert strict.file(b"a/b/c.mkv") == ""


def test_a_pattern_may_end_in_a_slash() -> None:
    assert rules(ignore=["raw/"]).folder(b"raw") == "ignored: pattern raw/"


def test_include_replaces_the_suffixes_of_the_pipeline() -> None:
    strict = rules(include=["*.dat", "keep/*"])
    assert strict.file(b"a.DAT") == ""
    assert strict.file(b"keep/a.xyz") == ""
    assert strict.file(b"a.mkv") == "ignored: not in include"


def test_patterns_match_names_with_newlines_and_broken_utf8() -> None:
    strict = rules(ignore=["*secret*"])
    assert strict.file(b"a\nsecret\xff\n.mkv") == "ignored: pattern *secret*"
    assert strict.file(b"a\n\xff.mkv") == ""


def test_a_sidecar_is_named_like_a_file_that_would_be_taken() -> None:
    assert rules().sidecar(b"d/a.mkv.yaml") and rules().sidecar(b"a.mp4.yml")
    for name in (b"a.yaml", b"a.txt", b"a.mkv.txt", b".a.mkv.yaml", b"a.jpg.yaml", b"a.mkv"):
        assert not rules().sidecar(name)


def test_where_a_prompt_is_needed_the_stem_is_enough_for_a_sidecar_but_it_may_be_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(pipelines.KINDS, "paint", toys.PAINT)
    art = rules(pipeline="paint", ignore=["*notes*"])
    assert all(art.sidecar(name) for name in (b"d/cat.txt", b"cat.yaml", b"cat.yml", b"cat.jpg.yaml"))
    for name in (b".cat.txt", b"cat.txt.part", b"notes.txt", b"cat.jpg", b"cat.jpg.md"):
        assert not art.sidecar(name)
