import errno
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from darkroom.daemon.config import Config, ConfigError
from darkroom.daemon.ending import EPILOG, EXIT_CODES, Asked, Commands, Unknown, folder_of, print_json, say
from darkroom.daemon.sqlite_faults import Damaged
from darkroom.daemon.states import IllegalMove
from darkroom.pipelines.errors import Rejected, Unavailable

DAMAGED = "the journal is damaged (malformed); the next start"
FOLDER = "folders: [{name: films, pipeline: upscale, inbox: in, outbox: out}]\n"


def outcome(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the words of a command that raises `error`."""
    app = typer.Typer(cls=Commands)

    @app.callback()
    def _all() -> None:
        pass

    @app.command()
    def fail() -> None:
        raise error

    result = CliRunner().invoke(app, ["fail"])
    return result.exit_code, result.stderr


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ConfigError(["a: wrong", "b: wrong too"]), 78, "a: wrong\nb: wrong too\n"),
        (Unknown("there is no job 3"), 4, "there is no job 3\n"),
        (Rejected("a.mkv: empty"), 2, "a.mkv: empty\n"),
        (IllegalMove("job 3 is done"), 2, "job 3 is done\n"),
        (Unavailable("/s: locked"), 69, "/s: locked\n"),
        (Damaged(DAMAGED), 69, f"{DAMAGED}\n"),
        (OSError(errno.ENOSPC, "No space left on device", "/s/x"), 69, "/s/x: No space left on device\n"),
        (Unavailable("/\x1b[2J\nx\udcff"), 69, "/\\x1b[2J\\nx\\xff\n"),
    ],
)
def test_each_error_is_one_line_and_its_exit_code(error: Exception, code: int, words: str) -> None:
    found, told = outcome(error)
    assert found == code
    assert told.startswith(words) and "Traceback" not in told


def test_a_bug_is_not_dressed_up() -> None:
    app = typer.Typer(cls=Commands)

    @app.command()
    def only() -> None:
        raise KeyError("x")

    result = CliRunner().invoke(app, [])
    assert (result.exit_code, type(result.exception)) == (1, KeyError)


def test_every_exit_code_is_explained_in_the_help() -> None:
    assert sorted(EXIT_CODES) == [0, 1, 2, 3, 4, 69, 75, 78]
    assert all(f"{code} {meaning}" in EPILOG for code, meaning in EXIT_CODES.items())


def test_the_first_configuration_that_exists_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    own = tmp_path / "home/.config/darkroom/config.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(FOLDER)
    assert Asked(None).path == own
    (tmp_path / "config.yaml").write_text(FOLDER)
    assert Asked(None).path == Path("config.yaml")
    assert Asked(own).path == own


def test_without_a_configuration_one_learns_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.daemon.ending.PLACES", ("./nowhere.yaml",))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no configuration in \./nowhere\.yaml; `darkroom init FOLDER`"):
        Asked(None).load()
    with pytest.raises(ConfigError, match="No such file"):
        Asked(tmp_path / "gone.yaml").load()
    with pytest.raises(ConfigError, match="Is a directory"):
        Asked(tmp_path).load()


def test_a_configuration_on_a_disk_that_died_is_not_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_path: Path) -> Config:
        raise OSError(errno.EIO, "Input/output error", "/etc/darkroom/config.yaml")

    monkeypatch.setattr("darkroom.daemon.ending.load", fail)
    with pytest.raises(OSError, match="Input/output error"):  # which ends with 69, after which the service starts again
        Asked(Path("/etc/darkroom/config.yaml")).load()


def test_the_umask_is_that_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(FOLDER + "umask: 0027\n")
    before = os.umask(0o022)
    try:
        Asked(tmp_path / "config.yaml").load()
        (tmp_path / "made").touch()
        assert (tmp_path / "made").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


def test_what_is_said_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[2J\udcff.mkv")
    print_json({"name": "é\x1b[2J\udcff"})
    assert capsys.readouterr().out == 'a\\x1b[2J\\xff.mkv\n{\n  "name": "\\u00e9\\u001b[2J\\udcff"\n}\n'


def test_a_folder_that_is_not_configured_is_unknown_and_the_others_are_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(FOLDER)
    config = Asked(tmp_path / "config.yaml").load()
    assert folder_of(config, "films").name == "films"
    with pytest.raises(Unknown, match="there is no folder 'film' in the configuration; there are films"):
        folder_of(config, "film")
