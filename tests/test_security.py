"""What a file of a stranger can not do: reach other files or addresses, start programs, or be run itself."""

import ast
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import av
import pytest
import traps
from house import cut_clip
from PIL import EpsImagePlugin, Image
from tripwire import Decoy, Door

from darkroom.pipelines.animate.fit import load_image
from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.ocr import document
from darkroom.pipelines.ocr.picture import load_picture
from darkroom.pipelines.video.probe import probe
from darkroom.pipelines.video.read import read


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return cut_clip(tmp_path_factory.mktemp("film") / "film.mp4", 4).read_bytes()


@pytest.fixture
def decoy(tmp_path: Path, film: bytes) -> Iterator[Decoy]:
    """A film that belongs to somebody else."""
    (tmp_path / "elsewhere").mkdir()
    decoy = Decoy(tmp_path / "elsewhere" / "decoy.mp4", film)
    yield decoy
    decoy.close()


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.close()


# -- films -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", traps.playlists(Path("x"), "localhost:1"))
def test_a_playlist_called_a_film_opens_nothing_and_calls_nobody(
    tmp_path: Path, decoy: Decoy, door: Door, kind: str
) -> None:
    for name in ("film.mp4", "film.ts", "film.avi"):
        (tmp_path / name).write_text(traps.playlists(decoy.path, door.host)[kind])
        with pytest.raises(Rejected, match=rf"^{name}: "):
            probe(tmp_path / name)
    assert not decoy.opened() and not door.knocked()


def test_the_traps_would_catch_a_careless_reader(tmp_path: Path, decoy: Decoy, door: Door) -> None:
    door.hang_up()
    texts, listed = traps.playlists(decoy.path, door.host), tmp_path / "list.m3u8"
    for kind in ("hls of an address", "ffconcat of a file"):
        listed.write_text(texts[kind])
        careless = {"safe": "0", "extension_picky": "0", "protocol_whitelist": "file,http,tcp,crypto"}
        try:
            with av.open(str(listed), options=careless) as container:
                next(container.decode(video=0), None)
        except av.error.FFmpegError:
            pass  # there is nothing to be had
    assert decoy.opened() and door.knocked()


def test_a_film_whose_pictures_are_said_to_lie_in_another_file_does_not_open_that(
    tmp_path: Path, film: bytes, decoy: Decoy
) -> None:
    source = tmp_path / "film.mp4"
    source.write_bytes(traps.referring(film, decoy.path))
    with pytest.raises(Rejected, match=r"^film.mp4: "):
        probe(source)
    assert not decoy.opened()
    asked_for = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(str(source), options=asked_for) as container:
        assert len(list(container.decode(video=0))) == 4
    assert decoy.opened(), "the trap is none"


ODD = ["%03d.mp4", "-i.mp4", "concat:a.mp4", "http:x.mp4", "a|b.mp4", "glob*?[a].mp4", "pipe:0.mp4"]


@pytest.mark.parametrize("name", ODD)
def test_a_name_is_a_name_and_no_pattern_option_or_address(tmp_path: Path, film: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(film)
    facts = probe(tmp_path / name)
    assert facts.frames == 4
    assert len(list(read(facts, 0, 4))) == 4


# -- pictures and documents ------------------------------------------------------------------------------------------


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program `gs` in the way and return the file that it leaves when it is run."""
    programs, mark = tmp_path / "programs", tmp_path / "was run"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\n: > '{mark}'\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    return mark


@pytest.mark.parametrize("reader", [load_image, load_picture, document.probe])
def test_a_postscript_program_called_a_picture_is_refused_and_not_run(
    tmp_path: Path, ghostscript: Path, reader: Any
) -> None:
    picture = tmp_path / "scan.png"
    picture.write_bytes(traps.postscript())
    with pytest.raises(Rejected, match=r"^scan.png: .*an image"):
        reader(picture)
    assert not ghostscript.exists()


def test_a_postscript_program_would_be_run_by_who_takes_all_formats(tmp_path: Path, ghostscript: Path) -> None:
    (tmp_path / "scan.png").write_bytes(traps.postscript())
    with Image.open(tmp_path / "scan.png") as image, pytest.raises(OSError):
        ghostscript.unlink(missing_ok=True)  # it is asked for its version first
        image.load()
    assert ghostscript.exists()


def test_a_pdf_with_scripts_links_and_outer_files_is_read_as_pages_only(
    tmp_path: Path, decoy: Decoy, door: Door
) -> None:
    facts = document.probe(traps.pdf(tmp_path / "letter.pdf", decoy.path, door.host))
    picture = document.render(facts, 0, 72)
    assert (picture.width, picture.height) == (200, 100)
    assert document.native_lines(facts, 0, 72) == ()
    assert not decoy.opened() and not door.knocked()


# -- what the source never does --------------------------------------------------------------------------------------

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for room in ("daemon", "pipelines", "kernels") for path in (ROOT / room).rglob("*.py"))
NEVER = {
    *("eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "marshal.loads", "shelve.open"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "torch.hub.load", "joblib.load", "tarfile.open"),
}
ONLY_WITH = {  # a call that is safe with these words only
    "torch.load": {"weights_only": "True"},
    "Image.open": {"formats": "PICTURES"},
    "av.open": {},  # of what is not ours in one file only, below
}
READS_FILMS_OF_OTHERS = "pipelines/video/source.py"


@cache
def calls(path: Path) -> list[tuple[str, dict[str, str], ast.Call]]:
    """Return the name of each call in `path`, dotted, with its words."""
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    named = [{word.arg: ast.unparse(word.value) for word in node.keywords if word.arg} for node in found]
    return [(ast.unparse(node.func), words, node) for node, words in zip(found, named, strict=True)]


def parts_of(words: dict[str, str]) -> set[str]:
    """Return the entries of the dictionary that a call of `av.open` has for options."""
    return set(words["container_options"].strip("{}").split(", "))


def test_nothing_is_unpickled_evaluated_or_given_to_a_shell() -> None:
    for path in SOURCES:
        for name, words, _ in calls(path):
            assert name not in NEVER, path
            assert words.get("shell", "False") == "False" and words.get("allow_pickle", "False") == "False", path
            assert words.get("trust_remote_code", "False") == "False", path
            for word, value in ONLY_WITH.get(name, {}).items():
                assert words.get(word) == value, f"{path}: {name} without {word}={value}"
            assert name != "yaml.load" or path.name == "plain_yaml.py", path
    found = {name for path in SOURCES for name, _, _ in calls(path)}
    assert {"torch.load", "Image.open", "yaml.load", "av.open"} <= found, "the pattern finds nothing at all"


def test_films_of_others_are_opened_in_one_place_and_with_lists_of_what_is_allowed() -> None:
    for path in SOURCES:
        for name, words, node in calls(path):
            if name == "av.open" and str(path.relative_to(ROOT)) == READS_FILMS_OF_OTHERS:
                assert {"'format_whitelist': FORMATS", "'protocol_whitelist': 'file'"} <= parts_of(words)
            elif name == "av.open":
                assert re.match(r"f'file:\{(out|path|part|parts\[0\]|self\._out)\}'", ast.unparse(node.args[0])), path
